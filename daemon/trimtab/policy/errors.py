"""What is wrong with a policy document, and where."""

from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where a value stands in the document: ``("rules", 2, "when")``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong. ``line`` and ``column`` count from 1 (0: the file as a whole)."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """Return ``file:line:column: path: message``, leaving out what is not known."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


class PolicyError(Exception):
    """A policy cannot be used; ``problems`` lists everything found, in the order of the document."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def spell(path: Path) -> str:
    """Return a path as people write it: ``rules[2].when.battery.below``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.replace("_", "").replace("-", "").isalnum():
            text += f".{part}" if text else part
        else:
            text += f'["{shorten(part)}"]'
    return text


def shorten(text: str, most: int = 60) -> str:
    """Return ``text`` on one line and not longer than ``most`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
