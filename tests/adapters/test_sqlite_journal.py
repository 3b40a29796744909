import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trimtab.adapters import journal_file
from trimtab.adapters.journal_file import JournalError
from trimtab.adapters.journal_reader import JournalReader
from trimtab.adapters.sqlite_journal import SqliteJournal, request_id_of
from trimtab.core.commands import Evict, Finish, RunStage
from trimtab.core.events import DeviceChanged, RequestArrived, StageFinished, TimerFired
from trimtab.domain.decision import Outcome, Result
from trimtab.domain.device import DeviceState
from trimtab.domain.request import Request


def fill(journal: SqliteJournal, count: int, begin: int = 0) -> None:
    for number in range(begin, begin + count):
        name = f"r{number}"
        commands = (RunStage(name, "tiny", "small", "cpu:0", 0),)
        journal.append(number, RequestArrived(Request(name, "tiny", app="x" * 50)), commands)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


def test_stories_sessions_and_tail(path: Path) -> None:
    for session in (1, 2):
        journal = SqliteJournal(path)
        assert journal.session == session
        journal.append(5, RequestArrived(Request("a", "tiny")), (Evict("tiny", "small", "p"),))
        journal.checkpoint(6, b'{"state":1}')
        journal.append(7, StageFinished("a", 0, 1, 2.5, 0.9), (Finish(Result("a", Outcome.DONE)),))
        fill(journal, 3)
        journal.close()
    with JournalReader(path) as reader:
        first, second = reader.sessions()
        assert (first.session, first.closed, first.first_seq, first.last_seq) == (1, True, 1, 11)
        assert second.program.startswith("trimtab")
        story = reader.request_entries("a")
        assert [entry.seq for entry in story] == [1, 4, 5]
        assert reader.request_session("a") == 2
        assert reader.request_session("nobody") is None
        assert reader.request_entries("nobody") == ()
        assert reader.latest_request_id() == "r2"
        assert [entry.seq for entry in reader.tail(2)] == [10, 11]
        assert [entry.seq for entry in reader.entries(1)] == [1, 2, *range(4, 12)]
        assert [entry.seq for entry in reader.entries(1, 4, 5)] == [4, 5]
        (checkpoint,) = reader.checkpoints(1)
        assert (checkpoint.seq, checkpoint.at_ns, checkpoint.state) == (3, 6, b'{"state":1}')
        assert reader.latest_checkpoint_before(1, 4) == checkpoint
        assert reader.latest_checkpoint_before(1, 3) is None


