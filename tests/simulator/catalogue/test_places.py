import pytest

from trimtab.adapters.energy import PowerModel
from trimtab.domain.processor import Processor
from trimtab_sim.catalogue.places import place_of, span
from trimtab_sim.catalogue.power import ProfilePower
from trimtab_sim.device.profile_load import load_device


@pytest.mark.parametrize(
    ("threads", "cores", "name"),
    [
        (2, "cpu-big", "cpu-big:6-7"),
        (1, "cpu", "cpu-big:6"),
        (4, "cpu", "cpu:4-7"),
        (4, "cpu-little", "cpu-little:0-3"),
        (8, "cpu", "cpu:0-7"),
        (9, "cpu", "cpu:0-7"),
    ],
)
def test_threads_take_the_fastest_cores_of_a_device(threads: int, cores: str, name: str) -> None:
    assert place_of("CPU", threads, cores, "x", load_device("oriole")).name == name


def test_the_devices_own_processors_are_used() -> None:
    profile = load_device("oriole")
    assert place_of("CPU", 2, "cpu-big", "x", profile) is profile.processor("cpu-big:6-7")
    assert place_of("NPU", 1, "", "x", profile) is profile.processor("npu")
    assert place_of("GPU", 1, "", "x", load_device("raspberrypi4")) == Processor(
        "gpu", "gpu", (), 1, "x", "gpu"
    )


def test_without_a_device_cores_are_assumed() -> None:
    assert place_of("CPU", 4, "cpu-big", "x") == Processor("cpu-big:4-7", "cpu", (4, 5, 6, 7), 4, "x")
    assert place_of("CPU", 1, "cpu", "x").cores == (0,)


def test_cores_are_spelled_as_runs() -> None:
    assert span((0,)) == "0"
    assert span((0, 1, 6, 7, 3)) == "0-1,3,6-7"


def test_power_adds_up_what_all_share_clusters_and_cores() -> None:
    profile = load_device("oriole")
    power = ProfilePower(profile, PowerModel())
    mixed = Processor("cpu:5-6", "cpu", (5, 6), 2)
    assert power.active_mw(mixed) == pytest.approx((12.37 + 3.23 + 79.04 + 5.94 + 254.25) * 3.85)
    assert power.active_mw(profile.processor("gpu")) == pytest.approx(4599 - 20)


def test_what_the_profile_lacks_comes_from_the_model() -> None:
    power = ProfilePower(load_device("raspberrypi4"), PowerModel())
    gpu = Processor("gpu", "gpu", (), 1)
    assert power.active_mw(gpu) == PowerModel().active_mw(gpu)
    assert power.description.startswith("power profile of ")
