"""``trimtab trace`` and ``trimtab record``: what they print, what they write, how they fail and how they end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from trimtab.adapters.sqlite_journal import SqliteJournal
from trimtab.cli.record import record
from trimtab.cli.trace import trace
from trimtab.core.events import DeviceChanged, RequestArrived
from trimtab.domain.device import DeviceState
from trimtab.domain.request import Request
from trimtab_sim.traces import csv_bytes, load_series
from trimtab_sim.traces.recorder import RECORDED

TRACES = Path(__file__).parent.parent.parent / "simulator" / "traces"
BAD = "t_s,battery_pct\n0,50\n1,abc\n2,49\n2,49\n"


def run(command: click.Command, *arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.csv"
    path.write_text(BAD)
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    written = SqliteJournal(path)
    written.append(1, DeviceChanged(DeviceState(0.5)), ())
    written.append(2, RequestArrived(Request("a", "faces", "camera", 20_000_000)), ())
    written.close()
    return path


def test_check_tells_file_and_line_and_fails(bad: Path) -> None:
    result = run(trace, "check", bad)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{bad}:3: battery_frac: 'abc' is not a number; unknown",
        f"{bad}:4: the time of another row; left out",
        f"{bad}: csv, 4 rows, 2 problems",
    ]
    assert run(trace, "check", bad, "--limit", 1).stdout.splitlines()[1] == f"{bad}: 1 more problems"


def test_check_passes_what_is_only_noted(tmp_path: Path) -> None:
    good = TRACES / "honor_scenario1_history.txt"
    result = run(trace, "check", good)
    assert result.exit_code == 0, result.output
    assert f"{good}: note: times are the phone's local time" in result.stdout
    broken = tmp_path / "broken.csv"
    broken.write_text("hello\n")
    both = run(trace, "check", good, broken, "--json")
    assert both.exit_code == 1
    first, second = json.loads(both.stdout)
    assert (first["format"], first["problem_count"], len(first["notes"])) == ("batterystats", 0, 2)
    assert second["error"].startswith(f"{broken}:1: no column is a time")


def test_check_looks_at_both_halves_of_a_journal(journal: Path) -> None:
    result = run(trace, "check", journal)
    assert result.exit_code == 0
    assert result.stdout.count(f"{journal}: journal, 1 rows, 0 problems") == 2


def test_show_a_series() -> None:
    result = run(trace, "show", TRACES / "honor_scenario2_history.txt")
    assert result.exit_code == 0, result.output
    level = next(line for line in result.stdout.splitlines() if line.startswith("battery_frac"))
    assert (
        level.split()[:6] == ["battery_frac", "frac", "265", "0.96", "0.98242", "1"]
        or level.split()[3] == "0.96"
    )
    assert level.rstrip().endswith("▁")
    assert "█" in level
    assert "begins 2026-01-31 01:44:02" in result.stdout


def test_show_arrivals_and_json(journal: Path) -> None:
    result = run(trace, "show", TRACES / "azure_llm_2023_code.csv.gz")
    assert "8819 arrivals, 2.5664 per second" in result.stdout
    told = json.loads(run(trace, "show", journal, "--json").stdout)
    assert (told["kind"], told["summary"]["words"]) == ("arrivals", {"task": {"faces": 1}, "app": {"camera": 1}, "prefer": {"value": 1}})  # fmt: skip
    device = json.loads(run(trace, "show", journal, "--what", "device", "--json").stdout)
    assert [column["column"] for column in device["summary"]] == ["battery_frac", "charging"]


def test_show_fits_sessions() -> None:
    result = run(trace, "show", TRACES / "iphone13promax_display_44h.csv.gz", "--sessions")
    assert "154 sessions, 10.47 h in use" in result.stdout
    (length,) = (line.split() for line in result.stdout.splitlines() if line.startswith("length"))
    assert length == ["length", "weibull", "172.2", "0.6375", "0", "0.067", "0.110"]
    refused = run(trace, "show", TRACES / "mcdnn_arrivals_5.csv.gz", "--sessions")
    assert (refused.exit_code, "not in arrivals" in refused.stderr) == (1, True)


def test_import_stores_and_tells(bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv.gz"
    result = run(trace, "import", bad, "--out", out)
    assert result.exit_code == 0
    assert f"{bad}:3: battery_frac: 'abc' is not a number; unknown" in result.stderr
    assert result.stdout == f"wrote 3 of 4 rows (csv) to {out}\n"
    assert csv_bytes(load_series(out).series) == csv_bytes(load_series(bad).series)
    assert json.loads(run(trace, "import", bad, "--out", out, "--json").stdout)["used"] == 3


def test_import_half_a_journal(journal: Path, bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run(trace, "import", journal, "--what", "device", "--session", 1, "--out", out).exit_code == 0
    assert load_series(out).series.columns["battery_frac"].tolist() == [0.5]
    refused = run(trace, "import", journal, "--session", 7, "--out", out)
    assert (refused.exit_code, "no session 7" in refused.stderr) == (1, True)
    refused = run(trace, "import", bad, "--session", 1, "--out", out)
    assert "are for journals" in refused.stderr


@pytest.mark.parametrize("command", ["show", "import"])
def test_what_cannot_be_read_is_one_line(command: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    options = ["--out", tmp_path / "y.csv"] if command == "import" else []
    for text, message in (
        (None, "No such file"),
        ("", "empty"),
        ("a,b\n1,2\n", "x.csv:1: no column is a time"),
    ):
        if text is not None:
            path.write_text(text)
        result = run(trace, command, path, *options)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert message in result.stderr
    if command == "import":
        path.write_text(BAD)
        refused = run(trace, command, path, "--out", tmp_path / "y.json")
        assert "stored as .csv, .csv.gz or .parquet" in refused.stderr


def test_record_writes_a_trace_and_goes_on_with_it(tmp_path: Path) -> None:
    out = tmp_path / "here.csv"
    result = run(record, "--every", "50ms", "--for", "220ms", "--out", out)
    assert result.exit_code == 0, result.output
    first = load_series(out)
    assert first.problems == ()
    assert result.stdout == f"wrote {len(first.series)} rows to {out}\n"
    assert 2 <= len(first.series) <= 5
    assert tuple(first.series.columns) == RECORDED
    assert (first.series.columns["memory_total_bytes"] > 0).all()
    assert (np.diff(first.series.at_ns) > 40_000_000).all()
    with out.open("a") as file:
        file.write("999,0.5")  # what a crash leaves
    again = run(record, "--every", "50ms", "--for", "60ms", "--out", out, "--json")
    assert "removed half a row" in again.stderr
    both = load_series(out)
    assert both.problem_count == 0
    assert len(both.series) == len(first.series) + json.loads(again.stdout)["rows"]
    assert both.series.epoch_unix_ns == first.series.epoch_unix_ns
    assert abs(both.series.epoch_unix_ns + both.series.at_ns[-1] - time.time_ns()) < 60 * 10**9


def test_record_refuses_another_file(bad: Path, tmp_path: Path) -> None:
    assert "not a recording" in run(record, "--out", bad, "--for", "1s").stderr
    assert bad.read_text() == BAD
    assert "appended to a .csv" in run(record, "--out", tmp_path / "x.csv.gz").stderr
    for text in ("10", "soon", "0s", "-1s"):
        assert run(record, "--every", text, "--out", tmp_path / "x.csv").exit_code == 2
    future = tmp_path / "future.csv"
    run(record, "--every", "1s", "--for", "10ms", "--out", future)
    with future.open("a") as file:
        file.write(f"{10**18},,,,,,,,\n")
    assert "ends later than" in run(record, "--out", future).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_record_ends_in_order(
    number: signal.Signals,
    tmp_path: Path,
    daemon_environment: dict[str, str],
    wait_until: Callable[..., None],
) -> None:
    out = tmp_path / "here.csv"
    command = [sys.executable, "-c", "from trimtab.cli.record import record; record()"]
    with subprocess.Popen(
        [*command, "--every", "50ms", "--out", str(out)],
        env=daemon_environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: out.exists() and len(out.read_text().splitlines()) >= 7, 60)
        process.send_signal(number)
        told = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert told == f"wrote {len(load_series(out).series)} rows to {out}\n"
