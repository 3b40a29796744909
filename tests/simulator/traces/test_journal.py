"""trimtab's own journal as traces: sessions on one line of time, goals, and what the sensors told."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters.sqlite_journal import SqliteJournal
from trimtab.core.events import DeviceChanged, RequestArrived
from trimtab.domain.device import DeviceState
from trimtab.domain.request import Prefer, Request
from trimtab_sim.traces import TraceError, load_arrivals, load_series
from trimtab_sim.traces.journal import read_journal_arrivals

S = 10**9
STARTED = 1_700_000_000 * S


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a journal of two sessions, the second begun 100 s after the first."""
    path = tmp_path / "journal.db"
    for number in range(2):
        journal = SqliteJournal(path)
        begin = 5 * S + number * 777 * S  # each daemon has a clock of its own
        told = DeviceState(
            0.5, 40_000.0, memory_available_bytes=7, sources=(("battery", "x"), ("memory", "y"))
        )
        journal.append(begin, DeviceChanged(told), ())
        request = Request("a", "faces", "camera", 20_000_000, 0.9, None, 1, Prefer.ENERGY)
        journal.append(begin + S, RequestArrived(request, elapsed_ns=300), ())
        journal.append(begin + 3 * S, RequestArrived(Request("b", "words")), ())
        state = DeviceState(0.4, charging=True, temperature_mc=31_000, sources=(("charging", "x"),))
        journal.append(begin + 4 * S, DeviceChanged(state), ())
        journal.close()
    with sqlite3.connect(path) as file:
        file.execute("UPDATE sessions SET started_unix_ns = ? + (session - 1) * 100000000000", (STARTED,))
    file.close()
    return path


def test_requests(path: Path) -> None:
    reading = load_arrivals(path)
    trace = reading.arrivals
    assert (reading.problems, reading.rows, reading.format) == ((), 4, "journal")
    assert trace.at_ns.tolist() == [S, 3 * S, 101 * S, 103 * S]
    assert trace.epoch_unix_ns == STARTED
    assert [*trace.labels["task"]] == ["faces", "words"] * 2
    assert trace.labels["app"][0] == "camera"
    assert trace.labels["prefer"][0] == "energy"
    assert trace.columns["latency_budget_ns"][0] == 20_000_000
    assert np.isnan(trace.columns["latency_budget_ns"][1])
    assert trace.columns["priority"].tolist() == [1, 0, 1, 0]
    assert trace.columns["elapsed_ns"].tolist() == [300, 0, 300, 0]
    assert "max_energy_uj" not in trace.columns
    assert read_journal_arrivals(path, session=2).arrivals.at_ns.tolist() == [S, 3 * S]


def test_device(path: Path) -> None:
    series = load_series(path).series
    assert series.at_ns.tolist() == [0, 4 * S, 100 * S, 104 * S]
    assert series.columns["battery_frac"].tolist() == [0.5, 0.4] * 2
    assert np.isnan(series.columns["charging"][0])  # no source told of it
    assert series.columns["charging"][1] == 1
    assert series.columns["temperature_mc"][1] == 31_000
    assert "cpu_load_frac" not in series.columns


def test_a_clock_set_back_between_sessions_is_noted(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE sessions SET started_unix_ns = ? WHERE session = 2", (STARTED - S,))
    file.close()
    reading = load_arrivals(path)
    assert reading.arrivals.at_ns.tolist() == [S, 3 * S, 5 * S, 7 * S]
    assert [problem.note for problem in reading.problems] == [True]


def test_what_cannot_be_read_is_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no session 9"):
        read_journal_arrivals(path, session=9)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE entries SET body = ? WHERE session = 1 AND seq = 3", (b"\xff not one",))
    file.close()
    reading = load_arrivals(path)
    assert reading.arrivals.at_ns.tolist() == [S, 101 * S, 103 * S]
    assert "the rest of session 1 is left out" in reading.problems[0].message
    assert reading.problem_count == 1
    empty = tmp_path / "empty.db"
    SqliteJournal(empty).close()
    with pytest.raises(TraceError, match="no entries"):
        load_arrivals(empty)
    with sqlite3.connect(tmp_path / "other.db") as file:
        file.execute("CREATE TABLE t (x)")
    file.close()
    with pytest.raises(TraceError, match=r"other\.db"):
        load_series(tmp_path / "other.db")
