"""The stored form: what is written reads back the same, and the same trace is the same bytes."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab_sim.traces import (
    ARRIVAL_COLUMNS,
    COLUMNS,
    ArrivalTrace,
    Labels,
    Series,
    TraceError,
    csv_bytes,
    load_arrivals,
    load_series,
    load_trace,
    write_trace,
)

Floats = npt.NDArray[np.float64]
TIMES = st.lists(st.integers(0, 4 * 10**18), min_size=1, max_size=20)
WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff"), max_size=8), min_size=1, max_size=4, unique=True)  # fmt: skip


def column(draw: st.DrawFn, name: str, rows: int) -> Floats:
    limits = {**COLUMNS, **ARRIVAL_COLUMNS}[name]
    high = min(limits.high, 1e15)
    cells = st.floats(max(limits.low, -1e15), high) | st.just(float("nan"))
    return np.array(draw(st.lists(cells, min_size=rows, max_size=rows)))


@st.composite
def any_series(draw: st.DrawFn) -> Series:
    at_ns = np.array(sorted(set(draw(TIMES))), np.int64)
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True))
    columns = {name: column(draw, name, len(at_ns)) for name in names}
    epoch = draw(st.none() | st.integers(0, 4 * 10**18))
    return Series(draw(st.sampled_from(["x", "a name: odd # 'one'"])), at_ns, columns, epoch)


@st.composite
def any_arrivals(draw: st.DrawFn) -> ArrivalTrace:
    at_ns = np.array(sorted(draw(TIMES)), np.int64)
    names = draw(st.lists(st.sampled_from(sorted(ARRIVAL_COLUMNS)), max_size=3, unique=True))
    columns = {name: column(draw, name, len(at_ns)) for name in names}
    labels = {}
    for name in draw(st.lists(st.sampled_from(["task", "app", "variant"]), max_size=3, unique=True)):
        words = draw(WORDS)
        codes = draw(st.lists(st.integers(0, len(words) - 1), min_size=len(at_ns), max_size=len(at_ns)))
        labels[name] = Labels(tuple(words), np.array(codes, np.int32))
    return ArrivalTrace("t", at_ns, columns, labels, draw(st.none() | st.integers(0, 4 * 10**18)))


def same(one: Series | ArrivalTrace, other: Series | ArrivalTrace) -> None:
    assert type(one) is type(other)
    assert (one.name, one.epoch_unix_ns, one.at_ns.tolist()) == (
        other.name,
        other.epoch_unix_ns,
        other.at_ns.tolist(),
    )
    assert list(one.columns) == list(other.columns)
    for name, values in one.columns.items():
        assert np.array_equal(values, other.columns[name], equal_nan=True), name
    if isinstance(one, ArrivalTrace) and isinstance(other, ArrivalTrace):
        assert {k: [*v] for k, v in one.labels.items()} == {k: [*v] for k, v in other.labels.items()}


@given(any_series())
def test_series_read_back_the_same(tmp_path_factory: pytest.TempPathFactory, series: Series) -> None:
    path = tmp_path_factory.mktemp("s") / "s.csv"
    write_trace(series, path)
    reading = load_series(path)
    assert reading.problem_count == 0
    same(series, reading.series)


@given(any_arrivals())
def test_arrivals_read_back_the_same(tmp_path_factory: pytest.TempPathFactory, trace: ArrivalTrace) -> None:
    path = tmp_path_factory.mktemp("a") / "a.csv.gz"
    write_trace(trace, path)
    reading = load_arrivals(path)
    assert reading.problem_count == 0
    same(trace, reading.arrivals)


def small() -> Series:
    values = {"battery_frac": np.array([0.5, np.nan]), "temperature_mc": np.array([25_000.0, 25_100.5])}
    return Series("small", np.array([0, 10**9]), values, 7)


def test_the_bytes_are_these(tmp_path: Path) -> None:
    expected = (
        b"# trimtab trace 1\n# kind: series\n# name: small\n# epoch_unix_ns: 7\n"
        b"at_ns,battery_frac,temperature_mc\n0,0.5,25000\n1000000000,,25100.5\n"
    )
    assert csv_bytes(small()) == expected
    for name in ("a.csv", "b.csv.gz", "c.csv.gz"):
        write_trace(small(), tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == expected
    assert gzip.decompress((tmp_path / "b.csv.gz").read_bytes()) == expected
    assert (tmp_path / "b.csv.gz").read_bytes() == (tmp_path / "c.csv.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv.gz", "c.csv.gz"]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"stored as \.csv, \.csv\.gz or \.parquet"):
        write_trace(small(), tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_pyarrow_says_so(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="needs pyarrow"):
        write_trace(small(), tmp_path / "x.parquet")


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    labels = {"task": Labels(("a", "", "c,d"), np.array([2, 0, 1], np.int32))}
    arrivals = ArrivalTrace("t", np.array([1, 1, 2]), {"priority": np.array([1, np.nan, 0])}, labels)
    for trace in (small(), arrivals):
        write_trace(trace, tmp_path / "x.parquet")
        reading = load_trace(tmp_path / "x.parquet")
        same(trace, reading.trace)
    (tmp_path / "bad.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-20])
    with pytest.raises(TraceError, match="not a trace stored by this program"):
        load_trace(tmp_path / "bad.parquet")


def test_a_folder_that_is_not_there_is_told_with_the_files_own_name(tmp_path: Path) -> None:
    trace = Series("t", np.array([0]), {"screen_on": np.array([1.0])})
    with pytest.raises(FileNotFoundError) as caught:
        write_trace(trace, tmp_path / "none" / "t.csv")
    assert caught.value.filename == str(tmp_path / "none" / "t.csv")
