"""The thermal section of a phone: network from its size, and whichever policy is published for it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from device_sources.facts import TPU_KHZ, Phone
from device_sources.figures import Figure, assumed, published, rounded
from device_sources.phones import Section

POLICY = "thermal_policy"
LEVELS = range(1, 7)
SKIN_C = (39.0, 43.0, 45.0, 46.5, 52.0, 55.0)
SKIN_HYSTERESIS_C = (1.9, 1.9, 1.9, 1.4, 1.9, 1.9)
"""VIRTUAL-SKIN of the Pixel 6 to 8."""
CHIP_C = (None, None, 95.0, None, None, 125.0)
NO_HYSTERESIS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
CAPS = (
    (1, {"big": 1708800 / 2208000}),
    (2, {"big": 1324800 / 2208000}),
    (3, {"big": 1094400 / 2208000, "little": 1017600 / 1804800, "gpu": 430 / 825}),
    (4, {"big": 806400 / 2208000, "little": 768000 / 1804800, "gpu": 267 / 825}),
)
"""The Pixel 4a's caps as fractions of its top clocks, by index of severity (moderate 1 .. emergency 4)."""
CHARGE_C = ((39.0, 38.0), (40.5, 39.5), (43.0, 42.0), (44.0, 43.0), (46.0, 45.0))
"""Where the Pixel 4a cuts its charging current, and where it lets go."""

Targets = Mapping[str, Sequence[float]]
"""Clocks in kHz, rising, of each cluster and accelerator by name."""


def network(phone: Phone, capacity_mah: float) -> Section:
    """Return nodes and links by the stated rules from the outer dimensions."""
    width, height, depth = (side / 10 for side in phone.size_mm)
    total = 1.9 * width * height * depth
    cell = 4.0 * capacity_mah * 3.85e-3
    surface_m2 = 2e-4 * (width * height + width * depth + height * depth)
    capacities = {"soc": 8.0, "battery": cell, "skin": total - cell - 8.0}
    links = {
        ("soc", "skin"): 0.125,
        ("soc", "battery"): 0.05,
        ("battery", "skin"): 0.5,
        ("skin", "ambient"): 8 * surface_m2,
    }
    return {
        "ambient_c": assumed(25, "room"),
        "nodes": [
            {"name": name, "j_per_c": assumed(rounded(value, 3), "heat_model")}
            for name, value in capacities.items()
        ],
        "links": [
            {"ends": list(ends), "w_per_c": assumed(rounded(value, 3), "heat_model")}
            for ends, value in links.items()
        ],
    }


def sensor(name: str, node: str, hot_c: Figure, hysteresis_c: Figure) -> Section:
    """Return a sensor."""
    return {"name": name, "node": node, "hot_c": hot_c, "hysteresis_c": hysteresis_c}


def throttle(watched: str, target: str, at_c: tuple[Figure, Figure], max_khz: Figure) -> Section:
    """Return a cap that sets and clears at two temperatures."""
    return {"sensor": watched, "target": target, "set_c": at_c[0], "clear_c": at_c[1], "max_khz": max_khz}


def plain_policy(targets: Targets, skin: Figure, skin_hysteresis: Figure, chip: Figure) -> Section:
    """Return sensors and assumed caps for a phone of which at most thresholds are published."""
    sensors = [
        sensor("skin", "skin", skin, skin_hysteresis),
        sensor("cpu", "soc", chip, assumed(NO_HYSTERESIS, "chip_thresholds")),
    ]
    throttles = [
        throttle("skin", target, _both(skin, skin_hysteresis, level), assumed(khz, "throttle_model"))
        for level, caps in CAPS
        if skin.numbers[level] is not None
        for target, khz in _capped(targets, caps)
    ]
    return {
        "sensors": sensors,
        "throttles": [*throttles, *_shutdown("skin", skin), *chip_caps(targets, chip)],
    }


def chip_caps(targets: Targets, chip: Figure) -> Iterator[Section]:
    """Yield half the clocks at the chip's own threshold, and its shutdown."""
    severe = _at(chip, 2)
    at_c = severe, assumed(severe.number - 5, "throttle_model")
    for target, clocks in targets.items():
        yield throttle("cpu", target, at_c, assumed(_step_below(clocks, 0.5), "throttle_model"))
    yield from _shutdown("cpu", chip)


