"""A provable upper limit on the mean accuracy that any scheduler reaches within an energy budget.

Each request is answered by at most one of its offers, an offer being worth its accuracy and costing energy;
unanswered counts 0. With the choice relaxed to shares that is the linear relaxation of a multiple-choice
knapsack, and it is solved exactly (Sinha and Zoltners, Operations Research 27(3), 1979): a request's offers
and "no answer" form a concave hull of accuracy over energy, and the budget buys hull segments from the
steepest down. It is an upper limit because every schedule is one of the choices: loads, memory, queues and
not knowing the future only take choices away.

A second budget, such as money, is priced into the accuracies. Every price gives an upper limit (weak
duality), the best price the optimum of the linear program.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.domain.quantities import UJ_PER_J

Array = NDArray[np.float64]
ROWS: Final = 4096
"""Rows looked at together: their arrays stay in the processor's cache."""
EXACT_SEGMENTS: Final = 1 << 17
"""So many different slopes are kept as they are; of more, each is rounded up on a grid of ``SLOPE_STEP``."""
SLOPE_STEP: Final = 1e-4
"""Relative width of the grid; the limit is what it would be with at most so much more energy."""
FREE_UJ: Final = 1e-9
"""Less than a femtojoule counts as nothing: it only raises the limit, and slopes stay finite."""
MAX_PRICES: Final = 200
"""Prices tried for the second budget; on a piecewise linear function a handful are enough."""


class _Segments(NamedTuple):
    """Hull segments: accuracy per microjoule, energy, cost; and what an answer without energy brings."""

    slope: Array
    energy_uj: Array
    cost: Array
    free: float
    free_cost: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The highest mean accuracy as a concave, piecewise linear function of the energy of all requests."""

    energy_uj: Array
    accuracy_mean: Array
    requests: int

    def accuracy_at(self, budget_uj: float) -> float:
        """Return the limit (0..1) within an energy budget; raise ``ValueError`` for a negative one."""
        if not budget_uj >= 0.0:
            raise ValueError(f"an energy budget is not negative: {budget_uj} uJ")
        return float(np.interp(budget_uj, self.energy_uj, self.accuracy_mean))

    def energy_for(self, accuracy_mean: float) -> float:
        """Return the least energy in microjoules for a mean accuracy; infinite where none is enough."""
        if accuracy_mean > self.accuracy_mean[-1]:
            return inf
        return float(np.interp(accuracy_mean, self.accuracy_mean, self.energy_uj))

    def price_per_j(self, budget_uj: float) -> float:
        """Return what one more joule is worth: the program's dual, 0 once everybody has the best."""
        index = int(np.searchsorted(self.energy_uj, budget_uj, side="right"))
        if index >= len(self.energy_uj):
            return 0.0
        rise = self.accuracy_mean[index] - self.accuracy_mean[index - 1]
        run = self.energy_uj[index] - self.energy_uj[index - 1]
        return float(rise * self.requests / run * UJ_PER_J)


