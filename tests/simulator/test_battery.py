import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.adapters.device import CompositeSensors
from trimtab.adapters.virtual_device import VirtualBattery
from trimtab.domain.device import DeviceState
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.testing import ManualClock
from trimtab_sim import Battery, Plugged, Surroundings


@given(
    level=st.floats(0.0, 1.0),
    background_mw=st.floats(0.0, 2000.0),
    seed=st.integers(0, 1000),
)
def test_it_does_what_the_daemons_virtual_battery_does(level: float, background_mw: float, seed: int) -> None:
    rng, clock = random.Random(seed), ManualClock(NS_PER_S)
    theirs = VirtualBattery(10.0, level, background_mw, clock)
    sensors = CompositeSensors((theirs,), wall_clock=lambda: 0)
    ours = Battery(10.0, level, background_mw, start_ns=NS_PER_S)
    for _ in range(40):
        now_ns = clock.advance(rng.randrange(500 * NS_PER_MS))
        if rng.random() < 0.7:
            energy_uj = rng.uniform(0.0, 300_000.0)
            theirs.draw(energy_uj)
            ours.draw(energy_uj, now_ns)
        else:
            expected = replace(sensors.read(), sources=(), local_time_s=0, weekday=None)
            assert replace(ours.reading(now_ns), sources=(), local_time_s=0) == expected
        assert ours.level_frac(now_ns) == theirs.level_frac


def test_it_runs_out_once_and_stays_empty() -> None:
    battery = Battery(1.0, 0.5, 100.0, start_ns=NS_PER_S)
    assert battery.reading(2 * NS_PER_S).battery_frac == 0.4
    assert battery.empty_ns is None
    assert battery.reading(60 * NS_PER_S).battery_frac == 0.0
    assert battery.empty_ns == 6 * NS_PER_S
    battery.draw(5.0, 61 * NS_PER_S)
    assert battery.level_frac(62 * NS_PER_S) == 0.0
    assert battery.empty_ns == 6 * NS_PER_S


def test_a_draw_can_empty_it() -> None:
    battery = Battery(1.0, 0.5)
    battery.draw(2e6, 7)
    assert battery.empty_ns == 7


@pytest.mark.parametrize("figures", [(0.0, 1.0, 0.0), (1.0, 1.1, 0.0), (1.0, 1.0, -1.0)])
def test_impossible_batteries_are_refused(figures: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="no such battery"):
        Battery(*figures)


def test_surroundings_hold_until_the_next_and_the_day_goes_on() -> None:
    states = [
        (10 * NS_PER_S, DeviceState(cpu_load_frac=0.1, local_time_s=86_399)),
        (20 * NS_PER_S, DeviceState(cpu_load_frac=0.9, charging=True)),
    ]
    plugged = Plugged(Surroundings(states))
    plugged.draw(1e9, 0)
    assert plugged.reading(0).cpu_load_frac == 0.1
    assert plugged.reading(12 * NS_PER_S).local_time_s == 1
    assert plugged.reading(20 * NS_PER_S).cpu_load_frac == 0.9
    assert Battery(1.0, surroundings=Surroundings(states)).reading(20 * NS_PER_S).charging is False
    for wrong in ([], states[::-1]):
        with pytest.raises(ValueError, match="in order of time"):
            Surroundings(wrong)
