"""Every example and every block of the page runs; the page names only files and figures that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trimtab.cli.simulate import simulate
from trimtab_sim.scenario import load_scenario_file
from trimtab_sim.scenario.load import SCHEMA

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "scenarios.md"
EXAMPLES = sorted((ROOT / "examples" / "scenarios").glob("*.yaml"))
SHORT = {
    "phone-day": "3h",
    "mcdnn-budget": "30min",
    "board-memory": "7min",
    "throttling": "1min",
    "two-apps": "20s",
}


def report_of(path: Path, *more: str) -> dict[str, Any]:
    result = CliRunner().invoke(simulate, [str(path), "--json", *more])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path: Path) -> None:
    more = ("--duration", SHORT[path.stem]) if path.stem in SHORT else ()
    report = report_of(path, *more)
    for label, figures in report["policies"].items():
        assert figures["requests"] > 0, label
        assert (
            figures["accuracy_mean"] <= figures["lp_bound_accuracy"] + 1e-6 or figures["overdraft_j"] > 0
        ), label


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_lead_editors_to_the_schema(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    schema = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert schema is not None
    assert (path.parent / schema[1]).resolve() == SCHEMA
    assert load_scenario_file(path).description


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_scenario_of_the_page_runs_with_the_commands_shown(tmp_path: Path) -> None:
    (text,) = blocks("yaml scenario")
    path = tmp_path / "commute.yaml"
    path.write_text(text)
    report = report_of(
        path, "--strategy", "value", "--strategy", "largest", "--strategy", "smallest", "--duration", "20s"
    )
    assert len(report["policies"]) == 6
    report = report_of(path, "--seeds", "2", "--out", str(tmp_path / "results"), "--duration", "20s")
    assert report["seeds"] == [0, 1]
    told = [
        line for block in blocks("console") for line in block.splitlines() if line.startswith("commute.yaml:")
    ]
    wrong = text.replace("latency_budget_ms: 50", "latency_budget: 50").replace("energy_j", "energy")
    path.write_text(wrong)
    result = CliRunner().invoke(simulate, [str(path), "--check"])
    found = result.stderr.replace(f"{tmp_path}/", "").removeprefix("error: ").splitlines()
    assert [re.sub(r":\d+:\d+:", ":", line) for line in told] == [
        re.sub(r":\d+:\d+:", ":", line) for line in found if "unknown key" in line
    ]


def test_figures_of_the_page_are_those_printed(tmp_path: Path) -> None:
    (text,) = blocks("yaml scenario")
    path = tmp_path / "commute.yaml"
    path.write_text(text)
    report = report_of(path, "--duration", "5s", "--policy", "balanced")
    section = PAGE.read_text().partition("## Figures")[2].partition("**Expected")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))))
    assert named == set(report["policies"]["balanced"])