def test_the_file_belongs_to_its_owner(path: Path) -> None:
    SqliteJournal(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_reader_follows_a_writer(path: Path) -> None:
    journal = SqliteJournal(path)
    with JournalReader(path) as reader:
        assert reader.latest_request_id() is None
        for round_ in range(3):
            fill(journal, 10, 10 * round_)
            journal.flush()
            assert reader.latest_request_id() == f"r{10 * round_ + 9}"
            assert not reader.sessions()[-1].closed
    journal.close()


def test_committed_without_a_flush(path: Path) -> None:
    journal = SqliteJournal(path)
    fill(journal, 1)
    end = time.monotonic() + 5
    with JournalReader(path) as reader:
        while reader.latest_request_id() is None and time.monotonic() < end:
            time.sleep(0.01)
        assert reader.latest_request_id() == "r0"
    journal.close()


def test_flush_from_many_threads(path: Path) -> None:
    journal = SqliteJournal(path)

    def work(number: int) -> None:
        fill(journal, 50, 1000 * number)
        journal.flush()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with JournalReader(path) as reader:
        assert [e.seq for e in reader.entries(1)] == list(range(1, 401))
    journal.close()


def test_a_full_queue_waits_and_loses_nothing(path: Path) -> None:
    journal = SqliteJournal(path, queue_limit=600)
    fill(journal, 8000)
    journal.flush()
    with JournalReader(path) as reader:
        assert sum(1 for _ in reader.entries(1)) == 16000
    assert journal.lost_rows == 0
    journal.close()


KILLED = """
import sys, itertools
from pathlib import Path
from trimtab.adapters.sqlite_journal import SqliteJournal
from trimtab.core.events import RequestArrived
from trimtab.domain.request import Request
journal = SqliteJournal(Path(sys.argv[1]))
for number in itertools.count(1):
    journal.append(number, RequestArrived(Request(f"r{number}", "tiny")), ())
    if number % 300 == 0:
        journal.flush()
        print(number, flush=True)
"""


def test_kill_9_keeps_every_acknowledged_row(path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": ":".join(entry for entry in sys.path if entry)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        acknowledged = 0
        while acknowledged < 3000:
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else acknowledged
    journal = SqliteJournal(path)
    assert journal.session == 2
    fill(journal, 1)
    journal.close()
    with JournalReader(path) as reader:
        assert [session.closed for session in reader.sessions()] == [False, True]
        numbers = [entry.seq for entry in reader.entries(1)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= acknowledged


def test_bounded_and_replayable(path: Path) -> None:
    bound = 1 << 20
    journal = SqliteJournal(path, max_bytes=bound, checkpoint_every=200)
    for number in range(80):
        fill(journal, 200, 200 * number)
        if journal.wants_checkpoint():
            journal.checkpoint(number, b"state %d" % number)
        journal.flush()
    journal.close()
    assert path.stat().st_size < 1.5 * bound
    with JournalReader(path) as reader:
        entries = list(reader.entries(1))
        checkpoints = reader.checkpoints(1)
        numbers = sorted([entry.seq for entry in entries] + [c.seq for c in checkpoints])
        assert numbers[0] > 1
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert checkpoints[0].seq == numbers[0]


def test_without_checkpoints_nothing_goes_but_one_is_wanted(path: Path) -> None:
    journal = SqliteJournal(path, max_bytes=100_000, checkpoint_every=1_000_000)
    fill(journal, 1000)
    journal.flush()
    journal.flush()
    assert journal.wants_checkpoint()
    journal.checkpoint(1, b"{}")
    assert not journal.wants_checkpoint()
    fill(journal, 10)
    journal.flush()
    journal.flush()
    with JournalReader(path) as reader:
        assert reader.sessions()[0].first_seq == 2001
    journal.close()


def test_old_sessions_go_whole(path: Path) -> None:
    for _ in range(4):
        journal = SqliteJournal(path, max_bytes=150_000)
        fill(journal, 400)
        journal.close()
    with JournalReader(path) as reader:
        sessions = reader.sessions()
        assert sessions[0].session > 1
        assert sessions[0].first_seq == 1
    connection = journal_file.open_for_writing(path)
    connection.execute("DELETE FROM entries")
    assert journal_file.shrink(connection, 0.5) == 0
    connection.close()


def test_a_newer_version_is_refused(path: Path) -> None:
    SqliteJournal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opening in (SqliteJournal, JournalReader):
        with pytest.raises(JournalError, match="version 99"):
            opening(path)


def test_a_corrupt_file_is_kept_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    for number in (1, 2):
        path.write_bytes(b"this is not a database" * 100)
        journal = SqliteJournal(path)
        assert f"corrupt-{number}" in caplog.text
        fill(journal, 1)
        journal.close()
        assert (path.parent / f"journal.db.corrupt-{number}").read_bytes().startswith(b"this is not")
    with pytest.raises(JournalError, match=r"not a database|cannot read"):
        JournalReader(path.parent / "journal.db.corrupt-1")


def test_damage_inside_is_found_after_a_crash(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = SqliteJournal(path)
    fill(journal, 2000)
    journal.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE sessions SET closed = 0")
    connection.close()
    body = bytearray(path.read_bytes())
    body[8192 : len(body) - 4096] = b"\xa5" * (len(body) - 12288)
    path.write_bytes(body)
    SqliteJournal(path).close()
    assert "corrupt-1" in caplog.text


def test_what_cannot_be_opened(path: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no journal"):
        JournalReader(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot open"):
        SqliteJournal(tmp_path / "file" / "journal.db")
    with pytest.raises(JournalError, match="cannot open"):
        SqliteJournal(tmp_path)
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(JournalError, match="not a journal"):
        JournalReader(empty)


def test_failing_storage_is_told_not_hidden(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = SqliteJournal(path)
    fill(journal, 1)
    journal.flush()
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE entries RENAME TO elsewhere")
    connection.close()
    with caplog.at_level(logging.ERROR):
        fill(journal, 2)
        with pytest.raises(JournalError, match="4 rows lost"):
            journal.flush()
    assert journal.lost_rows == 4
    assert "rows of the journal are lost" in caplog.text
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO entries")
    connection.close()
    fill(journal, 1)
    journal.flush()
    journal.close()
    with JournalReader(path) as reader:
        assert [entry.seq for entry in reader.entries(1)] == [1, 2, 7, 8]


def test_what_cannot_be_encoded_is_one_lost_row(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.append(
        0, DeviceChanged(DeviceState(battery_frac=float("nan"))), (RunStage("r", "t", "v", "p", 0),)
    )
    with pytest.raises(JournalError, match="battery_frac"):
        journal.flush()
    journal.append(1, TimerFired(), ())
    journal.flush()
    journal.close()
    with JournalReader(path) as reader:
        assert [entry.seq for entry in reader.entries(1)] == [2, 3]


def test_a_row_of_an_unknown_type_is_named(path: Path) -> None:
    journal = SqliteJournal(path)
    fill(journal, 1)
    journal.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET type = 'Future' WHERE seq = 1")
    connection.close()
    with JournalReader(path) as reader, pytest.raises(JournalError, match="row 1: Future"):
        list(reader.entries(1))


def test_about_which_request() -> None:
    assert request_id_of(RequestArrived(Request("a", "t"))) == "a"
    assert request_id_of(Finish(Result("b", Outcome.DONE))) == "b"
    assert request_id_of(RunStage("c", "t", "v", "p", 0)) == "c"
    assert request_id_of(TimerFired()) is None


def test_append_is_quick(path: Path) -> None:
    journal = SqliteJournal(path)
    event, commands = RequestArrived(Request("a", "t")), (RunStage("a", "t", "v", "p", 0),)
    costs = []
    for number in range(400):
        begin = time.perf_counter_ns()
        journal.append(number, event, commands)
        costs.append(time.perf_counter_ns() - begin)
    assert sorted(costs)[len(costs) // 2] < 50_000
    journal.close()
