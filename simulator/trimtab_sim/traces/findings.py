"""Collects what is wrong with a file while it is read: the first thousand findings, and how many there were."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trimtab_sim.traces.series import Problem, TraceError

KEPT: Final = 1000
"""Findings kept; a file with more is counted on but no longer written down."""
FEW_ROWS: Final = 20
"""With fewer rows than this, a file is not refused for the share that is wrong."""


class Findings:
    """Problems and notes about one file, in the order they were found."""

    def __init__(self, path: Path) -> None:
        """Start without any."""
        self.path = path
        self.count = 0
        self._kept: list[Problem] = []

    def problem(self, line: int, message: str) -> None:
        """Count a problem, and keep it unless there are very many."""
        self.count += 1
        self._keep(Problem(line, message))

    def note(self, line: int, message: str) -> None:
        """Keep what is worth knowing and cost nothing."""
        self._keep(Problem(line, message, note=True))

    def all(self) -> tuple[Problem, ...]:
        """Return what was kept, by line."""
        return tuple(sorted(self._kept, key=lambda found: found.line))

    def refuse(self, message: str, line: int = 0) -> TraceError:
        """Return the error that ends the reading, naming the file and the line."""
        return TraceError(f"{place(self.path, line)}: {message}")

    def refuse_if_broken(self, rows: int, good: int) -> None:
        """Raise ``TraceError`` if no row is good, or most are bad in a file of more than a few rows."""
        if good and (good * 2 >= rows or rows < FEW_ROWS):
            return
        if not rows:
            raise self.refuse("no rows")
        first = next((p for p in self.all() if not p.note), None)
        told = f"; the first problem is at line {first.line}: {first.message}" if first else ""
        raise self.refuse(f"{rows - good} of {rows} rows cannot be used{told}")

    def _keep(self, problem: Problem) -> None:
        if len(self._kept) < KEPT:
            self._kept.append(problem)


def place(path: Path, line: int) -> str:
    """Return ``file:line``, or the file alone for line 0."""
    return f"{path}:{line}" if line else str(path)


def stem(path: Path) -> str:
    """Return a file's name without what says how it is stored."""
    name = path.name.removesuffix(".gz")
    return name.rsplit(".", 1)[0] or name


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return names joined by commas, with how many more there are."""
    all_names = list(names)
    more = f" and {len(all_names) - most} more" if len(all_names) > most else ""
    return ", ".join(all_names[:most]) + more
