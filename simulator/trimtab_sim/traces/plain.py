"""Reads a CSV with a header line: figures of a device over time, or a list of arrivals.

One reader for trimtab's own stored form, the iPhone logs (Mark Miller 2026, CC BY 4.0), Azure's LLM traces of
2023 (Azure/AzurePublicDataset), MCDNN's lists (MobiSys'16) and what users bring: they differ in header names.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from trimtab.domain.request import Prefer
from trimtab_sim.traces import cells, headers
from trimtab_sim.traces.findings import Findings, listed, stem
from trimtab_sim.traces.headers import Header, TimeHeader
from trimtab_sim.traces.lines import read_lines
from trimtab_sim.traces.order import in_order, note_gaps
from trimtab_sim.traces.series import (
    ARRIVAL_COLUMNS,
    ARRIVAL_LABELS,
    COLUMNS,
    ENERGY_PREFIX,
    ArrivalReading,
    ArrivalTrace,
    Column,
    Floats,
    Labels,
    Reading,
    Series,
    Times,
)

PREFERENCES: Final = frozenset(prefer.value for prefer in Prefer)
CHUNK: Final = 50_000
"""Rows held as text at once."""
MOST_COMMENTS: Final = 20
"""Comments looked at; later ones are skipped."""
NOT_SPLIT: Final = "\0"
"""Begins a row that csv cannot split; no cell of a file does."""
VERSION: Final = 1
FIRST_LINE: Final = "# trimtab trace "
"""How trimtab's own stored form begins, followed by its version."""
ENERGY: Final = Column("raw", "energy of a component, in the unit of its file", 0.0)


@dataclass(slots=True)
class Head:
    """What a CSV says before its rows: where time and columns are, and the words of its comments."""

    time: tuple[int, TimeHeader]
    columns: dict[int, Header]
    line: int
    width: int
    words: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return ``series`` or ``arrivals``: what the comments say, else what the columns are."""
        if self.words.get("kind") in ("series", "arrivals"):
            return self.words["kind"]
        names = {header.column for header in self.columns.values()}
        return "arrivals" if names <= {*ARRIVAL_COLUMNS, *ARRIVAL_LABELS} else "series"


def read_head(path: Path) -> Head:
    """Return what the head of a CSV says; raise ``TraceError`` if it has none that makes sense."""
    findings = Findings(path)
    return _head(_Rows(read_lines(path, findings)), findings)


def read_series(path: Path) -> Reading:
    """Read a device's figures; raise ``TraceError`` for a file that is none or is mostly wrong."""
    findings = Findings(path)
    table = _Table(path, findings)
    if table.head.kind != "series":
        raise findings.refuse("a list of arrivals, not figures of a device over time")
    keep = in_order(table.at_ns, table.lines, findings, repeats=False)
    findings.refuse_if_broken(table.rows, int(keep.sum()))
    at_ns, epoch_ns = table.times(keep)
    if any(name not in COLUMNS or COLUMNS[name].unit != "0/1" for name in table.numbers):
        note_gaps(at_ns, table.lines[keep], findings)  # states that hold until they change have none
    columns = {name: values[keep] for name, values in table.numbers.items()}
    series = Series(table.name, at_ns, columns, epoch_ns)
    return Reading(series, findings.all(), findings.count, table.rows, "csv")


def read_arrivals(path: Path) -> ArrivalReading:
    """Read a list of arrivals; raise ``TraceError`` for a file that is none or is mostly wrong."""
    findings = Findings(path)
    table = _Table(path, findings)
    if table.head.kind != "arrivals":
        names = listed(header.column for header in table.head.columns.values())
        raise findings.refuse(f"figures of a device over time ({names}), not a list of arrivals")
    keep = in_order(table.at_ns, table.lines, findings, repeats=True)
    findings.refuse_if_broken(table.rows, int(keep.sum()))
    at_ns, epoch_ns = table.times(keep)
    columns = {name: values[keep] for name, values in table.numbers.items()}
    labels = {name: Labels(found.names, found.codes[keep]) for name, found in table.labels().items()}
    arrivals = ArrivalTrace(table.name, at_ns, columns, labels, epoch_ns)
    return ArrivalReading(arrivals, findings.all(), findings.count, table.rows, "csv")


