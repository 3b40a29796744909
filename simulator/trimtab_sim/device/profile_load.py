"""Read a device profile: YAML, schema, checks, dataclasses. All problems come in one ``DeviceError``.

In the file every number carries its tag: ``capacity_mah: {published: 4614, from: power_profile}``, with
``measured``, ``published`` or ``assumed`` as the key and a reference's name behind ``from``.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from math import inf
from pathlib import Path
from types import NoneType
from typing import Any, Final, cast, get_args, get_origin

from trimtab.domain.processor import Processor
from trimtab.domain.quantities import Source
from trimtab.policy.document import parse_document
from trimtab.policy.errors import Path as At
from trimtab.policy.errors import PolicyError, Problem, spell
from trimtab.policy.load import place, read_policy_text
from trimtab.policy.structure import MAX_PROBLEMS, Finding, findings_of, nearest, validator_of
from trimtab_sim.device.profile import Cpu, DeviceProfile, Origin
from trimtab_sim.device.profile_checks import cross_findings

SCHEMA_FILE: Final = "device.schema.json"
_PACKAGE = Path(__file__).resolve().parents[1]


class DeviceError(Exception):
    """A device profile cannot be used; ``problems`` lists everything found, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


def shipped_devices_folder(package: Path = _PACKAGE) -> Path:
    """Return the folder of the shipped profiles; raise ``FileNotFoundError`` for a broken installation."""
    folders = (package / "_shipped" / "devices", package.parent / "devices")
    for folder in folders:
        if (folder / SCHEMA_FILE).is_file():
            return folder
    tried = " or ".join(str(folder) for folder in folders)
    raise FileNotFoundError(f"trimtab is installed without its device profiles: no {SCHEMA_FILE} in {tried}")


def shipped_devices() -> tuple[str, ...]:
    """Return the names of the shipped device profiles in alphabetical order."""
    return tuple(sorted(path.stem for path in shipped_devices_folder().glob("*.yaml")))


@lru_cache(maxsize=1)
def device_schema() -> dict[str, Any]:
    """Return the JSON Schema of device profiles, the one that editors use."""
    text = (shipped_devices_folder() / SCHEMA_FILE).read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def load_device(path_or_name: str | Path) -> DeviceProfile:
    """Return a shipped device by name or one from a YAML file; raise ``DeviceError``.

    A bare word is a shipped device's name first; write ``./oriole`` for a file called so.
    """
    path = _resolve(path_or_name)
    try:
        return parse_device(read_policy_text(path), str(path))
    except PolicyError as error:
        raise DeviceError(error.problems) from error


def parse_device(text: str, file: str = "<string>") -> DeviceProfile:
    """Return the device profile in ``text``; raise ``DeviceError`` with every problem, placed in ``file``."""
    try:
        root, noted = parse_document(text, file, "device profile")
    except PolicyError as error:
        raise DeviceError(error.problems) from error
    tree = root.plain()
    found = findings_of(_validator(), tree)
    problems = [*noted, *place(found, root, file)]
    if problems:
        raise DeviceError(_in_order(problems))
    builder = _Builder()
    profile = builder.profile(cast("dict[str, Any]", tree))
    wrong = list(place([*builder.findings, *cross_findings(profile)], root, file))
    if wrong:
        raise DeviceError(_in_order(wrong))
    return profile


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """Return problems once each, by their place, at most as many as anybody reads."""
    ordered = sorted(set(problems), key=lambda problem: (problem.line, problem.column, problem.message))
    return tuple(ordered[:MAX_PROBLEMS])


def _resolve(path_or_name: str | Path) -> Path:
    """Return the file of a shipped device or of a path; raise ``DeviceError`` if there is none."""
    shipped = shipped_devices()
    if str(path_or_name) in shipped:
        return shipped_devices_folder() / f"{path_or_name}.yaml"
    path = Path(path_or_name).expanduser()
    if path.exists():
        return path
    close = get_close_matches(str(path_or_name), shipped, n=1)
    hint = f"did you mean {close[0]}?" if close else f"shipped devices: {', '.join(shipped)}"
    raise DeviceError((Problem(str(path_or_name), 0, 0, "", f"no such device or file; {hint}"),))


@lru_cache(maxsize=1)
def _validator() -> Any:
    """Return the validator of device profiles."""
    return validator_of(device_schema())


