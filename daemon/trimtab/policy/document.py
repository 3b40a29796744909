"""YAML text -> a tree that knows where each value stands. Bounded on purpose: size, depth, count.

Scalars follow YAML 1.2's core schema, not 1.1: ``22:00`` is text (1.1 reads 1320), ``on`` and ``no`` are
text, keys are always text. Aliases share the tree they name and count in full against the limit, so a
document cannot grow exponentially.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn

import yaml

from trimtab.policy.errors import Path, PolicyError, Problem, shorten, spell

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 10_000
_MAX_NUMBER_CHARS: Final = 40

Scalar = str | int | float | bool | None
Plain = Scalar | list["Plain"] | dict[str, "Plain"]

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SURROGATES = re.compile("[\ud800-\udfff]")
_HINTS = (
    ("while scanning an alias", 'a pattern that begins with * needs quotes: "*small"'),
    ("character '\\t'", "indent with spaces, not tabs"),
    ("character '%'", "text that begins with % needs quotes"),
    ("while scanning a quoted scalar", "a closing quote is missing"),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the text, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """One value with its place; ``values`` and ``height`` count everything below, aliases included.

    Exactly one of ``entries`` (a mapping), ``items`` (a list) and ``scalar`` carries the value; for each
    key, ``entries`` holds the key's own place and its value.
    """

    mark: Mark
    scalar: Scalar = None
    items: list["Node"] | None = None
    entries: dict[str, tuple[Mark, "Node"]] | None = None
    values: int = 1
    height: int = 1

    def plain(self) -> Plain:
        """Return the value without places."""
        if self.entries is not None:
            return {key: node.plain() for key, (_, node) in self.entries.items()}
        if self.items is not None:
            return [node.plain() for node in self.items]
        return self.scalar

    def adopt(self, child: "Node") -> None:
        """Count a child that was added."""
        self.values += child.values
        self.height = max(self.height, child.height + 1)

    def locate(self, path: Path, at_key: bool = False) -> Mark:
        """Return the place of the value at ``path`` (or of its key), or of the last parent that exists."""
        node, mark = self, self.mark
        for depth, part in enumerate(path):
            if isinstance(part, int) and node.items is not None and part < len(node.items):
                node = node.items[part]
                mark = node.mark
            elif isinstance(part, str) and node.entries is not None and part in node.entries:
                key, node = node.entries[part]
                mark = key if at_key and depth == len(path) - 1 else node.mark
            else:
                break
        return mark


@dataclass(slots=True)
class _Composer:
    """Builds the tree from YAML events; collects harmless-to-go-on problems, raises on the rest."""

    file: str
    events: Iterator[yaml.Event]
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    values: int = 0

    def node(self, event: yaml.Event, path: Path) -> Node:
        """Return the value that begins with ``event``."""
        if len(path) >= MAX_DEPTH:
            self._stop(event, path, f"nested too deeply; at most {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        mark = _mark(event)
        assert isinstance(event, yaml.NodeEvent)
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._note(mark, path, f"tags such as {shorten(tag)} are not supported")
        self._count(event, path, 1)
        node = Node(mark)
        if isinstance(event, yaml.MappingStartEvent):
            self._fill_mapping(node, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._fill_list(node, path)
        else:
            assert isinstance(event, yaml.ScalarEvent)
            node.scalar = self._scalar(event, mark, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _fill_mapping(self, node: Node, path: Path) -> None:
        """Read the entries of a mapping."""
        node.entries = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._stop(event, path, "a key must be plain text")
            mark, key = _mark(event), event.value
            if key in node.entries:
                first = node.entries[key][0].line
                self._note(mark, (*path, key), f"{shorten(key)!r} is already given in line {first}")
            if event.anchor is not None:
                self._note(mark, (*path, key), "a key cannot be an anchor")
            child = self.node(next(self.events), (*path, key))
            node.entries.setdefault(key, (mark, child))
            node.adopt(child)

    def _fill_list(self, node: Node, path: Path) -> None:
        """Read the items of a list."""
        node.items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            child = self.node(event, (*path, len(node.items)))
            node.items.append(child)
            node.adopt(child)

    def _alias(self, event: yaml.AliasEvent, path: Path) -> Node:
        """Return the value an alias stands for, at the alias's own place in depth and count."""
        node = self.anchors.get(event.anchor or "")
        if node is None:
            self._stop(
                event,
                path,
                f"no anchor &{shorten(str(event.anchor))} before this; "
                f'a pattern that begins with * needs quotes: "*{shorten(str(event.anchor))}"',
            )
        if len(path) + node.height > MAX_DEPTH:
            self._stop(event, path, f"nested too deeply; at most {MAX_DEPTH} levels")
        self._count(event, path, node.values)
        return node

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark, path: Path) -> Scalar:
        """Return a scalar by YAML 1.2's core schema; quoted ones are text."""
        text = _whole_characters(event.value)
        if _SURROGATES.search(text):
            self._note(mark, path, "half of a surrogate pair is not text")
        return text if event.style else plain_scalar(text)

    def _count(self, event: yaml.Event, path: Path, values: int) -> None:
        """Count values against the limit."""
        self.values += values
        if self.values > MAX_VALUES:
            self._stop(event, path, f"too many values; at most {MAX_VALUES}, aliases counted in full")

    def _note(self, mark: Mark, path: Path, message: str) -> None:
        """Remember a problem and go on."""
        self.problems.append(Problem(self.file, mark.line, mark.column, spell(path), message))

    def _stop(self, event: yaml.Event, path: Path, message: str) -> NoReturn:
        """Give up here."""
        self._note(_mark(event), path, message)
        raise PolicyError(self.problems)


