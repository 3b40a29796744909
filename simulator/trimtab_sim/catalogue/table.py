"""Reads a CSV file into rows that know their line, and collects what is wrong with cells."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from trimtab.policy.structure import nearest
from trimtab_sim.catalogue.model import CatalogueError, Problem

MAX_BYTES: Final = 64 << 20
"""Characters of a catalogue file, unpacked; the largest published ones have less than one million."""
MAX_PROBLEMS: Final = 50
"""Problems told at once."""
GZIP: Final = b"\x1f\x8b"
_Value = TypeVar("_Value")


@dataclass(slots=True)
class Findings:
    """What is wrong with a file, and what is only worth telling."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    reported: list[Problem] = field(default_factory=list)

    def problem(self, line: int, column: str, message: str) -> None:
        """Add what makes the file unusable."""
        self.problems.append(Problem(self.file, line, column, message))

    def report(self, line: int, column: str, message: str) -> None:
        """Add what a reader of the catalogue should know."""
        self.reported.append(Problem(self.file, line, column, message))

    def raise_any(self) -> None:
        """Raise ``CatalogueError`` if there are problems, told in the order of lines."""
        if self.problems:
            told = sorted(self.problems, key=lambda problem: problem.line)
            more = len(told) - MAX_PROBLEMS
            left = [Problem(self.file, 0, "", f"and {more} problems more")] if more > 0 else []
            raise CatalogueError((*told[:MAX_PROBLEMS], *left))

    def refuse(self, message: str, line: int = 0, column: str = "") -> CatalogueError:
        """Return the error that ends the reading."""
        return CatalogueError((Problem(self.file, line, column, message),))

    def nothing_left(self) -> CatalogueError:
        """Return the error for a file of which every row was left out, with the first reasons."""
        told = "; ".join(str(one) for one in self.reported[:3])
        return self.refuse(f"no row can be used{f': {told}' if told else ''}")


@dataclass(frozen=True, slots=True)
class Cells:
    """One row of a file. A column that the file does not have reads as empty."""

    line: int
    values: dict[str, str]
    findings: Findings

    def text(self, column: str) -> str:
        """Return a cell without the spaces around it."""
        return self.values.get(column, "")

    def needed(self, column: str) -> str:
        """Return a cell; note a problem when it is empty."""
        if not self.text(column):
            self.findings.problem(self.line, column, "is empty")
        return self.text(column)

    def read(self, column: str, parse: Callable[[str], _Value]) -> _Value | None:
        """Return a parsed cell, ``None`` when it is empty or, which is noted, cannot be parsed."""
        text = self.text(column)
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.findings.problem(self.line, column, str(error))
            return None

    def read_if(self, column: str, parse: Callable[[str], _Value]) -> _Value | None:
        """Return a parsed cell; ``None`` when it is empty or, which is reported, cannot be parsed."""
        try:
            return parse(self.text(column)) if self.text(column) else None
        except ValueError as error:
            self.findings.report(self.line, column, f"{error}; it counts as not told")
            return None

    def read_needed(self, column: str, parse: Callable[[str], _Value], otherwise: _Value) -> _Value:
        """Return a parsed cell; note a problem and return ``otherwise`` when there is none."""
        value = self.read(column, parse) if self.needed(column) else None
        return otherwise if value is None else value


def header_of(path: Path) -> tuple[str, ...]:
    """Return the column names of a CSV file; raise ``CatalogueError``."""
    findings = Findings(str(path))
    for cells in _records(path, findings):
        return tuple(cells[1])
    raise findings.refuse("is empty")


def read_rows(path: Path, columns: Sequence[str], findings: Findings) -> Iterator[Cells]:
    """Yield the rows of a CSV file whose header has ``columns``; raise ``CatalogueError`` if it cannot be read.

    A row with more or fewer cells than the header is a problem; empty lines are skipped.
    """
    records = _records(path, findings)
    line, header = next(records, (0, []))
    if not header:
        raise findings.refuse("is empty")
    _check_header(header, columns, line, findings)
    for line, cells in records:
        if len(cells) != len(header):
            findings.problem(line, "", f"{len(cells)} cells under {len(header)} column names")
            continue
        yield Cells(line, dict(zip(header, cells, strict=True)), findings)


def _check_header(header: Sequence[str], columns: Sequence[str], line: int, findings: Findings) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    for name in twice:
        raise findings.refuse("stands twice in the header", line, name)
    for name in columns:
        if name not in header:
            hint = nearest(name, [one for one in header if one not in columns])
            raise findings.refuse(f"the header has no such column{hint}", line, name)


def _records(path: Path, findings: Findings) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, stripped cells) of each record that is not empty."""
    reader = csv.reader(io.StringIO(_text(path, findings), newline=""), strict=True)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise findings.refuse(f"is not CSV: {error}", line) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, [cell.strip() for cell in cells]
        line = reader.line_num + 1


def _text(path: Path, findings: Findings) -> str:
    """Return a file's text, unpacked where it is compressed; raise ``CatalogueError``."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
        with gzip.open(path, "rb") if packed else path.open("rb") as body:
            raw = body.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise findings.refuse(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > MAX_BYTES:
        raise findings.refuse(f"larger than {MAX_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise findings.refuse("is not UTF-8", line) from error
