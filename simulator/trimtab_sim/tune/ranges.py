"""Which numbers of a policy may be varied, and between what; the policy's own JSON Schema bounds them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from trimtab.policy.errors import Path, spell
from trimtab.policy.scalars import fraction, size_bytes
from trimtab.policy.structure import schema
from trimtab_sim.tune.goal import TuneError

GOALS: Final = frozenset({"latency_budget_ms", "min_accuracy", "max_energy_mj"})
"""Settings that say what is demanded, not how to get it: varied only when named."""
GOAL_SECTIONS: Final = frozenset({"battery", "memory"})
"""Sections of the document that say what must be left, likewise."""
PRICE_SPAN, SPAN, CELSIUS_SPAN = 100.0, 10.0, 20.0
"""Around the present value: prices by this factor both ways, other numbers by the next, degrees by the last."""
FRACTION_EDGE: Final = 0.001
"""So far from 0 and 1 fractions stay, where conditions never or always hold."""
MIB: Final = 1 << 20
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the document with the range to search: ``kind`` is fraction, size, whole or number.

    ``present`` is the value in the document (a size in bytes), ``None`` when it is left at its default.
    ``log`` searches its logarithm.
    """

    path: Path
    kind: str
    low: float
    high: float
    log: bool
    present: float | None
    as_given: Any = None

    @property
    def name(self) -> str:
        """Return the path as people write it."""
        return spell(self.path)

    def spelled(self, value: float) -> Any:
        """Return the value as the document has it: four digits, a percentage where one stood, MiB."""
        if self.kind == "whole":
            return round(value)
        if self.kind == "size":
            return f"{plain_text(max(1, value) / MIB, 3)}MiB"
        if self.kind == "fraction" and isinstance(self.as_given, str):
            return f"{plain_text(min(value, self.high) * 100, 2)} %"
        return float(f"{value:.4g}")


def plain_text(value: float, digits: int = 12) -> str:
    """Return a number without exponent and without zeros at its end."""
    text = f"{Decimal(repr(float(value))):.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def numbers_of(
    document: Mapping[str, Any], vary: Sequence[str] = (), *, only: bool = False
) -> tuple[Number, ...]:
    """Return the numbers to search: those of the document, with the ranges that ``vary`` gives.

    Left out are demands (budgets, floors, limits, what battery and memory must keep) unless named, and prices
    and factors of 0, around which there is no range. With ``only`` just those named are varied. Raise
    ``TuneError`` for a range that cannot be.
    """
    named = {number.path: number for number in (read_range(text, document) for text in vary)}
    own = [] if only else [n for n in _walk(schema(), document, ()) if n.path not in named]
    if not own and not named:
        raise TuneError("the policy has no number that can be varied; name some with --vary path=low:high")
    return (*own, *named.values())


def read_range(text: str, document: Mapping[str, Any]) -> Number:
    """Return what ``path=low:high`` means, such as ``defaults.energy_price_per_j=0.001:1``; raise ``TuneError``."""
    name, equals, limits = text.partition("=")
    low_text, colon, high_text = limits.partition(":")
    if not equals or not colon:
        raise TuneError(f"{text!r} is no range; expected path=low:high, such as defaults.weight=0.1:10")
    path = _path(name.strip())
    part = _part_at(path)
    kind = "" if part is None else _kind(part)
    if not kind or part is None:
        raise TuneError(f"{name.strip()} is no number of a policy")
    try:
        low, high = (_read(kind, one.strip()) for one in (low_text, high_text))
    except (ValueError, ArithmeticError, KeyError, IndexError):
        raise TuneError(f"{text!r}: low and high are written as in a policy") from None
    least, most = _bounds(part, kind)
    if not least <= low < high <= most:
        raise TuneError(f"{text!r}: the range has to lie within {least:g} and {most:g}, low below high")
    given = _value_at(document, path)
    present = None if given is None else _read(kind, given)
    log = kind != "fraction" and low > 0 and high / low >= SPAN
    return Number(path, kind, low, high, log, present, given)


def _walk(part: Mapping[str, Any], value: Any, path: Path) -> Iterator[Number]:
    """Yield the numbers below a value that are means, not ends."""
    if path and (path[-1] in GOALS or (len(path) == 1 and path[0] in GOAL_SECTIONS)):
        return
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    elif kind := _kind(part):
        number = _around(part, kind, value, path)
        if number is not None:
            yield number
    for key, child in inner:
        below = _below(part, key)
        if below is not None:
            yield from _walk(below, child, (*path, key))


