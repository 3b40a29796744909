"""The tables of a run hold every request and state, as CSV and as Parquet, in the same words."""

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab_sim.results import Results
from trimtab_sim.results.tables import DEVICE, REQUESTS, CsvTable
from trimtab_sim.scenario import Prepared
from trimtab_sim.simulate import simulate, trials

Make = Callable[..., Prepared]


def written(make: Make, out: Path, kind: str) -> Path:
    prepared = make("battery: {energy_j: 0.3, background_mw: 20}\npolicy: best-accuracy\n")
    with Results(prepared, out, kind) as results:
        simulate(prepared, trials(prepared.policies, (), (5,)), results.observers)
    return out / "best-accuracy" / "seed-5"


def read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_every_request(make: Make, tmp_path: Path) -> None:
    folder = written(make, tmp_path, "csv")
    requests, device = read(folder / "requests.csv.gz"), read(folder / "device.csv.gz")
    assert tuple(requests[0]) == REQUESTS
    assert tuple(device[0]) == DEVICE
    lost = [row for row in requests if row["outcome"] == "lost"]
    done = [row for row in requests if row["outcome"] == "done"]
    assert len(lost) + len(done) == len(requests)
    assert lost
    assert {row["stream"] for row in requests} == {"camera"}
    assert [row["cause"] for row in lost] == ["device off"] * len(lost)
    for row in done:
        assert int(row["finished_ns"]) - int(row["at_ns"]) == int(row["latency_ns"])
        assert int(row["on_time"]) == (int(row["latency_ns"]) <= int(row["budget_ns"]))
        assert 0.5 < float(row["accuracy_frac"]) < 1
        assert float(row["energy_uj"]) > 0
    levels = [float(row["battery_frac"]) for row in device]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == 0.0
    assert int(device[-1]["resident_bytes"]) > 0


def test_parquet_has_the_same_rows(make: Make, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = read(written(make, tmp_path / "c", "csv") / "requests.csv.gz")
    table = parquet.read_table(written(make, tmp_path / "p", "parquet") / "requests.parquet").to_pylist()

    def text(value: Any) -> str:
        return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)

    assert [{name: text(value) for name, value in row.items()} for row in table] == rows


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv.gz", "c.csv"):
        table = CsvTable(tmp_path / name, ("x", "y"))
        table.add((1, None))
        table.add((True, 0.1))
        table.close()
        table.close()
    packed = (tmp_path / "a.csv.gz").read_bytes()
    assert packed == (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "c.csv").read_bytes() == b"x,y\n1,\n1,0.1\n"