@dataclass(slots=True)
class _Builder:
    """Turns a tree that fits the schema into a profile; notes each figure's origin and what does not fit."""

    origins: dict[str, Origin] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _froms: list[tuple[At, str]] = field(default_factory=list)

    def profile(self, tree: Mapping[str, Any]) -> DeviceProfile:
        """Return the profile in ``tree``, with the steps of old power profiles less what all cores share."""
        plain = {key: value for key, value in tree.items() if key not in ("version", "processors")}
        built = self._value(DeviceProfile, {**plain, "processors": []}, ())
        assert isinstance(built, DeviceProfile)
        self._check_references(built.references)
        processors = tuple(self._processors(built, tree["processors"]))
        return replace(built, cpu=_without_shared(built.cpu), processors=processors, origins=self.origins)

    def _value(self, kind: Any, tree: Any, at: At) -> Any:
        """Return ``tree`` as what a field's type asks for."""
        options = [option for option in get_args(kind) if option is not NoneType]
        if is_dataclass(kind):
            return self._record(kind, tree, at)
        if kind in (int, float):
            return _number(self._figure(tree, at))
        if NoneType in get_args(kind):
            return self._value(options[0], tree, at)
        if get_origin(kind) is tuple and options[0] in (int, float):
            return tuple(_number(item) for item in self._figure(tree, at))
        if get_origin(kind) is tuple:
            return tuple(self._value(options[0], item, (*at, index)) for index, item in enumerate(tree))
        return tree

    def _record(self, kind: Any, tree: Mapping[str, Any], at: At) -> Any:
        """Return a dataclass; fields without a key keep their default."""
        given = [one for one in fields(kind) if one.name in tree]
        return kind(**{one.name: self._value(one.type, tree[one.name], (*at, one.name)) for one in given})

    def _figure(self, tree: Mapping[str, Any], at: At) -> Any:
        """Return a figure's number or numbers and note its origin."""
        source = next(one for one in Source if one in tree)
        self.origins[spell(at)] = Origin(source, tree["from"], tree.get("note", ""))
        self._froms.append(((*at, "from"), tree["from"]))
        return tree[source]

    def _check_references(self, references: Mapping[str, str]) -> None:
        """Note figures whose reference does not exist, and references that no figure uses."""
        for at, name in self._froms:
            if name not in references:
                self.findings.append((at, False, f"no such reference{nearest(name, list(references))}"))
        used = {name for _, name in self._froms}
        for name in references:
            if name not in used:
                self.findings.append((("references", name), True, "no figure uses this reference"))

    def _processors(self, profile: DeviceProfile, names: list[str]) -> Iterator[Processor]:
        """Yield the processors called ``cluster:first-last``, ``gpu`` or ``npu``."""
        for index, name in enumerate(names):
            processor = _accelerator(profile, name) or _core_set(profile, name)
            if processor is not None:
                yield processor
            else:
                known = ", ".join(f"{one.name}:{_span(one.cores)}" for one in profile.cpu.clusters)
                message = f"neither cores of one cluster ({known}) nor a gpu or npu described here"
                self.findings.append((("processors", index), False, message))


def _accelerator(profile: DeviceProfile, name: str) -> Processor | None:
    """Return the processor for ``gpu`` or ``npu`` if the device has one."""
    found = {"gpu": profile.gpu, "npu": profile.npu}.get(name)
    return None if found is None else Processor(name, name, (), 1, provider=found.provider)


def _core_set(profile: DeviceProfile, name: str) -> Processor | None:
    """Return the processor for a name such as ``cpu-big:4-7`` if those cores are in that cluster."""
    cluster_name, _, span = name.partition(":")
    first, _, last = span.partition("-")
    cores = tuple(range(int(first), int(last or first) + 1)) if first.isdigit() else ()
    for cluster in profile.cpu.clusters:
        if cluster.name == cluster_name and cores and set(cores) <= set(cluster.cores):
            return Processor(name, "cpu", cores, len(cores))
    return None


def _span(cores: tuple[int, ...]) -> str:
    """Return ``4-7`` for a run of cores."""
    return f"{cores[0]}-{cores[-1]}" if len(cores) > 1 else str(cores[0])


def _without_shared(cpu: Cpu) -> Cpu:
    """Return the CPU with steps above what is drawn once, whether the file's steps contain that or not."""
    if not cpu.whole_cpu_steps:
        return cpu
    clusters = tuple(
        replace(one, core_ma=tuple(round(ma - cpu.active_ma - one.cluster_ma, 6) for ma in one.core_ma))
        for one in cpu.clusters
    )
    return replace(cpu, clusters=clusters)


def _number(value: float | None) -> float:
    """Return a number; nothing, in a list of thresholds, is one that is never reached."""
    return inf if value is None else value
