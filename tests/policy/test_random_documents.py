"""Documents drawn from the schema load; documents broken at random raise nothing but ``PolicyError``."""

import contextlib
import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.domain.device import DeviceState
from trimtab.domain.settings import resolve
from trimtab.policy import PolicyError, load_policy, resolve_name, shipped_policy_names
from trimtab.policy.structure import schema

DEFINITIONS = schema()["$defs"]
NAMES = st.sampled_from(["a", "int8-*", "cpu?", "x[!ab]", "org.example.app", "no", "22:00", "1"])
BALANCED = resolve_name("balanced").read_text(encoding="utf-8")
MAX_NESTED = 2
Values = st.SearchStrategy[Any]


def ordered(name: str, pairs: list[tuple[Any, Any]]) -> Values:
    """Draw ranges some reading can lie in."""
    pair = st.sampled_from(pairs)
    both = pair.map(lambda ends: {"above": ends[0], "below": ends[1]})
    return both | pair.map(lambda ends: {"above": ends[0]}) | pair.map(lambda ends: {"below": ends[1]})


# What the cross checks ask for beyond the structure.
SPECIAL: dict[str, Values] = {
    "fraction_range": ordered("fraction", [(0, "50 %"), ("10 %", 0.9), (0.2, 1)]),
    "celsius_range": ordered("celsius", [(0, 1), (-20.5, 300)]),
    "size_range": ordered("size", [(0, "1 KiB"), ("1kB", 2**40)]),
    "schedule_names": st.sampled_from(["a", ["a", "on"]]),
    "schedule": st.sampled_from([{"days": ["mon", "weekend"]}, [{"from": "22:00", "to": "7:00"}]]),
    "time_span": st.sampled_from([{"from": "22:00", "to": "7:00"}, {"from": "00:00", "to": "23:59"}]),
    "duration": st.sampled_from(["8h", "1.5 min", "1d 2h"]),
    "patterns": NAMES | st.lists(NAMES, min_size=1, max_size=4, unique=True),
    "filter": st.sampled_from([{"allow": "a*"}, {"deny": ["b", "c"]}, {"allow": ["*"], "deny": "x"}]),
    "strategy_rule": st.sampled_from(
        [
            {"name": "mcdnn"},
            {"name": "tiers", "above": {"50 %": "a", "0.25": "b*"}, "else": "c"},
            {"name": "band", "rule": "heft", "variant": "int8"},
            {"name": "deepx", "error": "2.5 %"},
            {"name": "random", "seed": 3},
        ]
    ),
    "battery_goal": st.sampled_from(
        [
            {"reserve": 0.1},
            {"last_for": "8h"},
            {"reserve": "5 %", "last_until": "1:00", "below_reserve": "reject"},
        ]
    ),
    "money": st.sampled_from([0, 0.5, "0.05 USD", "12USD"]),
    "money_goal": st.sampled_from(
        [{"budget": 1}, {"budget": "0.05 USD", "last_for": "8h"}, {"budget": 0.5, "last_until": "0:00"}]
    ),
}  # fmt: skip


def drawn(part: dict[str, Any], depth: int = 0) -> Values:
    """Return a strategy for values a subschema allows; conditions nest ``MAX_NESTED`` deep."""
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[1]
        return SPECIAL[name] if name in SPECIAL else drawn(DEFINITIONS[name], depth + (name == "condition"))
    if "const" in part:
        return st.just(part["const"])
    if "enum" in part:
        return st.sampled_from(part["enum"])
    if "anyOf" in part:
        return st.one_of(*(drawn(option, depth) for option in part["anyOf"]))
    if "if" in part:
        return drawn(part["then"], depth) | drawn(part["else"], depth)
    if part["type"] == "object":
        return drawn_mapping(part, depth)
    if part["type"] == "array":
        least = part.get("minItems", 0)
        unique = json.dumps if part.get("uniqueItems") else None
        return st.lists(drawn(part["items"], depth), min_size=least, max_size=3, unique_by=unique)
    return drawn_scalar(part)


def drawn_mapping(part: dict[str, Any], depth: int) -> Values:
    """Draw a mapping; an empty one becomes the schema's example where it may not be empty."""
    if part.get("patternProperties"):
        (inner,) = part["patternProperties"].values()
        return st.dictionaries(st.sampled_from(["a", "on", "1"]), drawn(inner, depth), max_size=3)
    inner = {
        name: drawn(sub, depth)
        for name, sub in part["properties"].items()
        if depth < MAX_NESTED or name not in ("any", "not")
    }
    required = {name: inner.pop(name) for name in part.get("required", ())}
    mapping = st.fixed_dictionaries(required, optional=inner)
    example = part["examples"][0] if part.get("minProperties") else {}
    return mapping.map(lambda values: values or example)


def drawn_scalar(part: dict[str, Any]) -> Values:
    """Draw a number or text."""
    low, high = part.get("minimum"), part.get("maximum")
    if part["type"] == "integer":
        return st.integers(low, high)
    if part["type"] == "number":
        open_low = part.get("exclusiveMinimum")
        return st.floats(
            low if open_low is None else 0.001,
            part.get("exclusiveMaximum", high),
            exclude_max="exclusiveMaximum" in part,
        )
    if "pattern" in part:
        most = part.get("maxLength", 10_000)
        return st.from_regex(part["pattern"]).filter(lambda text: len(text) <= most)
    return st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a document; rules get different names."""
    document: dict[str, Any] = draw(drawn(schema()))
    document["schedules"] = {"a": {"days": ["mon"]}, "on": {"from": "1:00", "to": "2:00"}}
    for index, rule in enumerate(document.get("rules", ())):
        rule["name"] = f"rule {index}"
    return document


class Quoting(yaml.SafeDumper):
    """Quotes every text: what YAML 1.1 takes for text may be a number in YAML 1.2, such as 08."""


Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


@settings(max_examples=150, deadline=None)
@given(documents(), st.booleans())
def test_documents_drawn_from_the_schema_load(document: dict[str, Any], as_json: bool) -> None:
    text = json.dumps(document) if as_json else yaml.dump(document, Dumper=Quoting, allow_unicode=True)
    policy = load_policy(text)
    assert len(policy.rules) == len(document.get("apps", ())) + len(document.get("rules", ()))
    resolve(policy, DeviceState(battery_frac=0.5), 0, "a", "b")


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """Draw a shipped policy with some text cut, copied or replaced."""
    text = resolve_name(draw(st.sampled_from(shipped_policy_names()))).read_text(encoding="utf-8")
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        junk = st.text(max_size=10) | st.sampled_from(
            ["{", "[", "- ", ": ", "\n", "&a ", "*a", "!x ", "%", "\t", "'"]
        )
        text = text[:start] + draw(junk) + text[end:]
    return text


@settings(max_examples=300, deadline=None)
@given(mutations() | st.text(max_size=200))
def test_broken_text_raises_nothing_but_policy_errors(text: str) -> None:
    with contextlib.suppress(PolicyError):
        load_policy(text)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def places(value: object) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a document."""
    pairs = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    return [place for key, inner in pairs for place in [(value, key), *places(inner)]]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_values_of_any_type_in_any_place_raise_nothing_but_policy_errors(data: st.DataObject) -> None:
    document = yaml.safe_load(BALANCED)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(document)))
        if isinstance(container, list):
            container[key] = data.draw(JUNK)
        else:
            container[data.draw(st.just(key) | st.text(max_size=5))] = data.draw(JUNK)
    with contextlib.suppress(PolicyError):
        load_policy(json.dumps(document))