class HorizonBound:
    """Takes requests in as they come, in memory that does not grow with their number, and gives the limit.

    Exact up to rounding while there are at most ``exact_segments`` different slopes (equal requests have
    equal ones); beyond, slopes are rounded up, so that it stays a limit, by at most ``SLOPE_STEP``.
    """

    def __init__(self, exact_segments: int = EXACT_SEGMENTS) -> None:
        """Start with no request."""
        self.requests = 0
        self._exact_segments = exact_segments
        self._free = 0.0
        self._slopes: list[Array] = []
        self._energies: list[Array] = []
        self._waiting = 0
        self._cells: NDArray[np.int64] = np.empty(0, np.int64)
        self._cell_utility: Array = np.empty(0)

    def add(self, accuracy_frac: ArrayLike, energy_uj: ArrayLike, count: ArrayLike | None = None) -> None:
        """Take in requests: one per row of offers (a single row may be flat), each ``count`` times.

        ``accuracy_frac`` may be one row for all. An infinite energy, or an accuracy of 0, takes an offer out.
        Raises ``ValueError`` for shapes that do not fit, negative or unknown figures.
        """
        accuracy, energy = _rows(accuracy_frac, energy_uj)
        counts = _counts(count, len(energy))
        for at in range(0, len(energy), ROWS):
            part = slice(at, at + ROWS)
            found = _hull(accuracy[part], energy[part], None, counts[part])
            self._free += found.free
            self._keep(found.slope, found.energy_uj)
        self.requests += int(counts.sum())

    def curve(self) -> Curve:
        """Return the limit for every budget; raise ``ValueError`` before the first request."""
        if not self.requests:
            raise ValueError("no request was taken in: there is no mean accuracy")
        self._merge()
        exact = (self._slopes[0], self._energies[0]) if self._slopes else (np.empty(0), np.empty(0))
        grid = np.exp(self._cells * SLOPE_STEP)
        slope = np.concatenate([exact[0], grid])
        energy = np.concatenate([exact[1], self._cell_utility / grid])
        order = np.argsort(-slope, kind="stable")
        utility = np.cumsum(slope[order] * energy[order])
        return Curve(
            np.concatenate([[0.0], np.cumsum(energy[order])]),
            (self._free + np.concatenate([[0.0], utility])) / self.requests,
            self.requests,
        )

    def _keep(self, slope: Array, energy_uj: Array) -> None:
        if len(slope):
            self._slopes.append(slope)
            self._energies.append(energy_uj)
            self._waiting += len(slope)
        if self._waiting > 2 * self._exact_segments:
            self._merge()

    def _merge(self) -> None:
        """Add up segments of equal slope; put them on the grid once there are too many."""
        if not self._slopes:
            return
        slope, of_slope = np.unique(np.concatenate(self._slopes), return_inverse=True)
        energy = np.bincount(of_slope, weights=np.concatenate(self._energies))
        if len(slope) <= self._exact_segments and not len(self._cells):
            self._slopes, self._energies, self._waiting = [slope], [energy.astype(float)], len(slope)
            return
        cells = np.ceil(np.log(slope) / SLOPE_STEP).astype(np.int64)
        utility = np.concatenate([self._cell_utility, slope * energy])
        self._cells, of_cell = np.unique(np.concatenate([self._cells, cells]), return_inverse=True)
        self._cell_utility = np.bincount(of_cell, weights=utility).astype(float)
        self._slopes, self._energies, self._waiting = [], [], 0


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """``count`` requests with the same offers; ``cost`` is what each takes from the second budget."""

    accuracy_frac: Sequence[float]
    energy_uj: Sequence[float]
    cost: Sequence[float]
    count: int = 1


@dataclass(frozen=True, slots=True)
class TwoBudgets:
    """The limit under two budgets, and the price of the second: accuracy per unit of cost."""

    accuracy_mean: float
    cost_price: float


def two_budget_bound(kinds: Iterable[Kind], energy_budget_uj: float, cost_budget: float) -> TwoBudgets:
    """Return the limit within an energy and a cost budget, the exact optimum of the linear program.

    For a price of cost, the rest is the program with one budget; its value plus price times budget is a
    convex, piecewise linear function of the price. Its minimum is found by intersecting the tangents at both
    ends of an interval that holds it, which ends after finitely many; each of its values is a limit.
    Raises ``ValueError`` for no request, shapes that do not fit, negative or unknown figures.
    """
    several = TwoBudgetBound()
    for kind in kinds:
        if not len(kind.energy_uj) == len(kind.accuracy_frac) == len(kind.cost) or kind.count < 0:
            raise ValueError(
                f"a kind needs one accuracy, energy and cost per offer, and a count >= 0: {kind}"
            )
        several.add([kind.accuracy_frac], [kind.energy_uj], [kind.cost], [kind.count])
    return several.limit(energy_budget_uj, cost_budget)


