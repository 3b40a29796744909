"""What a policy means for one request: conditions, order, filters."""

import pytest

from trimtab.domain.device import DeviceState
from trimtab.domain.policy import (
    Change,
    Condition,
    DayTime,
    Filter,
    Policy,
    Range,
    Rule,
    Settings,
    TaskSettings,
)
from trimtab.domain.settings import allows, apply, matches, matching_rules, merge, resolve, settle

DEVICE = DeviceState(
    battery_frac=0.4,
    charging=False,
    memory_available_bytes=1000,
    cpu_load_frac=0.5,
    temperature_mc=60_000,
)
NOON_S = 12 * 3600
ALWAYS, NEVER = Condition(), Condition(charging=True)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition(), True),
        (Condition(battery_frac=Range(below=0.5)), True),
        (Condition(battery_frac=Range(below=0.4)), False),
        (Condition(battery_frac=Range(above=0.4)), False),
        (Condition(battery_frac=Range(above=0.3)), True),
        (Condition(battery_frac=Range(above=0.3, below=0.5)), True),
        (Condition(temperature_c=Range(above=59.9)), True),
        (Condition(temperature_c=Range(above=60)), False),
        (Condition(memory_available_bytes=Range(below=1001)), True),
        (Condition(memory_available_bytes=Range(below=1000)), False),
        (Condition(cpu_load_frac=Range(above=0.4)), True),
        (Condition(cpu_load_frac=Range(above=0.6)), False),
        (Condition(charging=False), True),
        (Condition(charging=True), False),
        (Condition(time=DayTime(NOON_S, NOON_S + 1)), True),
        (Condition(time=DayTime(NOON_S - 9, NOON_S)), False),
        (Condition(apps=("camera", "org.*")), True),
        (Condition(apps=("camera",)), False),
        (Condition(apps=("ORG.*",)), False),
        (Condition(tasks=("dig*",)), True),
        (Condition(tasks=("faces",)), False),
        (Condition(any_of=(NEVER, ALWAYS)), True),
        (Condition(any_of=(NEVER, NEVER)), False),
        (Condition(none_of=(NEVER, NEVER)), True),
        (Condition(none_of=(NEVER, ALWAYS)), False),
        (Condition(charging=False, battery_frac=Range(above=0.9)), False),
        (Condition(any_of=(Condition(none_of=(NEVER,)),), apps=("org.*",)), True),
    ],
)
def test_a_condition_holds_when_all_its_parts_do(condition: Condition, expected: bool) -> None:
    assert matches(condition, DEVICE, NOON_S, "digits", "org.example") is expected


@pytest.mark.parametrize(
    "condition",
    [
        Condition(battery_frac=Range(below=1.0)),
        Condition(temperature_c=Range(above=-100)),
        Condition(memory_available_bytes=Range(below=1e18)),
        Condition(cpu_load_frac=Range(above=-1)),
    ],
)
def test_a_range_never_holds_without_its_sensor(condition: Condition) -> None:
    assert not matches(condition, DeviceState(), 0, "digits", "")


@pytest.mark.parametrize(
    ("hour", "expected"), [(21, False), (22, True), (23, True), (0, True), (6, True), (7, False)]
)
def test_a_span_runs_over_midnight(hour: int, expected: bool) -> None:
    night = Condition(time=DayTime(22 * 3600, 7 * 3600))
    assert matches(night, DEVICE, hour * 3600, "digits", "") is expected


def test_denies_accumulate_and_an_allow_replaces() -> None:
    first = Filter(allow=("a", "b"), deny=("x",))
    assert merge(first, Filter(deny=("y", "x"))) == Filter(allow=("a", "b"), deny=("x", "y"))
    assert merge(first, Filter(allow=("c",))) == Filter(allow=("c",), deny=("x",))


@pytest.mark.parametrize(
    ("names", "name", "expected"),
    [
        (Filter(), "anything", True),
        (Filter(allow=("int8-*",)), "int8-small", True),
        (Filter(allow=("int8-*",)), "fp32", False),
        (Filter(deny=("fp32",)), "fp32", False),
        (Filter(deny=("fp32",)), "int8", True),
        (Filter(allow=("*",), deny=("fp*",)), "fp32", False),
    ],
)
def test_deny_wins_over_allow(names: Filter, name: str, expected: bool) -> None:
    assert allows(names, name) is expected


def test_defaults_then_task_then_rules_in_order() -> None:
    policy = Policy(
        name="p",
        defaults=Settings(weight=1.0, energy_price_per_j=1.0, variants=Filter(deny=("a",))),
        tasks=(TaskSettings("other", Change(weight=9.0)), TaskSettings("digits", Change(weight=2.0))),
        rules=(
            Rule("one", ALWAYS, Change(energy_price_per_j=2.0, variants=Filter(deny=("b",)))),
            Rule("never", NEVER, Change(energy_price_per_j=99.0)),
            Rule("two", ALWAYS, Change(energy_price_per_j=3.0, variants=Filter(deny=("c",)))),
        ),
    )
    settings, rules = resolve(policy, DEVICE, NOON_S, "digits", "")
    assert rules == ("one", "two")
    assert settings == Settings(weight=2.0, energy_price_per_j=3.0, variants=Filter(deny=("a", "b", "c")))
    assert matching_rules(policy, DEVICE, NOON_S, "digits", "") == (0, 2)
    assert settle(policy, "digits", (0, 2)) == settings


def test_without_changes_the_defaults_are_returned_as_they_are() -> None:
    policy = Policy(name="p")
    assert resolve(policy, DEVICE, 0, "digits", "") == (policy.defaults, ())
    assert apply(policy.defaults, [Change()]) is policy.defaults


def test_zero_and_empty_are_changes_too() -> None:
    changed = apply(Settings(), [Change(weight=0.0, give_up=())])
    assert changed.weight == 0.0
    assert changed.give_up == ()
