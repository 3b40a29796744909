"""The thermal policy of Pixels with a Tensor chip: caps per severity and PID power budgets as published."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from device_sources.figures import Figure, assumed, published, rounded
from device_sources.heat import (
    CHIP_C,
    LEVELS,
    NO_HYSTERESIS,
    POLICY,
    Targets,
    chip_caps,
    sensor,
    state_khz,
    throttle,
)
from device_sources.phones import Section

COOLING = {
    "thermal-cpufreq-0": "cpu-little",
    "thermal-cpufreq-1": "cpu-mid",
    "thermal-cpufreq-2": "cpu-big",
    "thermal-gpufreq-0": "gpu",
    "tpu_cooling": "npu",
}
LEFT_OUT = (
    "Left out of the thermal policy: sensors of battery current and voltage drop, of charging, speaker and USB "
    "port, and limits of the DSP (gxp-cooling). Its sensors of skin temperature read one node here."
)


def policy(entries: Sequence[Mapping[str, Any]], targets: Targets) -> Section:
    """Return sensors, caps and power budgets from the policy's sensors on the skin and in the battery."""
    used = [entry for entry in entries if _is_used(entry)]
    chip = assumed(CHIP_C, "chip_thresholds")
    throttles = [cap for entry in used for cap in _caps(entry, targets)]
    return {
        "sensors": [*(_sensor(entry) for entry in used), sensor("cpu", "soc", chip, _none())],
        "throttles": [*throttles, *chip_caps(targets, chip)],
        "budgets": [budget for entry in used for budget in _budgets(entry, targets)],
    }


def _none() -> Figure:
    return assumed(NO_HYSTERESIS, "chip_thresholds")


def _is_used(entry: Mapping[str, Any]) -> bool:
    """Return whether a sensor bears on processors (or shuts the device down)."""
    bound = {one["CdevRequest"] for one in entry.get("BindedCdevInfo", ())}
    on_skin = entry["Name"].startswith("VIRTUAL-SKIN") and bool(bound & COOLING.keys())
    return on_skin or entry["Name"] == "battery"


def _sensor(entry: Mapping[str, Any]) -> Section:
    hot = tuple(entry["HotThreshold"][1:])
    drops = tuple(entry["HotHysteresis"][1:]) or NO_HYSTERESIS
    node = "battery" if entry["Name"] == "battery" else "skin"
    return sensor(entry["Name"], node, published(hot, POLICY), published(drops, POLICY))


def _at(entry: Mapping[str, Any], level: int) -> tuple[Figure, Figure] | None:
    """Return where a severity sets and clears, ``None`` if it has no threshold."""
    hot, drops = entry["HotThreshold"][level], entry["HotHysteresis"] or [0.0] * 7
    return None if hot is None else (published(hot, POLICY), published(rounded(hot - drops[level]), POLICY))


def _caps(entry: Mapping[str, Any], targets: Targets) -> Iterator[Section]:
    """Yield a cap for each severity that limits a target further, and the shutdown."""
    for bound in entry.get("BindedCdevInfo", ()):
        target = COOLING.get(bound["CdevRequest"])
        if target is None or "LimitInfo" not in bound:
            continue
        worst = 0
        for level in LEVELS:
            state, at_c = bound["LimitInfo"][level], _at(entry, level)
            if state > worst and at_c is not None:
                worst = state
                yield throttle(entry["Name"], target, at_c, _clock(target, state, targets[target]))
    shutdown = _at(entry, 6)
    if shutdown is not None and entry["Name"] in ("VIRTUAL-SKIN", "battery"):
        yield throttle(entry["Name"], "device", (shutdown[0], shutdown[0]), published(0, POLICY))


def _clock(target: str, state: int, clocks: Sequence[float]) -> Figure:
    """Return the clock of a cooling state; of clusters it follows from their published steps."""
    khz = state_khz(target, state, clocks)
    if target.startswith("cpu"):
        return published(khz, POLICY, f"state {state}")
    return assumed(khz, "state_clocks", f"state {state}")


def _budgets(entry: Mapping[str, Any], targets: Targets) -> Iterator[Section]:
    """Yield the PID power budget of a sensor, at the first severity that has one."""
    pid = entry.get("PIDInfo")
    level = next((at for at in LEVELS if pid and pid["S_Power"][at] is not None), None)
    engaged = _at(entry, 1)
    if pid is None or level is None or engaged is None:
        return
    gains = {
        "over_mw_per_c": "K_Po",
        "under_mw_per_c": "K_Pu",
        "integral_mw_per_c": "K_I",
        "integral_max_mw": "I_Max",
        "integral_cutoff_c": "I_Cutoff",
        "sustained_mw": "S_Power",
        "min_mw": "MinAllocPower",
        "max_mw": "MaxAllocPower",
    }
    yield {
        "sensor": entry["Name"],
        "engage_c": engaged[0],
        "release_c": engaged[1],
        "target_c": published(entry["HotThreshold"][level], POLICY),
        **{name: published(pid[key][level], POLICY) for name, key in gains.items()},
        "period_s": published(entry["PassiveDelay"] / 1000, POLICY),
        "shares": [
            {
                "target": COOLING[bound["CdevRequest"]],
                "weight": published(bound["CdevWeightForPID"][level], POLICY),
                "floor_khz": _clock(
                    COOLING[bound["CdevRequest"]],
                    bound["CdevCeiling"][level],
                    targets[COOLING[bound["CdevRequest"]]],
                ),
            }
            for bound in entry["BindedCdevInfo"]
            if bound["CdevRequest"] in COOLING and "CdevWeightForPID" in bound
        ],
    }
