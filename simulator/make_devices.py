"""Make the device profiles in ``simulator/devices`` from published data: ``python simulator/make_devices.py``.

``--data DIR`` (default: ``$TRIMTAB_DATA``) is the folder with ``devices/`` and ``battery/``. The same data makes
the same bytes. Boards and the iPhone need no power profiles; their figures are in ``device_sources``, the iPhone's
cell is found in its log, which ships in ``simulator/traces``.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from device_sources import boards, heat, iphone, phones, tensor_heat
from device_sources.facts import NOTES, PHONES, Phone
from device_sources.figures import Figure, assumed, published, references_in, rounded, to_yaml
from device_sources.phones import Section
from device_sources.power import PowerProfile, holds_whole_cpu, read, typical
from device_sources.references import BOARDS as BOARD_REFERENCES
from device_sources.references import of_phone
from trimtab_sim.device.identify import identify_cell
from trimtab_sim.device.profile import Battery
from trimtab_sim.traces.load import load_series

FOLDER: Final = Path(__file__).resolve().parent / "devices"
IPHONE_LOG: Final = FOLDER.parent / "traces" / "iphone13promax_battery_5min_38d.csv.gz"
HEAD: Final = (
    "yaml-language-server: $schema=./device.schema.json",
    "Made by simulator/make_devices.py: change that and run it again. Sources and licences: README.md.",
)
WHOLE_CPU: Final = (
    "The power profile is of the old kind, or leaves active and cluster power out: its steps hold the whole CPU's "
    "draw with one core busy. What all cores share is split off by a stated rule (shared_draw)."
)
CELL_MAH: Final = 4352.0


@dataclass(frozen=True, slots=True)
class Sources:
    """The data that profiles are made of, by codename where there is one entry per phone."""

    devices: Mapping[str, Mapping[str, str]]
    entries: Mapping[str, Mapping[str, Any]]
    policies: Mapping[str, Mapping[str, Any]]
    state_mw: Mapping[tuple[str, str], list[float]]
    skin_rules: Sequence[Mapping[str, str]]
    cell: Mapping[str, list[float]]

    @property
    def profiles(self) -> dict[str, PowerProfile]:
        """Return the power profiles by codename."""
        return {name: read(entry) for name, entry in self.entries.items()}


def load_sources(data: Path) -> Sources:
    """Return what is in the data folder; raise ``FileNotFoundError``."""
    states: dict[tuple[str, str], list[float]] = {}
    for row in _rows(data / "devices" / "cooling_state_power.csv"):
        states.setdefault((row["codename"], row["cooling_device"]), []).append(float(row["power_mw"]))
    policies = json.loads((data / "devices" / "thermal_policies.json").read_text(encoding="utf-8"))
    entries = json.loads((data / "devices" / "power_profiles.json").read_text(encoding="utf-8"))
    return Sources(
        {row["codename"]: row for row in _rows(data / "devices" / "devices.csv")},
        {entry["codename"]: entry for entry in entries},
        {policy["codename"]: policy for policy in policies},
        states,
        _rows(data / "devices" / "sunfish_skin_throttle.csv"),
        _cell(data / "battery"),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _cell(folder: Path) -> dict[str, list[float]]:
    """Return the measured cell; its last resistance is an artefact of the gauge, the one before it stands in."""
    voltages = [r for r in _rows(folder / "ocv_soc.csv") if r["parameter_set"] == "iphone13promax_measured"]
    resistances = _rows(folder / "iphone13promax_r0.csv")
    mohm = [round(float(row["R0_ohm"]) * 1000) for row in resistances]
    return {
        "charge_frac": [float(row["soc"]) for row in voltages],
        "ocv_mv": [round(float(row["ocv_v"]) * 1000) for row in voltages],
        "resistance_frac": [float(row["SOC"]) for row in resistances],
        "resistance_mohm": [*mohm[:-1], mohm[-2]],
        "cutoff_mv": [round(float(voltages[0]["ocv_v"]) * 1000)],
        "capacity_mah": [CELL_MAH],
    }


def _identified(cell: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Return the cell with the curve and resistance that the iPhone's own log of 38 days tells of."""
    figures = phones.battery(published(CELL_MAH, "iphone_specification"), cell, is_cell=True)
    plain: dict[str, Any] = {
        name: tuple(figure.value) if isinstance(figure.value, Sequence) else figure.value
        for name, figure in figures.items()
        if isinstance(figure, Figure)
    }
    found = identify_cell(load_series(IPHONE_LOG).series, Battery(**plain)).battery
    mohm = [rounded(value) for value in found.resistance_mohm]
    return {**cell, "ocv_mv": list(found.ocv_mv), "resistance_mohm": mohm}


def android_phone(name: str, sources: Sources, usual: Mapping[str, float]) -> Section:
    """Return the sections of a phone with a power profile."""
    entry, phone, power = sources.entries[name], PHONES[name], sources.profiles[name]
    capacity = _capacity(power, phone)
    cpu = phones.cpu(power, phone, usual)
    clusters = cpu["clusters"]
    assert isinstance(clusters, list)
    _add_states(name, clusters, sources)
    gpu = phones.published_gpu(power, phone.gpu) or _gpu(name, phone, sources)
    npu = phones.accelerator(phone.npu, "npu_model") if phone.npu else None
    if npu is not None and name in sources.policies:
        npu["khz"] = assumed(phone.npu.khz, "state_clocks") if phone.npu else npu["khz"]
    notes = [*([WHOLE_CPU] if holds_whole_cpu(power) else ()), *NOTES.get(name, ())]
    sections: Section = {
        "title": entry["device"],
        "kind": "phone",
        "year": published(int(entry["year"]), "specification"),
        "chip": entry["soc"],
        "ncnn_device": sources.devices[name]["ncnn_device_prefix"],
        "notes": notes,
        "processors": phones.processors(clusters, "gpu", *(["npu"] if npu else [])),
        "battery": phones.battery(capacity, sources.cell),
        "cpu": cpu,
        "gpu": gpu,
        "npu": npu or {},
        "memory": phones.memory(phone),
        **phones.drains(power, usual),
    }
    sections["thermal"] = _thermal(name, capacity.number, sections, sources)
    return {key: value for key, value in sections.items() if value not in ("", [], {})}


