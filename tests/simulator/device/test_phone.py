import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab_sim import ModelledRuntime, SimulatedDriver, World, poisson
from trimtab_sim.device.background import Background, Draw, constant, of_series
from trimtab_sim.device.memory import MIB
from trimtab_sim.device.phone import CLOSE_NS, QUIET_NS, Conditions, SimulatedPhone
from trimtab_sim.device.profile import DeviceProfile
from trimtab_sim.device.profile_load import load_device
from trimtab_sim.traces import Series

HOUR_NS = 3600 * NS_PER_S


def test_it_drains_by_what_it_draws(oriole: DeviceProfile) -> None:
    phone = SimulatedPhone(oriole, Conditions(level_frac=0.9, background=constant(1000.0, 500.0)))
    assert phone.cell is not None
    held_j = 0.9 * phone.cell.capacity_j
    phone.pass_time(HOUR_NS)
    assert phone.drawn_uj == pytest.approx(1.5 * 3600 * 1e6)
    lost_j = held_j - phone.level_frac(HOUR_NS) * phone.cell.capacity_j
    assert lost_j == pytest.approx(5400, rel=0.08)


def test_runs_are_taken_out_whenever_they_end(oriole: DeviceProfile) -> None:
    one = SimulatedPhone(oriole, Conditions(background=constant(0.0)))
    many = SimulatedPhone(oriole, Conditions(background=constant(0.0)))
    for second in range(1, 601):
        many.draw(1.5e6, second * NS_PER_S)
    one.draw(1.5e6 * 600, 600 * NS_PER_S)
    assert many.level_frac(600 * NS_PER_S) == pytest.approx(one.level_frac(600 * NS_PER_S), abs=1e-6)
    assert many.drawn_uj == pytest.approx(one.drawn_uj) == pytest.approx(9e8)


def test_the_level_told_moves_in_thousandths(oriole: DeviceProfile) -> None:
    phone = SimulatedPhone(oriole, Conditions(background=constant(2000.0)))
    told = [phone.reading(at * NS_PER_S).battery_frac for at in range(0, 3600, 60)]
    assert told == sorted((level for level in told if level is not None), reverse=True)
    assert {round(level * 1000, 6) % 1 for level in told if level is not None} == {0.0}
    assert len(set(told)) > 20


def test_it_runs_out_once_and_is_charged_again(oriole: DeviceProfile) -> None:
    draws = [Draw(3000.0, 0.0), Draw(300.0, 0.0, plugged=True), Draw(3000.0, 0.0)]
    background = Background([0, 2 * HOUR_NS, 3 * HOUR_NS], draws)
    phone = SimulatedPhone(oriole, Conditions(level_frac=0.05, background=background))
    assert phone.reading(HOUR_NS).battery_frac == 0.0
    assert phone.empty_ns is not None
    assert 0 < phone.empty_ns < HOUR_NS
    first_ns = phone.empty_ns
    drawn_uj = phone.drawn_uj
    phone.pass_time(2 * HOUR_NS)
    assert phone.drawn_uj == drawn_uj
    charged = phone.reading(3 * HOUR_NS - NS_PER_S)
    assert charged.charging
    assert charged.battery_frac is not None
    assert charged.battery_frac > 0.2
    assert not phone.reading(3 * HOUR_NS + QUIET_NS).charging
    phone.pass_time(20 * HOUR_NS)
    assert phone.reading(20 * HOUR_NS + QUIET_NS).battery_frac == 0.0
    assert phone.empty_ns == first_ns


def test_hard_work_makes_it_hot_and_slow_and_rest_cures_it(oriole: DeviceProfile) -> None:
    phone = SimulatedPhone(oriole, Conditions(background=constant(200.0)))
    assert phone.slowdown("cpu-big:6-7", 0) == 1.0
    slowest = 1.0
    for second in range(1, 1801):
        phone.draw(6e6, second * NS_PER_S)
        slowest = max(slowest, phone.slowdown("cpu-big:6-7", second * NS_PER_S))
    assert slowest > 1.2
    assert phone.power_factor("cpu-big:6-7", 1800 * NS_PER_S) < 0.9
    insight = phone.insight(1800 * NS_PER_S)
    assert insight.soc_c > insight.skin_c > 37.0
    assert ("cpu-big" in dict(insight.caps_khz)) == (phone.slowdown("cpu-big:6", 1800 * NS_PER_S) > 1.0)
    assert phone.slowdown("cpu-big:6-7", 3 * HOUR_NS) == 1.0
    assert phone.power_factor("cpu-big:6-7", 3 * HOUR_NS) == 1.0
    assert phone.insight(3 * HOUR_NS).skin_c < 28.0
    with pytest.raises(KeyError):
        phone.slowdown("dsp", 0)


def test_the_sun_shuts_it_down(oriole: DeviceProfile) -> None:
    phone = SimulatedPhone(oriole, Conditions(background=constant(3000.0), ambient_c=50.0))
    phone.pass_time(HOUR_NS)
    assert phone.shut_down_ns is not None
    assert phone.slowdown("cpu-little:0", HOUR_NS) > 100.0