def charging(tag_reference: tuple[str, str]) -> list[Section]:
    """Return the Pixel 4a's five steps of charging current, tagged as ``tag_reference`` says."""
    tag, reference = tag_reference
    return [
        {
            "set_c": Figure(tag, set_c, reference),
            "clear_c": Figure(tag, clear_c, reference),
            "current_frac": assumed(rounded(1 - (index + 1) / 6, 2), "charge_limit_model"),
        }
        for index, (set_c, clear_c) in enumerate(CHARGE_C)
    ]


def _at(listed: Figure, level: int) -> Figure:
    """Return one number of a list, tagged as the list."""
    return Figure(listed.tag, listed.numbers[level], listed.reference)


def _both(hot: Figure, hysteresis: Figure, level: int) -> tuple[Figure, Figure]:
    """Return where one severity sets and clears, tagged as its threshold."""
    at = _at(hot, level)
    return at, Figure(hot.tag, rounded(at.number - _at(hysteresis, level).number), hot.reference)


def _shutdown(watched: str, hot: Figure) -> Iterator[Section]:
    """Yield the shutdown at a sensor's last threshold, if it has one."""
    last = _at(hot, 5)
    if last.value is not None:
        yield throttle(watched, "device", (last, last), Figure(hot.tag, 0, hot.reference))


def _capped(targets: Targets, caps: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield each target that ``caps`` mention with the step it may still use."""
    for target, clocks in targets.items():
        kind = {"cpu-little": "little", "gpu": "gpu", "npu": "gpu"}.get(target, "big")
        if kind in caps:
            yield target, _step_below(clocks, caps[kind])


def _step_below(clocks: Sequence[float], fraction: float) -> float:
    """Return the fastest step of at most ``fraction`` of the top clock, or the slowest."""
    return max((khz for khz in clocks if khz <= fraction * clocks[-1] * 1.0001), default=clocks[0])


def listed_policy(rows: Sequence[Mapping[str, str]], targets: Targets) -> Section:
    """Return the Pixel 4a's policy from its list of rules on skin temperature."""
    names = {"cpu0": "cpu-little", "cpu7": "cpu-big", "gpu": "gpu"}
    throttles: list[Section] = []
    for row in rows:
        if row["sensor"] != "skin" or row["target"] == "charge_current_step":
            continue
        at_c = published(float(row["set_c"]), POLICY), published(float(row["clear_c"]), POLICY)
        if row["target"] == "shutdown":
            throttles.append(throttle("skin", "device", at_c, published(0, POLICY)))
            continue
        limits = zip(
            row["target"].split("+"), row["limit"].split("+"), row["limit_unit"].split("+"), strict=True
        )
        for target, limit, unit in limits:
            khz = int(limit) // (1000 if unit == "hz" else 1)
            throttles.append(throttle("skin", names[target], at_c, published(khz, POLICY)))
    note = "set points of the rules in their order"
    skin = assumed((39.0, 43.0, 45.0, 48.0, 50.0, 61.0), "throttle_model", note)
    chip = assumed(CHIP_C, "chip_thresholds")
    sensors = [
        sensor("skin", "skin", skin, assumed((1.0,) * 6, "throttle_model", note)),
        sensor("cpu", "soc", chip, assumed(NO_HYSTERESIS, "chip_thresholds")),
    ]
    return {
        "sensors": sensors,
        "throttles": [*throttles, *chip_caps(targets, chip)],
        "charging": charging(("published", POLICY)),
    }


def thresholds(sensors: Sequence[Mapping[str, Any]], pattern: str) -> tuple[Figure, Figure] | None:
    """Return thresholds and hysteresis of the first published sensor whose name fits, without "none"."""
    for entry in sensors:
        if re.fullmatch(pattern, entry["Name"]):
            hot = tuple(entry["HotThreshold"][1:])
            drops = tuple(entry["HotHysteresis"][1:]) or NO_HYSTERESIS
            return published(hot, POLICY), published(drops, POLICY)
    return None


def state_khz(target: str, state: int, clocks: Sequence[float]) -> float:
    """Return the clock of a cooling state: state 0 the fastest step; a TPU's later states stop it."""
    if target == "npu":
        return TPU_KHZ[-1 - state] if state < len(TPU_KHZ) else 0
    return clocks[max(0, len(clocks) - 1 - state)]