def _capacity(power: PowerProfile, phone: Phone) -> Figure:
    own = power.first("battery.capacity")
    if own is not None:
        return published(own, "power_profile")
    assert phone.capacity_mah is not None
    return published(phone.capacity_mah, "specification", "not in the power profile")


def _add_states(name: str, clusters: Sequence[Section], sources: Sources) -> None:
    """Add the power of each cooling state to clusters, where the policy states it."""
    for index, cluster in enumerate(clusters):
        states = sources.state_mw.get((name, f"thermal-cpufreq-{index}"))
        if states:
            cluster["state_mw"] = published(states, "thermal_policy")


def _gpu(name: str, phone: Phone, sources: Sources) -> Section:
    """Return a GPU with the policy's power per state if it states it, else by the model's rule."""
    states = sources.state_mw.get((name, "thermal-gpufreq-0"))
    if states is None:
        return phones.accelerator(phone.gpu, "gpu_model")
    power = published(states[::-1], "thermal_policy")
    return phones.accelerator(phone.gpu, "gpu_model", power, assumed(phone.gpu.khz, "state_clocks"))


def _thermal(name: str, capacity_mah: float, sections: Section, sources: Sources) -> Section:
    """Return the network and whichever policy there is for the phone."""
    policy = sources.policies.get(name)
    targets = _clocks(sections)
    network = heat.network(PHONES[name], capacity_mah)
    charging = {"charging": heat.charging(("assumed", "charge_limit_model"))}
    if policy is not None and any("PIDInfo" in entry for entry in policy["sensors"]):
        notes = sections["notes"]
        assert isinstance(notes, list)
        notes.append(tensor_heat.LEFT_OUT)
        return {**network, **tensor_heat.policy(policy["sensors"], targets), **charging}
    if name == "sunfish":
        return {**network, **heat.listed_policy(sources.skin_rules, targets)}
    skin = assumed(heat.SKIN_C, "skin_thresholds"), assumed(heat.SKIN_HYSTERESIS_C, "skin_thresholds")
    chip = assumed(heat.CHIP_C, "chip_thresholds")
    if name in ("marlin", "sailfish"):
        source = "android_thermal_marlin"
        skin = (
            published((None, None, 47.0, None, None, 65.0), source),
            assumed(heat.SKIN_HYSTERESIS_C, "skin_thresholds"),
        )
        chip = published((None, None, 95.0, None, None, 115.0), source)
    if policy is not None:
        skin = heat.thresholds(policy["sensors"], "(fps|skin)-therm-monitor") or skin
        found = heat.thresholds(policy["sensors"], "cpu0-silver-usr|cpu-0-0-usr")
        chip = found[0] if found else chip
    return {**network, **heat.plain_policy(targets, *skin, chip), **charging}


def _clocks(sections: Section) -> dict[str, Sequence[float]]:
    """Return the clocks of each cluster and accelerator by name."""
    cpu = sections["cpu"]
    assert isinstance(cpu, dict)
    parts = [
        *((one["name"], one) for one in cpu["clusters"]),
        ("gpu", sections["gpu"]),
        ("npu", sections["npu"]),
    ]
    return {name: part["khz"].value for name, part in parts if part}


def make_all(data: Path) -> dict[str, str]:
    """Return the text of every profile by name; raise ``FileNotFoundError`` for missing data."""
    sources = load_sources(data)
    usual = typical(list(sources.profiles.values()))
    made = {name: _phone_text(name, sources, usual) for name in sources.entries}
    made[iphone.NAME] = _text(
        iphone.NAME,
        {**iphone.profile(_identified(sources.cell), usual), "notes": list(NOTES[iphone.NAME])},
        of_phone(iphone.NAME, None, None, ""),
    )
    for name, board in boards.BOARDS.items():
        made[name] = _text(name, boards.profile(board), BOARD_REFERENCES)
    return made


def _phone_text(name: str, sources: Sources, usual: Mapping[str, float]) -> str:
    policy: Mapping[str, str] | None = sources.policies.get(name)
    if name == "sunfish":
        repo = sources.entries[name]
        policy = {"repo": repo["repo"], "commit": repo["commit"], "path": "thermal-engine-sunfish.conf"}
    references = of_phone(name, sources.entries[name], policy, PHONES[name].wiki)
    return _text(name, android_phone(name, sources, usual), references)


def _text(name: str, sections: Section, references: Mapping[str, str]) -> str:
    """Return a profile as YAML with the references that its figures name."""
    used = references_in(sections)
    tree = {
        "version": 1,
        "name": name,
        **sections,
        "references": {key: references[key] for key in sorted(used)},
    }
    return to_yaml(tree, HEAD)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write all profiles and say how many."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("TRIMTAB_DATA"), help="folder with devices/ and battery/"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("no data: give --data DIR or set TRIMTAB_DATA")
    try:
        made = make_all(Path(options.data))
    except FileNotFoundError as error:
        parser.error(f"{error.filename}: no such file; --data needs devices/ and battery/ of the shared data")
    for name, text in made.items():
        (options.out / f"{name}.yaml").write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(made)} profiles in {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
