"""Every decision is made again from a journal, and whatever stands in the way of that is told."""

import json
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.simulator.recorded import write_session

from trimtab.adapters.journal_file import JournalError
from trimtab.core import events as ev
from trimtab_sim.differences import told
from trimtab_sim.replay_journal import Remade, replay_journal


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a journal of two sessions that nobody may change."""
    path = tmp_path_factory.mktemp("kept") / "journal.sqlite"
    write_session(path, seed=1, count=300)
    write_session(path, seed=2, count=200)
    return path


@pytest.fixture
def journal(kept: Path, tmp_path: Path) -> Path:
    """Return a copy to spoil."""
    return Path(shutil.copy(kept, tmp_path / "journal.sqlite"))


def rows(path: Path, query: str, *values: object) -> list[Any]:
    """Run a statement on a journal."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def change(path: Path, seq: int, how: Callable[[dict[str, Any]], None]) -> None:
    """Change the body of a row of the first session."""
    ((body,),) = rows(path, "SELECT body FROM entries WHERE session = 1 AND seq = ?", seq)
    content = json.loads(body)
    how(content)
    fresh = json.dumps(content).encode()
    rows(path, "UPDATE entries SET body = ? WHERE session = 1 AND seq = ?", fresh, seq)


def first(path: Path, kind: str, after: int = 0) -> int:
    """Return the row of the first entry of a type in the first session behind ``after``."""
    query = "SELECT min(seq) FROM entries WHERE session = 1 AND type = ? AND seq > ?"
    return int(rows(path, query, kind, after)[0][0])


def decisions_in(path: Path) -> int:
    """Return how many decisions are recorded."""
    return int(rows(path, "SELECT count(*) FROM entries WHERE type = 'Decided'")[0][0])


def assert_all_counted(path: Path, remade: Remade) -> None:
    """Require that everything recorded was counted, replayed or not."""
    counts = dict(rows(path, "SELECT kind, count(*) FROM entries GROUP BY kind"))
    assert remade.events == counts[0]
    assert remade.commands.recorded == counts[1]
    assert remade.decisions.recorded == decisions_in(path)


def test_everything_is_made_again(kept: Path) -> None:
    told_rows: list[tuple[int, int]] = []
    remade = replay_journal(kept, progress=lambda done, total: told_rows.append((done, total)))
    assert remade.exact
    assert remade.sessions == [1, 2]
    assert remade.requests == 500
    assert remade.decisions.recorded == remade.decisions.remade == decisions_in(kept) >= 450
    assert remade.answers.recorded == remade.answers.remade == 500
    assert remade.checkpoints.recorded == remade.checkpoints.remade >= 4
    assert_all_counted(kept, remade)
    assert told_rows[-1] == (remade.rows, remade.rows)
    assert [done for done, _ in told_rows] == sorted(done for done, _ in told_rows)


def test_one_session_of_several(kept: Path) -> None:
    assert replay_journal(kept, 2).requests == 200
    with pytest.raises(JournalError, match=r"no session 7 with rows; there are: 1, 2"):
        replay_journal(kept, 7)


def test_ctrl_c_leaves_what_was_replayed(kept: Path) -> None:
    def interrupt(done: int, _total: int) -> None:
        raise KeyboardInterrupt

    remade = replay_journal(kept, progress=interrupt)
    assert remade.interrupted
    assert not remade.exact
    assert 0 < remade.requests < 500
    assert remade.decisions.recorded == remade.decisions.remade > 0


def test_what_remains_once_old_rows_were_dropped(journal: Path) -> None:
    ((boundary,),) = rows(journal, "SELECT min(id) FROM entries WHERE kind = 2")
    rows(journal, "DELETE FROM entries WHERE id < ?", boundary)
    remade = replay_journal(journal)
    assert remade.exact
    assert 200 < remade.requests < 500
    assert_all_counted(journal, remade)


def test_another_decision_is_told_and_not_counted_twice(journal: Path) -> None:
    seq = first(journal, "Decided", after=200)
    change(journal, seq, lambda body: body["decision"].update(variant="staged", value=0.123))
    remade = replay_journal(journal)
    assert not remade.exact
    assert remade.differing_steps == 1
    assert remade.decisions.recorded - remade.decisions.remade == 1
    assert remade.checkpoints.recorded == remade.checkpoints.remade
    (divergence,) = remade.divergences
    text = "\n".join(told(divergence))
    assert f"row {divergence.seq}" in text
    assert "RequestArrived r" in text
    assert "decision.variant: recorded 'staged', replayed" in text
    assert "decision.value: recorded 0.123, replayed" in text


def test_after_a_changed_event_the_next_checkpoint_sets_it_right(journal: Path) -> None:
    seq = first(journal, "StageFinished", after=100)
    change(journal, seq, lambda body: body.update(run_ns=body["run_ns"] + 10_000))
    remade = replay_journal(journal, keep=2)
    assert remade.differing_steps > 2
    assert len(remade.divergences) == 2
    assert remade.checkpoints.recorded - remade.checkpoints.remade == 1
    assert not remade.holes
    assert remade.decisions.frac > 0.5
    assert_all_counted(journal, remade)


