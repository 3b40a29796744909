import pytest

from trimtab.domain.processor import Processor
from trimtab_sim.device.cpu import (
    STOPPED_FACTOR,
    Target,
    cluster_power_mw,
    load_power_mw,
    processor_power_mw,
    step_at,
    target_of,
    targets,
)
from trimtab_sim.device.profile import DeviceProfile


def test_power_is_what_the_power_profile_says(oriole: DeviceProfile) -> None:
    """Pixel 6: active 12.37, big cluster 5.94, a big core 254.25 mA at 2,802 MHz; at 3.85 V."""
    one, both = oriole.processor("cpu-big:6"), oriole.processor("cpu-big:6-7")
    assert processor_power_mw(oriole, one) == pytest.approx((12.37 + 5.94 + 254.25) * 3.85)
    assert processor_power_mw(oriole, both) == pytest.approx((12.37 + 5.94 + 2 * 254.25) * 3.85)
    assert processor_power_mw(oriole, one, 1_500_000) == pytest.approx((12.37 + 5.94 + 48.24) * 3.85)
    assert processor_power_mw(oriole, oriole.processor("gpu")) == 4599.0
    assert cluster_power_mw(oriole.cpu, oriole.cpu.cluster("cpu-big"), 0) == 0.0
    with pytest.raises(KeyError):
        processor_power_mw(oriole, Processor("dsp", "dsp", (), 1))


def test_load_rises_from_nothing_to_all_cores(oriole: DeviceProfile) -> None:
    loads = [load_power_mw(oriole.cpu, share) for share in (0.0, 0.1, 0.5, 1.0)]
    assert loads == sorted(loads)
    assert loads[0] == 0.0
    assert loads[3] == pytest.approx(
        (12.37 + 0.24 + 3.23 + 5.94 + 4 * 9.34 + 2 * 14.4 + 2 * 41.42) * 3.85, rel=0.05
    )


def test_a_run_takes_longer_in_proportion_to_the_clock(oriole: DeviceProfile) -> None:
    big = targets(oriole)["cpu-big"]
    assert big.slowdown(2_802_000) == big.slowdown(9e9) == 1.0
    assert big.slowdown(984_000) == pytest.approx(2_802 / 984)
    assert big.slowdown(990_000) == pytest.approx(2_802 / 984)
    assert big.slowdown(0.0) == STOPPED_FACTOR
    assert big.power_factor(984_000) == pytest.approx(476 / 4406, rel=0.1)


def test_steps_are_found_from_above() -> None:
    steps = (100.0, 200.0, 300.0)
    assert [step_at(steps, cap) for cap in (50.0, 100.0, 199.0, 200.0, 999.0)] == [0, 0, 0, 1, 2]


def test_every_processor_of_every_device_has_power_and_a_target(devices: tuple[DeviceProfile, ...]) -> None:
    for device in devices:
        found = targets(device)
        for processor in device.processors:
            target = found[target_of(device, processor)]
            assert isinstance(target, Target)
            assert processor_power_mw(device, processor) > 0
            assert 1.0 <= target.slowdown(target.khz[0]) < STOPPED_FACTOR
            assert target.power_factor(target.khz[0]) <= 1.0
    with pytest.raises(KeyError):
        target_of(devices[0], Processor("dsp", "dsp", (), 1))
