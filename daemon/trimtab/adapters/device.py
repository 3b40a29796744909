"""The device's condition from several sensors: the first one that tells a figure gives it.

Figures are rounded so that noise does not look like a change: a figure moves only when the raw reading is a
whole step away from the one reported.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from trimtab.adapters.cgroup import Cgroup, CgroupSensors
from trimtab.adapters.pressure import PressureSensors
from trimtab.adapters.psutil_sensors import PsutilSensors
from trimtab.adapters.sysfs import SYSFS, SysfsSensors
from trimtab.domain.device import DeviceState
from trimtab.ports import DeviceSensors

log = logging.getLogger(__name__)

FIGURES: Final = {
    "battery": "battery_frac",
    "battery_capacity": "battery_capacity_j",
    "charging": "charging",
    "memory": "memory_available_bytes",
    "memory_total": "memory_total_bytes",
    "memory_pressure": "memory_pressure_frac",
    "cpu_load": "cpu_load_frac",
    "temperature": "temperature_mc",
    "local_time": "local_time_s",
    "weekday": "weekday",
}
"""The name a figure has in ``DeviceState.sources``, and its field."""

STEPS: Final[dict[str, float]] = {
    "battery_frac": 0.001,
    "memory_available_bytes": 1 << 20,
    "memory_pressure_frac": 0.02,
    "cpu_load_frac": 0.05,
    "temperature_mc": 500,
}

MINUTE_S: Final = 60


def local_time_s() -> int:
    """Return seconds after local midnight by the system's clock."""
    now = time.localtime()
    return now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec


def weekday() -> int:
    """Return the day of the week by the system's clock, 0 on Mondays."""
    return time.localtime().tm_wday


def changed(before: DeviceState | None, now: DeviceState) -> bool:
    """Return whether ``now`` differs from ``before`` by more than the passing of less than a minute.

    Memory pressure is told again and again while it lasts: what is done about it takes several steps.
    """
    if before is None:
        return True
    moved = abs(now.local_time_s - before.local_time_s) >= MINUTE_S or bool(now.memory_pressure_frac)
    return moved or any(
        getattr(before, field) != getattr(now, field) for field in FIGURES.values() if field != "local_time_s"
    )


class CompositeSensors:
    """Merges sensors in order, figure by figure; one that raises is left out and logged once."""

    def __init__(
        self, sensors: Sequence[DeviceSensors], wall_clock: Callable[[], int] = local_time_s
    ) -> None:
        self._sensors = tuple(sensors)
        self._wall_clock = wall_clock
        self._reported: dict[str, float] = {}
        self._failing: set[int] = set()

    def read(self) -> DeviceState:
        """Return the merged, rounded state with the source of each figure."""
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for index, sensor in enumerate(self._sensors):
            state = self._read_one(index, sensor)
            for figure, source in state.sources:
                if figure in FIGURES and figure not in sources:
                    sources[figure] = source
                    values[FIGURES[figure]] = getattr(state, FIGURES[figure])
        values.setdefault("local_time_s", self._wall_clock())
        values.setdefault("weekday", weekday())
        steady = {field: self._steady(field, value) for field, value in values.items()}
        return DeviceState(**steady, sources=tuple(sorted(sources.items())))

    def _read_one(self, index: int, sensor: DeviceSensors) -> DeviceState:
        try:
            state = sensor.read()
        except Exception as error:  # a sensor must never stop the daemon
            if index not in self._failing:
                log.warning("%s cannot be read, going on without: %s", type(sensor).__name__, error)
            self._failing.add(index)
            return DeviceState()
        self._failing.discard(index)
        return state

    def _steady(self, field: str, value: Any) -> Any:
        step = STEPS.get(field)
        if step is None or value is None:
            return value
        last = self._reported.get(field)
        if last is None or abs(value - last) >= step * 0.999999:
            rounded = round(round(value / step) * step, 6)
            last = self._reported[field] = int(rounded) if isinstance(value, int) else rounded
        return last


def system_sensors(overlays: Sequence[DeviceSensors] = (), sysfs: Path = SYSFS) -> CompositeSensors:
    """Return the sensors of this machine; what ``overlays`` tell (a virtual device) comes first."""
    system = PsutilSensors()
    group = Cgroup()
    sensors = (SysfsSensors(sysfs), CgroupSensors(group, system.memory), PressureSensors(group), system)
    return CompositeSensors((*overlays, *sensors))