def test_a_state_that_drifts_unseen_is_found_at_the_checkpoint(journal: Path) -> None:
    seq = first(journal, "LoadFinished")
    change(journal, seq, lambda body: body.update(energy_uj=body["energy_uj"] + 1e-3))
    remade = replay_journal(journal)
    assert not remade.exact
    assert remade.commands.recorded == remade.commands.remade
    (divergence,) = remade.divergences
    assert isinstance(divergence.event, ev.Checkpointed)
    assert "different: energy" in divergence.error


def test_missing_rows_are_named_and_the_rest_is_replayed(journal: Path) -> None:
    gone = first(journal, "RequestArrived", after=150)
    rows(journal, "DELETE FROM entries WHERE session = 1 AND seq BETWEEN ? AND ?", gone, gone + 4)
    remade = replay_journal(journal)
    assert not remade.exact
    (hole,) = remade.holes
    assert hole.why == f"rows {gone} to {gone + 4} are missing"
    assert hole.first_seq <= gone
    assert hole.last_seq == first(journal, "", after=0) - 1  # a checkpoint has no type
    assert not remade.divergences
    assert 0 < remade.decisions.recorded - remade.decisions.remade < 150
    assert_all_counted(journal, remade)


def test_missing_rows_without_a_checkpoint_behind_them(journal: Path) -> None:
    rows(journal, "DELETE FROM entries WHERE kind = 2")
    rows(journal, "DELETE FROM entries WHERE session = 1 AND seq < 5")
    remade = replay_journal(journal)
    assert "nothing says what the state was" in remade.holes[0].why
    assert "missing" in remade.holes[-1].why
    assert remade.decisions.remade < remade.decisions.recorded
    assert_all_counted(journal, remade)


def test_an_event_that_cannot_happen_is_told(journal: Path) -> None:
    seq = first(journal, "StageFinished", after=100)
    change(journal, seq, lambda body: body.update(request_id="nobody"))
    remade = replay_journal(journal)
    (divergence,) = remade.divergences
    assert divergence.seq == seq
    assert divergence.error.startswith("IllegalEventError")
    assert remade.holes[0].first_seq > seq
    assert remade.holes[0].why == f"the scheduler could not take row {seq}"
    assert_all_counted(journal, remade)


def test_a_command_of_a_step_more_or_less(journal: Path) -> None:
    seq = first(journal, "RunStage", after=100)
    change(journal, seq, lambda body: body.update(processor="cpu:9"))
    (divergence,) = replay_journal(journal).divergences
    assert "processor: recorded 'cpu:9', replayed 'cpu:" in "\n".join(told(divergence))
    rows(journal, "UPDATE entries SET type = 'Drained', body = '{}' WHERE session = 1 AND seq = ?", seq)
    text = "\n".join(told(replay_journal(journal).divergences[0]))
    assert "recorded: Drained" in text
    assert "replayed: r" in text


def test_an_unknown_entry_names_row_and_version(journal: Path) -> None:
    seq = first(journal, "RequestArrived", after=50)
    rows(journal, "UPDATE entries SET type = 'MoonPhase' WHERE session = 1 AND seq = ?", seq)
    with pytest.raises(JournalError, match=rf"session 1: row {seq}: MoonPhase: not a known event"):
        replay_journal(journal)
    rows(journal, "UPDATE sessions SET program = 'trimtab 9.9'")
    with pytest.raises(JournalError, match=r"recorded by trimtab 9\.9, this is trimtab"):
        replay_journal(journal)
    assert replay_journal(journal, 2).foreign == ("trimtab 9.9",)


def test_a_spoilt_checkpoint_is_told(journal: Path) -> None:
    ((boundary,),) = rows(journal, "SELECT min(id) FROM entries WHERE kind = 2")
    rows(journal, "UPDATE entries SET body = ? WHERE id = ?", b'{"families": 3}', boundary)
    with pytest.raises(JournalError, match=r"session 1: row \d+: State: "):
        replay_journal(journal)


@pytest.mark.parametrize("left", [0.2, 0.7])
def test_a_truncated_file_is_an_error_and_not_a_short_journal(journal: Path, left: float) -> None:
    data = journal.read_bytes()
    journal.write_bytes(data[: int(len(data) * left)])
    with pytest.raises(JournalError, match=r"journal\.sqlite"):
        replay_journal(journal)


def test_other_files_are_errors(journal: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no journal there"):
        replay_journal(tmp_path / "none.sqlite")
    (tmp_path / "text").write_text("not a database, whatever its name says. " * 30)
    with pytest.raises(JournalError, match="text: "):
        replay_journal(tmp_path / "text")
    rows(tmp_path / "other.sqlite", "CREATE TABLE other (x)")
    with pytest.raises(JournalError, match="not a journal"):
        replay_journal(tmp_path / "other.sqlite")
    rows(journal, "PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="journal of version 99"):
        replay_journal(journal)


def test_an_empty_journal_is_an_error(journal: Path) -> None:
    rows(journal, "DELETE FROM entries")
    with pytest.raises(JournalError, match="the journal is empty"):
        replay_journal(journal)


def test_memory_does_not_grow_with_the_journal(tmp_path: Path) -> None:
    peaks = []
    for count in (200, 1000):
        path = tmp_path / f"{count}.sqlite"
        write_session(path, count=count)
        replay_journal(path)  # whatever is cached once is not what grows
        tracemalloc.start()
        remade = replay_journal(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert remade.requests == count
    assert peaks[1] < 1.5 * peaks[0]
