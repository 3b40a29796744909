"""Predicts how long a network takes on a device from other networks there and from other devices.

A device's deviation from the typical one is known for what was measured on it; for the rest it is the
conditional mean of a Gaussian whose covariance other devices taught (``learn``): kriging over networks. The equations
and the measured error are in docs/catalogues.md.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from trimtab_sim.catalogue.kinship import Item, Matrix
from trimtab_sim.catalogue.learn import Learned, Prior, Settings, Vector, learn, prior_of
from trimtab_sim.catalogue.measurements import LatencyTable, Measurement, Model, Setup

TRUST_ROUNDS: Final = 8
"""How often the trust in known latencies is found again; it settles after a few."""
Wanted = tuple[Setup, Model]


class PredictionError(ValueError):
    """There is nothing to predict a latency from; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A latency (the median) and the standard deviation of its logarithm."""

    latency_ns: int
    spread: float


def predict_latency(table: LatencyTable, setup: Setup, model: Model) -> Prediction:
    """Return how long ``model`` takes in ``setup``, by the table's rows of that device and of all others.

    Raises ``PredictionError`` when the table has no row of the device or none of the network. For more than one
    prediction keep a ``Predictor``: what it learns from other devices stays.
    """
    return Predictor(table).predict(setup, model)


class Predictor:
    """Predicts latencies from a table; learns once per device, from all the others, when first asked."""

    def __init__(self, table: LatencyTable, settings: Settings = Settings()) -> None:  # noqa: B008 - frozen
        self._table = table
        self._settings = settings
        self._names = {row.model.name for row in table.rows}
        self._devices = frozenset(table.devices())
        self._lessons: dict[tuple[str, frozenset[Item]], _Lesson] = {}

    def predict(self, setup: Setup, model: Model) -> Prediction:
        """Return one prediction; raise ``PredictionError``."""
        if setup.device not in self._devices:
            raise PredictionError(f"no latency on {setup.device!r} is known, so its speed is not either")
        found = self.predict_all([(setup, model)])[0]
        if found is None:
            raise PredictionError(f"no latency of {model.name!r} is known on any device")
        return found

    def predict_all(
        self, wanted: Sequence[Wanted], known: Sequence[Measurement] | None = None
    ) -> tuple[Prediction | None, ...]:
        """Return predictions, ``None`` for a network or a device that the table does not know.

        ``known`` are the latencies to count as known of the wanted devices; by default the table's.
        """
        found: dict[Wanted, Prediction] = {}
        for device in dict.fromkeys(setup.device for setup, _ in wanted):
            rows = self._table.of_device(device) if known is None else known
            there = [row for row in rows if row.setup.device == device]
            asked = [one for one in wanted if one[0].device == device and one[1].name in self._names]
            if there and asked:
                found.update(zip(asked, self._on_device(device, asked, there), strict=True))
        return tuple(found.get(one) for one in wanted)

    def _on_device(
        self, device: str, wanted: Sequence[Wanted], known: Sequence[Measurement]
    ) -> list[Prediction]:
        """Return predictions for one device from what is known of it."""
        lesson = self._lesson(device, [item_of(setup, model) for setup, model in wanted])
        here = _cells(((row.setup, row.model) for row in known), lesson)
        there = _cells(wanted, lesson)
        residual = np.log([row.latency_ns for row in known]) - lesson.learned.mean[here.items]
        among, across = self._covariance(here, here, lesson), self._covariance(there, here, lesson)
        inverse = self._trusting(among, residual)
        mean = lesson.learned.mean[there.items] + across @ (inverse @ residual)
        own = lesson.learned.covariance[there.items, there.items]
        variance = np.maximum(own - np.einsum("ij,jk,ik->i", across, inverse, across), 0.0)
        variance += self._settings.noise
        return [
            Prediction(max(1, round(math.exp(middle))), math.sqrt(spread))
            for middle, spread in zip(mean.tolist(), variance.tolist(), strict=True)
        ]

    def _trusting(self, among: Matrix, residual: Vector) -> Matrix:
        """Return the inverse of the covariance of known latencies, noise included.

        A latency that fits none of the others is trusted less: noise with Student's t, by expectation maximisation.
        """
        noise, freedom = self._settings.noise, self._settings.cell_freedom
        trust: Vector = np.ones(len(residual))
        inverse: Matrix = among
        for _ in range(TRUST_ROUNDS):
            own: Vector = noise / trust
            inverse = np.asarray(np.linalg.inv(among + np.diag(own)), np.float64)
            error = own * (inverse @ residual)
            left = own - own**2 * np.diag(inverse)
            trust = (freedom + 1) / (freedom + (error**2 + left) / noise)
        return inverse

    def _covariance(self, one: "_Cells", other: "_Cells", lesson: "_Lesson") -> Matrix:
        """Return the covariance between latencies of one device: kappa for the same unit, the rest for the same cores."""
        same_cores = one.cores[:, np.newaxis] == other.cores[np.newaxis, :]
        same_unit = one.units[:, np.newaxis] == other.units[np.newaxis, :]
        kappa = self._settings.kindred
        kept: Matrix = kappa * same_unit + (1 - kappa) * same_cores
        kinship: Matrix = lesson.learned.covariance[np.ix_(one.items, other.items)]
        return kept * kinship

    def _lesson(self, device: str, wanted: Iterable[Item]) -> "_Lesson":
        """Return what all other devices teach about the table's items and the wanted ones."""
        table = [item_of(row.setup, row.model) for row in self._table.rows]
        extra = frozenset(wanted) - frozenset(table)
        key = (device, extra)
        if key not in self._lessons:
            items = sorted({*table, *extra})
            others = [row for row in self._table.rows if row.setup.device != device]
            self._lessons[key] = _teach(
                others, items, prior_of(items, self._table.traits, self._settings), self._settings
            )
        return self._lessons[key]


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What was learned, over which items."""

    index: dict[Item, int]
    learned: Learned


@dataclass(frozen=True, slots=True)
class _Cells:
    """Latencies of one device, known or wanted: their items, cores and units."""

    items: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    cores: "np.ndarray[tuple[int], np.dtype[np.str_]]"
    units: "np.ndarray[tuple[int], np.dtype[np.str_]]"


def item_of(setup: Setup, model: Model) -> Item:
    """Return what a latency has in common with those of other devices."""
    return Item(setup.unit, setup.runtime, model.precision, model.name)


def _cells(wanted: Iterable[Wanted], lesson: _Lesson) -> _Cells:
    several = list(wanted)
    items = np.array([lesson.index[item_of(setup, model)] for setup, model in several], np.int64)
    cores = np.array([setup.cores for setup, _ in several], np.str_)
    return _Cells(items, cores, np.array([setup.unit for setup, _ in several], np.str_))


def _teach(rows: Sequence[Measurement], items: Sequence[Item], prior: Prior, settings: Settings) -> _Lesson:
    """Return what rows of other devices teach. A device with many sets of cores counts as the root of their number."""
    index = {item: at for at, item in enumerate(items)}
    places = {
        key: at for at, key in enumerate(dict.fromkeys((row.setup.device, row.setup.cores) for row in rows))
    }
    cells = np.full((len(places), len(items)), np.nan)
    for row in rows:
        at = places[row.setup.device, row.setup.cores], index[item_of(row.setup, row.model)]
        cells[at] = math.log(row.latency_ns)
    several = Counter(device for device, _ in places)
    weights = np.array([several[device] ** -0.5 for device, _ in places])
    return _Lesson(index, learn(cells, weights, prior, settings))
