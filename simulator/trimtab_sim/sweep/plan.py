"""What a sweep is to run: its document, and one cell for every combination.

A cell is a scenario as text plus which of its policies, strategies and seeds to run. Cells that differ in nothing
else share the text, so that a worker reads families, devices and traces once for all of them.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final

from trimtab import __version__
from trimtab.policy.document import Node, parse_document
from trimtab.policy.errors import Path as Place
from trimtab.policy.errors import PolicyError, Problem, spell
from trimtab.policy.load import read_policy_text
from trimtab.policy.structure import findings_of, nearest, validator_of
from trimtab_sim.scenario import ScenarioError, load_scenario, prepare
from trimtab_sim.scenario.load import schema as scenario_schema

SCHEMA: Final = Path(__file__).with_name("sweep.schema.json")
PER_RUN: Final = ("policy", "strategy")
"""Fields of which a cell picks one; they do not change what a worker has to read."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: ``text`` is its scenario, to be read as ``file``; the rest picks within it.

    ``choices`` names, in the order of the document, what the run differs in.
    """

    number: int
    file: str
    text: str
    policy: int
    strategy: int
    seed: int
    bounds: bool
    choices: tuple[tuple[str, str], ...]
    key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep as its document says.

    ``values`` has for each thing that varies what it takes: the fields of the scenario that change with their
    values, of policies and strategies these themselves. ``labels`` says what to call each.
    """

    name: str
    file: str
    base: Mapping[str, Any]
    scenario: Path
    values: Mapping[str, tuple[Any, ...]]
    labels: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    bounds: bool
    digest: str = field(default="", repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of what cells differ in."""
        return (*self.values, "seed")

    def __len__(self) -> int:
        count = len(self.seeds)
        for values in self.values.values():
            count *= len(values)
        return count

    def cells(self) -> Iterator[Cell]:
        """Yield every cell, the last field of the document changing fastest, and seeds faster still."""
        indices = [range(len(values)) for values in self.values.values()]
        for number, (*picked, seed) in enumerate(product(*indices, self.seeds)):
            chosen = dict(zip(self.values, picked, strict=True))
            text = self._text(chosen)
            choices = (*((name, self.labels[name][at]) for name, at in chosen.items()), ("seed", str(seed)))
            made_of = json.dumps(
                [self.digest, text, [chosen.get(name, 0) for name in PER_RUN], seed, self.bounds]
            )
            yield Cell(
                number, str(self.scenario), text, chosen.get("policy", 0), chosen.get("strategy", 0), seed,
                self.bounds, choices, hashlib.sha256(made_of.encode()).hexdigest()[:24],
            )  # fmt: skip

    def _text(self, chosen: Mapping[str, int]) -> str:
        document = dict(self.base)
        for name, at in chosen.items():
            values = self.values[name]
            document.update({name: list(values)} if name in PER_RUN else values[at])
        return json.dumps(document, ensure_ascii=False)


def load_plan(path: str | Path) -> Plan:
    """Return the sweep in a file, every value tried on its scenario; raise ``ScenarioError`` with what is wrong."""
    try:
        root, problems = parse_document(read_policy_text(path), str(path), "sweep")
    except PolicyError as error:
        raise ScenarioError(error.problems) from error
    data = root.plain()
    validator = validator_of(json.loads(SCHEMA.read_text(encoding="utf-8")))
    found = list(problems)
    found += [
        _problem(path, root, place, text, at_key) for place, at_key, text in findings_of(validator, data)
    ]
    if found or not isinstance(data, dict):
        raise ScenarioError(found)
    plan = _plan(Path(path), root, data)
    _try_each(plan, root)
    return plan


def _problem(path: str | Path, root: Node, place: Place, message: str, at_key: bool = False) -> Problem:
    mark = root.locate(place, at_key)
    return Problem(str(path), mark.line, mark.column, spell(place), message)


def _plan(path: Path, root: Node, data: dict[str, Any]) -> Plan:
    if problems := list(_strange(path, root, data["vary"])):
        raise ScenarioError(problems)
    scenario = path.parent / Path(data["scenario"]).expanduser()
    try:
        base: Any = parse_document(read_policy_text(scenario), str(scenario), "scenario")[0].plain()
    except PolicyError as error:
        told = str(error.problems[0])
        raise ScenarioError([_problem(path, root, ("scenario",), told)]) from error
    first = int(base.get("seed", 0)) if isinstance(base, dict) else 0
    values = {name: tuple(given) for name, given in data["vary"].items()}
    for name in PER_RUN:  # what the scenario itself lists is tried one by one, too
        if name not in values and isinstance(base, dict) and isinstance(base.get(name), list):
            values[name] = tuple(base[name])
    return Plan(
        name=data.get("name", path.stem),
        file=str(path),
        base=base,
        scenario=scenario,
        values={name: tuple(_fields(name, value) for value in given) for name, given in values.items()},
        labels={name: _labels(given) for name, given in values.items()},
        seeds=tuple(range(first, first + data.get("seeds", 1))),
        bounds=data.get("bounds", False),
        digest=_digest([base, data["vary"]], scenario.parent),
    )


def _strange(path: Path, root: Node, vary: Mapping[str, list[Any]]) -> Iterator[Problem]:
    """Yield what no scenario has: fields that vary, and fields that a value sets."""
    known = sorted(set(scenario_schema()["properties"]) - {"version", "seed"})
    for name, values in vary.items():
        places: list[Place] = [
            ("vary", name, at, "set", key)
            for at, one in enumerate(values)
            if _is_set(one)
            for key in one["set"]
        ]
        if name in PER_RUN or not all(_is_set(one) for one in values):
            places = [("vary", name)]
        for place in places:
            key = str(place[-1])
            if key not in known or (key in PER_RUN and len(place) > 2):
                yield _problem(
                    path, root, place, f"scenarios have no such field to vary{nearest(key, known)}", True
                )


def _try_each(plan: Plan, root: Node) -> None:
    """Prepare the scenario once with each value; what is wrong with a value is told at its place."""
    firsts = dict.fromkeys(plan.values, 0)
    for name, values in sorted(plan.values.items(), key=lambda item: item[0] not in PER_RUN):
        for at in range(1 if name in PER_RUN else len(values)):
            try:
                prepare(load_scenario(plan._text({**firsts, name: at}), str(plan.scenario)))
            except ScenarioError as error:
                place = ("vary", name) if name in PER_RUN else ("vary", name, at)
                told = "; ".join(
                    f"{p.path}: {p.message}" if p.path else p.message for p in error.problems[:3]
                )
                raise ScenarioError([_problem(plan.file, root, place, told)]) from error


def _labels(values: tuple[Any, ...]) -> tuple[str, ...]:
    """Return a short name for each value: its label, itself, a file's stem, what it calls itself, else its number."""
    found = [_label(value) or f"#{at + 1}" for at, value in enumerate(values)]
    return tuple(name if found.count(name) == 1 else f"{name}#{at + 1}" for at, name in enumerate(found))


def _label(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        return _label(value[0])
    if isinstance(value, dict):
        return next((_label(value[key]) for key in ("label", "name", "source") if key in value), "")
    return Path(value).name.split(".")[0] or str(value) if isinstance(value, str) else str(value or "")


def _fields(name: str, value: Any) -> Any:
    """Return the fields that a value sets; a policy's or strategy's value itself."""
    bare = value["value"] if isinstance(value, dict) and set(value) == {"label", "value"} else value
    if name in PER_RUN:
        return bare
    return value["set"] if _is_set(value) else {name: bare}


def _is_set(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("set"), dict) and set(value) <= {"label", "set"}


def _digest(document: Any, folder: Path) -> str:
    """Return a digest of this trimtab and of every file that the document names."""
    found = hashlib.sha256(__version__.encode())
    for leaf in sorted(set(_strings(document))):
        path = folder / leaf
        if len(leaf) < 1000 and path.is_file():
            found.update(leaf.encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
