"""Every command: what it prints, as text and as JSON, and how it tells what went wrong."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from trimtab import __version__
from trimtab.adapters.family_store import shipped_families
from trimtab.cli.main import main

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command in this process, away from the user's own files."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("TRIMTAB_ADDRESS", raising=False)

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def at(daemon: Any) -> tuple[str, str]:
    """Return the option that leads to the running daemon."""
    return ("--address", daemon.address)


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert __version__ in result.output


def test_infer_with_a_sample(run: Run, at: tuple[str, str]) -> None:
    result = run("infer", "fashion", "--sample", 7, "--budget", 500, *at)
    assert result.exit_code == 0, result.output
    assert "the label says" in result.output
    assert "why " in result.output
    told = json.loads(run("infer", "fashion", "--sample", 7, "--variant", "student", "--json", *at).output)
    assert told["variant"] == "student"
    assert len(told["outputs"]["logits"][0]) == 10
    assert told["decision_id"]
    assert isinstance(told["labels"][0], str)


def test_infer_with_files(run: Run, at: tuple[str, str], samples: Any, tmp_path: Path) -> None:
    image = samples[0][7:8]
    expected = json.loads(
        run("infer", "fashion", "--sample", 7, "--variant", "student", "--json", *at).output
    )
    np.save(tmp_path / "float.npy", image)
    np.save(tmp_path / "pixels.npy", np.round(image * 255).astype(np.uint8))
    np.savez(tmp_path / "named.npz", image=image)
    for name in ("float.npy", "pixels.npy", "named.npz"):
        told = run("infer", "fashion", tmp_path / name, "--variant", "student", "--json", *at)
        assert np.allclose(
            json.loads(told.output)["outputs"]["logits"], expected["outputs"]["logits"], atol=1e-4
        )


def test_infer_tells_what_is_wrong(run: Run, at: tuple[str, str], tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.zeros((1, 3, 3), np.float32))
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    for arguments, code, words in (
        (("fashion", tmp_path / "bad.npy"), 1, "INVALID_ARGUMENT: input 'image'"),
        (("fashion", tmp_path / "object.npy"), 1, "not a .npy or .npz file"),
        (("fashion", tmp_path / "text.npy"), 1, "not a .npy or .npz file"),
        (("fashion", tmp_path / "cut.npz"), 1, "not a .npy or .npz file"),
        (("fashion", "--sample", 10_000), 1, "the family has the samples 0 to"),
        (("fashion", "--sample", 1, "--variant", "nobody"), 1, "NOT_FOUND"),
        (("nothing", "--sample", 1), 1, "no shipped family serves 'nothing'"),
        (("fashion",), 2, "give either a FILE or --sample NUMBER"),
        (("fashion", tmp_path / "bad.npy", "--sample", 1), 2, "give either a FILE or --sample NUMBER"),
        (("fashion", tmp_path / "absent.npy"), 2, "does not exist"),
        (("fashion", "--sample", 1, "--budget", 0), 2, "--budget"),
        (("fashion", "--sample", 1, "--prefer", "speed"), 2, "--prefer"),
    ):
        result = run("infer", *arguments, *at)
        assert (result.exit_code, words in result.output) == (code, True), result.output
        assert "Traceback" not in result.output


def test_a_refusal_leads_to_its_explanation(run: Run, at: tuple[str, str], tmp_path: Path) -> None:
    policy = tmp_path / "strict.yaml"
    policy.write_text("version: 1\nname: strict\ndefaults: {when_impossible: reject}\n")
    assert "policy strict is in force" in run("policy", "set", policy, *at).output
    refused = run("infer", "fashion", "--sample", 1, "--min-accuracy", 1, *at)
    run("policy", "set", "balanced", *at)
    assert refused.exit_code == 1
    assert "FAILED_PRECONDITION" in refused.output
    decision = refused.output.rpartition("trimtab explain ")[2].partition("`")[0]
    told = run("explain", decision, *at)
    assert "below the accuracy floor" in told.output
    assert f"request {decision}" in told.output


def test_explain_asks_the_daemon_or_reads_the_journal(run: Run, at: tuple[str, str], daemon: Any) -> None:
    run("infer", "fashion", "--sample", 3, *at)
    told = run("explain", *at)
    assert told.exit_code == 0
    for words in ("arrived", "decided", "started", "done", ">> chosen", "price of", "slow-down", "ms left"):
        assert words in told.output
    from_daemon = json.loads(run("explain", "--json", *at).output)
    journal = daemon.state / "journal.sqlite"
    from_file = json.loads(run("explain", from_daemon["request_id"], "--journal", journal, "--json").output)
    assert from_file == from_daemon
    assert from_file["verdicts"][0]
    (grounds,) = from_file["grounds"]
    assert {"energy", "memory", "latency"} <= {price["resource"] for price in grounds["prices"]}
    values = [(v["value"], sum(part["utility"] for part in v["parts"])) for v in from_file["verdicts"][0]]
    assert all(value == pytest.approx(total, abs=1e-9) for value, total in values)
    assert run("explain", "9-9", *at).exit_code == 1
    missing = run("explain", "9-9", "--journal", journal)
    assert (missing.exit_code, "9-9" in missing.output) == (1, True)


def test_status(run: Run, at: tuple[str, str]) -> None:
    text = run("status", *at)
    assert text.exit_code == 0
    for words in ("ready", "battery", "memory", "policy   balanced", "processor", "in memory"):
        assert words in text.output
    told = json.loads(run("status", "--json", *at).output)
    assert told["ready"] is True
    assert told["processors"][0]["processor"]["name"].startswith("cpu")


def test_without_a_daemon(run: Run, tmp_path: Path) -> None:
    for command in (("status",), ("infer", "fashion", "--sample", 1), ("explain",), ("policy", "show")):
        result = run(*command, "--address", f"unix:{tmp_path}/none.sock")
        assert result.exit_code == 1
        assert result.output.strip() == (
            f"error: UNAVAILABLE: no daemon at unix:{tmp_path}/none.sock; start one with `trimtab serve`"
        )
    bad = run("status", "--address", f"{tmp_path}/none.sock")
    assert bad.exit_code == 2
    assert f"did you mean unix:{tmp_path}/none.sock?" in bad.output
    for address in ("host", "host:port", "host:0", "unix:", ":1"):
        assert run("status", "--address", address).exit_code == 2


def test_policies(run: Run, at: tuple[str, str], tmp_path: Path) -> None:
    names = [entry["name"] for entry in json.loads(run("policy", "list", "--json").output)]
    assert {"balanced", "battery-saver", "low-latency", "best-accuracy"} <= set(names)
    assert "balanced" in run("policy", "list").output
    checked = run("policy", "check", *names)
    assert checked.exit_code == 0, checked.output
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nname: bad\ndefaults: {min_acuracy: 0.5}\n")
    result = run("policy", "check", bad, "balanced")
    assert result.exit_code == 1
    assert f"{bad}:3:" in result.output
    assert "1 problem\n" in result.output
    report = json.loads(run("policy", "check", bad, "--json").output)
    assert report[0]["problems"][0]["line"] == 3
    refused = run("policy", "set", bad, *at)
    assert (refused.exit_code, f"{bad}:3:" in refused.output) == (1, True)
    shown = run("policy", "show", *at).output
    assert "name: balanced" in shown
    assert json.loads(run("policy", "show", "--json", *at).output)["yaml"] == shown
    assert run("policy", "set", "nothing", *at).exit_code == 1


def test_families(run: Run, daemon: Any) -> None:
    assert "fashion" in run("family", "list").output
    listed = json.loads(run("family", "list", "--json").output)
    assert "resnet" in next(one for one in listed if one["task"] == "fashion")["variants"]
    text = run("family", "show", "fashion", "--state", daemon.state).output
    for words in ("accuracy", "MACs", "resnet-exits", "exit rule", "p50 us", "energy: "):
        assert words in text
    told = json.loads(run("family", "show", "fashion", "--state", daemon.state, "--json").output)
    assert told["profiles"]["profiles"]
    assert all(variant["artefact_bytes"] > 0 for variant in told["variants"])
    unknown = run("family", "show", "nothing")
    assert (unknown.exit_code, "known: activity, cifar10, digits, fashion" in unknown.output) == (1, True)
    absent = run("family", "build", "nothing")
    assert (absent.exit_code, "no such family definition" in absent.output) == (1, True)


def test_profile_measures_and_keeps(run: Run, tmp_path: Path) -> None:
    shutil.copytree(shipped_families() / "fashion", tmp_path / "families" / "fashion", ignore=_no_build)
    places = ("--families", tmp_path / "families", "--state", tmp_path / "state")
    result = run("profile", "--budget", 0.5, "--into-manifest", "--json", *places)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert {p["variant"] for p in told["fashion"]["profiles"]} >= {"resnet", "student"}
    manifest = json.loads((tmp_path / "families/fashion/manifest.json").read_text())
    assert manifest["profiles"] == told["fashion"]
    assert (
        json.loads(run("family", "show", "fashion", "--json", *places).output)["profiles"] == told["fashion"]
    )
    unknown = run("profile", "nothing", *places)
    assert (unknown.exit_code, "no family serves 'nothing'" in unknown.output) == (1, True)


def _no_build(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name == ".build"}


def test_a_pipe_that_closes_is_no_error(daemon_environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m trimtab family show fashion --json | head -1"
    told = subprocess.run(["bash", "-c", command], env=daemon_environment, capture_output=True, text=True)
    assert (told.stdout, told.stderr) == ("{\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_valid(run: Run, shell: str, tmp_path: Path) -> None:
    script = run("completion", shell)
    assert script.exit_code == 0
    assert "_TRIMTAB_COMPLETE" in script.output
    if shutil.which(shell):
        (tmp_path / "script").write_text(script.output)
        told = subprocess.run([shell, "-n", str(tmp_path / "script")], capture_output=True, text=True)
        assert (told.returncode, told.stderr) == (0, "")


def test_bash_completes(daemon_environment: dict[str, str]) -> None:
    """Ask as the script does: the words so far in, the candidates out."""
    words = {"_TRIMTAB_COMPLETE": "bash_complete", "COMP_WORDS": "trimtab policy ", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "trimtab"]
    told = subprocess.run(command, env=daemon_environment | words, capture_output=True, text=True)
    assert set(told.stdout.split()) == {
        "plain,check", "plain,diff", "plain,explain", "plain,list", "plain,show", "plain,set", "plain,tune",
    }  # fmt: skip
    assert not told.stderr


def test_commands_start_fast(daemon_environment: dict[str, str]) -> None:
    """Help and completion must not wait for what only the daemon needs."""
    code = "import sys, trimtab.cli.main; print(*sorted(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", code], env=daemon_environment, capture_output=True, text=True
    )
    loaded = set(told.stdout.split())
    assert not {"numpy", "grpc", "onnxruntime", "asyncio", "rich", "jsonschema", "yaml"} & loaded


def test_options_come_from_the_environment(daemon: Any, daemon_environment: dict[str, str]) -> None:
    env = daemon_environment | {"TRIMTAB_ADDRESS": daemon.address, "TRIMTAB_INFER_SAMPLE": "3"}
    command = [sys.executable, "-m", "trimtab", "infer", "fashion"]
    told = subprocess.run(command, env=env | {"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "the label says" in told.stdout
