"""A checked document -> the domain's ``Policy``: a plain mapping of names and units, no checks left."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

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
    TaskSettings,
    ThermalGoal,
    WhenImpossible,
    Worth,
)
from trimtab.domain.quantities import NS_PER_MS, UJ_PER_MJ
from trimtab.domain.settings import apply
from trimtab.policy.scalars import day_time_s, duration_ns, fraction, size_bytes, usd, yes_or_no
from trimtab.policy.strategy import strategy_text

Document = Mapping[str, Any]

APP_RULE: Final = "app "
"""Begins the names of the rules that the section ``apps`` stands for."""
DAYS: Final[Mapping[str, tuple[int, ...]]] = {
    **{name: (index,) for index, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))},
    "weekdays": (0, 1, 2, 3, 4),
    "weekend": (5, 6),
}


def build_policy(document: Document) -> Policy:
    """Return the policy a document describes; it must have passed the schema and the cross checks."""
    queue = document.get("queue", {})
    schedules = {
        name.strip(): Schedule(name.strip(), _spans(given))
        for name, given in document.get("schedules", {}).items()
    }
    policy = Policy(
        name=document["name"].strip(),
        description=document.get("description", "").strip(),
        strategy=strategy_text(document.get("strategy", "value")),
        defaults=apply(Settings(), [_change(document.get("defaults", {}))]),
        tasks=tuple(
            TaskSettings(task.strip(), _change(change)) for task, change in document.get("tasks", {}).items()
        ),
        battery=_battery(document.get("battery", {})),
        memory=_memory(document.get("memory", {})),
        thermal=ThermalGoal(float(document["thermal"]["limit_c"])) if "thermal" in document else None,
        money=money_goal(document["money"]) if "money" in document else None,
        rules=(
            *(_app(app.strip(), change) for app, change in document.get("apps", {}).items()),
            *(_rule(rule, schedules) for rule in document.get("rules", ())),
        ),
    )
    return replace(policy, queue_limit=int(queue["limit"])) if queue else policy


def _app(pattern: str, change: Document) -> Rule:
    """Return what holds for some apps: a rule that comes before those of the document."""
    return Rule(APP_RULE + pattern, Condition(apps=(pattern,)), _change(change))


def _rule(rule: Document, schedules: Mapping[str, Schedule]) -> Rule:
    """Return one rule."""
    return Rule(rule["name"].strip(), _condition(rule["when"], schedules), _change(rule["then"]))


def _change(settings: Document) -> Change:
    """Return the settings a document gives, each in the domain's unit."""
    values: dict[str, Any] = {}
    for key, given in settings.items():
        name, convert = _SETTINGS[key]
        values[name] = convert(given)
    return Change(**values)


def _condition(condition: Document, schedules: Mapping[str, Schedule]) -> Condition:
    """Return a condition and those inside it."""
    values: dict[str, Any] = {}
    for key, given in condition.items():
        name, convert = _CONDITIONS[key]
        if name in _INNER:
            values[name] = tuple(_condition(part, schedules) for part in _listed(given))
        elif name == "schedules":
            values[name] = tuple(schedules[one.strip()] for one in _listed(given))
        else:
            values[name] = convert(given)
    return Condition(**values)


def _listed(given: Any) -> list[Any]:
    """Return a list, also where one thing stands for it."""
    return given if isinstance(given, list) else [given]


def _spans(given: Any) -> tuple[Span, ...]:
    """Return when a schedule runs."""
    return tuple(
        Span(
            days=tuple(sorted({day for name in _listed(one.get("days", [])) for day in DAYS[name]})),
            start_s=day_time_s(one["from"]) if "from" in one else 0,
            end_s=day_time_s(one["to"]) if "to" in one else 0,
        )
        for one in _listed(given)
    )


