"""How the daemon starts, drains, dies and comes back, with real processes and signals."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.adapters.journal_reader import JournalReader
from trimtab.client import Client, TrimtabError
from trimtab.core.commands import Finish

TASK = "fashion"
Make = Callable[..., Any]


@dataclass
class Load:
    """Clients that ask without a pause; ``answers`` are (moment, decision id), ``errors`` count codes."""

    address: str
    image: Any
    answers: list[tuple[float, str]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    stopping: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        with Client(self.address, app="load") as client:
            while not self.stopping.is_set():
                try:
                    reply = client.infer(TASK, self.image, latency_budget_ms=1000)
                except TrimtabError as error:
                    self.errors[error.code] += 1
                    return
                self.answers.append((time.monotonic(), reply.decision_id))


@contextmanager
def load(address: str, image: Any, clients: int = 4) -> Iterator[Load]:
    running = Load(address, image)
    threads = [threading.Thread(target=running.ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stopping.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def image(samples: Any) -> Any:
    return samples[0][:1]


@pytest.fixture(scope="module")
def heavy(samples: Any) -> Any:
    """Return a batch that keeps a processor busy for tens of milliseconds."""
    return samples[0][:64]


def ask_often(client: Client, heavy: Any, pool: ThreadPoolExecutor, count: int) -> list[Any]:
    """Ask for ``count`` heavy answers; return when all of them were admitted."""
    futures = [
        pool.submit(client.infer, TASK, heavy, variant="resnet", latency_budget_ms=60_000)
        for _ in range(count)
    ]
    give_up = time.monotonic() + 10
    while client.status().in_flight < count // 2:
        assert time.monotonic() < give_up
    return futures


def test_sigterm_under_load_finishes_what_was_admitted(make_daemon: Make, heavy: Any, image: Any) -> None:
    daemon = make_daemon().start()
    with ThreadPoolExecutor(24) as pool, daemon.client() as client, daemon.client("late") as late:
        late.status()
        client.infer(TASK, heavy[:1], variant="resnet")
        futures = ask_often(client, heavy, pool, 24)
        daemon.signal(signal.SIGTERM)
        assert _first_refusal(late, image) == "UNAVAILABLE"
        outcomes = Counter(_outcome(future) for future in futures)
    assert outcomes["done"] >= 12
    assert set(outcomes) <= {"done", "UNAVAILABLE"}, outcomes
    assert daemon.wait() == 0, daemon.log
    assert not daemon.socket.exists()
    assert "Traceback" not in daemon.log
    with JournalReader(daemon.state / "journal.sqlite") as reader:
        (session,) = reader.sessions()
        assert session.closed
        done = [
            e for e in reader.entries(1) if isinstance(e.item, Finish) and e.item.result.outcome == "done"
        ]
        assert len(done) >= outcomes["done"]


def _first_refusal(client: Client, image: Any) -> str:
    """Ask until an answer is refused, and return how."""
    for _ in range(1000):
        try:
            client.infer(TASK, image, timeout_s=5)
        except TrimtabError as error:
            return error.code
    return "never"


def _outcome(future: Any) -> str:
    try:
        future.result(20)
    except TrimtabError as error:
        return error.code
    return "done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(make_daemon: Make, heavy: Any, number: int) -> None:
    daemon = make_daemon().start()
    with ThreadPoolExecutor(24) as pool, daemon.client() as client:
        client.infer(TASK, heavy[:1], variant="resnet")
        ask_often(client, heavy, pool, 24)
        daemon.signal(number)
        time.sleep(0.05)
        daemon.signal(number)
        assert daemon.wait(5) == 128 + number


def test_ctrl_c_when_idle_ends_cleanly(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    daemon.signal(signal.SIGINT)
    assert daemon.wait() == 0
    assert "Traceback" not in daemon.log


def test_a_drain_that_takes_too_long_is_told(make_daemon: Make, heavy: Any) -> None:
    daemon = make_daemon("--drain-timeout", "0").start()
    with ThreadPoolExecutor(24) as pool, daemon.client() as client:
        client.infer(TASK, heavy[:1], variant="resnet")
        ask_often(client, heavy, pool, 24)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 1
    assert "Traceback" not in daemon.log, daemon.log


def test_kill_9_under_load_loses_no_answered_request(make_daemon: Make, image: Any) -> None:
    daemon = make_daemon().start()
    with load(daemon.address, image) as running:
        time.sleep(1.0)
        killed = time.monotonic()
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    assert set(running.errors) <= {"UNAVAILABLE"}, running.errors
    assert daemon.socket.exists()  # stale: the next start must remove it
    daemon.start()
    with daemon.client() as client:
        again = client.infer(TASK, image)
        assert again.decision_id.startswith("2-")
        last = next(reversed(running.answers))[1]
        assert client.explain(running.answers[0][1]).entries
    assert daemon.stop() == 0
    with JournalReader(daemon.state / "journal.sqlite") as reader:
        assert [s.closed for s in reader.sessions()] == [False, True]
        entries = list(reader.entries(1))
        numbers = {e.seq for e in entries} | {c.seq for c in reader.checkpoints(1)}
    assert numbers == set(range(1, max(numbers) + 1))
    finished = {e.item.result.request_id for e in entries if isinstance(e.item, Finish)}
    acknowledged = {name for moment, name in running.answers if moment < killed - 0.2}
    assert len(acknowledged) > 50
    assert acknowledged <= finished, f"the last answer was {last}"


def test_the_socket_is_the_owner_s(daemon: Any) -> None:
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE((daemon.state / "journal.sqlite").stat().st_mode) == 0o600


def test_a_second_daemon_on_the_socket_is_refused(daemon: Any, daemon_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "trimtab", "serve", "--socket", str(daemon.socket)]
    command += ["--state", str(daemon.folder / "other")]
    told = subprocess.run(command, env=daemon_environment, capture_output=True, text=True, timeout=30)
    assert told.returncode == 1
    assert "a daemon already listens" in told.stderr
    assert not (daemon.folder / "other").exists()
    with daemon.client() as client:
        assert client.status().ready


def test_a_cancelled_run_leaves_a_working_daemon(daemon: Any, heavy: Any, image: Any) -> None:
    with daemon.client() as client:
        for _ in range(5):
            with pytest.raises(TrimtabError, match="Deadline Exceeded"):
                client.infer(TASK, heavy, variant="resnet", latency_budget_ms=1000, timeout_s=0.005)
        assert client.infer(TASK, image).on_time
        _until_quiet(client)


def _until_quiet(client: Client) -> None:
    give_up = time.monotonic() + 10
    while client.status().in_flight:
        assert time.monotonic() < give_up


def test_torch_stays_out(daemon: Any, daemon_environment: dict[str, str]) -> None:
    maps = Path(f"/proc/{daemon.pid}/maps").read_text()
    assert "onnxruntime" in maps
    assert "torch" not in maps
    code = (
        "import sys, trimtab.app, trimtab.cli.serve, trimtab.rpc.server\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env=daemon_environment, capture_output=True, text=True
    )
    loaded = eval(told.stdout)
    assert "onnxruntime" in loaded
    assert not {"torch", "onnx", "trimtab_models", "trimtab_sim"} & set(loaded)


def test_callers_who_leave_at_the_last_moment_leave_no_traceback(make_daemon: Make, image: Any) -> None:
    """Deadlines around the time an answer takes: some pass between the answer and its sending."""
    daemon = make_daemon().start()
    outcomes: Counter[str] = Counter()
    with daemon.client() as client, ThreadPoolExecutor(8) as pool:

        def ask(number: int) -> str:
            try:
                client.infer(TASK, image, latency_budget_ms=1000, timeout_s=0.002 + number % 40 * 0.00025)
            except TrimtabError as error:
                return error.code
            return "OK"

        outcomes.update(pool.map(ask, range(1500)))
        _until_quiet(client)
    assert set(outcomes) == {"OK", "DEADLINE_EXCEEDED"}, outcomes
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log


def test_threads_answer_side_by_side(daemon: Any, samples: Any) -> None:
    images, _ = samples
    with daemon.client() as client, ThreadPoolExecutor(8) as pool:
        alone = [
            client.infer(TASK, images[i : i + 1], variant="student").outputs["logits"] for i in range(20)
        ]
        together = list(
            pool.map(lambda i: client.infer(TASK, images[i : i + 1], variant="student").outputs["logits"], range(20))
        )  # fmt: skip
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(alone, together, strict=True))


def test_nothing_is_left_in_the_folder_but_what_is_documented(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    assert daemon.stop() == 0
    left = {p.name for p in daemon.folder.iterdir()}
    assert left == {"state", "daemon.log"}
    assert {p.name for p in daemon.state.iterdir()} == {"journal.sqlite", "profiles"}
    assert os.access(daemon.state / "journal.sqlite", os.R_OK)
