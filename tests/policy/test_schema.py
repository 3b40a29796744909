"""The schema is sound, explains itself, and agrees with the domain and the manual."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from trimtab.domain.policy import BatteryGoal, MemoryGoal, Policy, Settings
from trimtab.policy import PolicyError, build, load_policy, shipped_policies_folder
from trimtab.policy.structure import schema

MANUAL = Path(__file__).parents[2] / "docs" / "policies.md"


def parts(part: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every subschema."""
    if not isinstance(part, dict):
        return
    yield path, part
    for key in ("properties", "patternProperties", "$defs"):
        for name, inner in part.get(key, {}).items():
            yield from parts(inner, f"{path}/{key}/{name}")
    for key in ("items", "if", "then", "else", "additionalProperties"):
        yield from parts(part.get(key), f"{path}/{key}")
    for index, inner in enumerate(part.get("anyOf", ())):
        yield from parts(inner, f"{path}/anyOf/{index}")


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """Return a subschema with what it refers to."""
    target = schema()["$defs"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else {}
    return {**target, **part}


PROPERTIES = [
    (path, name, inner)
    for path, part in parts(schema())
    for name, inner in part.get("properties", {}).items()
]


def test_the_schema_is_valid_against_its_metaschema() -> None:
    Draft202012Validator.check_schema(schema())


def test_every_mapping_refuses_unknown_keys() -> None:
    mappings = [(path, part) for path, part in parts(schema()) if part.get("type") == "object"]
    assert len(mappings) > 10
    assert [path for path, part in mappings if part.get("additionalProperties") is not False] == []


@pytest.mark.parametrize(("path", "name", "part"), PROPERTIES)
def test_every_property_explains_itself_to_editors(path: str, name: str, part: dict[str, Any]) -> None:
    assert part["title"], path
    full = resolved(part)
    assert full["description"].endswith("."), (path, name)
    assert "examples" in full or full.get("type") in ("object", "array"), (path, name)


@pytest.mark.parametrize(("path", "part"), list(parts(schema())))
def test_examples_and_defaults_are_valid(path: str, part: dict[str, Any]) -> None:
    validator = Draft202012Validator({**part, "$defs": schema()["$defs"]})
    for example in [*part.get("examples", ()), *([part["default"]] if "default" in part else [])]:
        assert validator.is_valid(example), (path, example)


def test_patterns_mean_the_same_in_editors() -> None:
    """JavaScript knows no ``\\Z``, and its ``\\d`` is ASCII while Python's is not."""
    patterns = [part["pattern"] for _, part in parts(schema()) if "pattern" in part]
    patterns += [key for _, part in parts(schema()) for key in part.get("patternProperties", ())]
    assert patterns
    for pattern in patterns:
        re.compile(pattern)
        assert not re.search(r"\\[ZAdw]|\(\?P", pattern), pattern
        assert pattern.startswith("^")
        assert pattern.endswith("$")


def test_documented_defaults_are_the_domains() -> None:
    given = {name: part["default"] for _, name, part in PROPERTIES if "default" in part}
    settings = {name: given[name] for name in schema()["$defs"]["settings"]["properties"] if name in given}
    document = {
        "version": 1,
        "name": "x",
        "strategy": given["strategy"],
        "description": given["description"],
        "defaults": settings,
        "battery": {"reserve": given["reserve"], "below_reserve": given["below_reserve"]},
        "memory": {"keep_available": given["keep_available"]},
        "queue": {"limit": schema()["$defs"]["queue_goal"]["properties"]["limit"]["default"]},
    }
    expected = Policy(name="x", defaults=Settings(), battery=BatteryGoal(), memory=MemoryGoal())
    assert load_policy(json.dumps(document)) == expected


def test_schema_and_builder_know_the_same_keys() -> None:
    definitions = schema()["$defs"]
    assert set(definitions["settings"]["properties"]) == set(build._SETTINGS)
    assert set(definitions["condition"]["properties"]) == set(build._CONDITIONS)


@pytest.mark.parametrize(("path", "name", "part"), PROPERTIES)
def test_the_manual_mentions_every_property(path: str, name: str, part: dict[str, Any]) -> None:
    assert f"`{name}`" in MANUAL.read_text(encoding="utf-8"), path


def test_the_schema_file_is_tidy() -> None:
    text = (shipped_policies_folder() / "policy.schema.json").read_text(encoding="utf-8")
    assert text == json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def test_the_manuals_example_of_problems_is_what_is_printed() -> None:
    manual = MANUAL.read_text(encoding="utf-8")
    printed = re.findall(r"^mine\.yaml:.*$", manual, re.MULTILINE)
    start = re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL)[0]
    slipped = start.replace("latency_budget_ms: 50", "latency_budget: 50").replace("15 %", "15")
    with pytest.raises(PolicyError) as caught:
        load_policy(slipped, "mine.yaml")
    assert str(caught.value).splitlines() == printed


def blocks() -> list[str]:
    """Return the manual's YAML examples as whole documents."""
    found = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    return [text if "version:" in text else f"version: 1\nname: example\n{text}" for text in found]


@pytest.mark.parametrize("text", blocks())
def test_examples_in_the_manual_load(text: str) -> None:
    load_policy(text)
