"""The tuned policy as a file for people: the base's own text and comments, with each change and where it is from."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from trimtab.policy.document import Node, Plain, parse_document
from trimtab.policy.errors import Path, PolicyError, spell
from trimtab.policy.load import load_policy
from trimtab_sim.tune.ranges import plain_text
from trimtab_sim.tune.search import Values, with_values

NAME: Final = ("name",)
NAME_LENGTH: Final = 64
_MODELINE: Final = "# yaml-language-server:"


@dataclass(frozen=True, slots=True)
class Base:
    """A policy's text, as a tree that knows where each value stands; ``file`` is what messages call it."""

    file: str
    text: str
    root: Node

    @property
    def document(self) -> dict[str, Any]:
        """Return the document as plain values."""
        plain = self.root.plain()
        assert isinstance(plain, dict)
        return plain


def read_base(text: str, file: str) -> Base:
    """Return a policy that can be tuned; raise ``PolicyError`` with everything wrong with it."""
    load_policy(text, file)
    return Base(file, text, parse_document(text, file)[0])


def tuned_text(base: Base, values: Values, story: Sequence[str]) -> str:
    """Return the base's document with these values and ``story`` in comments above; it loads as a policy.

    The base's text is kept where values can be set in it; else the document is written anew without its comments.
    """
    named: dict[Path, Any] = {NAME: tuned_name(base.document["name"]), **values}
    wanted = with_values(base.document, named)
    text = _in_place(base, named)
    if text is None or _plain(text) != wanted:
        lines = [f"# {change}" for change in _changes(base, values)]
        text = "\n".join((*lines, yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True, width=120)))
    head = [f"# {line}".rstrip() for part in story for line in _wrapped(part) or [""]]
    text = "\n".join((*head, "#", text.removeprefix("#\n")))
    load_policy(text)
    return text


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 116, break_long_words=False, break_on_hyphens=False)


def tuned_name(name: str) -> str:
    """Return what the tuned policy is called."""
    return f"{name.strip()[: NAME_LENGTH - 6]}-tuned"


def _changes(base: Base, values: Values) -> list[str]:
    return [f"tuned: {spell(path)} was {_was(base.document, path)}" for path in values]


def _was(document: Mapping[str, Any], path: Path) -> str:
    value: Any = document
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError):
            return "left at its default"
    return _spelled(value)


def _spelled(value: Any) -> str:
    """Return a scalar as YAML, numbers without exponent."""
    if isinstance(value, float):
        return plain_text(value)
    return value if isinstance(value, str) and _plain_scalar(value) else json.dumps(value, ensure_ascii=False)


def _plain_scalar(value: str) -> bool:
    """Return whether text needs no quotes: percentages, sizes and names do not."""
    return value.replace(" ", "").replace("%", "").replace(".", "").replace("-", "").isalnum()


def _plain(text: str) -> Plain:
    try:
        return parse_document(text, "tuned")[0].plain()
    except PolicyError:
        return None


def _in_place(base: Base, values: Values) -> str | None:
    """Return the base's text with values set where they stand, a comment above each; ``None`` when it has no place."""
    lines = base.text.split("\n")
    edits = sorted(((_mark(base.root, path), path) for path in values), reverse=True)
    missing = []
    for (line, column), path in edits:
        if not line:
            missing.append(path)
            continue
        own = lines[line - 1]
        end = _end(own, column - 1)
        if end is None:
            return None
        lines[line - 1] = own[: column - 1] + _spelled(values[path]) + own[end:]
        if path != NAME:
            indent = own[: len(own) - len(own.lstrip())]
            lines.insert(line - 1, f"{indent}# tuned: {path[-1]} was {_was(base.document, path)}")
    kept = [line for line in lines if not line.startswith(_MODELINE)]
    return _with_missing("\n".join(kept), missing, values)


def _mark(root: Node, path: Path) -> tuple[int, int]:
    """Return line and column of a value that stands in the text, zeros when it does not."""
    node = root
    for key in path:
        if isinstance(key, str):
            if node.entries is None or key not in node.entries:
                return 0, 0
            node = node.entries[key][1]
        else:
            assert node.items is not None
            node = node.items[key]
    return node.mark.line, node.mark.column


def _end(line: str, begin: int) -> int | None:
    """Return where the scalar at ``begin`` ends in its line; ``None`` when it does not end there."""
    if line[begin] in "\"'":
        end = line.find(line[begin], begin + 1)
        return end + 1 if end >= 0 else None
    if line[begin] in "&*|>!":
        return None
    end = len(line)
    for sign in (" #", ",", "}", "]"):
        found = line.find(sign, begin)
        end = min(end, found) if found >= 0 else end
    return begin + len(line[begin:end].rstrip())


def _with_missing(text: str, missing: Sequence[Path], values: Values) -> str | None:
    """Return the text with values that it left at their default, in sections that are there or in new ones."""
    for path in missing:
        root = parse_document(text, "tuned")[0]
        added = _inserted(text, root, path, values[path])
        if added is None:
            return None
        text = added
    return text


def _inserted(text: str, root: Node, path: Path, value: Any) -> str | None:
    """Return the text with one more value, before the last key of the section it belongs to, or at the end."""
    node, depth = root, 0
    while depth < len(path) - 1:
        key = path[depth]
        if isinstance(key, int):
            node = (node.items or [])[key]
        elif node.entries is not None and key in node.entries:
            node = node.entries[key][1]
        else:
            break
        depth += 1
    if not node.entries:
        return None
    mark = list(node.entries.values())[-1][0]
    lines = text.rstrip("\n").split("\n") if node is root else text.split("\n")
    before = lines[mark.line - 1][: mark.column - 1]
    if before.strip():
        return None
    new = [f"{before}# tuned: {spell(path)} was left at its default"]
    for level, key in enumerate(path[depth:-1]):
        new.append(f"{before}{'  ' * level}{key}:")
    new.append(f"{before}{'  ' * (len(path) - 1 - depth)}{path[-1]}: {_spelled(value)}")
    if node is root:
        return "\n".join((*lines, "", *new, ""))
    lines[mark.line - 1 : mark.line - 1] = new
    return "\n".join(lines)