def _around(part: Mapping[str, Any], kind: str, given: Any, path: Path) -> Number | None:
    """Return a number with its range around the present value; ``None`` where there is none."""
    present, (least, most) = _read(kind, given), _bounds(part, kind)
    if kind == "fraction":
        return Number(path, kind, FRACTION_EDGE, 1.0 - FRACTION_EDGE, False, present, given)
    if least < 0:
        low, high = max(least, present - CELSIUS_SPAN), min(most, present + CELSIUS_SPAN)
        return Number(path, kind, low, high, False, present, given)
    if present <= 0:
        return None
    span = PRICE_SPAN if "_price_per_" in str(path[-1]) else SPAN
    low, high = max(least, present / span), min(most, present * span)
    if kind == "whole":
        low, high = max(1.0, round(low)), round(high)
    return Number(path, kind, low, high, True, present, given) if low < high else None


def _kind(part: Mapping[str, Any]) -> str:
    """Return what kind of number a part of the schema describes; empty for none."""
    (first, *_) = part.get("anyOf") or (part,)
    if "minimum" not in first and "exclusiveMinimum" not in first:
        return ""
    if first.get("type") == "integer":
        return "size" if "anyOf" in part else "whole"
    return "fraction" if "anyOf" in part else "number"


def _bounds(part: Mapping[str, Any], kind: str) -> tuple[float, float]:
    """Return the least and the most the schema allows, a hair inside where the bound itself is excluded."""
    (first, *_) = part.get("anyOf") or (part,)
    least = first.get("minimum", 1e-6)
    most = first.get("maximum", 0.999 if kind == "fraction" else 1e9)
    return float(least), float(most)


def _read(kind: str, given: Any) -> float:
    if kind == "fraction":
        numeral = isinstance(given, str) and "%" not in given
        return float(given) if numeral else fraction(given)
    if kind == "size":
        numeral = isinstance(given, str) and given.isdecimal()
        return float(given if numeral else size_bytes(given))
    return float(given)


def _resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part with what it refers to in place."""
    while "$ref" in part:
        target = schema()["$defs"][part["$ref"].rpartition("/")[2]]
        part = {**target, **{key: value for key, value in part.items() if key != "$ref"}}
    return part


def _below(part: Mapping[str, Any], key: str | int) -> Mapping[str, Any] | None:
    """Return the schema of what is at ``key`` inside, ``None`` when it has none."""
    for option in (part, part.get("then"), part.get("else"), *part.get("anyOf", ())):
        if option is None:
            continue
        whole = _resolved(option)
        if isinstance(key, int):
            found = whole.get("items")
        else:
            patterned = whole.get("patternProperties", {})
            found = whole.get("properties", {}).get(key) or next(
                (one for pattern, one in patterned.items() if re.search(pattern, key)), None
            )
        if found is not None:
            return _resolved(found)
    return None


def _part_at(path: Path) -> Mapping[str, Any] | None:
    part: Mapping[str, Any] | None = schema()
    for key in path:
        part = None if part is None else _below(part, key)
    return part


def _path(name: str) -> Path:
    """Return ``rules[0].then.weight`` as a path; raise ``TuneError``."""
    steps = list(_STEP.finditer(name))
    if not steps or "".join(step[0] for step in steps) != name:
        raise TuneError(f"{name!r} is no path; expected one such as rules[0].then.energy_price_factor")
    return tuple(step[1] if step[2] is None else int(step[2]) for step in steps)


def _value_at(document: Any, path: Path) -> Any:
    """Return the value at a path, ``None`` where the document has none; raise ``TuneError`` for no such rule."""
    value = document
    for key in path:
        if isinstance(key, int):
            if not isinstance(value, list) or key >= len(value):
                raise TuneError(f"{spell(path)}: the policy has no such entry")
            value = value[key]
        elif not isinstance(value, Mapping) or key not in value:
            if any(isinstance(later, int) for later in path[path.index(key) :]):
                raise TuneError(f"{spell(path)}: the policy has no such entry")
            return None
        else:
            value = value[key]
    return value
