"""What a schema cannot say: values that contradict each other, and patterns that cannot be meant."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from trimtab.policy import scalars
from trimtab.policy.build import APP_RULE
from trimtab.policy.errors import Path, shorten
from trimtab.policy.strategy import strategy_findings
from trimtab.policy.structure import Finding, describe, nearest

MIN_LAST_FOR_NS: Final = 10**9
MAX_LAST_FOR_NS: Final = 365 * 86_400 * 10**9
_PATTERN_SETS = re.compile(r"\[[!]?\]?[^\]]*\]")

_Found = tuple[Path, str]


def cross_findings(data: object) -> list[Finding]:
    """Return contradictions within a document, which need not be structurally sound."""
    root = _mapping(data)
    found: list[_Found] = [*_horizon(root, "battery"), *_horizon(root, "money")]
    found += strategy_findings(root.get("strategy"))
    found += _settings(root.get("defaults"), ("defaults",))
    for task, settings in _mapping(root.get("tasks")).items():
        found += _settings(settings, ("tasks", task))
    for app, settings in _mapping(root.get("apps")).items():
        found += _patterns(app, ("apps", app))
        found += _settings(settings, ("apps", app))
    schedules = _mapping(root.get("schedules"))
    for name, spans in schedules.items():
        found += _spans(spans, ("schedules", name))
    found += _rules(_sequence(root.get("rules")), list(schedules))
    return [(path, False, message) for path, message in found]


def _spans(value: object, path: Path) -> Iterator[_Found]:
    """Yield what is wrong with a schedule's spans."""
    places = [(path, value), *(((*path, index), span) for index, span in enumerate(_sequence(value)))]
    for place, span in places:
        if _is_moment(_mapping(span)):
            yield place, "from and to are the same moment; leave both out to mean the whole day"


def _rules(rules: Sequence[Any], schedules: list[str]) -> Iterator[_Found]:
    """Yield what is wrong in and between rules."""
    names: dict[str, int] = {}
    for index, rule in enumerate(map(_mapping, rules)):
        path: Path = ("rules", index)
        name = rule.get("name")
        if isinstance(name, str) and names.setdefault(name.strip(), index) != index:
            yield (*path, "name"), f"rules[{names[name.strip()]}] has this name already"
        if isinstance(name, str) and name.strip().startswith(APP_RULE):
            yield (*path, "name"), f"names that begin with {APP_RULE!r} stand for the section apps"
        yield from _condition(rule.get("when"), (*path, "when"), schedules)
        yield from _settings(rule.get("then"), (*path, "then"))


def _condition(value: object, path: Path, schedules: list[str]) -> Iterator[_Found]:
    """Yield what is wrong in a condition and those inside it."""
    condition = _mapping(value)
    for key, (read, least, most) in _READINGS.items():
        yield from _range(_mapping(condition.get(key)), (*path, key), read, least, most)
    for name in _texts(condition.get("schedule")):
        if name.strip() not in schedules:
            yield (*path, "schedule"), f"there is no schedule {shorten(name)!r}{nearest(name, schedules)}"
    if _is_moment(_mapping(condition.get("time"))):
        yield (*path, "time"), "from and to are the same moment, so this never holds"
    for key in ("app", "task"):
        yield from _patterns(condition.get(key), (*path, key))
    for key in ("any", "not"):
        inner = condition.get(key)
        for index, part in enumerate(_sequence(inner)):
            yield from _condition(part, (*path, key, index), schedules)
        if isinstance(inner, Mapping):
            yield from _condition(inner, (*path, key), schedules)


def _is_moment(span: Mapping[str, Any]) -> bool:
    """Return whether a span ends when it begins."""
    start, end = (_read(scalars.day_time_s, span.get(key)) for key in ("from", "to"))
    return start is not None and start == end


