"""Finds out what a file is and reads it: any of the formats that traces come in."""

from itertools import islice
from pathlib import Path
from typing import Final

from trimtab_sim.traces import battery_dump, history
from trimtab_sim.traces.battery_dump import read_battery_dump
from trimtab_sim.traces.component_energy import HEADER as ENERGY_HEADER
from trimtab_sim.traces.component_energy import read_component_energy
from trimtab_sim.traces.findings import Findings
from trimtab_sim.traces.history import read_history
from trimtab_sim.traces.journal import read_journal_arrivals, read_journal_device
from trimtab_sim.traces.lines import first_bytes, read_lines
from trimtab_sim.traces.plain import read_arrivals, read_head, read_series
from trimtab_sim.traces.series import ArrivalReading, Reading, TraceError
from trimtab_sim.traces.store import read_parquet

SQLITE: Final = b"SQLite format 3\0"
PARQUET: Final = b"PAR1"
LOOKED_AT: Final = 200
"""Lines from the start in which a format must show itself, else the whole file is searched."""
FORMATS: Final = ("journal", "parquet", "batterystats", "battery dump", "component energy", "csv")


def detect(path: Path) -> str:
    """Return which of ``FORMATS`` a file has; raise ``TraceError`` for a folder, ``OSError`` as opening does."""
    if path.is_dir():
        raise TraceError(f"{path}: a folder, not a file")
    begin = first_bytes(path)
    if begin.startswith(SQLITE):
        return "journal"
    if begin.startswith(PARQUET):
        return "parquet"
    for line, text in enumerate(islice(read_lines(path, Findings(path)), LOOKED_AT), 1):
        found = "batterystats" if line == 1 and history.RECORD.match(text) else _shown(text)
        if found:
            return found
    if _is_csv(path):
        return "csv"
    if any(history.HEADING in text for text in read_lines(path, Findings(path))):
        return "batterystats"
    return "csv"


def _shown(text: str) -> str | None:
    """Return the format that a line shows."""
    if history.HEADING in text or history.CHECKIN.match(text):
        return "batterystats"
    if battery_dump.HEADING in text or battery_dump.HEADING in battery_dump.unmangled(text):
        return "battery dump"
    return "component energy" if text.strip() == ",".join(ENERGY_HEADER) else None


def _is_csv(path: Path) -> bool:
    try:
        read_head(path)
    except TraceError:
        return False
    return True


def load_series(path: str | Path) -> Reading:
    """Read a device's figures over time from a file of any format.

    Raises ``TraceError`` (file, line and what is wrong) for a file that holds none, ``OSError`` for one that
    cannot be opened.
    """
    path = Path(path)
    kind = detect(path)
    if kind == "parquet":
        stored = read_parquet(path)
        if isinstance(stored, Reading):
            return stored
        raise TraceError(f"{path}: a list of arrivals, not figures of a device over time")
    readers = {
        "journal": read_journal_device,
        "batterystats": read_history,
        "battery dump": read_battery_dump,
        "component energy": read_component_energy,
    }
    return readers.get(kind, read_series)(path)


def load_arrivals(path: str | Path) -> ArrivalReading:
    """Read a list of arrivals from a file of any format that has one: a journal, a CSV, a stored trace.

    Raises ``TraceError`` (file, line and what is wrong) for a file that holds none, ``OSError`` for one that
    cannot be opened.
    """
    path = Path(path)
    kind = detect(path)
    if kind == "parquet":
        stored = read_parquet(path)
        if isinstance(stored, ArrivalReading):
            return stored
        raise TraceError(f"{path}: figures of a device over time, not a list of arrivals")
    if kind == "journal":
        return read_journal_arrivals(path)
    if kind == "csv":
        return read_arrivals(path)
    raise TraceError(f"{path}: {kind}: figures of a device over time, not a list of arrivals")


def load_trace(path: str | Path) -> Reading | ArrivalReading:
    """Read whichever of the two a file holds; of a journal, which holds both, the arrivals."""
    path = Path(path)
    kind = detect(path)
    if kind == "parquet":
        return read_parquet(path)
    if kind == "journal" or (kind == "csv" and read_head(path).kind == "arrivals"):
        return load_arrivals(path)
    return load_series(path)
