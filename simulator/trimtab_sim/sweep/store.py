"""Where a sweep's rows go: Parquet parts while it runs, one file in the end. A killed sweep goes on from the parts."""

import importlib
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from trimtab_sim.sweep.cell import KEY, NUMBER, Row

RESULTS: Final = "results.parquet"
PARTS: Final = "parts"
PART_ROWS: Final = 64
PART_S: Final = 2.0
"""Rows are written once there are so many, or once the oldest has waited so long."""


class StoreError(RuntimeError):
    """The folder cannot take a sweep's results."""


class Store:
    """The results in a folder. Each file appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        """Open or make the folder; raise ``StoreError`` without pyarrow or if the folder is no folder."""
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise StoreError(
                "sweeps are kept as Parquet, which needs pyarrow: pip install 'trimtab[sim]'"
            ) from error
        self.results = folder / RESULTS
        self._parts = folder / PARTS
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written to: {error.strerror}") from error
        self._waiting: list[Row] = []
        self._since_s = 0.0

    def known(self) -> dict[str, Row]:
        """Return the rows found in the folder, by their cell's key; a part that cannot be read is left out."""
        found: dict[str, Row] = {}
        for path in (self.results, *sorted(self._parts.glob("*.parquet"))):
            if not path.exists():
                continue
            try:
                rows = self._parquet.read_table(path).to_pylist()
            except (OSError, self._arrow.ArrowInvalid) as error:
                raise StoreError(f"{path}: is no Parquet file that can be read: {error}") from error
            found.update({row[KEY]: row for row in rows if KEY in row})
        return found

    def add(self, row: Row) -> None:
        """Keep a row; it is on disk two seconds later at the latest while more come."""
        if not self._waiting:
            self._since_s = time.monotonic()
        self._waiting.append(row)
        if len(self._waiting) >= PART_ROWS or time.monotonic() - self._since_s >= PART_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one part."""
        if self._waiting:
            first = self._waiting[0][KEY]
            self._write(self._parts / f"{first}.parquet", self._waiting)
            self._waiting = []

    def finish(self, rows: Sequence[Row]) -> None:
        """Write all rows, in the order of their cells, as the one file of results; drop the parts."""
        self._write(self.results, sorted(rows, key=lambda row: int(row[NUMBER])))
        self._waiting = []
        shutil.rmtree(self._parts)

    def _write(self, path: Path, rows: Sequence[Row]) -> None:
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = self._arrow.table({name: [row.get(name) for row in rows] for name in names})
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        self._parquet.write_table(table, fresh)
        fresh.replace(path)
