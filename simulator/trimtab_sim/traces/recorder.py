"""Writes a device's figures as they are read, row by row, so that a crash costs at most the row in hand."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import numpy as np

from trimtab.domain.device import DeviceState
from trimtab_sim.traces.findings import place, stem
from trimtab_sim.traces.journal import state_figures
from trimtab_sim.traces.plain import read_head
from trimtab_sim.traces.series import Series, TraceError
from trimtab_sim.traces.store import head_lines, number_text

RECORDED: Final = (
    "battery_frac",
    "battery_capacity_j",
    "charging",
    "discharge_mw",
    "memory_available_bytes",
    "memory_total_bytes",
    "memory_pressure_frac",
    "cpu_load_frac",
    "temperature_mc",
)
"""The columns of a recording, empty where no sensor tells."""
TAIL_BYTES: Final = 1 << 16


class Recorder:
    """Appends rows to a stored trace; makes the file, or goes on with one that a recorder wrote.

    Times go on from the file's own start by the wall clock. Raises ``TraceError`` for a file that is something
    else or that ends in the future, ``OSError`` for one that cannot be written.
    """

    def __init__(self, path: Path, now_unix_ns: int) -> None:
        """Open ``path`` at ``now_unix_ns``; half a row that a crash left at its end is removed."""
        if not path.name.endswith(".csv"):
            raise TraceError(
                f"{path}: rows are appended to a .csv; `trimtab trace import` makes it smaller after"
            )
        self.path = path
        self.rows = 0
        self.mended = False
        self._last_ns = -1
        if path.exists() and path.stat().st_size:
            self._epoch_ns = self._resume(now_unix_ns)
            self._file: IO[str] = path.open("a", encoding="utf-8", newline="")
        else:
            self._epoch_ns = now_unix_ns
            self._file = path.open("w", encoding="utf-8", newline="")
            empty = Series(stem(path), np.empty(0, np.int64), {}, now_unix_ns)
            self._file.write(head_lines(empty) + ",".join(("at_ns", *RECORDED)) + "\n")
            self._file.flush()

    def write(self, now_unix_ns: int, figures: Mapping[str, float]) -> None:
        """Append a row and hand it to the system; a second one within the same nanosecond is ignored."""
        at_ns = now_unix_ns - self._epoch_ns
        if at_ns <= self._last_ns:
            return
        cells = [number_text(figures[name]) if name in figures else "" for name in RECORDED]
        self._file.write(",".join((str(at_ns), *cells)) + "\n")
        self._file.flush()
        self._last_ns = at_ns
        self.rows += 1

    def close(self) -> None:
        """Put what was written on the disk and release the file."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _resume(self, now_unix_ns: int) -> int:
        """Check that the file is a recording, cut half a row off its end, and return its start."""
        head = read_head(self.path)
        epoch = head.words.get("epoch_unix_ns", "")
        if tuple(h.column for h in head.columns.values()) != RECORDED or not epoch.isdecimal():
            raise TraceError(
                f"{place(self.path, head.line)}: not a recording of this program; choose another file"
            )
        with self.path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
            whole = tail[: tail.rfind(b"\n") + 1]
            if len(whole) < len(tail):
                self.mended = True
                file.truncate(size - len(tail) + len(whole))
        last = whole.splitlines()[-1].split(b",")[0]
        self._last_ns = int(last) if last.isdigit() else -1
        if now_unix_ns - int(epoch) <= self._last_ns:
            raise TraceError(f"{self.path}: ends later than this machine's clock says it is")
        return int(epoch)


def recorded_figures(state: DeviceState, discharge_mw: float | None) -> dict[str, float]:
    """Return the columns of a row: what the sensors tell, and nothing for what they do not."""
    figures = state_figures(state)
    if discharge_mw is not None:
        figures["discharge_mw"] = discharge_mw
    return figures