class TwoBudgetBound:
    """Takes requests in as they come; unlike ``HorizonBound`` it has to keep them all, some 200 bytes each."""

    def __init__(self) -> None:
        """Start with no request."""
        self._parts: list[tuple[Array, Array, Array, Array]] = []

    def add(
        self, accuracy_frac: ArrayLike, energy_uj: ArrayLike, cost: ArrayLike, count: ArrayLike | None = None
    ) -> None:
        """Take in requests: one per row of offers, each ``count`` times.

        An infinite energy, or an accuracy of 0, takes an offer out. Raises ``ValueError`` for shapes that do not
        fit, negative or unknown figures.
        """
        accuracy, energy = _rows(accuracy_frac, energy_uj)
        costs = np.atleast_2d(np.asarray(cost, float))
        if costs.shape != energy.shape or not (costs >= 0.0).all():
            raise ValueError("a cost is negative, unknown or missing")
        self._parts.append((accuracy, energy, costs, _counts(count, len(energy))))

    def limit(self, energy_budget_uj: float, cost_budget: float) -> TwoBudgets:
        """Return the limit within both budgets; raise ``ValueError`` as ``two_budget_bound`` does."""
        if not (energy_budget_uj >= 0.0 and cost_budget >= 0.0):
            raise ValueError(f"budgets are not negative: {energy_budget_uj} uJ, {cost_budget}")
        return _cheapest_price(_Program(self._parts, energy_budget_uj, cost_budget))


def _cheapest_price(program: "_Program") -> TwoBudgets:
    """Return the lowest of the limits that the prices of cost give."""
    low = program.at(0.0)
    if low.slope >= 0.0:
        return TwoBudgets(low.value / program.requests, 0.0)
    high = program.at(program.prohibitive)
    best = min(low, high, key=lambda point: point.value)
    for _ in range(MAX_PRICES):
        price = (high.value - low.value + low.slope * low.price - high.slope * high.price) / (
            low.slope - high.slope
        )
        floor = low.value + low.slope * (price - low.price)
        point = program.at(price)
        best = min(best, point, key=lambda one: one.value)
        if best.value <= floor + 1e-12 * abs(floor) or not low.price < price < high.price:
            break
        low, high = (point, high) if point.slope < 0.0 else (low, point)
    return TwoBudgets(best.value / program.requests, best.price)


class _Point(NamedTuple):
    """The program's value at a price of cost, and how it changes with the price."""

    price: float
    value: float
    slope: float


class _Program:
    """The two-budget program with its cost budget priced out."""

    def __init__(
        self, parts: list[tuple[Array, Array, Array, Array]], energy_budget_uj: float, cost_budget: float
    ) -> None:
        self.counts = np.concatenate([counts for *_, counts in parts] or [np.empty(0)])
        self.requests = int(self.counts.sum())
        if self.requests <= 0:
            raise ValueError("no request was taken in: there is no mean accuracy")
        widest = max(energy.shape[1] for _, energy, _, _ in parts)
        self.accuracy = np.vstack([_widened(part[0], widest, 0.0) for part in parts])
        self.energy = np.vstack([_widened(part[1], widest, inf) for part in parts])
        self.cost = np.vstack([_widened(part[2], widest, 0.0) for part in parts])
        self.energy_budget_uj, self.cost_budget = energy_budget_uj, cost_budget
        costly = self.cost > 0.0
        ratio = self.accuracy[costly] / self.cost[costly]
        self.prohibitive = 2.0 * float(ratio.max(initial=0.0)) + 1.0

    def at(self, price: float) -> _Point:
        """Solve with one budget, each offer being worth its accuracy less its cost."""
        worth = np.maximum(self.accuracy - price * self.cost, 0.0)
        found = _hull(worth, self.energy, self.cost, self.counts)
        order = np.argsort(-found.slope, kind="stable")
        spent = np.cumsum(found.energy_uj[order])
        before = np.concatenate([[0.0], spent[:-1]])
        room = np.maximum(self.energy_budget_uj - before, 0.0)
        share = np.minimum(1.0, room / found.energy_uj[order])
        value = found.free + float((share * found.slope[order] * found.energy_uj[order]).sum())
        cost = found.free_cost + float((share * found.cost[order]).sum())
        return _Point(price, value + price * self.cost_budget, self.cost_budget - cost)


