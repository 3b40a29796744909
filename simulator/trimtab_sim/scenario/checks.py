"""What the schema cannot say about a scenario: values that contradict or need each other."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from trimtab.policy.checks import pattern_fault
from trimtab.policy.errors import Path, shorten
from trimtab.policy.scalars import duration_ns, fraction
from trimtab.policy.structure import Finding, nearest
from trimtab_sim.traces import COLUMNS

_Found = tuple[Path, str]
MAX_DURATION_NS = 5 * 365 * 86_400 * 10**9


def cross_findings(data: object) -> list[Finding]:
    """Return contradictions within a document, which need not be structurally sound."""
    root = _mapping(data)
    found: list[_Found] = [*_workload(root), *_battery(root), *_contention(_sequence(root.get("contention")))]
    found += [
        *_duration(root.get("duration"), ("duration",)),
        *_processors(_sequence(root.get("processors"))),
    ]
    found += [*_background(_sequence(root.get("background"))), *_families(root.get("family"))]
    found += [*_twice(root.get("policy"), ("policy",)), *_twice(root.get("strategy"), ("strategy",))]
    return [(path, False, message) for path, message in found]


def _workload(root: Mapping[str, Any]) -> Iterator[_Found]:
    """Yield what is wrong in and between streams."""
    battery, names = _mapping(root.get("battery")), dict[str, int]()
    ends = "duration" in root or "horizon" in battery or "last_until" in battery
    for index, stream in enumerate(map(_mapping, _sequence(root.get("workload")))):
        path: Path = ("workload", index)
        name, arrivals = stream.get("name"), stream.get("arrivals")
        if isinstance(name, str) and names.setdefault(name, index) != index:
            yield (*path, "name"), f"workload[{names[name]}] has this name already"
        is_file = isinstance(arrivals, str) or "file" in _mapping(arrivals)
        endless = (not is_file or stream.get("repeat") is True) and not {"until", "limit"} & set(stream)
        if arrivals is not None and endless and not ends:
            yield (
                path,
                "nothing says when this ends: give the scenario a duration, or the stream until or limit",
            )
        for key in ("speed", "repeat"):
            if key in stream and not is_file:
                yield (*path, key), f"{key} is for files; a generator has figures of its own"
        yield from _order(stream, path)
        yield from _arrivals(_mapping(arrivals), (*path, "arrivals"))


def _arrivals(arrivals: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    """Yield durations of a generator that are nothing, and hours of which none has a request."""
    hours = _sequence(_mapping(arrivals.get("diurnal")).get("hours"))
    if hours and all(weight == 0 for weight in hours):
        yield (*path, "diurnal", "hours"), "no hour has any weight; at least one has to be above 0"
    for kind, figures in arrivals.items():
        for key in ("every", "busy", "quiet", "session", "pause"):
            yield from _duration(_mapping(figures).get(key), (*path, kind, key))


def _battery(root: Mapping[str, Any]) -> Iterator[_Found]:
    """Yield what is missing or impossible about the battery."""
    battery, device = _mapping(root.get("battery")), root.get("device", "none")
    if not battery:
        return
    yield from _duration(battery.get("horizon"), ("battery", "horizon"))
    sized = {"capacity_j", "energy_j"} & set(battery)
    if device == "none" and not sized:
        yield ("battery",), "without a device, nothing says how large it is: give capacity_j or energy_j"
    if device == "none" and "health" in battery:
        yield ("battery", "health"), "health needs a device, whose capacity it takes a share of"
    if _read(fraction, battery.get("health")) == 0:
        yield ("battery", "health"), "a battery without any health holds nothing"
    capacity, energy = battery.get("capacity_j"), battery.get("energy_j")
    if isinstance(capacity, (int, float)) and isinstance(energy, (int, float)) and energy > capacity:
        yield ("battery", "energy_j"), f"{energy} J do not fit into the {capacity} J of capacity_j"
    if energy == 0 and capacity is None and device == "none":
        yield ("battery", "energy_j"), "an empty battery needs capacity_j, which says how large it is"


def _contention(entries: Sequence[Any]) -> Iterator[_Found]:
    """Yield entries that are no contention, or several in one."""
    for index, entry in enumerate(map(_mapping, entries)):
        path: Path = ("contention", index)
        kinds = [key for key in ("factor", "steps", "switching", "jitter") if key in entry]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none of them"
            yield path, f"exactly one of factor, steps, switching and jitter is needed, not {found}"
        for key in ("begin", "until"):
            if key in entry and "factor" not in entry:
                yield (*path, key), f"{key} goes with factor only"
        yield from _order(entry, path)
        yield from _patterns(entry.get("processor"), (*path, "processor"))
        at = [_read(duration_ns, _mapping(step).get("at")) for step in _sequence(entry.get("steps"))]
        for number, (one, other) in enumerate(pairwise(at), 1):
            if one is not None and other is not None and other <= one:
                yield (*path, "steps", number, "at"), "steps must be in order of time"
        for key in ("on", "off"):
            process = _mapping(entry.get("switching"))
            yield from _duration(process.get(key), (*path, "switching", key))


def _processors(entries: Sequence[Any]) -> Iterator[_Found]:
    """Yield processors that are given twice, and patterns that cannot be meant."""
    names: dict[str, int] = {}
    for index, entry in enumerate(entries):
        name = _mapping(entry).get("name", entry)
        if isinstance(name, str) and names.setdefault(name, index) != index:
            yield ("processors", index), f"processors[{names[name]}] is called so already"
        yield from _patterns(entry, ("processors", index))


def _background(entries: Sequence[Any]) -> Iterator[_Found]:
    """Yield columns that no trace can have."""
    for index, entry in enumerate(map(_mapping, entries)):
        for number, column in enumerate(_sequence(entry.get("columns"))):
            if isinstance(column, str) and column not in COLUMNS:
                hint = nearest(column, list(COLUMNS))
                yield (
                    ("background", index, "columns", number),
                    f"no column is called {shorten(column)!r}{hint}",
                )


def _families(given: object) -> Iterator[_Found]:
    """Yield patterns that cannot be meant."""
    entries: list[tuple[Path, object]] = [(("family", at), one) for at, one in enumerate(_sequence(given))]
    entries = entries or [(("family",), given)]
    for path, entry in entries:
        for key in ("tasks", "variants"):
            yield from _patterns(_mapping(entry).get(key), (*path, key))


def _twice(given: object, path: Path) -> Iterator[_Found]:
    """Yield names that stand in a list twice."""
    seen: dict[str, int] = {}
    for index, entry in enumerate(_sequence(given)):
        if isinstance(entry, str) and seen.setdefault(entry.strip(), index) != index:
            yield (*path, index), f"{shorten(entry)!r} stands here twice"


def _order(entry: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    """Yield a span of time that ends before it begins."""
    begin_ns, until_ns = (_read(duration_ns, entry.get(key)) for key in ("begin", "until"))
    if until_ns is not None and until_ns <= (begin_ns or 0):
        yield (*path, "until"), "until must be after begin: nothing lies between them"


def _duration(value: object, path: Path) -> Iterator[_Found]:
    """Yield a duration that is nothing, or longer than any scenario."""
    length_ns = _read(duration_ns, value)
    if length_ns is not None and not 0 < length_ns <= MAX_DURATION_NS:
        yield path, "expected a duration above 0 and at most 5 years"


def _patterns(value: object, path: Path) -> Iterator[_Found]:
    """Yield why patterns cannot mean what they say."""
    listed = [((*path, index), one) for index, one in enumerate(_sequence(value))] or [(path, value)]
    for place, pattern in listed:
        if isinstance(pattern, str) and (message := pattern_fault(pattern)):
            yield place, message


def _read(read: Any, value: object) -> Any:
    """Return a scalar's number, or ``None`` where the structure is not sound (reported elsewhere)."""
    if value is None or isinstance(value, bool):
        return None
    with suppress(ValueError, ArithmeticError, TypeError, KeyError, AttributeError):
        return read(value)
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
