"""Reads the iPhone log of energy per component: rows of ``interval_s,unix_s,component,energy``.

Source: markm39/mcm-battery-2026 (Mark Miller 2026, CC BY 4.0). The unit is not documented there; hourly totals
agree with microwatt-hours to about 15 %, so the columns say ``energy_raw`` and no more.
"""

import csv
from pathlib import Path
from typing import Final

import numpy as np

from trimtab_sim.traces import cells, headers
from trimtab_sim.traces.findings import Findings, stem
from trimtab_sim.traces.lines import read_lines
from trimtab_sim.traces.series import ENERGY_PREFIX, Reading, Series, TraceError

HEADER: Final = ["interval_s", "unix_s", "component", "energy"]
MOST_COMPONENTS: Final = 200
Cell = tuple[int, int, str, float]


def read_component_energy(path: Path) -> Reading:
    """Read the log as one column per component, each row the energy of the interval that ends then.

    Rows of other intervals than the shortest are totals of the same energy: left out, with a note that counts
    them. Raises ``TraceError`` for another header or a file that is mostly wrong.
    """
    findings = Findings(path)
    rows, count = _rows(path, findings)
    findings.refuse_if_broken(count, len(rows))
    shortest = min(interval for interval, *_ in rows)
    wanted = [row for row in rows if row[0] == shortest]
    if len(wanted) < len(rows):
        others = sorted({interval for interval, *_ in rows} - {shortest})
        text = ", ".join(str(interval) for interval in others[:5])
        findings.note(0, f"{len(rows) - len(wanted)} rows are totals over {text} s of the same; left out")
    names = sorted({name for _, _, name, _ in wanted})
    if len(names) > MOST_COMPONENTS:
        raise findings.refuse(f"{len(names)} components, at most {MOST_COMPONENTS} are expected")
    at_ns = np.unique(np.array([at for _, at, _, _ in wanted], np.int64))
    columns = {ENERGY_PREFIX + name: np.full(len(at_ns), np.nan) for name in names}
    for _, at, name, energy in wanted:
        columns[ENERGY_PREFIX + name][np.searchsorted(at_ns, at)] = energy
    series = Series(stem(path), at_ns - at_ns[0], columns, int(at_ns[0]))
    return Reading(series, findings.all(), findings.count, count, "component energy")


def _rows(path: Path, findings: Findings) -> tuple[list[Cell], int]:
    reader = csv.reader(text.replace("\0", "\ufffd") for text in read_lines(path, findings))
    found: dict[tuple[int, int, str], float] = {}
    count = 0
    try:
        if next(reader, None) != HEADER:
            raise findings.refuse(f"expected the header {','.join(HEADER)}", 1)
        for row in reader:
            count += 1
            cell = _cell(row, reader.line_num, findings)
            if cell is not None and cell[:3] in found:
                findings.problem(reader.line_num, f"{cell[2]} has a value at this time already; left out")
            elif cell is not None:
                found[cell[:3]] = cell[3]
    except csv.Error as error:
        raise TraceError(f"{path}:{reader.line_num}: not a CSV: {error}") from error
    return [(*key, energy) for key, energy in found.items()], count


def _cell(row: list[str], line: int, findings: Findings) -> Cell | None:
    if len(row) != len(HEADER):
        findings.problem(line, f"{len(row)} cells, expected {len(HEADER)}; left out")
        return None
    at_ns = int(cells.times([row[1]], [line], headers.TIMES["unix_s"], findings)[0])
    if at_ns == cells.NO_TIME:
        return None
    try:
        interval, energy = int(row[0]), float(row[3])
    except ValueError:
        findings.problem(
            line, f"interval {row[0][:20]!r} or energy {row[3][:20]!r} is not a number; left out"
        )
        return None
    if interval <= 0 or not 0 <= energy < float("inf"):
        findings.problem(line, f"interval {interval} s with energy {energy} is not possible; left out")
        return None
    return interval, at_ns, row[2][:40], energy
