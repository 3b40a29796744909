"""What surrounds the device over time, as recorded traces tell it; and devices without a profile."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.device import DeviceState, with_clock
from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.battery import Battery, Device, Plugged, Surroundings
from trimtab_sim.runtime import Contention
from trimtab_sim.scenario.model import BackgroundTrace, BatterySpec
from trimtab_sim.traces import Series

Times = NDArray[np.int64]
Floats = NDArray[np.float64]
GAUGE: Final = frozenset({
    "battery_frac", "battery_shown_frac", "voltage_mv", "current_ma", "average_current_ma", "charge_mah",
    "charge_full_mah",
})  # fmt: skip
"""What a simulated battery tells by itself; a trace's are not used unless named."""
CONNECTED: Final = "connected"
TOLD: Final = frozenset(
    {
        "temperature_mc",
        "memory_available_bytes",
        "memory_total_bytes",
        "memory_pressure_frac",
        "cpu_load_frac",
        "charging",
    }
)
"""What a device without a profile takes over from a trace as it is."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One run's device, and the factor by which its processors are slower than profiled."""

    device: Device
    slowdown: Contention
    power_factor: Contention | None = None
    """The power of a run as a share of what it is unthrottled; ``None``: always all of it."""
    reachable: Callable[[int], bool] | None = None
    """Whether a server can be reached at a moment (ns); ``None``: always."""


class Recorded:
    """A trace as a scenario lives through it: from some row on, once or again and again."""

    def __init__(self, use: BackgroundTrace, series: Series) -> None:
        """Take the columns asked for; without any, all but the gauge's."""
        wanted = use.columns or [name for name in series.columns if name not in GAUGE]
        self.columns: dict[str, tuple[list[int], list[float]]] = {}
        for name in wanted:
            times, values = series.known(name)
            if len(times):
                self.columns[name] = (times.tolist(), values.tolist())
        rows = len(series)
        self._first_ns = int(series.at_ns[0]) if rows else 0
        self._begin_ns = use.begin_ns
        gap_ns = series.duration_ns // max(1, rows - 1)
        self._lap_ns = series.duration_ns + max(1, gap_ns) if use.repeat else 0

    def value(self, column: str, passed_ns: int) -> float | None:
        """Return the last known value ``passed_ns`` after the scenario began, ``None`` for none."""
        known = self.columns.get(column)
        if known is None:
            return None
        at_ns = self._begin_ns + passed_ns
        if self._lap_ns:
            at_ns %= self._lap_ns
        index = bisect_right(known[0], self._first_ns + at_ns) - 1
        return known[1][index] if index >= 0 else None

    def unrolled(self, column: str, duration_ns: int) -> tuple[Times, Floats]:
        """Return times since the scenario began and values, for as long as it lasts; laps are repeated."""
        times, values = (np.array(part) for part in self.columns[column])
        times = times.astype(np.int64) - self._first_ns - self._begin_ns
        if self._lap_ns:
            laps = np.arange(duration_ns // self._lap_ns + 2)
            times = (times[None, :] + laps[:, None] * self._lap_ns).ravel()
            values = np.tile(values, len(laps))
        begun = max(0, int(np.searchsorted(times, 0, side="right")) - 1)
        inside = slice(begun, int(np.searchsorted(times, duration_ns, side="right")))
        return np.maximum(times[inside], 0), values[inside]


def reachable(traces: Sequence[Recorded], start_ns: int) -> Callable[[int], bool] | None:
    """Return when a server can be reached, as the last trace that knows tells; ``None`` without one."""
    knowing = [trace for trace in traces if CONNECTED in trace.columns]
    if not knowing:
        return None
    return lambda now_ns: knowing[-1].value(CONNECTED, max(0, now_ns - start_ns)) != 0.0


def lived(traces: Sequence[Recorded], duration_ns: int) -> Series | None:
    """Return all traces as one series from the scenario's beginning to its end; of two the later one wins."""
    by_column = {column: trace for trace in traces for column in trace.columns}
    parts = {column: trace.unrolled(column, duration_ns) for column, trace in by_column.items()}
    if not parts:
        return None
    at_ns = np.unique(np.concatenate([np.zeros(1, np.int64), *(times for times, _ in parts.values())]))
    columns = {}
    for column, (times, values) in parts.items():
        row = np.searchsorted(times, at_ns, side="right") - 1
        columns[column] = (
            np.where(row >= 0, values[np.maximum(row, 0)], np.nan) if len(times) else at_ns * np.nan
        )
    return Series("background", at_ns, columns)


class RecordedSurroundings(Surroundings):
    """Memory, load, temperature and charging as traces tell them; of two traces the later one wins.

    What trimtab holds itself comes off the memory that was available when it was recorded.
    """

    def __init__(
        self,
        traces: Sequence[Recorded],
        start_s: int,
        start_ns: int,
        resident_bytes: Callable[[], int] = lambda: 0,
        weekday: int | None = None,
    ) -> None:
        """Begin at ``start_s`` after midnight of that day, which is ``start_ns`` on the driver's clock."""
        super().__init__()
        self._start_s, self._start_ns, self._resident_bytes = start_s, start_ns, resident_bytes
        self._weekday = weekday
        self._by_column: Mapping[str, Recorded] = {
            column: trace for trace in traces for column in trace.columns if column in TOLD
        }
        self._sources = tuple((_FIGURES[column], "recorded") for column in sorted(self._by_column))

    def at(self, now_ns: int) -> DeviceState:
        """Return the state that holds at ``now_ns``."""
        passed_ns = max(0, now_ns - self._start_ns)
        memory_bytes = self._whole("memory_available_bytes", passed_ns)
        if memory_bytes is not None:
            memory_bytes = max(0, memory_bytes - self._resident_bytes())
        told = DeviceState(
            charging=bool(self._value("charging", passed_ns) or 0),
            memory_available_bytes=memory_bytes,
            memory_total_bytes=self._whole("memory_total_bytes", passed_ns),
            memory_pressure_frac=self._value("memory_pressure_frac", passed_ns),
            cpu_load_frac=self._value("cpu_load_frac", passed_ns),
            temperature_mc=self._whole("temperature_mc", passed_ns),
            sources=self._sources,
        )
        return with_clock(told, self._start_s, self._weekday, passed_ns // NS_PER_S)

    def _value(self, column: str, passed_ns: int) -> float | None:
        trace = self._by_column.get(column)
        return None if trace is None else trace.value(column, passed_ns)

    def _whole(self, column: str, passed_ns: int) -> int | None:
        value = self._value(column, passed_ns)
        return None if value is None else round(value)


def plain_device(battery: BatterySpec | None, surroundings: Surroundings, start_ns: int) -> Device:
    """Return a device without a profile: a battery of so many joules, or the mains."""
    if battery is None:
        return Plugged(surroundings)
    capacity_j = battery.capacity_j or battery.energy_j
    assert capacity_j is not None
    level_frac = 1.0 if battery.level_frac is None else battery.level_frac
    if battery.energy_j is not None:
        level_frac = battery.energy_j / capacity_j
    return Battery(
        capacity_j, level_frac, battery.background_mw, start_ns=start_ns, surroundings=surroundings
    )


_FIGURES: Final = {
    "charging": "charging",
    "memory_available_bytes": "memory",
    "memory_total_bytes": "memory_total",
    "memory_pressure_frac": "memory_pressure",
    "cpu_load_frac": "cpu_load",
    "temperature_mc": "temperature",
}
"""What a figure is called among a state's sources."""