def plain_scalar(text: str) -> Scalar:
    """Return the value of an unquoted scalar; numbers too long or too large to hold stay text."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) > _MAX_NUMBER_CHARS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def _whole_characters(text: str) -> str:
    """Return text with surrogate pairs joined: JSON escapes what is beyond U+FFFF as two halves."""
    if not _SURROGATES.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def parse_document(text: str, file: str, kind: str = "policy") -> tuple[Node, tuple[Problem, ...]]:
    """Return the one document in ``text`` and the problems that did not keep it from being read.

    Raise ``PolicyError`` when it is not YAML, exceeds a limit, or is empty; ``kind`` says what it should be.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise PolicyError([Problem(file, 0, 0, "", f"too large; at most {MAX_BYTES // 1024} KiB")])
    composer = _Composer(file, _events(text, file))
    root: Node | None = None
    for event in composer.events:
        if isinstance(event, yaml.DocumentStartEvent):
            mark = _mark(event)
            if root is not None:
                message = f"a second document; one file is one {kind}"
                problem = Problem(file, mark.line, mark.column, "", message)
                raise PolicyError([*composer.problems, problem])
            root = composer.node(next(composer.events), ())
    if root is None or (root.scalar is None and root.items is None and root.entries is None):
        raise PolicyError([*composer.problems, Problem(file, 1, 1, "", f"the {kind} is empty")])
    return root, tuple(composer.problems)


def _events(text: str, file: str) -> Iterator[yaml.Event]:
    """Yield YAML events; turn every way PyYAML can fail into ``PolicyError``."""
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise PolicyError([Problem(file, line, column, "", _syntax(error))]) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"the character U+{ord(text[error.position]):04X} is not allowed"
        raise PolicyError([Problem(file, line, column, "", message)]) from error
    except (ValueError, OverflowError) as error:  # an escape or directive with an absurd number in it
        raise PolicyError([Problem(file, 1, 1, "", f"not YAML: {shorten(str(error))}")]) from error


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """Return one line that says what PyYAML did not understand, with a hint where one is known."""
    parts = [shorten(part, 120) for part in (error.context, error.problem) if part]
    message = "not YAML: " + ", ".join(parts)
    hints = [hint for sign, hint in _HINTS if sign in message]
    return f"{message} ({hints[0]})" if hints else message


def _mark(event: yaml.Event) -> Mark:
    """Return where an event begins."""
    assert event.start_mark is not None
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)