def _range(
    limits: Mapping[str, Any],
    path: Path,
    read: Callable[[Any], float],
    least: float | None,
    most: float | None,
) -> Iterator[_Found]:
    """Yield why no reading can lie in a range."""
    above, below = (_read(read, limits.get(key)) for key in ("above", "below"))
    if above is not None and most is not None and above >= most:
        yield (*path, "above"), f"no reading is above {describe(limits['above'])}, so this never holds"
    if below is not None and least is not None and below <= least:
        yield (*path, "below"), f"no reading is below {describe(limits['below'])}, so this never holds"
    if above is not None and below is not None and above >= below:
        yield path, "above must be less than below: the reading has to lie between them"
    until_above, until_below = (_read(read, limits.get(key)) for key in ("until_above", "until_below"))
    if until_above is not None and below is not None and until_above <= below:
        yield (*path, "until_above"), "until_above must be more than below"
    if until_below is not None and above is not None and until_below >= above:
        yield (*path, "until_below"), "until_below must be less than above"
    if until_above is not None and most is not None and until_above >= most:
        yield (
            (*path, "until_above"),
            f"no reading is above {describe(limits['until_above'])}, so this never ends",
        )
    if until_below is not None and least is not None and until_below <= least:
        yield (
            (*path, "until_below"),
            f"no reading is below {describe(limits['until_below'])}, so this never ends",
        )


def _settings(value: object, path: Path) -> Iterator[_Found]:
    """Yield what is wrong in settings beyond their structure."""
    settings = _mapping(value)
    for key in ("variants", "processors"):
        names = _mapping(settings.get(key))
        for side in ("allow", "deny"):
            yield from _patterns(names.get(side), (*path, key, side))
        allowed, denied = (_texts(names.get(side)) for side in ("allow", "deny"))
        for text in dict.fromkeys(allowed):
            if text in denied:
                yield (*path, key), f"{shorten(text)!r} is both allowed and denied; deny would win"


def _horizon(root: Mapping[str, Any], goal: str) -> Iterator[_Found]:
    """Yield what is wrong with the horizon of a budget, of energy or of money."""
    horizon = _read(scalars.duration_ns, _mapping(root.get(goal)).get("last_for"))
    if horizon is not None and not MIN_LAST_FOR_NS <= horizon <= MAX_LAST_FOR_NS:
        yield (goal, "last_for"), "expected a duration from 1 s to 365 d"


def _patterns(value: object, path: Path) -> Iterator[_Found]:
    """Yield what is wrong with a pattern or a list of them."""
    items = [(path, value)] if isinstance(value, str) else []
    items += [((*path, index), item) for index, item in enumerate(_sequence(value)) if isinstance(item, str)]
    for place, pattern in items:
        if message := pattern_fault(pattern):
            yield place, message
    for text, count in Counter(_texts(value)).items():
        if count > 1:
            yield path, f"{shorten(text)!r} stands here twice"


def pattern_fault(pattern: str) -> str:
    """Return why a shell-style pattern cannot mean what it says; empty when it can."""
    if "[^" in pattern:
        return "[^...] is not shell style; write [!...] for none of these"
    if "[" in _PATTERN_SETS.sub("", pattern):
        return f"[ without ] in {shorten(pattern)!r}"
    if re.search(r"\{[^}]*,[^}]*\}", pattern):
        return "braces are not understood; write a list of patterns"
    if "**" in pattern:
        return "** means no more than *; write *"
    return ""


def _read(read: Callable[[Any], float], value: object) -> float | None:
    """Return a scalar's number, or ``None`` where the structure is not sound (reported elsewhere)."""
    if value is None or isinstance(value, bool):
        return None
    with suppress(ValueError, ArithmeticError, TypeError, KeyError, AttributeError):
        return read(value)
    return None


def _number(value: Any) -> float:
    """Return a plain number."""
    if isinstance(value, str):
        raise TypeError("text is not a number")
    return float(value)


_READINGS: Final[Mapping[str, tuple[Callable[[Any], float], float | None, float | None]]] = {
    "battery": (scalars.fraction, 0.0, 1.0),
    "cpu_load": (scalars.fraction, 0.0, 1.0),
    "memory_available": (scalars.size_bytes, 0.0, None),
    "temperature_c": (_number, None, None),
}


def _texts(value: object) -> list[str]:
    """Return the texts of a pattern or a list of patterns."""
    return [value] if isinstance(value, str) else [item for item in _sequence(value) if isinstance(item, str)]


def _mapping(value: object) -> Mapping[str, Any]:
    """Return ``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    """Return ``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()
