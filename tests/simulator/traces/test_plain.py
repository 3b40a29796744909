"""CSV with a header: names and units, times, and what is said of every row that cannot be used."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from trimtab_sim.traces import TraceError, load_arrivals, load_series, load_trace


def write(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_names_and_units(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "time_s,Battery Level (%),voltage_v,temp °C,Mem.Available MiB,cpu_load_pct,screen,charging\n"
        "0.5,50,3.85,31.5,1024,12.5,on,no\n"
        "2,49.5,3.84,NA,1000,,off,yes\n",
    )
    reading = load_series(path)
    columns = {name: values.tolist() for name, values in reading.series.columns.items()}
    assert reading.problems == ()
    assert reading.series.at_ns.tolist() == [500_000_000, 2_000_000_000]
    assert columns["battery_frac"] == [0.5, 0.495]
    assert columns["voltage_mv"] == [3850, 3840]
    assert columns["temperature_mc"][0] == 31_500
    assert np.isnan(columns["temperature_mc"][1])
    assert columns["memory_available_bytes"] == [1024 << 20, 1000 << 20]
    assert columns["cpu_load_frac"][0] == 0.125
    assert np.isnan(columns["cpu_load_frac"][1])
    assert (columns["screen_on"], columns["charging"]) == ([1, 0], [0, 1])


@pytest.mark.parametrize(
    ("header", "cells", "epoch_ns"),
    [
        ("timestamp", ["2024-02-29 12:00:00.25", "2024-02-29T12:00:01.5Z"], 1709208000_250000000),
        ("datetime", ["2024-02-29T13:00:00.25+01:00", "2024-02-29T12:00:01.5+00:00"], 1709208000_250000000),
        ("timestamp", ["1709208000.25", "1709208001.5"], 1709208000_250000000),
        ("unix_ms", ["1709208000250", "1709208001500"], 1709208000_250000000),
        ("unix_ns", ["1709208000250000000", "1709208001500000000"], 1709208000_250000000),
        ("t_s", ["0", "1.25"], None),
        ("at_ns", ["0", "1250000000"], None),
    ],
)
def test_times(tmp_path: Path, header: str, cells: list[str], epoch_ns: int | None) -> None:
    path = write(tmp_path, f"{header},screen_on\n{cells[0]},1\n{cells[1]},0\n")
    series = load_series(path).series
    assert series.at_ns.tolist() == [0, 1_250_000_000]
    assert series.epoch_unix_ns == epoch_ns


def test_every_bad_row_is_told_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "t_s,battery_pct,voltage_mv\n"
        "0,100,4200\n"
        "1,99\n"  # 3: too few cells
        "x,99,4190\n"  # 4: no time
        "\n"  # an empty line is none
        "2,abc,4180\n"  # 6: no number
        "3,150,4170\n"  # 7: not possible
        "4,97,1_0\n"  # 8: Python would read ten; and the next row has the same time
        "4,96,4150\n"
        "3.5,96,4150\n"  # 10: backwards
        "5,95,inf\n"  # 11
        "# a comment\n"
        "6,94,4140,7\n"  # 13: too many
        "1e99,93,4130\n"  # 14
        "7,92,4120\n",
    )
    reading = load_series(path)
    assert [(problem.line, problem.message) for problem in reading.problems] == [
        (3, "2 cells, expected 3; left out"),
        (4, "'x' is no time, expected a number; left out"),
        (6, "battery_frac: 'abc' is not a number; unknown"),
        (7, "battery_frac: '150' is not possible, expected 0 to 1 frac; unknown"),
        (8, "voltage_mv: '1_0' is not a number; unknown"),
        (8, "the time of another row; left out"),
        (10, "time goes back by 0.5 s; left out"),
        (11, "voltage_mv: 'inf' is not possible, expected 0 to 100000 mV; unknown"),
        (13, "4 cells, expected 3; left out"),
        (14, "'1e99' is no time, expected a number; left out"),
    ]
    assert (reading.rows, reading.problem_count) == (12, 10)
    assert reading.series.at_ns.tolist() == [0, 2 * 10**9, 3 * 10**9, 4 * 10**9, 5 * 10**9, 7 * 10**9]
    assert reading.series.columns["battery_frac"][3] == 0.96  # of two rows with one time the later


def test_one_wild_time_does_not_cost_the_rows_after_it(tmp_path: Path) -> None:
    rows = [f"{t},1\n" for t in (0, 1, 999_999, 2, 3, 4)]
    reading = load_series(write(tmp_path, "t_s,screen_on\n" + "".join(rows)))
    assert reading.series.at_ns.tolist() == [0, 10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9]
    (problem,) = reading.problems
    assert problem.line == 4
    assert "ahead" in problem.message


def test_gaps_and_unknown_columns_are_notes(tmp_path: Path) -> None:
    times = [*range(0, 300, 10), 2000, *range(2010, 2300, 10)]
    path = write(tmp_path, "t_s,battery_pct,mood\n" + "".join(f"{t},50,7\n" for t in times))
    reading = load_series(path)
    assert [(p.line, p.message, p.note) for p in reading.problems] == [
        (1, "columns without a meaning here are left out: mood", True),
        (32, "gaps of more than 1 min 40 s: 1; the longest, 28 min 30 s, ends here", True),
    ]
    assert reading.problem_count == 0


def test_compressed_utf16_and_marked_files_read_alike(tmp_path: Path) -> None:
    text = "t_s,battery_pct\r\n0,50\r\n1,49\r\n"
    plain = load_series(write(tmp_path, text)).series
    written = {
        "a.csv.gz": gzip.compress(text.encode()),
        "b.csv": text.encode("utf-8-sig"),
        "c.csv": text.encode("utf-16"),
        "d.txt": gzip.compress(text.encode("utf-16")),
    }
    for name, body in written.items():
        (tmp_path / name).write_bytes(body)
        found = load_series(tmp_path / name)
        assert found.problems == (), name
        assert found.series.at_ns.tolist() == plain.at_ns.tolist()
        assert found.series.columns["battery_frac"].tolist() == [0.5, 0.49]


def test_a_torn_compressed_file_gives_what_is_there(tmp_path: Path) -> None:
    rng = np.random.RandomState(1)
    text = "t_s,voltage_mv\n" + "".join(f"{t},{v:.3f}\n" for t, v in enumerate(rng.uniform(3000, 4000, 5000)))
    path = tmp_path / "torn.csv.gz"
    path.write_bytes(gzip.compress(text.encode())[:-2000])
    reading = load_series(path)
    assert 3000 < len(reading.series) < 5000
    assert any("file is damaged" in problem.message for problem in reading.problems)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv: empty"),
        ("# only a comment\n", "t.csv: empty"),
        ("battery,voltage\n1,2\n", "t.csv:1: no column is a time"),
        ("t_s,mood\n1,2\n", "t.csv:1: no column has a known name"),
        ("t_s,battery\n", "t.csv: no rows"),
        ("t_s,battery\nx,1\ny,1\n", "2 of 2 rows cannot be used; the first problem is at line 2"),
        ("# trimtab trace 9\nat_ns,battery\n1,2\n", "t.csv:1: a stored trace of version 9"),
        ("t_s,task\n1,a\n", "a list of arrivals, not figures"),
    ],
)
def test_a_file_that_is_too_broken_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceError) as refused:
        load_series(write(tmp_path, text))
    assert message in str(refused.value)


def test_half_of_a_long_file_must_be_right(tmp_path: Path) -> None:
    good, bad = [f"{t},1\n" for t in range(40)], [f"z{t},1\n" for t in range(60)]
    with pytest.raises(TraceError, match="60 of 100 rows cannot be used"):
        load_series(write(tmp_path, "t_s,screen_on\n" + "".join(good + bad)))
    assert len(load_series(write(tmp_path, "t_s,screen_on\n" + "".join(good + bad[:40]))).series) == 40


def test_only_a_thousand_problems_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"{t},{'?!' if t % 2 else 50}\n" for t in range(6000))
    reading = load_series(write(tmp_path, "t_s,battery_pct\n" + rows))
    assert (len(reading.problems), reading.problem_count) == (1000, 3000)


def test_arrivals_with_their_goals(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "t_s,task,app,latency_budget_ms,min_accuracy_pct,priority,prefer,sample\n"
        "1,faces,camera,50,90,1,energy,7\n"
        '1,words,"notes, big",,,,,\n'
        "2,faces,camera,20,,0,speed,8\n",
    )
    reading = load_arrivals(path)
    trace = reading.arrivals
    assert [p.message for p in reading.problems] == [
        "prefer: 'speed': expected one of accuracy, energy, latency, value; unknown"
    ]
    assert trace.at_ns.tolist() == [10**9, 10**9, 2 * 10**9]
    assert [*trace.labels["task"]] == ["faces", "words", "faces"]
    assert trace.labels["app"][1] == "notes, big"
    assert [*trace.labels["prefer"]] == ["energy", "", ""]
    assert trace.columns["latency_budget_ns"][0] == 50_000_000
    assert np.isnan(trace.columns["latency_budget_ns"][1])
    assert trace.columns["min_accuracy_frac"][0] == 0.9


def test_the_lists_of_azure_and_mcdnn(tmp_path: Path) -> None:
    azure = write(
        tmp_path,
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n"
        "2023-11-16 18:17:04.0319600,3180,8",
    )
    trace = load_arrivals(azure).arrivals
    assert (trace.at_ns.tolist(), trace.epoch_unix_ns) == ([0, 52_000_000], 1700158623_979960000)
    assert trace.columns["context_tokens"].tolist() == [4808, 3180]
    faces = load_trace(write(tmp_path, "t_s,identity\n4.519,44\n18.897,119\n"))
    assert faces.trace.columns["identity"].tolist() == [44, 119]
    times = load_trace(write(tmp_path, "t_s\n0.833\n3.144\n"))
    assert times.trace.at_ns.tolist() == [833_000_000, 3_144_000_000]
    connected = load_series(write(tmp_path, "t_s,connected\n0.000,1\n1606.801,0\n"))
    assert connected.series.at("connected", 1700 * 10**9) == 0


def test_columns_of_the_other_kind_are_noted(tmp_path: Path) -> None:
    reading = load_series(write(tmp_path, "t_s,battery_pct,task,battery_level_pct\n0,50,a,1\n"))
    assert [problem.message for problem in reading.problems] == [
        "two columns are battery_frac; the second is left out",
        "task does not belong to series; left out",
    ]


def test_memory_grows_by_the_arrays_alone(tmp_path: Path) -> None:
    peaks = []
    for rows in (60_000, 120_000):
        path = write(tmp_path, "t_s,voltage_mv\n" + "".join(f"{t},{3000 + t % 999}\n" for t in range(rows)))
        tracemalloc.start()
        load_series(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 60_000 < 120  # time, line and value as 8 bytes, a few times over


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"t\.csv:2: a line of more than"):
        load_series(write(tmp_path, "t_s,battery\n" + "9" * 3_000_000))
    with pytest.raises(TraceError, match="a folder"):
        load_series(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_series(tmp_path / "none.csv")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_columns_separated_otherwise_are_named(tmp_path: Path, mark: str) -> None:
    with pytest.raises(TraceError, match="columns are separated by commas; here they seem to be by"):
        load_trace(write(tmp_path, f"at_s{mark}app\n1{mark}camera\n"))


def test_a_compressed_file_without_a_whole_line_is_damaged_and_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"at_s\n1\n2\n")[:-6])
    with pytest.raises(TraceError, match=r"t\.csv\.gz: the compressed file is damaged"):
        load_trace(path)
