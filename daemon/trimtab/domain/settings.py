"""What a policy means for one request at one moment: pure, deterministic, cheap enough for every request.

Order: defaults, then the task, then each matching rule from first to last. What a request asks for itself
comes on top and is the scheduler's business.
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Any

from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Change, Condition, DayTime, Filter, Policy, Range, Settings

_NAMES = tuple(field.name for field in fields(Change))
_FILTERS = ("variants", "processors")


def matches(condition: Condition, device: DeviceState, local_time_s: int, task: str, app: str) -> bool:
    """Return whether every part of ``condition`` that is given holds."""
    return (
        _readings_hold(condition, device)
        and (condition.charging is None or condition.charging == device.charging)
        and (condition.time is None or _within(condition.time, local_time_s))
        and (not condition.apps or _any_pattern(condition.apps, app))
        and (not condition.tasks or _any_pattern(condition.tasks, task))
        and (
            not condition.any_of
            or any(matches(part, device, local_time_s, task, app) for part in condition.any_of)
        )
        and not any(matches(part, device, local_time_s, task, app) for part in condition.none_of)
    )


def matching_rules(
    policy: Policy, device: DeviceState, local_time_s: int, task: str, app: str
) -> tuple[int, ...]:
    """Return the indices of the rules that apply, in order: a key under which settings may be cached."""
    return tuple(
        [
            index
            for index, rule in enumerate(policy.rules)
            if matches(rule.when, device, local_time_s, task, app)
        ]
    )


def settle(policy: Policy, task: str, rules: tuple[int, ...]) -> Settings:
    """Return the settings of ``task`` once the rules at these indices are applied in order."""
    changes = [entry.change for entry in policy.tasks if entry.task == task]
    changes += [policy.rules[index].then for index in rules]
    return apply(policy.defaults, changes)


def resolve(
    policy: Policy, device: DeviceState, local_time_s: int, task: str, app: str
) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings in force for a request of ``app`` for ``task``, and the names of the rules used."""
    rules = matching_rules(policy, device, local_time_s, task, app)
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


def _readings_hold(condition: Condition, device: DeviceState) -> bool:
    """Return whether all sensor readings lie in their ranges."""
    temperature_mc = device.temperature_mc
    return (
        _inside(condition.battery_frac, device.battery_frac)
        and _inside(condition.temperature_c, None if temperature_mc is None else temperature_mc / 1000)
        and _inside(condition.memory_available_bytes, device.memory_available_bytes)
        and _inside(condition.cpu_load_frac, device.cpu_load_frac)
    )


def _inside(limits: Range | None, reading: float | None) -> bool:
    """Return whether ``reading`` lies strictly inside; a missing reading never does, no range always."""
    if limits is None:
        return True
    if reading is None:
        return False
    above = limits.above is None or reading > limits.above
    return above and (limits.below is None or reading < limits.below)


def _within(span: DayTime, local_time_s: int) -> bool:
    """Return whether the time of day lies in the span, which may run over midnight."""
    if span.start_s <= span.end_s:
        return span.start_s <= local_time_s < span.end_s
    return local_time_s >= span.start_s or local_time_s < span.end_s


def _any_pattern(patterns: tuple[str, ...], name: str) -> bool:
    """Return whether one shell-style pattern matches the whole name, case included."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
