"""Policy diff: the same requests under two policies, counted by hand from both runs' own records."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trimtab.cli.policy_diff import diff
from trimtab_sim.policy_diff import PolicyDiff, policy_diff
from trimtab_sim.report import Served
from trimtab_sim.results.trial import Observer, RunResult, Trial
from trimtab_sim.scenario import Prepared, load_scenario, named_policy, prepare
from trimtab_sim.simulate import simulate

SCENARIO = """
version: 1
name: two
seed: 3
duration: 20s
family: fashion
processors: ["cpu:0"]
workload:
  - { app: camera, arrivals: { poisson: { rate_per_s: 10 } }, latency_budget_ms: 5 }
  - { app: photos, name: album, arrivals: { regular: { every: 500ms } }, latency_budget_ms: 500 }
battery: { energy_j: 5, reserve: 5 % }
"""
THRIFTY = "version: 1\nname: thrifty\ndefaults: {energy_price_per_j: 50}\n"
RICH = "version: 1\nname: rich\ndefaults: {energy_price_per_j: 0}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("diff")
    for name, text in (("two", SCENARIO), ("thrifty", THRIFTY), ("rich", RICH)):
        (made / f"{name}.yaml").write_text(text)
    return made


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(load_scenario(SCENARIO))


def compared(prepared: Prepared, folder: Path, names: Sequence[str], most: int = 10) -> PolicyDiff:
    a, b = (named_policy(str(folder / f"{name}.yaml"), prepared.scenario) for name in names)
    return policy_diff(prepared, (a, b), labels=(a.name, b.name), most=most)


class Kept(Observer):
    """Keeps every answer."""

    def __init__(self) -> None:
        self.ends_of: dict[str, Served] = {}

    def served(self, one: Served) -> None:
        self.ends_of[one.arrival.request.request_id] = one


def ran(prepared: Prepared, path: Path) -> tuple[RunResult, dict[str, Served]]:
    kept = Kept()
    policy = named_policy(str(path), prepared.scenario)
    (result,) = simulate(prepared, [Trial(policy, 3)], lambda _trial: (kept,), bounds=False)
    return result, kept.ends_of


def test_it_agrees_with_two_runs_counted_by_hand(prepared: Prepared, folder: Path) -> None:
    found = compared(prepared, folder, ("thrifty", "rich"), most=1000)
    (thrifty, before), (rich, after) = (ran(prepared, folder / f"{name}.yaml") for name in found.labels)
    assert before.keys() == after.keys()
    assert found.requests == len(before) == thrifty.figures["requests"]

    def choice(one: Served) -> tuple[str, str, str]:
        return one.result.variant, one.result.processor, one.decision.exit_rule if one.decision else ""

    different = [name for name in before if choice(before[name]) != choice(after[name])]
    assert 0 < found.different == len(different)
    assert sum(change.count for change in found.changes) == found.different
    assert [change.count for change in found.changes] == sorted(
        (c.count for c in found.changes), reverse=True
    )
    assert found.earned == sum(after[n].result.on_time and not before[n].result.on_time for n in before)
    assert found.lost == sum(before[n].result.on_time and not after[n].result.on_time for n in before)
    assert found.figures[0]["energy_j"] == thrifty.figures["energy_j"] < rich.figures["energy_j"]
    assert (
        found.figures[1]["accuracy_mean"] == rich.figures["accuracy_mean"] > thrifty.figures["accuracy_mean"]
    )


def test_groups_add_up_to_the_whole(prepared: Prepared, folder: Path) -> None:
    found = compared(prepared, folder, ("thrifty", "rich"))
    assert set(found.groups["app"]) == {"camera", "photos"}
    assert set(found.groups["stream"]) == {"camera", "album"}
    assert set(found.groups["task"]) == {"fashion"}
    for side in (0, 1):
        for groups in found.groups.values():
            assert sum(pair[side]["requests"] for pair in groups.values()) == found.requests
            right = sum(pair[side]["accuracy_mean"] * pair[side]["requests"] for pair in groups.values())
            assert right / found.requests == pytest.approx(found.figures[side]["accuracy_mean"])
            energy_j = sum(pair[side]["run_energy_j"] for pair in groups.values())
            assert 0 < energy_j < found.figures[side]["energy_j"]  # loads belong to nobody
        for pair in found.groups["app"].values():
            assert sum(pair[side]["share_by_variant"].values()) == pytest.approx(1.0)


def test_a_change_tells_a_request_it_happened_to(prepared: Prepared, folder: Path) -> None:
    found = compared(prepared, folder, ("thrifty", "rich"), most=1)
    (change,) = found.changes
    _, before = ran(prepared, folder / "thrifty.yaml")
    example = before[change.example]
    assert example.decision is not None
    assert change.a == example.decision.candidate != change.b
    assert change.reason_a.startswith(change.a)
    assert change.reason_b.startswith(change.b)
    assert 0 <= change.at_ns <= 20 * 10**9


def test_a_policy_against_itself_changes_nothing(prepared: Prepared, folder: Path) -> None:
    found = compared(prepared, folder, ("rich", "rich"))
    assert (found.different, found.earned, found.lost, found.changes) == (0, 0, 0, ())
    assert found.figures[0] == found.figures[1]


def test_an_empty_battery_is_told(folder: Path) -> None:
    """Without a reserve nothing holds the second policy back: it empties the battery before the first does."""
    battery = "energy_j: 0.2, background_mw: 4, reserve: 0 %"
    small = prepare(load_scenario(SCENARIO.replace("energy_j: 5, reserve: 5 %", battery)))
    found = compared(small, folder, ("thrifty", "rich"), most=100)
    assert any("lost: device off" in (change.a, change.b) for change in found.changes)


def invoked(*arguments: str) -> Any:
    return CliRunner().invoke(diff, list(arguments))


def test_the_command_prints_figures_groups_and_examples(folder: Path) -> None:
    files = [str(folder / name) for name in ("thrifty.yaml", "rich.yaml")]
    result = invoked(*files, "--trace", str(folder / "two.yaml"), "--changes", "1")
    assert result.exit_code == 0, result.output
    for part in ("requests", "by app", "photos", "by stream", "album", "such as", "thrifty: ", "rich: "):
        assert part in result.output
    assert "by task" in result.output


def test_json_has_the_same(prepared: Prepared, folder: Path) -> None:
    files = [str(folder / name) for name in ("thrifty.yaml", "rich.yaml")]
    result = invoked(*files, "--trace", str(folder / "two.yaml"), "--json")
    told = json.loads(result.stdout)
    found = compared(prepared, folder, ("thrifty", "rich"))
    assert told["decided_differently"] == found.different
    assert told["by"]["app"]["photos"]["b"] == found.groups["app"]["photos"][1]
    assert len(told["changes"]) == min(5, len(found.changes))
    assert told["changes"][0]["reason_a"] == found.changes[0].reason_a


def test_two_policies_of_one_name_are_told_apart(folder: Path) -> None:
    (folder / "other.yaml").write_text(RICH)
    result = invoked(
        str(folder / "rich.yaml"), str(folder / "other.yaml"), "--trace", str(folder / "two.yaml")
    )
    assert "B: " in result.output
    assert "other.yaml" in result.output


def test_wrong_files_are_named(folder: Path) -> None:
    (folder / "bad.yaml").write_text("version: 1\nname: bad\nqueue: {limit: 0}\n")
    result = invoked("balanced", str(folder / "bad.yaml"), "--trace", str(folder / "two.yaml"))
    assert result.exit_code == 1
    assert "bad.yaml:3:16: queue.limit" in result.output
    result = invoked("balanced", "battery-saver", "--trace", str(folder / "none.yaml"))
    assert result.exit_code == 1
    assert "none.yaml" in result.output
