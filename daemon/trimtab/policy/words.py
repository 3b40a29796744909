"""A policy in plain English: what settings ask for, when a condition holds, what a goal means."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
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
    MoneyGoal,
    Policy,
    Range,
    Schedule,
    Settings,
    Span,
    WhenImpossible,
    Worth,
)
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S, UJ_PER_MJ

SAMPLE_MJ = 5.0
"""Prices are made tangible by what so much energy costs."""
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_GOALS: Final[Mapping[Goal, str]] = {
    Goal.ENERGY: "the energy limit",
    Goal.ACCURACY: "the accuracy floor",
    Goal.DEADLINE: "the deadline",
}


def settings_words(settings: Settings, before: Settings | None = None) -> list[str]:
    """Return what settings ask for, one phrase each; with ``before`` only what differs from it."""
    found = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if before is None or value != getattr(before, field.name):
            found.append(_SETTINGS[field.name](value))
    return [words for words in found if words]


def change_words(change: Change) -> list[str]:
    """Return what a task or rule changes, one phrase each."""
    given = [(field.name, getattr(change, field.name)) for field in fields(change)]
    return [_SETTINGS[name](value) or _NOTHING[name] for name, value in given if value is not None]


def condition_words(condition: Condition) -> str:
    """Return when a condition holds."""
    return ", ".join(_conditions(condition)) or "always"


def goals_words(policy: Policy) -> list[str]:
    """Return what holds for the device as a whole: battery, memory, queue."""
    memory = policy.memory
    found = [*_battery(policy.battery)]
    if policy.thermal is not None:
        found.append(f"smaller variants keep the hottest sensor below {policy.thermal.limit_c:g} C")
    if policy.money is not None:
        found.append(_money(policy.money))
    if memory.limit_bytes is not None:
        found.append(f"loaded variants hold at most {mib(memory.limit_bytes)}")
    if memory.keep_available_bytes:
        found.append(f"{mib(memory.keep_available_bytes)} of memory stay available to other apps")
    found.append(f"at most {policy.queue_limit} requests wait for one processor")
    return found


def percent(frac: float) -> str:
    """Return a fraction as people write it."""
    return f"{100 * frac:.4g} %"


def clock(time_s: float) -> str:
    """Return a time of day."""
    return f"{int(time_s) // 3600:02}:{int(time_s) % 3600 // 60:02}"


def duration(ns: float) -> str:
    """Return a duration in the unit that reads best."""
    seconds = ns / NS_PER_S
    if seconds < 1.0:
        return f"{ns / NS_PER_MS:.4g} ms"
    if seconds < 120.0:
        return f"{seconds:.4g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200.0 else f"{seconds / 3600:.3g} h"


def mib(count: float) -> str:
    """Return bytes in MiB."""
    return f"{count / (1 << 20):.4g} MiB"


def points(utility: float) -> str:
    """Return utility as accuracy, for a weight of one."""
    return f"{100 * utility:.3g} percent points"


# ---- settings --------------------------------------------------------------------------------------------


def _energy_price(price: float) -> str:
    if price == 0.0:
        return ""
    return f"a joule costs at least {price:g}, so {SAMPLE_MJ:g} mJ cost {points(price * SAMPLE_MJ / 1e3)}"


def _factor(factor: float) -> str:
    if factor == 0.0:
        return "energy is free"
    return "" if factor == 1.0 else f"energy costs {factor:g} times as much"


def _after_deadline(after: AfterDeadline) -> str:
    if after.worth is Worth.NONE:
        return ""
    how = "evenly" if after.worth is Worth.LINEAR else "fast at first"
    return f"a late answer is worth less and less, {how}, and nothing {duration(after.until_ns)} after its deadline"


def _give_up(goals: tuple[Goal, ...]) -> str:
    if not goals:
        return "no goal is ever given up"
    told = [_GOALS[goal] for goal in goals]
    kept = [words for goal, words in _GOALS.items() if goal not in goals]
    text = f"when no candidate meets every goal, gives up {', then '.join(told)}"
    return text + (f", never {' or '.join(kept)}" if kept else "")


def _impossible(what: WhenImpossible) -> str:
    return (
        "" if what is WhenImpossible.SERVE else "refuses at once what no candidate serves with every goal met"
    )


def _filter(kind: str) -> Callable[[Filter], str]:
    def told(names: Filter) -> str:
        parts = [f"only {kind} {_either(names.allow)}"] if names.allow else []
        parts += [f"never {kind} {_either(names.deny)}"] if names.deny else []
        return ", ".join(parts)

    return told


_SETTINGS: Final[Mapping[str, Callable[[Any], str]]] = {
    "latency_budget_ns": lambda ns: f"a request that names no budget has {duration(ns)}",
    "min_accuracy_frac": lambda frac: f"accuracy must be at least {percent(frac)}" if frac else "",
    "max_energy_uj": lambda uj: "" if uj is None else f"one answer may use at most {uj / UJ_PER_MJ:.4g} mJ",
    "weight": lambda weight: "" if weight == 1.0 else f"accuracy counts {weight:g} times",
    "energy_price_per_j": _energy_price,
    "energy_price_factor": _factor,
    "memory_price_per_mib": lambda price: (
        f"a MiB costs up to {price:g} while memory is short" if price else ""
    ),
    "latency_price_per_s": lambda price: f"10 ms of latency cost {points(price / 100)}" if price else "",
    "deadline_confidence": lambda frac: f"an answer must be {percent(frac)} sure to be on time",
    "after_deadline": _after_deadline,
    "give_up": _give_up,
    "when_impossible": _impossible,
    "variants": _filter("variants"),
    "processors": _filter("processors"),
    "allow_remote": lambda allowed: "requests may leave the device for a server" if allowed else "",
    "money_price_per_usd": lambda price: f"a dollar costs at least {price:g}" if price else "",
}
"""For each field of settings: its value in words; nothing where it asks for nothing."""

_NOTHING: Final[Mapping[str, str]] = {
    "min_accuracy_frac": "no accuracy floor",
    "weight": "accuracy counts once",
    "energy_price_per_j": "energy has no price of its own",
    "energy_price_factor": "energy costs what it costs",
    "memory_price_per_mib": "memory has no price",
    "latency_price_per_s": "latency has no price",
    "when_impossible": "serves what it can where no candidate meets every goal",
    "after_deadline": "a late answer is worth nothing",
    "allow_remote": "requests stay on the device",
    "money_price_per_usd": "money has no price of its own",
}
"""The words of a change to what asks for nothing."""


# ---- conditions ------------------------------------------------------------------------------------------


def _conditions(condition: Condition) -> Iterator[str]:
    for field in fields(condition):
        value = getattr(condition, field.name)
        if value is not None and value != ():
            yield _CONDITIONS[field.name](value)


def _range(what: str, shown: Callable[[float], str]) -> Callable[[Range], str]:
    def told(limits: Range) -> str:
        if limits.above is None:
            text = f"{what} below {shown(limits.below or 0.0)}"
        elif limits.below is None:
            text = f"{what} above {shown(limits.above)}"
        else:
            text = f"{what} between {shown(limits.above)} and {shown(limits.below)}"
        ends = [f"above {shown(limits.until_above)}"] if limits.until_above is not None else []
        ends += [f"below {shown(limits.until_below)}"] if limits.until_below is not None else []
        return f"{text} (and then until it is {_either(tuple(ends))})" if ends else text

    return told


def _span(span: DayTime) -> str:
    return f"from {clock(span.start_s)} until {clock(span.end_s)}"


def _schedule(schedule: Schedule) -> str:
    return f"{schedule.name} ({'; '.join(_days(span) for span in schedule.spans)})"


def _days(span: Span) -> str:
    days = ", ".join(DAYS[day] for day in span.days)
    hours = f"{clock(span.start_s)} to {clock(span.end_s)}" if span.start_s != span.end_s else ""
    return " ".join(part for part in (days, hours) if part) or "always"


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(names)


_CONDITIONS: Final[Mapping[str, Callable[[Any], str]]] = {
    "battery_frac": _range("battery", percent),
    "temperature_c": _range("temperature", lambda degrees: f"{degrees:g} C"),
    "memory_available_bytes": _range("available memory", mib),
    "cpu_load_frac": _range("CPU load", percent),
    "charging": lambda charging: "charging" if charging else "not charging",
    "time": _span,
    "schedules": lambda schedules: f"during {_either(tuple(map(_schedule, schedules)))}",
    "apps": lambda apps: f"app {_either(apps)}",
    "tasks": lambda tasks: f"task {_either(tasks)}",
    "any_of": lambda parts: " or ".join(f"({condition_words(part)})" for part in parts),
    "none_of": lambda parts: ", ".join(f"not ({condition_words(part)})" for part in parts),
}
"""For each field of a condition: when it holds."""


def _money(goal: MoneyGoal) -> str:
    if goal.last_until_s is not None:
        return (
            f"servers may charge {goal.budget_usd:g} dollars a day, counted until {clock(goal.last_until_s)}"
        )
    text = f"servers may charge {goal.budget_usd:g} dollars"
    return text + ("" if goal.last_for_ns is None else f" within {duration(goal.last_for_ns)}")


def _battery(goal: BatteryGoal) -> Iterator[str]:
    kept = f"{percent(goal.reserve_frac)} of the charge" if goal.reserve_frac else "some charge"
    if goal.last_until_s is not None:
        yield f"{kept} must be left at {clock(goal.last_until_s)}"
    elif goal.last_for_ns is not None:
        yield f"{kept} must be left {duration(goal.last_for_ns)} after the policy came into force"
    if goal.reserve_frac:
        cheapest = goal.below_reserve is BelowReserve.CHEAPEST
        does = "serves with the least energy" if cheapest else "refuses requests"
        yield f"at {percent(goal.reserve_frac)} of the charge, the reserve, {does}"
    if goal.power_budget_mw is not None:
        yield f"runs and loads take {goal.power_budget_mw:g} mW on average at most"
