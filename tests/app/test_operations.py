"""What an operator does to a running daemon: policies, device files, explaining, replaying."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.adapters.journal_reader import JournalReader
from trimtab.client import TrimtabError
from trimtab.core.events import PolicyReplaced
from trimtab.core.replay import replay, steps
from trimtab.core.scheduler import Scheduler
from trimtab.domain.decision import Why
from trimtab.strategies import strategy_named

TASK = "fashion"
Make = Callable[..., Any]

STRICT = "version: 1\nname: strict\ndefaults: {when_impossible: reject}\n"
OTHER = "version: 1\nname: other\ndefaults: {latency_budget_ms: 77}\n"
BROKEN = "version: 1\nname: broken\ndefaults: {latency_budget: 77}\n"


@pytest.fixture
def image(samples: Any) -> Any:
    return samples[0][:1]


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(STRICT)
    return path


def test_a_policy_file_is_reloaded_and_a_bad_one_is_not(
    make_daemon: Make, policy_file: Path, image: Any, wait_until: Callable[..., None]
) -> None:
    daemon = make_daemon("--policy", str(policy_file), "--sensor-interval", "0.05").start()
    with daemon.client() as client:

        def told() -> tuple[str, str]:
            client.infer(TASK, image)  # sensors and policy are read often only while requests come
            now = client.status()
            return now.policy, now.policy_reload_error

        assert told() == ("strict", "")
        policy_file.write_text(OTHER)
        wait_until(lambda: told() == ("other", ""))
        policy_file.write_text(BROKEN)
        wait_until(lambda: told()[1])
        assert told()[0] == "other"
        assert f"{policy_file}:3" in told()[1]
        assert "latency_budget" in told()[1]
        shown = subprocess.run(
            [sys.executable, "-m", "trimtab", "status", "--address", daemon.address],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        assert "LAST RELOAD FAILED" in shown.stdout
        policy_file.write_text(STRICT)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: client.status().policy == "strict")
        assert client.status().policy_reload_error == ""
    assert daemon.stop() == 0


def test_sighup_reads_an_idle_daemon_s_policy_at_once(
    make_daemon: Make, policy_file: Path, wait_until: Callable[..., None]
) -> None:
    daemon = make_daemon("--policy", str(policy_file)).start()
    with daemon.client() as client:
        client.set_policy(OTHER)
        assert client.status().policy == "other"
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: client.status().policy == "strict", 5)
    assert daemon.stop() == 0


def test_a_rejected_request_is_explained_candidate_by_candidate(
    make_daemon: Make, policy_file: Path, image: Any
) -> None:
    daemon = make_daemon("--policy", str(policy_file)).start()
    with daemon.client() as client:
        served = client.infer(TASK, image)
        with pytest.raises(TrimtabError) as caught:
            client.infer(TASK, image, min_accuracy=1.0)
        assert caught.value.code == "FAILED_PRECONDITION"
        refused = client.explain(caught.value.decision_id)
        chosen = client.explain(served.decision_id)
    (verdicts,) = refused.verdicts
    assert {v.why for v in verdicts} == {Why.ACCURACY}
    assert [e.kind for e in refused.entries] == ["RequestArrived", "Finish"]
    (decided,) = chosen.verdicts
    assert len(decided) == len(verdicts)
    assert [v.candidate.partition("@")[0] for v in decided if v.why is Why.CHOSEN] == [served.variant]
    assert all(v.why for v in decided)
    assert daemon.stop() == 0


def test_the_journal_of_a_real_daemon_replays_completely(
    make_daemon: Make, policy_file: Path, image: Any
) -> None:
    daemon = make_daemon(
        "--policy", str(policy_file), "--virtual-battery", "300:0.5:2000", "--sensor-interval", "0.05"
    ).start()
    with daemon.client() as client:
        codes = set()
        for number in range(300):
            goals = {
                "latency_budget_ms": (0.2, 2, 20, 200)[number % 4],
                "min_accuracy": (0.0, 0.9, 0.94)[number % 3],
            }
            codes.add(_code(client, image, goals))
            if number == 150:
                client.set_policy(OTHER)
    assert codes <= {"", "FAILED_PRECONDITION", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert daemon.stop() == 0
    with JournalReader(daemon.state / "journal.sqlite") as reader:
        rows = [(e.at_ns, e.item) for e in reader.entries(1)]
    recorded = list(steps(rows))
    assert len(recorded) > 400
    assert sum(isinstance(step.event, PolicyReplaced) for step in recorded) == 2
    differences = list(replay(Scheduler(strategy_named), recorded))
    assert not differences, f"{len(differences)} of {len(recorded)} differ, first: {differences[0]}"


def _code(client: Any, image: Any, goals: dict[str, float]) -> str:
    try:
        client.infer(TASK, image, **goals)
    except TrimtabError as error:
        return error.code
    return ""


def test_a_device_file_is_believed(make_daemon: Make, tmp_path: Path, image: Any, wait_until: Any) -> None:
    file = tmp_path / "device.yaml"
    file.write_text("battery_frac: 0.5\nbattery_capacity_j: 1000\ntemperature_mc: 41000\n")
    daemon = make_daemon("--device-file", str(file), "--sensor-interval", "0.05").start()
    with daemon.client() as client:
        device = client.status().device
        assert (device.battery_frac, device.battery_capacity_j, device.temperature_mc) == (0.5, 1000, 41000)
        assert dict(device.sources)["battery"] == "virtual:device.yaml"
        file.write_text("battery_frac: 0.25\n")

        def battery() -> bool:
            client.infer(TASK, image)
            return bool(client.status().device.battery_frac == 0.25)

        wait_until(battery)
    assert daemon.stop() == 0


BAD_STARTS = [
    (("--policy", "nothing"), "no such policy or file", 1),
    (("--policy", "BROKEN"), "latency_budget", 1),
    (("--families", "EMPTY"), "no family there", 1),
    (("--device-file", "MISSING"), "cannot be read", 1),
    (("--tcp", "0.0.0.0:0"), "no access control", 1),
    (("--tcp", "nonsense"), "no TCP address", 1),
    (("--virtual-battery", "nan"), "capacity", 2),
    (("--virtual-battery", "-1"), "capacity", 2),
    (("--sensor-interval", "0"), "--sensor-interval", 2),
    (("--socket", "/nonexistent/t.sock"), "no folder", 1),
]


@pytest.mark.parametrize(("options", "words", "code"), BAD_STARTS, ids=[" ".join(b[0]) for b in BAD_STARTS])
def test_a_wrong_start_says_what_is_wrong_and_leaves_nothing(
    options: tuple[str, str], words: str, code: int, tmp_path: Path, daemon_environment: dict[str, str]
) -> None:
    (tmp_path / "broken.yaml").write_text(BROKEN)
    (tmp_path / "empty").mkdir()
    places = {"BROKEN": "broken.yaml", "EMPTY": "empty", "MISSING": "missing.yaml"}
    options = (options[0], str(tmp_path / places[options[1]]) if options[1] in places else options[1])
    command = [sys.executable, "-m", "trimtab", "serve", "--socket", str(tmp_path / "t.sock")]
    command += ["--state", str(tmp_path / "state"), *options]
    told = subprocess.run(command, env=daemon_environment, capture_output=True, text=True, timeout=20)
    assert told.returncode == code, told.stderr
    assert words in told.stderr
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "t.sock").exists()
    assert not (tmp_path / "state" / "journal.sqlite").exists()
