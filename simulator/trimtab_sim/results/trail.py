"""A run's course for plots, gathered while it happens in memory that does not grow with it.

Time is cut into bins whose width doubles whenever there are too many, so a run of any length ends up with a
line of at most so many points. A line keeps the lowest and the highest value of each bin: peaks survive.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trimtab.domain.device import DeviceState
from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.arrivals import Arrival
from trimtab_sim.report import Served
from trimtab_sim.results.trial import Observer, Trial
from trimtab_sim.totals import Histogram

LINE_POINTS: Final = 2000
SHARE_BINS: Final = 240
FIRST_BIN_NS: Final = 1 << 20
MISSED: Final = "(missed)"
"""Requests that were not answered by their deadline, among the choices."""


@dataclass(frozen=True, slots=True)
class Points:
    """A line: times in seconds since the run began, and values; equally many."""

    at_s: Sequence[float]
    value: Sequence[float]


@dataclass(frozen=True, slots=True)
class Shares:
    """How many requests each choice answered in each of equal spans of time, ``width_s`` seconds long.

    ``counts`` has, for each choice, one figure per entry of ``begin_s``; spans without a request are left out.
    """

    begin_s: Sequence[float]
    width_s: float
    counts: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the page shows it.

    ``figures`` is its row of the table: what is not a number or text there is left out. ``lines`` are over
    time, by name with the unit last (``battery_frac``, ``temperature_c``). ``latency_ms`` and ``within_frac``
    are the share of all requests answered within that time, one figure each per step.
    """

    name: str
    seed: int
    figures: Mapping[str, Any]
    lines: Mapping[str, Points]
    choices: Shares
    latency_ms: Sequence[float]
    within_frac: Sequence[float]


class Line:
    """Takes values over time and keeps at most ``points`` of them: each bin's lowest and highest."""

    def __init__(self, points: int = LINE_POINTS) -> None:
        """Start empty."""
        self._most = max(1, points // 2)
        self._width_ns = FIRST_BIN_NS
        self._bins: dict[int, tuple[tuple[int, float], tuple[int, float]]] = {}

    def add(self, at_ns: int, value: float) -> None:
        """Take a value at a moment, in order of time."""
        key, here = at_ns // self._width_ns, (at_ns, value)
        self._put(key, here, here)
        while len(self._bins) > self._most:
            old, self._bins = self._bins, {}
            self._width_ns *= 2
            for key, (low, high) in old.items():
                self._put(key // 2, low, high)

    def points(self, origin_ns: int = 0) -> Points:
        """Return what is left of the line, its times counted from ``origin_ns``."""
        found = [place for pair in self._bins.values() for place in sorted({*pair})]
        return Points([(at_ns - origin_ns) / NS_PER_S for at_ns, _ in found], [value for _, value in found])

    def _put(self, key: int, low: tuple[int, float], high: tuple[int, float]) -> None:
        held = self._bins.get(key)
        if held is not None:
            low = low if low[1] < held[0][1] else held[0]
            high = high if high[1] >= held[1][1] else held[1]
        self._bins[key] = (low, high)


class Trail(Observer):
    """Watches a run and returns it as the page shows it."""

    def __init__(self) -> None:
        """Start at time zero of the driver's clock."""
        self._origin_ns = 0
        self._lines: dict[str, Line] = {}
        self._width_ns = FIRST_BIN_NS
        self._bins: dict[int, Counter[str]] = {}
        self._latency_ns = Histogram()
        self._requests = 0

    def begins(self, trial: Trial, origin_ns: int, resident_bytes: Callable[[], int]) -> None:
        """Take over what time zero of the plots is on the driver's clock."""
        del trial, resident_bytes
        self._origin_ns = origin_ns

    def device(self, now_ns: int, state: DeviceState) -> None:
        """Note the battery and the temperature."""
        for name, value in _readings(state):
            self._lines.setdefault(name, Line()).add(now_ns, value)

    def served(self, one: Served) -> None:
        """Note who answered a request, and how long it took."""
        result = one.result
        self._count(one.finished_ns, f"{result.variant}@{result.processor}" if result.on_time else MISSED)
        if one.answered:
            self._latency_ns.add(one.latency_ns)

    def lost(self, arrival: Arrival) -> None:
        """Note a request that the device was off for."""
        self._count(arrival.at_ns, MISSED)

    def run(self, name: str, seed: int, figures: Mapping[str, Any]) -> Run:
        """Return the run so far, under this name and with these figures."""
        choices = sorted({choice for counts in self._bins.values() for choice in counts})
        width_s = self._width_ns / NS_PER_S
        latency_ms, within_frac = self._latencies()
        return Run(
            name=name,
            seed=seed,
            figures=figures,
            lines={name: line.points(self._origin_ns) for name, line in self._lines.items()},
            choices=Shares(
                [key * width_s - self._origin_ns / NS_PER_S for key in sorted(self._bins)],
                width_s,
                {choice: [self._bins[key][choice] for key in sorted(self._bins)] for choice in choices},
            ),
            latency_ms=latency_ms,
            within_frac=within_frac,
        )

    def _count(self, at_ns: int, choice: str) -> None:
        self._requests += 1
        self._bins.setdefault(at_ns // self._width_ns, Counter())[choice] += 1
        while at_ns // self._width_ns - next(iter(self._bins)) >= SHARE_BINS:
            old, self._bins = self._bins, {}
            self._width_ns *= 2
            for key, counts in old.items():
                self._bins.setdefault(key // 2, Counter()).update(counts)

    def _latencies(self) -> tuple[list[float], list[float]]:
        counts, within, steps = self._latency_ns.counts, 0, sorted(self._latency_ns.counts)
        shares = []
        for step in steps:
            within += counts[step]
            shares.append(within / self._requests)
        return [step / 1e6 for step in steps], shares


def _readings(state: DeviceState) -> Iterator[tuple[str, float]]:
    """Yield what the sensors tell, by name of the line."""
    if state.battery_frac is not None:
        yield "battery_frac", state.battery_frac
    if state.temperature_mc is not None:
        yield "temperature_c", state.temperature_mc / 1000
    if state.cpu_load_frac is not None:
        yield "cpu_load_frac", state.cpu_load_frac
