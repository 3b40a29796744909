from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.adapters.energy import (
    BatteryGauge,
    BatteryMeter,
    CalibratedMeter,
    Calibrating,
    PowerModel,
    RaplGauge,
    RaplMeter,
    choose_meter,
)
from trimtab.domain.family import Profile
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S, Source
from trimtab.testing import MeterConformance, tiny_processors

Write = Callable[[str, str], Path]
CPU, _, GANG = tiny_processors()


def test_the_model_is_stated() -> None:
    model = PowerModel()
    assert "cpu 3000" in model.description
    assert model.active_mw(CPU) == 4000
    assert model.active_mw(GANG) == 7000
    assert model.active_mw(Processor("cpu-little:0", "cpu", (0,), 1)) == 300
    assert model.active_mw(Processor("gpu:cuda", "gpu", (), 1)) == 5000
    assert model.active_mw(Processor("tpu:x", "tpu", (), 0)) == 3000
    reading = model.run_energy(CPU, NS_PER_MS)
    assert (reading.energy_uj, reading.source) == (4000.0, Source.ASSUMED)


class Bench:
    """A machine whose counter and clock are files and numbers."""

    def __init__(self, write: Write, begin_uj: int = 0, wrap_uj: int = 1 << 40) -> None:
        self.write, self.now_ns, self.uj, self.wrap_uj = write, 0, begin_uj, wrap_uj
        self.root = write("sys/class/powercap/intel-rapl:0/name", "package-0").parents[3]
        write("sys/class/powercap/intel-rapl:0/max_energy_range_uj", str(wrap_uj))
        write("sys/class/powercap/intel-rapl:0:0/name", "core")
        self.spend(0, 0)

    def spend(self, seconds: float, watts: float) -> None:
        self.now_ns += int(seconds * NS_PER_S)
        self.uj = int(self.uj + seconds * watts * 1e6) % self.wrap_uj
        self.write("sys/class/powercap/intel-rapl:0/energy_uj", str(self.uj))

    def meter(self) -> CalibratedMeter:
        gauge = RaplGauge(self.root, clock_ns=lambda: self.now_ns)
        return CalibratedMeter(gauge, clock_ns=lambda: self.now_ns, sleep=lambda s: self.spend(s, 5.0))


def test_rapl_calibrates_each_processor(write: Write) -> None:
    bench = Bench(write, begin_uj=999_000, wrap_uj=2_000_000)
    meter = bench.meter()
    assert isinstance(meter, Calibrating)
    described, assumed = meter.description, meter.source
    assert assumed is Source.ASSUMED
    assert meter.calibrate(CPU, lambda: bench.spend(0.01, 8.0)) == pytest.approx(3000.0, rel=1e-3)
    reading = meter.run_energy(CPU, NS_PER_S)
    assert reading.energy_uj == pytest.approx(3e6, rel=1e-3)
    assert reading.source is meter.source is Source.MEASURED
    assert meter.run_energy(GANG, NS_PER_MS) == PowerModel().run_energy(GANG, NS_PER_MS)
    assert (
        meter.description
        == described
        == "RAPL package-0: power above idle, calibrated per processor, times run time"
    )


def test_work_that_costs_nothing_is_not_believed(write: Write) -> None:
    bench = Bench(write)
    meter = bench.meter()
    assert meter.calibrate(CPU, lambda: bench.spend(0.01, 4.0)) is None
    assert meter.source is Source.ASSUMED


def test_a_counter_that_goes_away(write: Write) -> None:
    bench = Bench(write)

    def lose() -> None:
        bench.now_ns += NS_PER_S
        (bench.root / "class/powercap/intel-rapl:0/energy_uj").unlink(missing_ok=True)

    assert bench.meter().calibrate(CPU, lose) is None


def test_measured_power_survives_a_restart(write: Write) -> None:
    meter = Bench(write).meter()
    profile = Profile("v", "cpu:0", (1000, 1000), 0.1, (3.0, 3.0), 1, 1.0, 1, energy_source=Source.MEASURED)
    meter.restore([replace(profile, processor="cpu:1", energy_source=Source.ASSUMED), profile])
    assert meter.run_energy(CPU, 1000).energy_uj == pytest.approx(3.0)
    assert meter.run_energy(tiny_processors()[1], 1000).source is Source.ASSUMED
    MeterConformance(lambda: meter).check_all()


def battery(write: Write, status: str = "Discharging", current_ua: int = 1_000_000) -> Path:
    files = {"type": "Battery", "status": status, "current_now": current_ua, "voltage_now": 4_000_000}
    for name, value in files.items():
        path = write(f"sys/class/power_supply/BAT0/{name}", str(value))
    return path.parents[3]


def test_the_battery_as_a_gauge(write: Write) -> None:
    now_ns = 0

    def spend(seconds: float, current_ua: int) -> None:
        nonlocal now_ns
        now_ns += int(seconds * NS_PER_S)
        battery(write, current_ua=current_ua)

    gauge = BatteryGauge(battery(write), clock_ns=lambda: now_ns)
    meter = CalibratedMeter(gauge, clock_ns=lambda: now_ns, sleep=lambda s: spend(s, 500_000))
    assert meter.calibrate(CPU, lambda: spend(0.1, 1_500_000)) == pytest.approx(4000.0)
    assert "battery BAT0" in meter.description


def test_a_charger_spoils_the_measurement(write: Write) -> None:
    gauge = BatteryGauge(battery(write), every_ns=0)
    gauge.start()
    gauge.tick()
    battery(write, "Charging")
    gauge.tick()
    assert gauge.stop() is None
    gauge.start()
    assert gauge.stop() is None


def test_the_best_meter_is_chosen(write: Write, tmp_path: Path) -> None:
    model = PowerModel({"cpu": 1.0}, {})
    assert choose_meter(tmp_path, model) is model
    assert isinstance(choose_meter(battery(write)), BatteryMeter)
    bench = Bench(write)
    assert isinstance(choose_meter(bench.root), RaplMeter)
    (bench.root / "class/powercap/intel-rapl:0/energy_uj").unlink()
    assert isinstance(choose_meter(bench.root), BatteryMeter)
    battery(write, "Full")
    assert isinstance(choose_meter(bench.root), PowerModel)
