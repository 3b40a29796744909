"""Reads ``adb shell dumpsys battery``: the state of the battery at one moment, or at several.

Source of the layout: AOSP frameworks/base, services/core/java/com/android/server/BatteryService.java,
``dumpInternal``: level in percent of ``scale``, millivolts, tenths of a degree, microampere-hours, microamperes
and microvolts; ``status`` 2 is charging and 5 full (android.os.BatteryManager).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from trimtab_sim.traces import cells, headers
from trimtab_sim.traces.findings import Findings, stem
from trimtab_sim.traces.lines import read_lines
from trimtab_sim.traces.order import in_order
from trimtab_sim.traces.series import COLUMNS, Reading, Series

HEADING: Final = "Current Battery Service state"
FIGURES: Final = {
    "voltage": ("voltage_mv", 1.0),
    "temperature": ("temperature_mc", 0.01),
    "charge counter": ("charge_mah", 1000.0),
    "max charging current": ("adapter_ma", 1000.0),
    "max charging voltage": ("adapter_mv", 1000.0),
}
"""The column that a figure fills, and how many of the dump's units are one of the column's."""
POWERED: Final = ("ac powered", "usb powered", "wireless powered", "dock powered")
CHARGING: Final = 2
Fields = dict[str, tuple[int, str]]


def read_battery_dump(path: Path) -> Reading:
    """Read one dump, or several with a line of Unix seconds or ISO time before each.

    Raises ``TraceError`` if there is no dump, or there are several without times.
    """
    findings = Findings(path)
    dumps = [*_dumps(path, findings)]
    if not dumps:
        raise findings.refuse(f"no line begins with {HEADING!r}: no battery state")
    if len(dumps) > 1 and any(at_ns is None for _, at_ns, _ in dumps):
        raise findings.refuse("several dumps, and not before each a line with the time (date +%s)")
    rows = [_figures(fields, findings) for _, _, fields in dumps]
    at_ns = np.array([at_ns or 0 for _, at_ns, _ in dumps], np.int64)
    lines = np.array([line for line, _, _ in dumps], np.int64)
    keep = in_order(at_ns, lines, findings, repeats=False)
    findings.refuse_if_broken(len(rows), sum(1 for row in rows if row))
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    columns = {name: np.array([row.get(name, np.nan) for row in rows])[keep] for name in names}
    kept = at_ns[keep]
    epoch_ns = int(kept[0]) if dumps[0][1] is not None else None
    series = Series(stem(path), kept - kept[0], columns, epoch_ns)
    return Reading(series, findings.all(), findings.count, len(rows), "battery dump")


def unmangled(text: str) -> str:
    """Return text whose bytes some tool took for UTF-16, as what it was before."""
    return text.encode("utf-16-le", errors="replace").decode("utf-8", errors="replace")


def _lines(path: Path, findings: Findings) -> Iterator[tuple[int, str]]:
    for line, text in enumerate(read_lines(path, findings), 1):
        if line == 1 and HEADING not in text and HEADING in unmangled(text):
            findings.note(1, "the file is UTF-8 that was read as UTF-16; undone")
            yield from enumerate(unmangled(text).splitlines(), 1)
            return
        yield line, text


def _dumps(path: Path, findings: Findings) -> Iterator[tuple[int, int | None, Fields]]:
    """Yield where each dump begins, its time and its fields."""
    fields: Fields | None = None
    began, began_ns, clock_ns = 0, None, None
    header = headers.TimeHeader(0, absolute=True)
    for line, text in _lines(path, findings):
        if HEADING in text:
            if fields is not None:
                yield began, began_ns, fields
            fields, began, began_ns, clock_ns = {}, line, clock_ns, None
            continue
        name, colon, value = text.partition(": ")
        if text.strip()[:4].isdecimal():
            at_ns = int(cells.times([text.strip()], [line], header, findings)[0])
            clock_ns = None if at_ns == cells.NO_TIME else at_ns
        elif colon and fields is not None:
            fields.setdefault(name.strip().lower(), (line, value.strip()))
    if fields is not None:
        yield began, began_ns, fields


def _figures(fields: Fields, findings: Findings) -> dict[str, float]:
    row: dict[str, float] = {}
    scale = _number(fields["scale"][1]) if "scale" in fields else None
    for name, (column, per_unit) in {"level": ("battery_frac", scale or 100.0), **FIGURES}.items():
        if name in fields:
            line, text = fields[name]
            value, limits = _number(text), COLUMNS[column]
            if value is not None and limits.low <= value / per_unit <= limits.high:
                row[column] = value / per_unit
            else:
                expected = cells.limits(limits)
                findings.problem(line, f"{name}: {text[:40]!r} is not possible, expected {expected}")
    if "status" in fields:
        row["charging"] = float(_number(fields["status"][1]) == CHARGING)
    if any(name in fields for name in POWERED):
        row["plugged"] = float(any(fields[name][1] == "true" for name in POWERED if name in fields))
    return row


def _number(text: str) -> float | None:
    try:
        return float(int(text[:18]))
    except ValueError:
        return None
