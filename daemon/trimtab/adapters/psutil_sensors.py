"""Battery, memory, CPU load and temperature through psutil, on every system it supports."""

from typing import Any

import psutil

from trimtab.domain.device import DeviceState

CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "acpitz")


class PsutilSensors:
    """The system as psutil sees it; ``library`` is psutil, or a stand-in with the same functions."""

    def __init__(self, library: Any = psutil) -> None:
        self._library = library
        self._busy_total = self._cpu_times()
        self._last_load: float | None = None

    def read(self) -> DeviceState:
        """Return what psutil tells; load is the mean over all cores since the last call."""
        battery, heat = self._battery(), self._temperature_mc()
        available, total = self.memory()
        load = self._load()
        sources = [("memory", "psutil"), ("memory_total", "psutil")]
        if battery is not None:
            sources += [("battery", "psutil"), ("charging", "psutil")]
        if load is not None:
            sources.append(("cpu_load", "psutil"))
        if heat is not None:
            sources.append(("temperature", "psutil"))
        return DeviceState(
            battery_frac=battery[0] if battery else None,
            charging=battery[1] if battery else False,
            memory_available_bytes=available,
            memory_total_bytes=total,
            cpu_load_frac=load,
            temperature_mc=heat,
            sources=tuple(sources),
        )

    def memory(self) -> tuple[int, int]:
        """Return (available, total) bytes of the whole machine."""
        memory = self._library.virtual_memory()
        return int(memory.available), int(memory.total)

    def _battery(self) -> tuple[float, bool] | None:
        read = getattr(self._library, "sensors_battery", None)
        found = read() if read is not None else None
        if found is None:
            return None
        return min(1.0, max(0.0, found.percent / 100)), bool(found.power_plugged)

    def _cpu_times(self) -> tuple[float, float]:
        times = self._library.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Linux counts guests in user already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return total - idle, total

    def _load(self) -> float | None:
        busy_before, total_before = self._busy_total
        busy, total = self._busy_total = self._cpu_times()
        if total > total_before:
            self._last_load = min(1.0, max(0.0, (busy - busy_before) / (total - total_before)))
        return self._last_load

    def _temperature_mc(self) -> int | None:
        read = getattr(self._library, "sensors_temperatures", None)
        chips: dict[str, list[Any]] = read() if read is not None else {}
        preferred = [chips[name] for name in CPU_CHIPS if name in chips] or list(chips.values())
        told = [entry.current for entries in preferred for entry in entries if entry.current]
        return round(max(told) * 1000) if told else None
