"""The iPhone 13 Pro Max: a measured cell; everything that no one publishes is assumed and says so."""

from collections.abc import Mapping

from device_sources import heat, phones
from device_sources.facts import PHONES
from device_sources.figures import assumed, published
from device_sources.phones import Section

NAME = "iphone13promax"
MODEL = "apple_model"
_BIG_KHZ = (600_000, 1_200_000, 1_800_000, 2_400_000, 2_900_000, 3_230_000)
_BIG_MA = (45, 120, 260, 520, 850, 1170)
_LITTLE_KHZ = (600_000, 1_000_000, 1_400_000, 1_800_000, 2_016_000)
_LITTLE_MA = (14, 27, 46, 80, 110)


def profile(cell: Mapping[str, list[float]], usual: Mapping[str, float]) -> Section:
    """Return the profile's sections."""
    phone = PHONES[NAME]
    assert phone.capacity_mah is not None
    assert phone.npu is not None
    clusters: list[Section] = [
        _cluster("cpu-little", [0, 1, 2, 3], _LITTLE_KHZ, _LITTLE_MA),
        _cluster("cpu-big", [4, 5], _BIG_KHZ, _BIG_MA),
    ]
    targets = {"cpu-little": _LITTLE_KHZ, "cpu-big": _BIG_KHZ, "gpu": phone.gpu.khz, "npu": phone.npu.khz}
    skin = assumed(heat.SKIN_C, "skin_thresholds"), assumed(heat.SKIN_HYSTERESIS_C, "skin_thresholds")
    return {
        "title": "Apple iPhone 13 Pro Max",
        "kind": "phone",
        "year": published(2021, "iphone_specification"),
        "chip": "Apple A15 Bionic",
        "processors": phones.processors(clusters, "gpu", "npu"),
        "battery": phones.battery(published(phone.capacity_mah, "iphone_specification"), cell, is_cell=True),
        "cpu": {
            "voltage_mv": assumed(phones.NOMINAL_MV, "nominal_voltage"),
            "suspend_ma": assumed(usual["suspend_ma"], "typical"),
            "idle_ma": assumed(usual["idle_ma"], "typical"),
            "active_ma": assumed(15, MODEL),
            "whole_cpu_steps": False,
            "clusters": clusters,
        },
        "gpu": phones.accelerator(phone.gpu, "gpu_model"),
        "npu": phones.accelerator(phone.npu, "npu_model"),
        "memory": phones.memory(phone, "iphone_specification"),
        **phones.drains(None, usual),
        "thermal": {
            **heat.network(phone, phone.capacity_mah),
            **heat.plain_policy(targets, *skin, assumed(heat.CHIP_C, "chip_thresholds")),
            "charging": heat.charging(("assumed", "charge_limit_model")),
        },
    }


def _cluster(name: str, cores: list[int], khz: tuple[int, ...], core_ma: tuple[int, ...]) -> Section:
    return {
        "name": name,
        "cores": published(cores, "iphone_specification"),
        "khz": assumed(khz, MODEL),
        "core_ma": assumed(core_ma, MODEL),
        "cluster_ma": assumed(5, MODEL),
    }
