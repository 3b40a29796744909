"""A run's requests and device states as files, written while it happens: CSV (gzip or not) or Parquet."""

import csv
import gzip
import importlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

from trimtab.domain.device import DeviceState
from trimtab_sim.arrivals import Arrival
from trimtab_sim.report import Served, Watcher

REQUESTS: Final = (
    "request_id", "stream", "task", "app", "at_ns", "finished_ns", "latency_ns", "budget_ns", "on_time", "outcome",
    "cause", "variant", "processor", "exit_rule", "exit_index", "queue_ns", "load_ns", "run_ns", "energy_uj",
    "accuracy_frac", "correct", "given_up", "energy_price_per_j",
)  # fmt: skip
"""Columns of the requests' table; times count from the beginning of the scenario."""
DEVICE: Final = (
    "at_ns", "battery_frac", "charging", "temperature_mc", "memory_available_bytes", "cpu_load_frac", "resident_bytes",
)  # fmt: skip
"""Columns of the device's table: one row each time the scheduler was told."""
BATCH_ROWS: Final = 65_536


class TableError(ValueError):
    """A table cannot be written as asked."""


class Table(Protocol):
    """Takes rows, and is closed at the end."""

    def add(self, row: Sequence[Any]) -> None:
        """Write a row; ``None`` is an empty cell."""

    def close(self) -> None:
        """Write what is left."""


class CsvTable:
    """A CSV file with a header, gzipped when its name ends in ``.gz``; the same rows give the same bytes."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Begin the file anew."""
        stream = path.open("wb")
        self._files: list[IO[Any] | gzip.GzipFile] = [stream]
        if path.suffix == ".gz":  # neither name nor time in the header
            self._files.append(gzip.GzipFile("", "wb", 6, stream, mtime=0))
        text = io.TextIOWrapper(self._files[-1], "utf-8", newline="")
        self._files.append(text)
        self._writer = csv.writer(text, lineterminator="\n")
        self._writer.writerow(columns)

    def add(self, row: Sequence[Any]) -> None:
        """Write a row; ``None`` is an empty cell, booleans are 0 and 1."""
        self._writer.writerow([int(cell) if cell is True or cell is False else cell for cell in row])

    def close(self) -> None:
        """Write what is left."""
        for file in reversed(self._files):
            file.close()


class ParquetTable:
    """A Parquet file, written in row groups so that memory stays flat; needs pyarrow."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Begin the file anew; raise ``TableError`` without pyarrow."""
        try:
            pyarrow = importlib.import_module("pyarrow")
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            message = "Parquet needs pyarrow: pip install 'trimtab[sim]', or write CSV"
            raise TableError(message) from error
        self._arrow = pyarrow
        kinds = {
            "text": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "flag": pyarrow.bool_(),
        }  # fmt: skip
        self._schema = pyarrow.schema([(name, kinds[_kind(name)]) for name in columns])
        self._writer = parquet.ParquetWriter(path, self._schema)
        self._rows: list[Sequence[Any]] = []

    def add(self, row: Sequence[Any]) -> None:
        """Keep a row until a group is full."""
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer.is_open:
            self._flush()
            self._writer.close()

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(self._schema)
        arrays = [
            self._arrow.array(cells, field.type) for cells, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()


def open_table(path: Path, columns: Sequence[str]) -> Table:
    """Return a table by the file's ending; raise ``TableError`` for one that cannot be written."""
    return ParquetTable(path, columns) if path.suffix == ".parquet" else CsvTable(path, columns)


class TableWriter(Watcher):
    """Writes a run's requests and device states."""

    def __init__(self, requests: Path, device: Path, expected: Callable[[Served], float | None]) -> None:
        """Begin both files; ``expected`` tells an answer's expected accuracy."""
        self.origin_ns = 0
        """What time zero of the tables is on the driver's clock."""
        self.resident_bytes: Callable[[], int] = lambda: 0
        self._expected = expected
        self._requests = open_table(requests, REQUESTS)
        self._device = open_table(device, DEVICE)

    def close(self) -> None:
        """Write what is left; again does nothing."""
        self._requests.close()
        self._device.close()

    def served(self, one: Served) -> None:
        """Write a request that ended."""
        arrival, result, decision = one.arrival, one.result, one.decision
        request = arrival.request
        self._requests.add((
            request.request_id, request.request_id.rpartition("-")[0], request.task, request.app,
            arrival.at_ns - self.origin_ns, one.finished_ns - self.origin_ns, one.latency_ns,
            None if decision is None else decision.budget_ns, result.on_time, result.outcome.value,
            result.cause.value or None, result.variant or None, result.processor or None,
            None if decision is None else decision.exit_rule, result.exit_index if one.answered else None,
            result.queue_ns, result.load_ns, result.run_ns, result.energy_uj, self._expected(one), one.correct,
            " ".join(result.given_up) or None, None if decision is None else decision.energy_price_per_j,
        ))  # fmt: skip

    def lost(self, arrival: Arrival) -> None:
        """Write a request that came when the device was off."""
        request = arrival.request
        start = (request.request_id, request.request_id.rpartition("-")[0], request.task, request.app)
        cells = (*start, arrival.at_ns - self.origin_ns, None, None, None, False, "lost", "device off")
        self._requests.add((*cells, *[None] * (len(REQUESTS) - len(cells))))

    def device(self, now_ns: int, state: DeviceState) -> None:
        """Write a state of the device."""
        self._device.add((
            now_ns - self.origin_ns, state.battery_frac, state.charging, state.temperature_mc,
            state.memory_available_bytes, state.cpu_load_frac, self.resident_bytes(),
        ))  # fmt: skip


_TEXTS: Final = frozenset(
    {
        "request_id",
        "stream",
        "task",
        "app",
        "outcome",
        "cause",
        "variant",
        "processor",
        "exit_rule",
        "given_up",
    }
)
_FLAGS: Final = frozenset({"on_time", "correct", "charging"})


def _kind(column: str) -> str:
    """Return what a column holds: text, flag, int or float."""
    if column in _TEXTS or column in _FLAGS:
        return "text" if column in _TEXTS else "flag"
    return "float" if column.endswith(("_frac", "_uj", "_per_j")) else "int"