def _range(convert: Callable[[Any], float]) -> Callable[[Document], Range]:
    """Return a function that reads a range whose ends ``convert`` reads."""
    return lambda given: Range(**{end: convert(value) for end, value in given.items()})


def _span(given: Document) -> DayTime:
    """Return a span of the day."""
    return DayTime(day_time_s(given["from"]), day_time_s(given["to"]))


def _after_deadline(given: Any) -> AfterDeadline:
    """Return what a late answer is worth."""
    if isinstance(given, str):
        return AfterDeadline()
    return AfterDeadline(Worth(given["worth"]), round(given["until_ms"] * NS_PER_MS))


def _filter(given: Document) -> Filter:
    """Return which names are allowed and denied."""
    return Filter(**{side: _patterns(value) for side, value in given.items()})


def _patterns(given: Any) -> tuple[str, ...]:
    """Return the patterns of a list, or of one that stands for a list."""
    return tuple(pattern.strip() for pattern in _listed(given))


def _battery(given: Document) -> BatteryGoal:
    """Return what must be left in the battery."""
    return BatteryGoal(
        reserve_frac=fraction(given.get("reserve", 0)),
        last_until_s=day_time_s(given["last_until"]) if "last_until" in given else None,
        last_for_ns=duration_ns(given["last_for"]) if "last_for" in given else None,
        below_reserve=BelowReserve(given.get("below_reserve", BelowReserve.CHEAPEST)),
        power_budget_mw=float(given["power_budget_mw"]) if "power_budget_mw" in given else None,
    )


def _memory(given: Document) -> MemoryGoal:
    """Return what loaded variants may hold."""
    return MemoryGoal(
        limit_bytes=size_bytes(given["limit"]) if "limit" in given else None,
        keep_available_bytes=size_bytes(given.get("keep_available", 0)),
    )


def money_goal(given: Document) -> MoneyGoal:
    """Return what servers may charge."""
    return MoneyGoal(
        budget_usd=usd(given["budget"]),
        last_until_s=day_time_s(given["last_until"]) if "last_until" in given else None,
        last_for_ns=duration_ns(given["last_for"]) if "last_for" in given else None,
    )


_SETTINGS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "latency_budget_ms": ("latency_budget_ns", lambda ms: round(ms * NS_PER_MS)),
    "min_accuracy": ("min_accuracy_frac", fraction),
    "max_energy_mj": ("max_energy_uj", lambda mj: float(mj * UJ_PER_MJ)),
    "weight": ("weight", float),
    "energy_price_per_j": ("energy_price_per_j", float),
    "energy_price_factor": ("energy_price_factor", float),
    "memory_price_per_mib": ("memory_price_per_mib", float),
    "latency_price_per_s": ("latency_price_per_s", float),
    "deadline_confidence": ("deadline_confidence", fraction),
    "give_up": ("give_up", lambda goals: tuple(Goal(goal) for goal in goals)),
    "when_impossible": ("when_impossible", WhenImpossible),
    "variants": ("variants", _filter),
    "processors": ("processors", _filter),
    "after_deadline": ("after_deadline", _after_deadline),
    "allow_remote": ("allow_remote", yes_or_no),
    "money_price_per_usd": ("money_price_per_usd", float),
}
"""For each key of settings in a document: the domain's field and how to convert to its unit."""

_CONDITIONS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "battery": ("battery_frac", _range(fraction)),
    "temperature_c": ("temperature_c", _range(float)),
    "memory_available": ("memory_available_bytes", _range(size_bytes)),
    "cpu_load": ("cpu_load_frac", _range(fraction)),
    "charging": ("charging", yes_or_no),
    "time": ("time", _span),
    "app": ("apps", _patterns),
    "task": ("tasks", _patterns),
    "schedule": ("schedules", _listed),
    "any": ("any_of", _listed),
    "not": ("none_of", _listed),
}
_INNER: Final = ("any_of", "none_of")
"""For each key of a condition in a document: the domain's field and how to convert to its unit."""
