"""``trimtab simulate``: the table, the JSON, the files, errors with their place, and Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trimtab.cli.simulate import simulate

SCENARIO = """\
version: 1
name: small
seed: 3
duration: {duration}
family: fashion
workload:
  - {{app: camera, arrivals: {{poisson: {{rate_per_s: 10}}}}, latency_budget_ms: 50}}
battery: {{energy_j: 100, reserve: 10 %, background_mw: 20}}
policy: [balanced, best-accuracy]
"""
FIGURES = {
    "requests", "on_time_frac", "accuracy_mean", "accuracy_served", "energy_j", "overdraft_j", "battery_frac_end",
    "late_avoidable_frac", "loads", "lp_bound_accuracy", "oracle_accuracy", "oracle_energy_j", "decision_us_p50",
    "decision_us_p99", "requests_per_s",
}  # fmt: skip


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO.format(duration="20s"))
    return path


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(simulate, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_json_has_every_figure_per_policy(scenario: Path) -> None:
    result = run(scenario, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert list(report["policies"]) == ["balanced", "best-accuracy"]
    assert (report["scenario"], report["partial"], report["seeds"]) == ("small", False, [3])
    for figures in report["policies"].values():
        assert set(figures) >= FIGURES
        assert all(isinstance(figures[name], int | float) for name in FIGURES)
    assert len({figures["requests"] for figures in report["policies"].values()}) == 1


def test_the_table_has_a_row_per_policy_and_strategy(scenario: Path) -> None:
    result = run(scenario, "--policy", "low-latency", "--strategy", "value", "--strategy", "largest")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "small: 00:00:20"
    assert [line.split()[0] for line in lines[2:5]] == ["policy", "low-latency", "low-latency/largest"]
    assert "cpu:" in result.stdout


def test_the_table_is_the_same_each_time_and_the_clock_stands_apart(scenario: Path) -> None:
    once, again = (run(scenario, "--no-bounds").stdout.splitlines() for _ in range(2))
    assert once[:-1] == again[:-1]
    assert re.fullmatch(r"on this machine: \d+ us a decision \(p99 \d+ us\), [\d,]+ requests/s", once[-1])


def test_seeds_are_averaged(scenario: Path) -> None:
    report = json.loads(run(scenario, "--seeds", 2, "--policy", "balanced", "--no-bounds", "--json").stdout)
    assert report["seeds"] == [3, 4]
    assert [one["seed"] for one in report["runs"]] == [3, 4]
    mean = sum(one["energy_j"] for one in report["runs"]) / 2
    assert report["policies"]["balanced"]["energy_j"] == pytest.approx(mean)
    assert report["policies"]["balanced"]["lp_bound_accuracy"] is None


def test_files_are_written(scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(scenario, "--out", out, "--policy", "balanced")
    assert result.exit_code == 0, result.output
    assert f"to {out}" in result.stdout
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {
        "summary.json", "wall_clock.json", "page.html", "balanced/seed-3/requests.csv.gz",
        "balanced/seed-3/device.csv.gz", "balanced/seed-3/trace.json.gz",
    }  # fmt: skip
    assert "requests_per_s" not in (out / "summary.json").read_text()


def test_only_so_much_of_it(scenario: Path) -> None:
    report = json.loads(run(scenario, "--duration", "5s", "--policy", "balanced", "--json").stdout)
    assert report["duration_s"] == 5
    assert run(scenario, "--duration", "5").exit_code == 2


def test_check_runs_nothing(scenario: Path) -> None:
    result = run(scenario, "--check")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"{scenario}: ok"
    report = json.loads(run(scenario, "--check", "--json").stdout)
    assert report["valid"] is True
    assert report["runs"] == [{"policy": name, "seed": 3} for name in ("balanced", "best-accuracy")]


def test_errors_name_file_line_and_field(scenario: Path, tmp_path: Path) -> None:
    scenario.write_text(SCENARIO.format(duration="20s") + "batery: 3\nseeds: 2\n")
    for more in ([], ["--check"], ["--json"]):
        result = run(scenario, *more)
        assert result.exit_code == 1
        assert f"{scenario}:10:1: batery: unknown key 'batery'; did you mean battery?" in result.stderr
        assert f"{scenario}:11:1: seeds: unknown key 'seeds'; did you mean seed?" in result.stderr
    assert "cannot be read" in run(tmp_path / "none.yaml").stderr


def test_options_are_checked_before_anything_runs(scenario: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\nname: bad\nbatery: 1\n")
    for arguments, words in (
        (("--policy", "balancd"), "did you mean balanced?"),
        (("--policy", tmp_path / "bad.yaml"), "bad.yaml:3:1: batery"),
        (("--strategy", "larges"), "unknown strategy 'larges'"),
        (("--strategy", "static:none@cpu:0"), "no task has a variant 'none'"),
        (("--policy", "balanced", "--policy", "balanced"), "policies need different names"),
        (("--seeds", "0"), "--seeds"),
    ):
        result = run(scenario, *arguments)
        assert result.exit_code in (1, 2)
        assert words in result.stderr, result.stderr


def test_other_processes_write_the_same_bytes(scenario: Path, tmp_path: Path) -> None:
    program = "from trimtab.cli.simulate import simulate; simulate()"
    written = []
    for seed in ("0", "1"):
        out = tmp_path / seed
        command = [sys.executable, "-c", program, str(scenario), "--duration", "5s", "--out", str(out)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        paths = sorted(path for path in out.rglob("*") if path.is_file() and path.name != "wall_clock.json")
        written.append({path.relative_to(out): path.read_bytes() for path in paths})
    assert len(written[0]) == 8
    assert written[0] == written[1]


def test_ctrl_c_ends_cleanly_with_partial_results(tmp_path: Path) -> None:
    scenario, out = tmp_path / "long.yaml", tmp_path / "out"
    scenario.write_text(SCENARIO.format(duration="30d"))
    program = "from trimtab.cli.simulate import simulate; simulate()"
    command = [sys.executable, "-u", "-c", program, str(scenario), "--out", str(out), "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        requests = out / "balanced" / "seed-3" / "requests.csv.gz"
        try:
            while not (requests.exists() and requests.stat().st_size > 20_000):
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            printed, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, told
    assert b"partial" in told
    report = json.loads(printed)
    assert report["partial"] is True
    assert list(report["policies"]) == ["balanced"]
    assert report["policies"]["balanced"]["requests"] > 100
    assert json.loads((out / "summary.json").read_text())["partial"] is True


def test_a_strategy_given_twice_is_refused(scenario: Path) -> None:
    result = run(scenario, "--strategy", "largest", "--strategy", "largest")
    assert result.exit_code == 2
    assert "'largest' is given twice" in result.stderr


def test_late_answers_count_what_they_are_worth(tmp_path: Path) -> None:
    file = tmp_path / "soft.yaml"
    file.write_text(
        """version: 1
name: soft
duration: 20s
family: fashion
processors: [{name: slow, like: "cpu:0", latency_factor: 100}]
workload: [{app: a, arrivals: {poisson: {rate_per_s: 300}}, latency_budget_ms: 3}]
policy:
  - {version: 1, name: hard}
  - {version: 1, name: soft, defaults: {after_deadline: {worth: linear, until_ms: 60}}}
"""
    )
    hard, soft = json.loads(run(file, "--json", "--no-bounds").stdout)["policies"].values()
    for row in (hard, soft):
        in_time = row["on_time_frac"] * row["accuracy_served"]
        late = row["accuracy_mean"] - in_time
        assert (late > 1e-4) == (row is soft)
    assert soft["missed"]["late"] > 0, "it is still told that they were late"
    assert soft["accuracy_mean"] > hard["accuracy_mean"]
