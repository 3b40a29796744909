"""What a run costs: from RAPL or the battery's gauge where the machine has one, else from a stated model.

A meter sees the whole machine, so the cost of one of several concurrent runs cannot be read off it. Instead
the power of each processor above idle is calibrated once, while profiling, and a run costs that power times
its duration.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from trimtab.adapters.sysfs import SYSFS, Batteries, read_int, read_text
from trimtab.domain.family import Profile
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_S, Source, energy_uj
from trimtab.ports import EnergyMeter, EnergyReading

CORE_MW: Final[Mapping[str, float]] = {
    "cpu": 3000.0,
    "cpu-big": 1500.0,
    "cpu-mid": 700.0,
    "cpu-little": 200.0,
    "openvino": 3000.0,
    "gpu": 5000.0,
    "npu": 1500.0,
}
"""Power above idle of one busy core (or accelerator) in mW, by the first part of the processor's name.

Round figures of the size seen on such parts: a laptop or server core at its sustained clock takes a few
watts, a phone's big core 1 to 2 W, a little one 0.1 to 0.25 W, a phone's GPU or a laptop's integrated one a
few watts, an NPU one to two. Nobody measured them here; a decision mostly needs their ratio.
"""

SHARED_MW: Final[Mapping[str, float]] = {
    "cpu": 1000.0,
    "openvino": 1000.0,
    "cpu-big": 300.0,
    "cpu-mid": 300.0,
    "cpu-little": 100.0,
}
"""Power in mW of what wakes with the first busy core (caches, interconnect, memory controller), whatever the
number of cores: why two cores for half the time cost less than one core for all of it."""


class PowerModel:
    """A stated model: shared power plus active power per busy core, by kind of processor. Always assumed."""

    def __init__(
        self, core_mw: Mapping[str, float] = CORE_MW, shared_mw: Mapping[str, float] = SHARED_MW
    ) -> None:
        self._core_mw = dict(core_mw)
        self._shared_mw = dict(shared_mw)

    @property
    def description(self) -> str:
        """Return the model's constants in one line."""
        cores = ", ".join(f"{name} {mw:g}" for name, mw in self._core_mw.items())
        shared = ", ".join(f"{name} {mw:g}" for name, mw in self._shared_mw.items())
        return f"power model, mW above idle per busy core: {cores}; shared: {shared}"

    @property
    def source(self) -> Source:
        """Return that figures are assumed."""
        return Source.ASSUMED

    def active_mw(self, processor: Processor) -> float:
        """Return the power above idle while ``processor`` is busy, in milliwatts."""
        kind = processor.name.partition(":")[0]
        per_core = self._core_mw.get(kind, self._core_mw.get(processor.kind, CORE_MW["cpu"]))
        shared = self._shared_mw.get(kind, self._shared_mw.get(processor.kind, 0.0))
        return shared + per_core * max(1, processor.threads)

    def run_energy(self, processor: Processor, run_ns: int) -> EnergyReading:
        """Return the energy above idle of ``run_ns`` of work on ``processor``."""
        return EnergyReading(energy_uj(self.active_mw(processor), run_ns), Source.ASSUMED)


class PowerGauge(Protocol):
    """Tells the mean power of the machine between ``start`` and ``stop``."""

    @property
    def name(self) -> str:
        """Return what is read, e.g. ``RAPL package-0``."""

    @property
    def window_s(self) -> float:
        """Return how long a measurement must last to mean something."""

    def start(self) -> None:
        """Begin a measurement."""

    def tick(self) -> None:
        """Take a sample, where the gauge needs several."""

    def stop(self) -> float | None:
        """Return mean milliwatts since ``start``, or ``None`` when the gauge could not tell."""


@runtime_checkable
class Calibrating(Protocol):
    """A meter that learns each processor's power while work runs on it."""

    def calibrate(self, processor: Processor, work: Callable[[], object]) -> float | None:
        """Run ``work`` again and again on the calling thread; return the power above idle in mW."""