class _Rows:
    """Rows of cells with their line numbers; comments are set aside."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.comments: list[str] = []
        self.line = 0
        self._lines = iter(lines)
        self._reader = csv.reader(self._counted())

    def take(self, count: int) -> tuple[list[int], list[list[str]]]:
        """Return at most ``count`` rows and the line each ends at, none at the end of the file.

        What csv cannot split is a row of one cell, ``NOT_SPLIT`` and why; an empty line is an empty row.
        """
        lines: list[int] = []
        rows: list[list[str]] = []
        while len(rows) < count:
            try:
                for row in islice(self._reader, count - len(rows)):
                    rows.append(row)
                    lines.append(self.line)
            except csv.Error as error:
                rows.append([f"{NOT_SPLIT}{error}"])
                lines.append(self.line)
                self._reader = csv.reader(self._counted())
            else:
                break
        return lines, rows

    def _counted(self) -> Iterator[str]:
        for text in self._lines:
            self.line += 1
            if text.startswith("#"):
                self.comments = [*self.comments, text][:MOST_COMMENTS]
            else:
                yield text if "\0" not in text else text.replace("\0", "\ufffd")


def _head(rows: _Rows, findings: Findings) -> Head:
    while True:
        lines, heads = rows.take(1)
        if not heads:
            told = findings.all()
            raise findings.refuse(told[0].message if told else "empty")
        (line,), (row,) = lines, heads
        if not any(row):
            continue
        if row[0].startswith(NOT_SPLIT):
            raise findings.refuse(f"not a CSV: {row[0].removeprefix(NOT_SPLIT)}", line)
        words = _words(rows.comments, findings)
        names = [headers.normal(name) for name in row]
        places = [(i, headers.TIMES[name]) for i, name in enumerate(names) if name in headers.TIMES]
        if not places:
            raise findings.refuse(_no_time(row), line)
        columns = _columns(names, places[0][0], line, findings)
        return _one_kind(Head(places[0], columns, line, len(row), words), findings)


def _no_time(row: Sequence[str]) -> str:
    """Return why a header cannot be read: separators other than commas, or no column that is a time."""
    if len(row) == 1 and (mark := next((mark for mark in (";", "\t") if mark in row[0]), "")):
        return f"columns are separated by commas; here they seem to be by {mark!r}"
    return f"no column is a time; expected one of {listed(headers.TIMES, 99)}, found {listed(row)}"


def _one_kind(head: Head, findings: Findings) -> Head:
    """Leave out columns of the other kind: a list of arrivals has no battery, a device's figures no task."""
    arrivals = {*ARRIVAL_COLUMNS, *ARRIVAL_LABELS}
    wanted = head.kind == "arrivals"
    other = [i for i, header in head.columns.items() if (header.column in arrivals) != wanted]
    for place in other:
        findings.note(head.line, f"{head.columns[place].column} does not belong to {head.kind}; left out")
    head.columns = {i: header for i, header in head.columns.items() if i not in other}
    return head


def _columns(names: Sequence[str], time: int, line: int, findings: Findings) -> dict[int, Header]:
    columns: dict[int, Header] = {}
    left_out: list[str] = []
    for place, name in enumerate(names):
        header = headers.find(name)
        if place == time:
            continue
        if header is None:
            left_out.append(name[:40] or "(no name)")
        elif any(header.column == other.column for other in columns.values()):
            findings.problem(line, f"two columns are {header.column}; the second is left out")
        else:
            columns[place] = header
    if left_out:
        findings.note(line, f"columns without a meaning here are left out: {listed(left_out)}")
    if left_out and not columns:
        raise findings.refuse(f"no column has a known name, found {listed(names)}", line)
    return columns


def _words(comments: Sequence[str], findings: Findings) -> dict[str, str]:
    """Return ``key: value`` of the comments above the header; raise ``TraceError`` for a later version."""
    words: dict[str, str] = {}
    for comment in comments:
        if comment.startswith(FIRST_LINE) and comment.removeprefix(FIRST_LINE).strip() != str(VERSION):
            raise findings.refuse(f"a stored trace of version {comment.removeprefix(FIRST_LINE).strip()[:20]}"
                                  f", this program knows {VERSION}", 1)  # fmt: skip
        key, colon, value = comment.lstrip("# ").partition(":")
        if colon:
            words.setdefault(key.strip(), value.strip())
    return words


