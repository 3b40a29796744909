import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab_sim.device.memory import MIB, NS_PER_H, AppMemory, RecordedMemory
from trimtab_sim.device.profile import Memory
from trimtab_sim.traces import Series

SMALL = Memory(total_mib=3000.0, system_mib=1000.0, low_mib=200.0)


def day(pressure: AppMemory, resident_bytes: int = 0) -> list[int]:
    return [pressure.available_bytes(hour * NS_PER_H, resident_bytes) for hour in range(25)]


def test_the_same_seed_gives_the_same_day() -> None:
    one, same, other = AppMemory(SMALL, 3), AppMemory(SMALL, 3), AppMemory(SMALL, 4)
    assert day(one) == day(same)
    assert one.killed == same.killed > 0
    assert day(AppMemory(SMALL, 3)) != day(other)


@given(seed=st.integers(0, 1000), resident_mib=st.integers(0, 900))
def test_enough_is_free_or_only_the_app_in_use_is_left(seed: int, resident_mib: int) -> None:
    pressure = AppMemory(SMALL, seed)
    for available in day(pressure, resident_mib * MIB):
        assert 0 <= available <= (2000 - resident_mib) * MIB
        assert available >= 200 * MIB or pressure.starved > 0


def test_it_does_not_matter_how_often_one_looks() -> None:
    seldom, often = AppMemory(SMALL, 7), AppMemory(SMALL, 7)
    seen = [often.available_bytes(minute * NS_PER_H // 60) for minute in range(24 * 60 + 1)]
    assert day(seldom) == seen[::60]
    assert seldom.killed == often.killed


def test_what_trimtab_holds_costs_other_apps() -> None:
    free, tight = AppMemory(SMALL, 1), AppMemory(SMALL, 1)
    day(free)
    day(tight, 1000 * MIB)
    assert tight.killed > free.killed
    starving = AppMemory(SMALL, 1)
    assert starving.available_bytes(0, 1900 * MIB) < 200 * MIB
    assert starving.starved == 1


def test_without_apps_all_but_the_system_is_free() -> None:
    quiet = AppMemory(SMALL, opened_per_h=0.0)
    assert day(quiet) == [2000 * MIB] * 25
    with pytest.raises(ValueError, match="no such rate"):
        AppMemory(SMALL, opened_per_h=-1.0)


def test_a_recording_is_played_back() -> None:
    columns = {"memory_available_bytes": np.array([1e9, np.nan, 5e8])}
    recorded = RecordedMemory.of(Series("r", np.array([0, 10, 20]), columns), start_ns=100)
    assert [recorded.available_bytes(at) for at in (0, 100, 115, 120, 999)] == [
        10**9,
        10**9,
        10**9,
        5 * 10**8,
        5 * 10**8,
    ]
    assert recorded.available_bytes(120, 6 * 10**8) == 0
    assert RecordedMemory([0], [100.0], resident_bytes=50).available_bytes(0, 20) == 130
    with pytest.raises(ValueError, match="at least one record"):
        RecordedMemory.of(Series("empty", np.array([0]), {"charging": np.array([0.0])}))
