"""A daemon that is started again goes on with what it had learned: real processes, real files."""

from collections.abc import Callable
from typing import Any

from click.testing import CliRunner

from trimtab.adapters.journal_reader import JournalReader
from trimtab.cli.replay import replay
from trimtab.core.events import EstimatesRestored

TASK = "fashion"
Make = Callable[..., Any]


def ask(daemon: Any, image: Any, count: int) -> None:
    with daemon.client() as client:
        for _ in range(count):
            client.infer(TASK, image, latency_budget_ms=1000)


def restored(daemon: Any, session: int) -> list[EstimatesRestored]:
    with JournalReader(daemon.state / "journal.sqlite") as reader:
        return [e.item for e in reader.entries(session) if isinstance(e.item, EstimatesRestored)]


def test_estimates_survive_a_restart_and_a_replay_makes_the_same_decisions(
    make_daemon: Make, samples: Any
) -> None:
    image = samples[0][:1]
    daemon = make_daemon().start()
    ask(daemon, image, 30)
    assert daemon.stop() == 0
    assert restored(daemon, 1) == []
    daemon.start()
    ask(daemon, image, 10)
    assert daemon.stop() == 0
    (event,) = restored(daemon, 2)
    runs = sum(one.observations for one in event.knowledge.estimates.values())
    assert runs == 30
    assert event.knowledge.latency_biases
    assert 0 <= event.age_ns < 120 * 10**9
    again = CliRunner().invoke(replay, [str(daemon.state / "journal.sqlite")])
    assert again.exit_code == 0, again.output
    assert "2 sessions" in again.output


def test_a_corrupt_file_is_warned_about_and_the_daemon_serves(make_daemon: Make, samples: Any) -> None:
    daemon = make_daemon()
    daemon.state.mkdir(exist_ok=True)
    (daemon.state / "estimates.json").write_bytes(b"{ half a fi")
    daemon.start()
    ask(daemon, samples[0][:1], 3)
    assert daemon.stop() == 0
    assert "estimates.json" in daemon.log
    assert "start afresh" in daemon.log
    assert "Traceback" not in daemon.log
    assert (daemon.state / "estimates.json").read_bytes().startswith(b'{"machine"')