def _widened(rows: Array, width: int, filling: float) -> Array:
    """Return rows with as many offers as the widest has."""
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=filling)


def _rows(accuracy_frac: ArrayLike, energy_uj: ArrayLike) -> tuple[Array, Array]:
    """Return both as checked arrays of one row per request."""
    energy = np.atleast_2d(np.asarray(energy_uj, float))
    given = np.asarray(accuracy_frac, float)
    try:
        accuracy = np.broadcast_to(given, energy.shape)
    except ValueError:
        raise ValueError(f"accuracies {given.shape} and energies {energy.shape} do not fit") from None
    if not (np.isfinite(given).all() and (given >= 0.0).all()):
        raise ValueError("an accuracy is negative, infinite or unknown")
    if not (energy >= 0.0).all():
        raise ValueError("an energy is negative or unknown")
    return accuracy, energy


def _counts(count: ArrayLike | None, rows: int) -> Array:
    counts = np.ones(rows) if count is None else np.atleast_1d(np.asarray(count, float))
    if counts.shape != (rows,) or not (counts >= 0.0).all() or not (counts == np.floor(counts)).all():
        raise ValueError(f"counts are one whole number >= 0 for each of {rows} rows")
    return counts


def _hull(worth: Array, energy_uj: Array, cost: Array | None, counts: Array) -> _Segments:
    """Walk up every row's concave hull from "no answer" at once, the steepest next offer at each step."""
    offered = np.isfinite(energy_uj)
    worth = np.where(offered, worth, 0.0)
    energy = np.where(offered & (energy_uj >= FREE_UJ), energy_uj, 0.0)
    costs = np.zeros(worth.shape) if cost is None else cost
    here = _gifts(worth, energy, costs)
    free, free_cost = float(here.worth @ counts), float(here.cost @ counts)
    told: list[tuple[Array, Array, Array]] = []
    while True:
        climbs = (worth > here.worth[:, None]) & (energy > here.energy_uj[:, None])
        live = climbs.any(axis=1)
        if not live.all():
            worth, energy, costs, counts = worth[live], energy[live], costs[live], counts[live]
            here, climbs = _Place(*(figure[live] for figure in here)), climbs[live]
        if not len(worth):
            break
        run, rise = energy - here.energy_uj[:, None], worth - here.worth[:, None]
        slope = np.divide(rise, run, out=np.full(run.shape, -1.0), where=climbs)
        at = (np.arange(len(slope)), slope.argmax(axis=1))
        told.append((slope[at], run[at] * counts, (costs[at] - here.cost) * counts))
        here = _Place(worth[at], energy[at], costs[at])
    slopes, energies, extra = (np.concatenate([one[i] for one in told] or [np.empty(0)]) for i in range(3))
    counted = energies > 0.0
    return _Segments(slopes[counted], energies[counted], extra[counted], free, free_cost)


class _Place(NamedTuple):
    """Where each row stands on its hull."""

    worth: Array
    energy_uj: Array
    cost: Array


def _gifts(worth: Array, energy_uj: Array, costs: Array) -> _Place:
    """Return where each row's hull starts: at its best offer without energy, else at "no answer"."""
    nothing = np.zeros((len(worth), 1))
    free = np.where(energy_uj == 0.0, worth, 0.0)
    free, costs = np.hstack([nothing, free]), np.hstack([nothing, costs])
    at = (np.arange(len(worth)), free.argmax(axis=1))
    return _Place(free[at], np.zeros(len(worth)), costs[at])
