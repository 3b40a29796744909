"""What a policy means for one request at one moment: pure, deterministic, cheap enough for every request.

Order: defaults, then the task, then each matching rule from first to last. What a request asks for itself
comes on top and is the scheduler's business.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from trimtab.domain.device import DAY_S, WEEK_DAYS, DeviceState
from trimtab.domain.policy import (
    Change,
    Condition,
    DayTime,
    Filter,
    Held,
    Policy,
    Range,
    Schedule,
    Settings,
    Span,
)

_NAMES = tuple(field.name for field in fields(Change))
_FILTERS = ("variants", "processors")


def matches(
    condition: Condition, device: DeviceState, moment_s: int, task: str, app: str, held: Collection[Held] = ()
) -> bool:
    """Return whether every part of ``condition`` that is given holds.

    ``moment_s`` is the device's clock (``local_moment_s``), ``held`` what hysteresis makes go on.
    """
    return (
        _readings_hold(condition, device, held)
        and (condition.charging is None or condition.charging == device.charging)
        and (condition.time is None or _within(condition.time, moment_s % DAY_S))
        and (not condition.schedules or _any_runs(condition.schedules, device, moment_s))
        and (not condition.apps or _any_pattern(condition.apps, app))
        and (not condition.tasks or _any_pattern(condition.tasks, task))
        and (
            not condition.any_of
            or any(matches(part, device, moment_s, task, app, held) for part in condition.any_of)
        )
        and not any(matches(part, device, moment_s, task, app, held) for part in condition.none_of)
    )


def held_after(policy: Policy, device: DeviceState, held: Collection[Held]) -> list[Held]:
    """Return which of a policy's ranges with hysteresis hold after a reading, given those that did before."""
    return [
        one for one in _latches(policy) if _inside(one.limits, _reading(device, one.reading), one in held)
    ]


def matching_rules(
    policy: Policy, device: DeviceState, moment_s: int, task: str, app: str, held: Collection[Held] = ()
) -> tuple[int, ...]:
    """Return the indices of the rules that apply, in order: a key under which settings may be cached."""
    return tuple(
        [
            index
            for index, rule in enumerate(policy.rules)
            if matches(rule.when, device, moment_s, task, app, held)
        ]
    )


def settle(policy: Policy, task: str, rules: tuple[int, ...]) -> Settings:
    """Return the settings of ``task`` once the rules at these indices are applied in order."""
    changes = [entry.change for entry in policy.tasks if entry.task == task]
    changes += [policy.rules[index].then for index in rules]
    return apply(policy.defaults, changes)


def resolve(
    policy: Policy, device: DeviceState, moment_s: int, task: str, app: str
) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings in force for a request of ``app`` for ``task``, and the names of the rules used."""
    rules = matching_rules(policy, device, moment_s, task, app)
    return settle(policy, task, rules), tuple([policy.rules[index].name for index in rules])


def apply(settings: Settings, changes: Iterable[Change]) -> Settings:
    """Return ``settings`` with each change laid over it, later ones winning."""
    values: dict[str, Any] = {}
    for change in changes:
        for name in _NAMES:
            value = getattr(change, name)
            if value is None:
                continue
            if name in _FILTERS:
                value = merge(values.get(name, getattr(settings, name)), value)
            values[name] = value
    return replace(settings, **values) if values else settings


def merge(present: Filter, added: Filter) -> Filter:
    """Return both filters as one: denies accumulate, a non-empty allow replaces the earlier one."""
    new = tuple([name for name in added.deny if name not in present.deny])
    return Filter(allow=added.allow or present.allow, deny=present.deny + new)


def allows(names: Filter, name: str) -> bool:
    """Return whether ``name`` may be used: not denied, and allowed where anything is listed as allowed."""
    if _any_pattern(names.deny, name):
        return False
    return not names.allow or _any_pattern(names.allow, name)


_READINGS = ("battery_frac", "temperature_c", "memory_available_bytes", "cpu_load_frac")
"""The fields of a condition that are ranges of a reading."""


def _reading(device: DeviceState, name: str) -> float | None:
    """Return what the sensors told for a field of a condition."""
    if name != "temperature_c":
        return getattr(device, name)  # type: ignore[no-any-return]
    return None if device.temperature_mc is None else device.temperature_mc / 1000


def _readings_hold(condition: Condition, device: DeviceState, held: Collection[Held]) -> bool:
    """Return whether all sensor readings lie in their ranges."""
    for name in _READINGS:
        limits: Range | None = getattr(condition, name)
        if limits is not None:
            holds = _is_latch(limits) and Held(name, limits) in held
            if not _inside(limits, _reading(device, name), holds):
                return False
    return True


def _inside(limits: Range, reading: float | None, held: bool) -> bool:
    """Return whether ``reading`` lies strictly inside, or not yet outside where it was held; a missing one never."""
    if reading is None:
        return False
    if held and limits.until_below is not None:
        low = reading >= limits.until_below
    else:
        low = limits.above is None or reading > limits.above
    if held and limits.until_above is not None:
        return low and reading <= limits.until_above
    return low and (limits.below is None or reading < limits.below)


def _is_latch(limits: Range) -> bool:
    return limits.until_above is not None or limits.until_below is not None


@lru_cache(maxsize=16)
def _latches(policy: Policy) -> tuple[Held, ...]:
    """Return a policy's ranges with hysteresis, each once, in the order of its rules."""
    return tuple(dict.fromkeys(one for rule in policy.rules for one in _latches_in(rule.when)))


def _latches_in(condition: Condition) -> Iterator[Held]:
    for name in _READINGS:
        limits = getattr(condition, name)
        if limits is not None and _is_latch(limits):
            yield Held(name, limits)
    for part in (*condition.any_of, *condition.none_of):
        yield from _latches_in(part)


def _any_runs(schedules: tuple[Schedule, ...], device: DeviceState, moment_s: int) -> bool:
    """Return whether one of the schedules runs; days that no clock tells never come."""
    day = None if device.weekday is None else moment_s // DAY_S % WEEK_DAYS
    return any(_runs(span, day, moment_s % DAY_S) for one in schedules for span in one.spans)


def _runs(span: Span, day: int | None, local_time_s: int) -> bool:
    start_s, end_s = span.start_s, span.end_s
    if start_s != end_s and not _within(DayTime(start_s, end_s), local_time_s):
        return False
    if not span.days or day is None:
        return not span.days
    began = (day - 1) % WEEK_DAYS if start_s > end_s and local_time_s < end_s else day
    return began in span.days


def _within(span: DayTime, local_time_s: int) -> bool:
    """Return whether the time of day lies in the span, which may run over midnight."""
    if span.start_s <= span.end_s:
        return span.start_s <= local_time_s < span.end_s
    return local_time_s >= span.start_s or local_time_s < span.end_s


def _any_pattern(patterns: tuple[str, ...], name: str) -> bool:
    """Return whether one shell-style pattern matches the whole name, case included."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