class CalibratedMeter:
    """Power above idle per processor as a gauge measured it; the model stands in until it did."""

    def __init__(
        self,
        gauge: PowerGauge,
        model: PowerModel | None = None,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gauge = gauge
        self._model = model or PowerModel()
        self._clock_ns = clock_ns
        self._sleep = sleep
        self._active_mw: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def description(self) -> str:
        """Return the gauge and how figures come from it; the same before and after calibration."""
        return f"{self._gauge.name}: power above idle, calibrated per processor, times run time"

    @property
    def source(self) -> Source:
        """Return measured once any processor is calibrated."""
        return Source.MEASURED if self._active_mw else Source.ASSUMED

    def run_energy(self, processor: Processor, run_ns: int) -> EnergyReading:
        """Return calibrated power times ``run_ns``, or the model's figure for an uncalibrated processor."""
        active_mw = self._active_mw.get(processor.name)
        if active_mw is None:
            return self._model.run_energy(processor, run_ns)
        return EnergyReading(energy_uj(active_mw, run_ns), Source.MEASURED)

    def calibrate(self, processor: Processor, work: Callable[[], object]) -> float | None:
        """Measure idle, then ``work`` in a loop on the calling thread; return mW above idle, if any."""
        with self._lock:
            idle_mw = self._mean_mw(lambda: self._sleep(self._gauge.window_s / 10))
            busy_mw = self._mean_mw(work)
        if idle_mw is None or busy_mw is None or busy_mw <= idle_mw:
            return None
        self._active_mw[processor.name] = busy_mw - idle_mw
        return busy_mw - idle_mw

    def restore(self, profiles: Iterable[Profile]) -> None:
        """Take power over from stored profiles whose energy was measured."""
        for profile in profiles:
            ns, uj = sum(profile.stage_latency_ns), sum(profile.stage_energy_uj)
            if profile.energy_source is Source.MEASURED and ns > 0 and uj > 0:
                self._active_mw.setdefault(profile.processor, uj * 1e6 / ns)

    def _mean_mw(self, work: Callable[[], object]) -> float | None:
        end_ns = self._clock_ns() + int(self._gauge.window_s * NS_PER_S)
        self._gauge.start()
        while self._clock_ns() < end_ns:
            work()
            self._gauge.tick()
        return self._gauge.stop()


@dataclass(slots=True)
class RaplGauge:
    """The energy counters of all CPU packages in powercap; they wrap around and need read permission."""

    root: Path = SYSFS
    clock_ns: Callable[[], int] = time.perf_counter_ns
    window_s: float = 0.2
    _zones: tuple[Path, ...] = field(init=False)
    _begin: tuple[int, tuple[int | None, ...]] = field(init=False, default=(0, ()))

    def __post_init__(self) -> None:
        found = sorted((self.root / "class/powercap").glob("intel-rapl*"))
        self._zones = tuple(z for z in found if (read_text(z / "name") or "").startswith("package"))

    @property
    def usable(self) -> bool:
        """Return whether there is a package counter and it may be read (often only root may)."""
        return bool(self._zones) and all(value is not None for value in self._counters())

    @property
    def name(self) -> str:
        """Return which packages are read."""
        return "RAPL " + "+".join(read_text(zone / "name") or zone.name for zone in self._zones)

    def start(self) -> None:
        """Remember the counters."""
        self._begin = (self.clock_ns(), self._counters())

    def tick(self) -> None:
        """Do nothing: counters count by themselves."""

    def stop(self) -> float | None:
        """Return mean milliwatts since ``start``, allowing for one wrap-around per counter."""
        begin_ns, begin = self._begin
        passed_ns = self.clock_ns() - begin_ns
        total_uj = 0
        for zone, before, now in zip(self._zones, begin, self._counters(), strict=True):
            if before is None or now is None:
                return None
            wrapped = (read_int(zone / "max_energy_range_uj") or 0) if now < before else 0
            total_uj += now - before + wrapped
        return total_uj * 1e6 / passed_ns if passed_ns > 0 and total_uj >= 0 else None

    def _counters(self) -> tuple[int | None, ...]:
        return tuple(read_int(zone / "energy_uj") for zone in self._zones)


@dataclass(slots=True)
class BatteryGauge:
    """The battery's own current x voltage while it discharges; fuel gauges update about once a second."""

    root: Path = SYSFS
    clock_ns: Callable[[], int] = time.perf_counter_ns
    window_s: float = 2.0
    every_ns: int = NS_PER_S // 5
    _samples: list[float | None] = field(init=False, default_factory=list)
    _next_ns: int = field(init=False, default=0)

    @property
    def usable(self) -> bool:
        """Return whether a battery is discharging and tells its power."""
        return self._power_mw() is not None

    @property
    def name(self) -> str:
        """Return which batteries are read."""
        reading = Batteries(self.root).read()
        return f"battery {reading.names if reading else '(gone)'}, current x voltage"

    def start(self) -> None:
        """Forget earlier samples."""
        self._samples = []
        self._next_ns = self.clock_ns() + self.every_ns

    def tick(self) -> None:
        """Sample the power when it is time again."""
        if self.clock_ns() >= self._next_ns:
            self._samples.append(self._power_mw())
            self._next_ns = self.clock_ns() + self.every_ns

    def stop(self) -> float | None:
        """Return the mean of the samples; ``None`` when one is missing (the charger was plugged in)."""
        told = [sample for sample in self._samples if sample is not None]
        return sum(told) / len(told) if told and len(told) == len(self._samples) else None

    def _power_mw(self) -> float | None:
        reading = Batteries(self.root).read()
        return None if reading is None or reading.plugged else reading.discharge_mw


class RaplMeter(CalibratedMeter):
    """Measures with the CPU packages' energy counters."""

    def __init__(self, root: Path = SYSFS, model: PowerModel | None = None) -> None:
        super().__init__(RaplGauge(root), model)


class BatteryMeter(CalibratedMeter):
    """Measures with the battery's current and voltage while discharging."""

    def __init__(self, root: Path = SYSFS, model: PowerModel | None = None) -> None:
        super().__init__(BatteryGauge(root), model)


def choose_meter(sysfs: Path = SYSFS, model: PowerModel | None = None) -> EnergyMeter:
    """Return the best meter this machine lets us read: RAPL, the battery's gauge, else the power model."""
    if RaplGauge(sysfs).usable:
        return RaplMeter(sysfs, model)
    if BatteryGauge(sysfs).usable:
        return BatteryMeter(sysfs, model)
    return model or PowerModel()