class _Table:
    """A whole CSV as arrays: times, line numbers, columns of numbers and of words."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path, self._findings = path, findings
        source = _Rows(read_lines(path, findings))
        self.head = _head(source, findings)
        self.rows = 0
        self._at: list[Times] = []
        self._lines: list[Times] = []
        self._numbers: dict[str, list[Floats]] = {}
        self._codes: dict[str, list[np.ndarray[tuple[int], np.dtype[np.int32]]]] = {}
        self._names: dict[str, dict[str, int]] = {}
        for header in self.head.columns.values():
            if header.column in ARRIVAL_LABELS:
                self._names[header.column], self._codes[header.column] = {}, []
            else:
                self._numbers[header.column] = []
        while self._read_chunk(source):
            pass
        self.at_ns = np.concatenate([*self._at, np.empty(0, np.int64)])
        self.lines = np.concatenate([*self._lines, np.empty(0, np.int64)])
        self.numbers = {name: np.concatenate([*parts, np.empty(0)]) for name, parts in self._numbers.items()}

    @property
    def name(self) -> str:
        """Return the name the file gives itself, else its own."""
        return self.head.words.get("name") or stem(self._path)

    def times(self, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[Times, int | None]:
        """Return the times to keep from the trace's start, and when that was if known."""
        at_ns = self.at_ns[keep]
        if self.head.time[1].absolute:
            return at_ns - at_ns[0], int(at_ns[0])
        told = self.head.words.get("epoch_unix_ns", "")
        return at_ns, int(told) if told.isascii() and told.isdecimal() and len(told) < 20 else None

    def labels(self) -> dict[str, Labels]:
        """Return the columns of words."""
        return {
            name: Labels(tuple(names), np.concatenate([*self._codes[name], np.empty(0, np.int32)]))
            for name, names in self._names.items()
        }

    def _read_chunk(self, source: _Rows) -> bool:
        """Take rows over into arrays, and return whether there were any; their text is free afterwards."""
        lines, rows = source.take(CHUNK)
        self._take(*self._whole(lines, rows))
        return bool(rows)

    def _whole(self, lines: list[int], rows: list[list[str]]) -> tuple[list[int], list[list[str]]]:
        """Return the rows that have as many cells as the header, and report the others."""
        width = self.head.width
        self.rows += len(rows)
        if all(len(row) == width for row in rows):
            return lines, rows
        good: tuple[list[int], list[list[str]]] = [], []
        for line, row in zip(lines, rows, strict=True):
            if len(row) == width:
                good[0].append(line)
                good[1].append(row)
            elif not any(row):
                self.rows -= 1  # an empty line is no row
            elif row[0].startswith(NOT_SPLIT):
                why = row[0].removeprefix(NOT_SPLIT)
                self._findings.problem(line, f"cannot be split into cells: {why}; left out")
            else:
                self._findings.problem(line, f"{len(row)} cells, expected {width}; left out")
        return good

    def _preferences(self, words: Sequence[str], lines: Sequence[int]) -> Sequence[str]:
        """Return the words that are preferences; another one is a problem, and then it is not told."""
        for line, word in zip(lines, words, strict=True):
            if word and word not in PREFERENCES:
                expected = listed(sorted(PREFERENCES))
                self._findings.problem(line, f"prefer: {word[:40]!r}: expected one of {expected}; unknown")
        return [word if word in PREFERENCES else "" for word in words]

    def _take(self, lines: list[int], rows: list[list[str]]) -> None:
        if not rows:
            return
        columns = list(zip(*rows, strict=True))
        place, time = self.head.time
        at_ns = cells.times(columns[place], lines, time, self._findings)
        good = at_ns != cells.NO_TIME
        self._at.append(at_ns[good])
        self._lines.append(np.array(lines, np.int64)[good])
        for place, header in self.head.columns.items():
            name = header.column
            if name in self._names:
                known = self._names[name]
                words = columns[place] if name != "prefer" else self._preferences(columns[place], lines)
                codes = [known.setdefault(word, len(known)) for word in words]
                self._codes[name].append(np.array(codes, np.int32)[good])
            else:
                column = ENERGY if name.startswith(ENERGY_PREFIX) else {**COLUMNS, **ARRIVAL_COLUMNS}[name]
                values = cells.numbers(columns[place], lines, header, column, self._findings)
                self._numbers[name].append(values[good])
