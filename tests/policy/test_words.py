"""Policies in plain English, and the moments worth telling."""

from dataclasses import fields, replace

import pytest

from trimtab.domain.device import DeviceState, local_moment_s
from trimtab.domain.policy import (
    AfterDeadline,
    BatteryGoal,
    BelowReserve,
    Change,
    Condition,
    DayTime,
    Filter,
    Goal,
    MemoryGoal,
    MoneyGoal,
    Policy,
    Range,
    Rule,
    Schedule,
    Settings,
    Span,
    WhenImpossible,
    Worth,
)
from trimtab.domain.settings import matching_rules
from trimtab.policy import load_policy_file, resolve_name, shipped_policy_names
from trimtab.policy.moments import LEVELS, moments_of
from trimtab.policy.words import change_words, condition_words, goals_words, settings_words

CALM = DeviceState(
    battery_capacity_j=50_000.0, local_time_s=12 * 3600, temperature_mc=25_000, cpu_load_frac=0.1
)
NOTABLE = Settings(
    latency_budget_ns=50_000_000,
    min_accuracy_frac=0.9,
    max_energy_uj=2000.0,
    weight=2.0,
    energy_price_per_j=2.0,
    energy_price_factor=3.0,
    memory_price_per_mib=0.1,
    latency_price_per_s=1.5,
    deadline_confidence=0.99,
    give_up=(Goal.DEADLINE,),
    when_impossible=WhenImpossible.REJECT,
    variants=Filter(allow=("int8-*",), deny=("x",)),
    processors=Filter(deny=("gpu:*",)),
    allow_remote=True,
    money_price_per_usd=3.0,
    after_deadline=AfterDeadline(Worth.LINEAR, 200_000_000),
)


def test_every_setting_has_words_for_what_it_asks_and_for_taking_it_back() -> None:
    for field in fields(Settings):
        value, default = getattr(NOTABLE, field.name), getattr(Settings(), field.name)
        assert value != default, f"{field.name} is not in the example"
        (told,) = settings_words(replace(Settings(), **{field.name: value}), before=Settings())
        assert told
        assert change_words(Change(**{field.name: value})) == [told]
        if default is not None and not isinstance(default, Filter):
            (back,) = change_words(Change(**{field.name: default}))
            assert back
            assert back != told


def test_settings_are_told_with_their_numbers() -> None:
    told = ". ".join(settings_words(NOTABLE))
    for words in (
        "50 ms",
        "90 %",
        "2 mJ",
        "5 mJ cost 1 percent points",
        "99 %",
        "only variants int8-*",
        "gpu:*",
    ):
        assert words in told
    assert "gives up the deadline, never the energy limit or the accuracy floor" in told


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Condition(), "always"),
        (Condition(battery_frac=Range(below=0.2)), "battery below 20 %"),
        (Condition(temperature_c=Range(above=75)), "temperature above 75 C"),
        (Condition(memory_available_bytes=Range(below=64 << 20)), "available memory below 64 MiB"),
        (Condition(cpu_load_frac=Range(above=0.2, below=0.8)), "CPU load between 20 % and 80 %"),
        (Condition(time=DayTime(22 * 3600, 7 * 3600)), "from 22:00 until 07:00"),
        (
            Condition(battery_frac=Range(below=0.2, until_above=0.25)),
            "battery below 20 % (and then until it is above 25 %)",
        ),
        (
            Condition(schedules=(Schedule("work", (Span((0, 1), 8 * 3600, 18 * 3600), Span((5,)))),)),
            "during work (Monday, Tuesday 08:00 to 18:00; Saturday)",
        ),
        (Condition(apps=("a", "b"), charging=False), "not charging, app a or b"),
        (Condition(tasks=("t",), none_of=(Condition(charging=True),)), "task t, not (charging)"),
        (Condition(any_of=(Condition(charging=True), Condition(apps=("a",)))), "(charging) or (app a)"),
    ],
)
def test_conditions_are_told(condition: Condition, words: str) -> None:
    assert condition_words(condition) == words