def test_charging_slows_down_in_the_heat(oriole: DeviceProfile) -> None:
    levels = []
    for ambient_c in (20.0, 40.0):
        background = constant(500.0, plugged=True)
        phone = SimulatedPhone(oriole, Conditions(0.2, background=background, ambient_c=ambient_c))
        levels.append(phone.level_frac(HOUR_NS))
    assert levels[0] == pytest.approx(0.7, abs=0.02)
    assert levels[1] < 0.55


def test_between_stretches_nothing_is_computed(oriole: DeviceProfile) -> None:
    phone = SimulatedPhone(oriole, Conditions(background=constant(100.0)))
    phone.pass_time(QUIET_NS)
    before = phone.drawn_uj
    phone.draw(1.0, QUIET_NS + QUIET_NS - 1)
    assert phone.slowdown("gpu", 2 * QUIET_NS - 1) == 1.0
    assert phone.drawn_uj == before
    phone.draw(1.0, 2 * QUIET_NS)
    assert phone.drawn_uj > before
    assert CLOSE_NS < QUIET_NS


def test_readings_tell_memory_load_time_and_sources(oriole: DeviceProfile) -> None:
    held = [0]
    columns = {"cpu_load_frac": np.array([0.25, 0.5])}
    background = of_series(oriole, Series("load", np.array([0, HOUR_NS]), columns))
    conditions = Conditions(local_time_s=86_000, background=background, seed=2)
    phone = SimulatedPhone(oriole, conditions, start_ns=NS_PER_S, resident_bytes=lambda: held[0])
    first = phone.reading(NS_PER_S)
    assert first.memory_total_bytes == 8192 * MIB
    assert first.memory_available_bytes is not None
    assert 0 < first.memory_available_bytes < 6000 * MIB
    assert first.cpu_load_frac == 0.25
    assert first.temperature_mc == 25_000
    assert dict(first.sources)["battery"] == "simulated"
    held[0] = 512 * MIB
    later = phone.reading(NS_PER_S + 1)
    assert later.memory_available_bytes == first.memory_available_bytes - 512 * MIB
    assert phone.reading(1001 * NS_PER_S).local_time_s == 600


def test_it_can_begin_as_warm_as_it_will_get(oriole: DeviceProfile) -> None:
    warm = SimulatedPhone(oriole, Conditions(background=constant(600.0, 400.0), settled=True))
    begin, later = warm.insight(0), warm.insight(HOUR_NS)
    assert begin.battery_c > 28.0
    assert later.battery_c == pytest.approx(begin.battery_c, abs=0.3)


def test_a_board_never_runs_out() -> None:
    board = SimulatedPhone(load_device("raspberrypi4"))
    board.draw(1e9, HOUR_NS)
    reading = board.reading(24 * HOUR_NS)
    assert reading.battery_frac is None
    assert not reading.charging
    assert board.empty_ns is None
    assert board.level_frac(24 * HOUR_NS) == 0.0
    assert board.drawn_uj > 1e9
    assert "battery" not in dict(reading.sources)


def test_every_shipped_device_lives_through_a_day(devices: tuple[DeviceProfile, ...]) -> None:
    for device in devices:
        phone = SimulatedPhone(device, Conditions(seed=1))
        readings = [phone.reading(hour * HOUR_NS) for hour in range(25)]
        assert all(isinstance(reading, DeviceState) for reading in readings)
        for processor in device.processors:
            assert phone.slowdown(processor.name, 24 * HOUR_NS) == 1.0, device.name


DAY = """
import json
from trimtab_sim.device.phone import Conditions, SimulatedPhone
from trimtab_sim.device.profile_load import load_device
phone = SimulatedPhone(load_device("cheetah"), Conditions(seed=5, level_frac=0.8))
rows = []
for step in range(400):
    now_ns = step * 60_000_000_000
    phone.draw(9e7 * (step % 7), now_ns)
    rows.append(repr((phone.reading(now_ns), phone.slowdown("npu", now_ns), phone.level_frac(now_ns))))
print(json.dumps(rows))
"""


def test_another_process_sees_the_same_bytes() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", DAY],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in (1, 2)
    ]
    assert runs[0] == runs[1]
    assert len(set(json.loads(runs[0]))) > 100


def test_the_scheduler_runs_on_it(world: World, oriole: DeviceProfile) -> None:
    """Requests from the driver heat and drain the phone, and throttling reaches the runtime."""
    assert oriole.battery is not None
    small = replace(oriole, battery=replace(oriole.battery, capacity_mah=20.0))
    phone = SimulatedPhone(small, Conditions(background=constant(500.0)), start_ns=NS_PER_S)
    names = {one.name: "cpu-big:6" for one in world.processors}
    runtime = ModelledRuntime(
        world.families, world.profiles, contention=lambda name, now_ns: phone.slowdown(names[name], now_ns)
    )
    driver = SimulatedDriver(world, Policy("p"), runtime, phone)
    kinds = (Request("", "tiny", latency_budget_ns=20 * NS_PER_MS),)
    report = driver.run(poisson(1, 5.0, 500, kinds, driver.start()))
    spent_uj = report.run_energy_uj + report.load_energy_uj
    phone.pass_time(report.ended_ns)
    background_uj = 500.0 * (report.ended_ns - NS_PER_S) / 1e6
    assert phone.drawn_uj == pytest.approx(spent_uj + background_uj)
    assert phone.reading(report.ended_ns).battery_frac != 1.0
