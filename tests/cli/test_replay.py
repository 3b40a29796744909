"""``trimtab replay``: exit codes, tables, JSON, and what it says when something is wrong."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.simulator.recorded import write_session

from trimtab.cli.replay import replay


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "journal.sqlite"
    write_session(path, count=200)
    return path


@pytest.fixture
def journal(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(kept, tmp_path / "journal.sqlite"))


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(replay, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def spoil(path: Path) -> None:
    """Let the first decision name another processor."""
    connection = sqlite3.connect(path)
    with connection:
        query = "SELECT id, body FROM entries WHERE type = 'RunStage' ORDER BY id LIMIT 1"
        number, body = connection.execute(query).fetchone()
        content = json.loads(body) | {"processor": "elsewhere"}
        connection.execute("UPDATE entries SET body = ? WHERE id = ?", (json.dumps(content).encode(), number))
    connection.close()


def test_all_is_made_again(journal: Path) -> None:
    result = run(journal)
    assert result.exit_code == 0
    assert "1 session" in result.output
    assert "200 requests" in result.output
    assert result.output.count("100.0 %") == 4
    found = json.loads(run(journal, "--json").output)
    assert found["exact"] is True
    assert found["requests"] == 200
    assert found["decisions"]["remade_frac"] == 1.0
    assert found["differences"] == found["holes"] == found["recorded_by_others"] == []


def test_a_difference_is_told_and_fails(journal: Path) -> None:
    spoil(journal)
    result = run(journal)
    assert result.exit_code == 1
    assert "processor: recorded 'elsewhere', replayed 'cpu:" in result.stderr
    assert "99." in result.stdout
    told = run(journal, "--json")
    assert told.exit_code == 1
    found = json.loads(told.stdout)
    assert found["exact"] is False
    assert found["differing_steps"] == 1
    assert "elsewhere" in "".join(found["differences"][0])


def test_a_share_below_all_is_never_rounded_up() -> None:
    from trimtab.cli.replay import share
    from trimtab_sim.replay_journal import Tally

    assert share(Tally(10_000_000, 9_999_999)) == "99.999 %"
    assert share(Tally(7, 7)) == share(Tally()) == "100.0 %"


def test_what_cannot_be_read_is_one_line(journal: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "none.sqlite").stderr == f"error: {tmp_path / 'none.sqlite'}: no journal there\n"
    journal.write_bytes(journal.read_bytes()[:9000])
    result = run(journal)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {journal}: cannot read the journal: ")
    assert result.stderr.count("\n") == 1


def test_what_if(journal: Path) -> None:
    result = run(journal, "--policy", "battery-saver", "--strategy", "smallest", "--strategy", "value")
    assert result.exit_code == 0, result.output
    head = result.output.splitlines()[1]
    assert head.split("  ")[-1].strip() == "battery-saver value"
    for title in ("recorded", "as recorded, modelled", "battery-saver smallest"):
        assert title in head
    for line in (
        "on time",
        "accuracy expected, late = 0",
        "energy, J",
        "battery at the end",
        "share of tiny/small",
    ):
        assert line in result.output
    assert "recorded: arrivals and goals" in result.output
    assert "modelled: run times, energy and hand-over: " in result.output


def test_what_if_as_json(journal: Path) -> None:
    found = json.loads(run(journal, "--strategy", "smallest", "--json").output)
    assert list(found["columns"]) == ["recorded", "as recorded, modelled", "smallest"]
    recorded, modelled, smallest = found["columns"].values()
    assert recorded["requests"] == modelled["requests"] == smallest["requests"] == 200
    assert smallest["share"] == {"tiny/small": 1.0}
    assert smallest["energy_j"] < recorded["energy_j"]
    assert found["recorded"]
    assert found["modelled"]
    assert run(journal, "--strategy", "smallest", "--json").output == json.dumps(found, indent=2) + "\n"


def test_a_wrong_policy_or_strategy_is_told_before_anything_runs(journal: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nname: bad\ndefaults: {min_acuracy: 0.9}\n")
    result = run(journal, "--policy", bad)
    assert result.exit_code == 1
    assert f"{bad}:3:" in result.stderr
    result = run(journal, "--strategy", "luck")
    assert result.exit_code == 2
    assert "--strategy" in result.stderr