def test_every_part_of_a_condition_has_words() -> None:
    told = {field.name for field in fields(Condition)}
    from trimtab.policy import words

    assert set(words._CONDITIONS) == told


def test_what_the_device_keeps_is_told() -> None:
    policy = Policy(
        "p", battery=BatteryGoal(0.2, last_until_s=22 * 3600), memory=MemoryGoal(64 << 20, 32 << 20)
    )
    told = ". ".join(goals_words(policy))
    for words in (
        "20 % of the charge must be left at 22:00",
        "serves with the least energy",
        "64 MiB",
        "32 MiB",
    ):
        assert words in told
    hard = replace(
        policy, battery=BatteryGoal(0.1, last_for_ns=8 * 3600 * 10**9, below_reserve=BelowReserve.REJECT)
    )
    assert "refuses requests" in ". ".join(goals_words(hard))
    assert "8 h after" in ". ".join(goals_words(hard))
    daily = replace(policy, money=MoneyGoal(0.5, last_until_s=8 * 3600))
    assert "0.5 dollars a day, counted until 08:00" in ". ".join(goals_words(daily))
    once = replace(policy, money=MoneyGoal(2.0, last_for_ns=7200 * 10**9))
    assert "2 dollars within 2 h" in ". ".join(goals_words(once))


def test_a_plain_policy_is_told_at_four_charges_and_while_charging() -> None:
    moments = moments_of(Policy("p"), CALM)
    assert [m.device.battery_frac for m in moments[:4]] == list(LEVELS)
    assert [len(m.before) for m in moments[:4]] == [0, 1, 2, 3], "the readings on the way down"
    assert [m.device.charging for m in moments] == [False] * 4 + [True]


@pytest.mark.parametrize("name", shipped_policy_names())
def test_every_rule_of_a_shipped_policy_holds_at_some_moment(name: str) -> None:
    policy = load_policy_file(resolve_name(name))
    held = {
        index
        for moment in moments_of(policy, CALM)
        for index in matching_rules(policy, moment.device, moment.device.local_time_s, "", "")
    }
    assert held == set(range(len(policy.rules)))


def test_troubles_are_those_that_rules_speak_of() -> None:
    when = Condition(
        temperature_c=Range(above=70),
        none_of=(
            Condition(memory_available_bytes=Range(below=100)),
            Condition(time=DayTime(23 * 3600, 3600)),
        ),
        any_of=(Condition(cpu_load_frac=Range(above=0.8)),),
    )
    moments = moments_of(Policy("p", rules=(Rule("r", when, Change(weight=2.0)),)), CALM)[5:]
    assert [m.device.temperature_mc for m in moments] == [75_000, 25_000, 25_000, 25_000]
    assert moments[1].device.memory_available_bytes == 50
    assert moments[2].device.cpu_load_frac == pytest.approx(0.9)
    assert moments[3].device.local_time_s == 0, "midnight lies between 23:00 and 01:00"


def test_a_schedule_is_told_in_the_middle_of_its_first_span() -> None:
    schedules = (
        Schedule("late friday", (Span((4,), 22 * 3600, 8 * 3600),)),
        Schedule("sunday", (Span((6,)),)),
        Schedule("lunch", (Span((), 12 * 3600, 13 * 3600),)),
    )
    rules = tuple(Rule(one.name, Condition(schedules=(one,)), Change(weight=2.0)) for one in schedules)
    policy = Policy("p", rules=rules)
    moments = moments_of(policy, replace(CALM, weekday=2))[5:]
    assert [m.title.partition(",")[0] for m in moments] == [f"during {one.name}" for one in schedules]
    for index, moment in enumerate(moments):
        at_s = local_moment_s(moment.device)
        assert index in matching_rules(policy, moment.device, at_s, "", "")
    assert [(m.device.weekday, m.device.local_time_s // 3600) for m in moments] == [(5, 3), (6, 12), (2, 12)]
