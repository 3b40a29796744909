"""Figures with their tags, and the YAML that ``make_devices.py`` writes: the same bytes for the same figures."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Number = int | float | None
Value = Number | Sequence[Number]

WIDTH: Final = 110
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./+-]*(:?[A-Za-z0-9 _./()+-]*[A-Za-z0-9_./()+-])?")
_KEEP = "\x00"
"""A space at which no line ends."""
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off"})


@dataclass(frozen=True, slots=True)
class Figure:
    """A number or a list of them, how it was obtained, the reference's name and what there is to say."""

    tag: str
    value: Value
    reference: str
    note: str = ""

    @property
    def number(self) -> float:
        """Return the number of a figure that is one; raise ``TypeError`` for a list."""
        if not isinstance(self.value, (int, float)):
            raise TypeError(f"not one number: {self.value}")
        return self.value

    @property
    def numbers(self) -> Sequence[Number]:
        """Return the numbers of a figure that is a list; raise ``TypeError`` for a single one."""
        if self.value is None or isinstance(self.value, (int, float)):
            raise TypeError(f"not a list of numbers: {self.value}")
        return self.value


def measured(value: Value, reference: str, note: str = "") -> Figure:
    """Return a figure read from a meter on this very model."""
    return Figure("measured", value, reference, note)


def published(value: Value, reference: str, note: str = "") -> Figure:
    """Return a figure taken from a named source."""
    return Figure("published", value, reference, note)


def assumed(value: Value, reference: str, note: str = "") -> Figure:
    """Return a figure that is neither; its reference says why it is what it is."""
    return Figure("assumed", value, reference, note)


def rounded(value: float, digits: int = 4) -> float:
    """Return ``value`` to that many significant digits, as a whole number if it is one."""
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short


def references_in(tree: object) -> set[str]:
    """Return the names of all references that figures in ``tree`` name."""
    match tree:
        case Figure():
            return {tree.reference}
        case Mapping():
            return set().union(*(references_in(part) for part in tree.values()), set())
        case list() | tuple():
            return set().union(*(references_in(part) for part in tree), set())
        case _:
            return set()


def to_yaml(tree: Mapping[str, object], head: Sequence[str]) -> str:
    """Return ``tree`` as YAML below the comment lines ``head``."""
    return "\n".join([*(f"# {line}" for line in head), *_mapping(tree, "")]) + "\n"


def _mapping(tree: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, value in tree.items():
        yield from _entry(key, value, indent)


def _entry(key: str, value: object, indent: str) -> Iterator[str]:
    """Yield the lines of one entry of a mapping."""
    match value:
        case Figure():
            yield from _wrap(f"{key}: {_flow(value)}", indent)
        case bool() | int() | float():
            yield f"{indent}{key}: {_number(value)}"
        case str() if len(value) + len(indent) + len(key) + 4 > WIDTH:
            yield f"{indent}{key}: >-"
            yield from _folded(value, indent + "  ")
        case str():
            yield f"{indent}{key}: {_text(value)}"
        case Mapping():
            yield f"{indent}{key}:"
            yield from _mapping(value, indent + "  ")
        case list() | tuple() if value and all(isinstance(item, str) and item.isalpha() for item in value):
            yield f"{indent}{key}: [{', '.join(map(str, value))}]"
        case list() | tuple():
            yield f"{indent}{key}:" if value else f"{indent}{key}: []"
            for item in value:
                yield from _item(item, indent + "  ")
        case _:
            raise TypeError(f"{key}: {type(value)}")


def _item(value: object, indent: str) -> Iterator[str]:
    """Yield the lines of one item of a list."""
    match value:
        case Mapping():
            lines = list(_mapping(value, indent + "  "))
            yield f"{indent}- {lines[0].lstrip()}"
            yield from lines[1:]
        case str() if len(value) + len(indent) + 4 > WIDTH:
            yield f"{indent}- >-"
            yield from _folded(value, indent + "  ")
        case str():
            yield f"{indent}- {_text(value)}"
        case _:
            raise TypeError(type(value))


def _flow(figure: Figure) -> str:
    """Return a figure as ``{published: 4614, from: power_profile}``."""
    note = f", note: {json.dumps(figure.note)}" if figure.note else ""
    return f"{{{figure.tag}: {_value(figure.value)}, from:{_KEEP}{figure.reference}{note}}}"


def _value(value: Value) -> str:
    if value is None or isinstance(value, (int, float)):
        return _number(value)
    return f"[{', '.join(_number(number) for number in value)}]"


def _number(value: Number) -> str:
    match value:
        case None:
            return "~"
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return repr(value)


def _text(value: str) -> str:
    """Return text plain where YAML takes it for text, else in double quotes."""
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return value if plain else json.dumps(value, ensure_ascii=False)


def _wrap(text: str, indent: str) -> Iterator[str]:
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return (line.replace(_KEEP, " ") for line in lines)


def _folded(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
