"""``dumpsys battery`` and the energy of components."""

from pathlib import Path

import numpy as np
import pytest

from trimtab_sim.traces import TraceError, detect, load_series

DUMP = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 2022000
  Max charging voltage: 5082000
  Charge counter: 3140000
  status: 2
  health: 2
  present: true
  level: 96
  scale: 100
  voltage: 3995
  temperature: 290
  technology: Li-poly
"""


def test_one_dump(tmp_path: Path) -> None:
    path = tmp_path / "battery.txt"
    path.write_text(DUMP)
    reading = load_series(path)
    assert (detect(path), reading.problems, reading.rows) == ("battery dump", (), 1)
    assert {name: values[0] for name, values in reading.series.columns.items()} == {
        "battery_frac": 0.96, "voltage_mv": 3995, "charge_mah": 3140, "temperature_mc": 29_000, "charging": 1,
        "plugged": 1, "adapter_mv": 5082, "adapter_ma": 2022,
    }  # fmt: skip


def test_several_dumps_need_times(tmp_path: Path) -> None:
    path = tmp_path / "battery.txt"
    path.write_text(f"1700000000\n{DUMP}\n1700000060\n{DUMP.replace('96', '95').replace('true', 'false')}")
    series = load_series(path).series
    assert series.at_ns.tolist() == [0, 60 * 10**9]
    assert series.epoch_unix_ns == 1700000000 * 10**9
    assert series.columns["battery_frac"].tolist() == [0.96, 0.95]
    assert series.columns["plugged"].tolist() == [1, 0]
    path.write_text(DUMP + DUMP)
    with pytest.raises(TraceError, match="several dumps"):
        load_series(path)


def test_impossible_figures_are_told(tmp_path: Path) -> None:
    path = tmp_path / "battery.txt"
    path.write_text(DUMP.replace("level: 96", "level: 196").replace("290", "warm"))
    reading = load_series(path)
    assert [(p.line, p.message) for p in reading.problems] == [
        (11, "level: '196' is not possible, expected 0 to 1 frac"),
        (14, "temperature: 'warm' is not possible, expected -60000 to 200000 mC"),
    ]
    path.write_text("Current Battery Service state:\n  hello\n")
    with pytest.raises(TraceError, match="1 of 1 rows"):
        load_series(path)


def test_a_dump_taken_for_utf16_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "battery.txt"
    path.write_text(("\ufeff" + DUMP).encode().decode("utf-16-le", errors="replace"))
    reading = load_series(path)
    assert reading.series.columns["battery_frac"].tolist() == [0.96]
    assert [problem.note for problem in reading.problems] == [True]


def test_energy_of_components(tmp_path: Path) -> None:
    path = tmp_path / "energy.csv"
    path.write_text(
        "interval_s,unix_s,component,energy\n3600,1768719653,CPU,10.5\n3600,1768719653,GPU,2\n"
        "86400,1768719653,CPU,99\n3600,1768723253,CPU,11\n3600,1768723253,CPU,12\n3600,soon,CPU,1\n"
        "3600,1768723253,GPU,-1\n3600,1768723253\n"
    )
    reading = load_series(path)
    assert reading.series.at_ns.tolist() == [0, 3600 * 10**9]
    assert reading.series.columns["energy_raw.CPU"].tolist() == [10.5, 11]
    assert np.isnan(reading.series.columns["energy_raw.GPU"][1])
    assert [p.line for p in reading.problems] == [0, 6, 7, 8, 9]
    assert reading.problems[0].note
    assert reading.problem_count == 4
