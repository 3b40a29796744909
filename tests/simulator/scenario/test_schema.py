"""The schema explains itself, and the page and the code agree with it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from trimtab_sim.scenario.build import DEFAULTS
from trimtab_sim.scenario.load import schema

PAGE = Path(__file__).parents[3] / "docs" / "scenarios.md"


def parts(part: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every subschema."""
    if not isinstance(part, dict):
        return
    yield path, part
    for key in ("properties", "$defs"):
        for name, inner in part.get(key, {}).items():
            yield from parts(inner, f"{path}/{key}/{name}")
    for key in ("items", "if", "then", "else"):
        yield from parts(part.get(key), f"{path}/{key}")
    for index, inner in enumerate(part.get("anyOf", ())):
        yield from parts(inner, f"{path}/anyOf/{index}")


def keys(part: dict[str, Any]) -> set[str]:
    """Return the names of all properties."""
    return {name for _, inner in parts(part) for name in inner.get("properties", {})}


def test_it_is_a_sound_schema_that_refuses_unknown_keys() -> None:
    Draft202012Validator.check_schema(schema())
    for path, part in parts(schema()):
        if "properties" in part:
            assert part["additionalProperties"] is False, path


def test_each_property_is_explained_and_has_a_valid_example() -> None:
    whole = schema()
    for path, part in parts(whole):
        if "/properties/" not in path or path.rpartition("/")[0].rpartition("/")[2] != "properties":
            continue
        meant = whole["$defs"][part["$ref"].rpartition("/")[2]] | part if "$ref" in part else part
        assert {"title", "description"} <= set(meant), path
        assert meant["description"].endswith("."), path
        validator = Draft202012Validator({**part, "$defs": whole["$defs"]})
        for example in meant.get("examples", ()):
            assert validator.is_valid(example), f"{path}: {example}"
        assert meant.get("examples"), path
        if "default" in part:
            assert validator.is_valid(part["default"]), path


def test_what_the_page_lists_is_what_the_schema_knows() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    assert keys(schema()) <= named


def test_defaults_of_generators_are_those_told() -> None:
    kinds = schema()["$defs"]["arrivals"]["properties"]
    assert set(kinds) == set(DEFAULTS)
    for kind, defaults in DEFAULTS.items():
        told = kinds[kind].get("properties", {})
        assert {name: part["default"] for name, part in told.items() if "default" in part} == defaults, kind
