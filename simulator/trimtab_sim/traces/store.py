"""Writes traces in trimtab's own form, and reads its Parquet variant.

The form is a CSV: comment lines with the version, the kind, the name and when it began, a header of column
names in their own units, one row per time, an empty cell for unknown. ``plain`` reads it back. Numbers are
written in the shortest form that reads back as the same number. The bytes are the same on every machine,
except that of ``.gz`` files, which depend on the version of zlib.
"""

import csv
import gzip
import importlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from trimtab_sim.traces.findings import stem
from trimtab_sim.traces.plain import FIRST_LINE, VERSION
from trimtab_sim.traces.series import (
    ArrivalReading,
    ArrivalTrace,
    Floats,
    Labels,
    Reading,
    Series,
    TraceError,
)

CHUNK: Final = 50_000
METADATA: Final = b"trimtab_trace"
Trace = Series | ArrivalTrace


def write_trace(trace: Trace, path: Path) -> None:
    """Write a trace as ``.csv``, ``.csv.gz`` or ``.parquet`` by its suffix; raise ``TraceError`` for another.

    Parquet needs pyarrow. A file of that name is replaced, at once and whole.
    """
    writer = _writer(path)
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            writer(trace, file)
        beside.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def csv_bytes(trace: Trace) -> bytes:
    """Return a trace as the bytes of its CSV."""
    file = io.BytesIO()
    _write_csv(trace, file)
    return file.getvalue()


def head_lines(trace: Trace) -> str:
    """Return the comments at the head of a stored trace."""
    kind = "series" if isinstance(trace, Series) else "arrivals"
    name = re.sub(r"[\r\n]", " ", trace.name).strip()
    lines = [f"{FIRST_LINE}{VERSION}", f"# kind: {kind}", f"# name: {name}"]
    if trace.epoch_unix_ns is not None:
        lines.append(f"# epoch_unix_ns: {trace.epoch_unix_ns}")
    return "".join(f"{line}\n" for line in lines)


def number_text(value: float) -> str:
    """Return a number as a cell: empty for NaN, else the shortest text that reads back the same."""
    return "" if value != value else repr(value).removesuffix(".0")


def _writer(path: Path) -> Callable[[Trace, IO[bytes]], None]:
    if path.name.endswith(".csv"):
        return _write_csv
    if path.name.endswith(".csv.gz"):
        return _write_gzip
    if path.name.endswith(".parquet"):
        _pyarrow(path)
        return _write_parquet
    raise TraceError(f"{path}: a trace is stored as .csv, .csv.gz or .parquet")


def _write_gzip(trace: Trace, file: IO[bytes]) -> None:
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        _write_csv(trace, packed)


def _write_csv(trace: Trace, file: IO[bytes] | gzip.GzipFile) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    text.write(head_lines(trace))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["at_ns", *trace.columns, *_labels(trace)])
    for start in range(0, len(trace), CHUNK):
        rows = slice(start, start + CHUNK)
        cells = [trace.at_ns[rows].tolist()]
        cells += [
            [number_text(value) for value in values[rows].tolist()] for values in trace.columns.values()
        ]
        cells += [
            [words.names[code] for code in words.codes[rows].tolist()] for words in _labels(trace).values()
        ]
        writer.writerows(zip(*cells, strict=True))
    text.flush()
    text.detach()


def _labels(trace: Trace) -> dict[str, Labels]:
    return dict(trace.labels) if isinstance(trace, ArrivalTrace) else {}


def _pyarrow(path: Path) -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise TraceError(f"{path}: Parquet needs pyarrow (pip install pyarrow), or use .csv.gz") from error


def _write_parquet(trace: Trace, file: IO[bytes]) -> None:
    arrow = importlib.import_module("pyarrow")
    columns: dict[str, Any] = {"at_ns": arrow.array(trace.at_ns)}
    columns |= {name: arrow.array(values, from_pandas=True) for name, values in trace.columns.items()}
    for name, words in _labels(trace).items():
        columns[name] = arrow.DictionaryArray.from_arrays(words.codes, list(words.names))
    table = arrow.table(columns).replace_schema_metadata({METADATA: head_lines(trace).encode()})
    importlib.import_module("pyarrow.parquet").write_table(table, file)


def read_parquet(path: Path) -> Reading | ArrivalReading:
    """Read a trace that ``write_trace`` stored as Parquet; raise ``TraceError`` for anything else."""
    arrow = _pyarrow(path)
    try:
        table = importlib.import_module("pyarrow.parquet").read_table(path)
        words = _stored_words((table.schema.metadata or {}).get(METADATA, b"").decode())
        return _from_columns(
            path, words, {name: table.column(name).combine_chunks() for name in table.column_names}
        )
    except (arrow.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise TraceError(f"{path}: not a trace stored by this program: {error}") from error


def _stored_words(text: str) -> dict[str, str]:
    lines = text.splitlines()
    if lines[:1] != [f"{FIRST_LINE}{VERSION}"]:
        raise ValueError(f"it does not say {FIRST_LINE.strip('# ')} {VERSION}")
    pairs: Iterator[Sequence[str]] = (line.lstrip("# ").partition(": ")[::2] for line in lines[1:])
    return dict(pairs)  # type: ignore[arg-type]  # each has two parts


def _from_columns(path: Path, words: dict[str, str], columns: dict[str, Any]) -> Reading | ArrivalReading:
    at_ns = np.asarray(columns.pop("at_ns").to_numpy(zero_copy_only=False))
    epoch_ns = int(words["epoch_unix_ns"]) if "epoch_unix_ns" in words else None
    name = words.get("name") or stem(path)
    numbers: dict[str, Floats] = {}
    labels: dict[str, Labels] = {}
    for column, values in columns.items():
        if hasattr(values, "dictionary"):
            labels[column] = Labels(tuple(values.dictionary.to_pylist()), np.asarray(values.indices))
        else:
            numbers[column] = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    if words.get("kind") == "series":
        return Reading(Series(name, at_ns, numbers, epoch_ns), rows=len(at_ns), format="parquet")
    trace = ArrivalTrace(name, at_ns, numbers, labels, epoch_ns)
    return ArrivalReading(trace, rows=len(at_ns), format="parquet")
