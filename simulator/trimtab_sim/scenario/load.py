"""Read a scenario: text, parse, check, build. All problems come in one ``ScenarioError``."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from trimtab.policy.document import parse_document
from trimtab.policy.errors import PolicyError, Problem
from trimtab.policy.load import read_policy_text
from trimtab.policy.structure import MAX_PROBLEMS, findings_of, validator_of
from trimtab_sim.scenario.build import build_scenario
from trimtab_sim.scenario.checks import cross_findings
from trimtab_sim.scenario.model import Document, Scenario, ScenarioError

SCHEMA = Path(__file__).with_name("scenario.schema.json")


def load_scenario_file(path: str | Path) -> Scenario:
    """Return the scenario in a file; raise ``ScenarioError``, also when the file cannot be read."""
    try:
        return load_scenario(read_policy_text(path), str(path))
    except PolicyError as error:
        raise ScenarioError(error.problems) from error


def load_scenario(text: str, name: str = "<string>") -> Scenario:
    """Return the scenario in ``text``; raise ``ScenarioError`` with every problem, placed in file ``name``."""
    try:
        root, problems = parse_document(text, name, "scenario")
    except PolicyError as error:
        raise ScenarioError(error.problems) from error
    document = Document(name, root)
    data = root.plain()
    found = findings_of(_validator(), data)
    spoilt = {path for path, _, _ in found}
    found += [finding for finding in cross_findings(data) if finding[0] not in spoilt]
    problems += tuple(document.problem(path, message, at_key) for path, at_key, message in found)
    refuse(problems)
    return build_scenario(document)


def refuse(problems: tuple[Problem, ...]) -> None:
    """Raise ``ScenarioError`` with these problems in the order of the document; do nothing without any."""
    if problems:
        ordered = sorted(set(problems), key=lambda problem: (problem.line, problem.column, problem.message))
        raise ScenarioError(ordered[:MAX_PROBLEMS])


def is_duration(text: str) -> bool:
    """Return whether text is a duration as documents spell it."""
    return re.fullmatch(schema()["$defs"]["duration"]["pattern"].strip("^$"), text) is not None


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """Return the JSON Schema of scenarios."""
    loaded: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return loaded


@lru_cache(maxsize=1)
def _validator() -> Any:
    return validator_of(schema())
