"""Turns the cells of a CSV column into numbers, times or words, quickly where all are well, else one by one."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from trimtab_sim.traces.findings import Findings
from trimtab_sim.traces.headers import Header, TimeHeader
from trimtab_sim.traces.series import Column, Floats, Times

UNKNOWN: Final = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "?"})
"""Words for an unknown value, in small letters."""
WORDS: Final = {"true": 1.0, "yes": 1.0, "on": 1.0, "false": 0.0, "no": 0.0, "off": 0.0}
NO_TIME: Final = np.iinfo(np.int64).min
"""In place of a time that cannot be read."""
LAST_NS: Final = 4_102_444_800 * 10**9
"""Times reach to the year 2100; an ``int64`` of nanoseconds ends in 2262."""
EXACT_US: Final = 1_000
DATE_LETTERS: Final = frozenset("0123456789-:. T")
TIME_WORDS: Final = {0: "a date by ISO 8601 or seconds since 1970", 1: "whole nanoseconds"}


def numbers(
    cells: Sequence[str], lines: Sequence[int], header: Header, column: Column, findings: Findings
) -> Floats:
    """Return the numbers of a column in its own unit; NaN where unknown, and where it cannot be (a problem)."""
    try:
        if "_" in "".join(cells):
            raise ValueError("Python would read 1_0 as ten")
        values = np.fromiter(map(float, [cell or "nan" for cell in cells]), np.float64, len(cells))
    except ValueError:
        values = _one_by_one(cells, lines, header.column, findings)
    if header.unknown is not None:
        values[values == header.unknown] = np.nan
    if header.factor != 1.0:
        values = _times_factor(values, header.factor)
    impossible = (values < column.low) | (values > column.high) | np.isinf(values)
    for row in np.flatnonzero(impossible).tolist():
        findings.problem(
            lines[row],
            f"{header.column}: {cells[row].strip()!r} is not possible, expected {limits(column)}; unknown",
        )
    values[impossible] = np.nan
    return values


def limits(column: Column) -> str:
    """Return the possible values of a column in words."""
    if math.isinf(column.high):
        return f"at least {column.low:.12g}"
    return f"{column.low:.12g} to {column.high:.12g} {column.unit}"


def _times_factor(values: Floats, factor: float) -> Floats:
    """Multiply; dividing by a whole number keeps 26.87 % as 0.2687 and not 0.26870000000000005."""
    whole = round(1 / factor) if factor < 1 else 0
    return values / whole if whole and math.isclose(whole * factor, 1.0) else values * factor


def _one_by_one(cells: Sequence[str], lines: Sequence[int], name: str, findings: Findings) -> Floats:
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        word = cell.strip().lower()
        if word in UNKNOWN:
            continue
        try:
            values[row] = WORDS[word] if word in WORDS else float(word.replace("_", "x"))
        except ValueError:
            findings.problem(lines[row], f"{name}: {cell[:40]!r} is not a number; unknown")
    return values


def times(cells: Sequence[str], lines: Sequence[int], header: TimeHeader, findings: Findings) -> Times:
    """Return the times of a column in nanoseconds; ``NO_TIME`` where one cannot be read (a problem).

    Whole numbers are exact; decimal seconds are taken to the microsecond, as a float of today's date holds.
    """
    fast = _whole(cells, header.unit_ns) if header.unit_ns else _dates(cells)
    if fast is None:
        fast = np.fromiter((_time(cell, header.unit_ns) for cell in cells), np.int64, len(cells))
    low = 0 if header.absolute else -LAST_NS
    fast[(fast < low) | (fast > LAST_NS)] = NO_TIME
    for row in np.flatnonzero(fast == NO_TIME).tolist():
        expected = TIME_WORDS.get(header.unit_ns, "a number")
        findings.problem(lines[row], f"{cells[row][:40]!r} is no time, expected {expected}; left out")
    return fast


def _whole(cells: Sequence[str], unit_ns: int) -> Times | None:
    """Return numeric times if every cell is one, else ``None``."""
    try:
        if unit_ns == 1:
            return np.fromiter(map(int, cells), np.int64, len(cells))
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except (ValueError, OverflowError):
        return None
    if not (np.abs(values) * unit_ns <= LAST_NS).all():  # also for NaN
        return None
    return _to_ns(values, unit_ns)


def _to_ns(values: Floats, unit_ns: int) -> Times:
    if unit_ns <= EXACT_US:
        return np.rint(values * unit_ns).astype(np.int64)
    return np.rint(values * (unit_ns // EXACT_US)).astype(np.int64) * EXACT_US


def _dates(cells: Sequence[str]) -> Times | None:
    """Return ISO dates without a zone (UTC) if every cell is one, else ``None``."""
    first = cells[0] if cells else ""
    if not first[:4].isdigit() or "-" not in first[4:5]:
        return _whole(cells, 10**9)
    plain = [cell.removesuffix("Z") for cell in cells]
    if not DATE_LETTERS.issuperset("".join(plain)) or any(
        "-" in cell[10:] or len(cell) < 10 for cell in plain
    ):
        return None  # numpy warns of a zone
    try:
        stamps = np.array(plain, dtype="datetime64[ns]")
    except (ValueError, OverflowError):
        return None
    years = np.array(plain, dtype="datetime64[Y]").astype(np.int64)
    return None if (np.abs(years - 50) > 80).any() else stamps.astype(np.int64)


def _time(cell: str, unit_ns: int) -> int:
    text = cell.strip()
    try:
        if unit_ns == 1:
            return _bounded(int(text))
        if unit_ns:
            return _bounded(float(text) * unit_ns, exact_ns=EXACT_US)
        if text[4:5] == "-":
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            since = moment - datetime(1970, 1, 1, tzinfo=UTC)
            return _bounded((since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000)
        return _bounded(float(text) * 10**9, exact_ns=EXACT_US)
    except (ValueError, OverflowError):
        return NO_TIME


def _bounded(value_ns: float, exact_ns: int = 1) -> int:
    if not -LAST_NS <= value_ns <= LAST_NS:  # also for NaN
        return NO_TIME
    return round(value_ns / exact_ns) * exact_ns if exact_ns > 1 else int(value_ns)
