"""Tuning: ranges come from the schema, the search is repeatable and keeps limits, the file is the base's own text."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.docs import shown

from trimtab.cli.policy_diff import diff
from trimtab.cli.policy_tune import tune
from trimtab.policy import load_policy, load_policy_file, read_policy_text, resolve_name, shipped_policy_names
from trimtab.policy.document import parse_document
from trimtab_sim.results.trial import Trial
from trimtab_sim.scenario import Prepared, load_scenario, named_policy, prepare
from trimtab_sim.simulate import Stop, simulate
from trimtab_sim.tune import Attempt, Bench, Found, Goal, TuneError, numbers_of, read_limit, search
from trimtab_sim.tune.goal import figure_of
from trimtab_sim.tune.page import front
from trimtab_sim.tune.ranges import read_range
from trimtab_sim.tune.write import read_base, tuned_text

pytest.importorskip("optuna", reason="needs the sim extra")

SCENARIO = """
version: 1
name: small
seed: 5
duration: 10s
family: fashion
processors: ["cpu:0"]
workload:
  - { app: camera, arrivals: { poisson: { rate_per_s: 10 } }, latency_budget_ms: 50 }
battery: { energy_j: 3, reserve: 5 % }
"""
BASE = """# my policy
version: 1
name: mine
defaults:
  energy_price_per_j: 5 # dear
  deadline_confidence: 95 %
  latency_budget_ms: 40
rules:
  - name: low battery
    when: { battery: { below: 20 % } }
    then: { energy_price_factor: 4, latency_price_per_s: 0.02 }
"""
PRICE = ("defaults", "energy_price_per_j")
GOAL = Goal("accuracy_mean", 1, (read_limit("on_time_frac >= 0.95"),))


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(load_scenario(SCENARIO))


def found_by(prepared: Prepared, goal: Goal = GOAL, *, trials: int = 8, seed: int = 1) -> Found:
    base = read_base(BASE, "mine.yaml")
    numbers = numbers_of(base.document)
    return search(base.document, numbers, Bench((prepared,), goal), trials=trials, seed=seed, stop=Stop())


# ---- which numbers, and between what ---------------------------------------------------------------------


def test_numbers_are_those_the_schema_bounds_and_not_what_is_demanded() -> None:
    numbers = {number.name: number for number in numbers_of(read_base(BASE, "x").document)}
    assert set(numbers) == {
        "defaults.energy_price_per_j",
        "defaults.deadline_confidence",
        "rules[0].when.battery.below",
        "rules[0].then.energy_price_factor",
        "rules[0].then.latency_price_per_s",
    }
    price = numbers["defaults.energy_price_per_j"]
    assert (price.low, price.high, price.log, price.present) == (0.05, 500.0, True, 5.0)
    share = numbers["rules[0].when.battery.below"]
    assert (share.low, share.high, share.log, share.present) == (0.001, 0.999, False, 0.2)


@pytest.mark.parametrize("name", shipped_policy_names())
def test_every_value_in_its_range_makes_a_valid_policy(name: str) -> None:
    base = read_base(read_policy_text(resolve_name(name)), name)
    numbers = numbers_of(base.document)
    assert len(numbers) > 3
    for number in numbers:
        for value in (number.low, (number.low + number.high) / 2):
            load_policy(tuned_text(base, {number.path: number.spelled(value)}, ["a story"]))


def test_a_named_range_wins_and_reaches_what_is_left_at_its_default() -> None:
    document = read_base(BASE, "x").document
    wanted = [
        "defaults.energy_price_per_j=1:2",
        "defaults.latency_budget_ms=20:400",
        "tasks.fashion.weight=0.5:2",
    ]
    numbers = {number.name: number for number in numbers_of(document, wanted)}
    assert (numbers["defaults.energy_price_per_j"].low, numbers["defaults.energy_price_per_j"].high) == (
        1.0,
        2.0,
    )
    assert numbers["defaults.latency_budget_ms"].log
    assert numbers["tasks.fashion.weight"].present is None
    assert [number.name for number in numbers_of(document, ["memory.limit=8MiB:1GiB"], only=True)] == [
        "memory.limit"
    ]
    (reserve,) = numbers_of(document, ["battery.reserve=5 %:20 %"], only=True)
    assert (reserve.low, reserve.high) == (0.05, 0.2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("defaults.weight", "is no range"),
        ("defaults.weight=1", "is no range"),
        ("defaults.wieght=1:2", "no number of a policy"),
        ("defaults.give_up=1:2", "no number of a policy"),
        ("defaults.weight=2:1", "low below high"),
        ("defaults.weight=1:2000", "within 0 and 1000"),
        ("defaults.weight=few:many", "written as in a policy"),
        ("rules[4].then.weight=1:2", "no such entry"),
        ("defaults..weight=1:2", "no path"),
    ],
)
def test_ranges_that_cannot_be_are_refused(text: str, told: str) -> None:
    with pytest.raises(TuneError, match=told):
        numbers_of(read_base(BASE, "x").document, [text])


def test_a_policy_without_numbers_is_told() -> None:
    with pytest.raises(TuneError, match="--vary"):
        numbers_of({"version": 1, "name": "bare"})


# ---- goals -------------------------------------------------------------------------------------------------


def test_limits_read_and_measure() -> None:
    assert read_limit("on_time_frac>=95%") == read_limit(" on_time_frac >= 0.95 ")
    assert read_limit("energy_j <= 2e3").excess({"energy_j": 3000.0}) == 0.5
    assert read_limit("energy_j <= 2000").excess({"energy_j": 1000.0}) < 0
    for text in ("on_time_frac > 0.9", "on_time_frac", ">= 3", "energy_j <= lots"):
        with pytest.raises(TuneError, match="is no limit"):
            read_limit(text)


def test_figures_are_found_or_named() -> None:
    row = {
        "energy_j": 2,
        "lifetime_s": None,
        "simulated_s": 9.0,
        "x": None,
        "streams": {"a.b": {"on_time_frac": 0.5, "latency_ms_p95": None}},
    }
    assert figure_of(row, "streams.a.b.on_time_frac") == 0.5
    assert figure_of(row, "lifetime_s") == 9.0
    assert figure_of(row, "streams.a.b.latency_ms_p95") == 9000, "who answers nothing is not quick"
    for name, told in (
        ("energy", "did you mean energy_j"),
        ("x", "not known"),
        ("streams", "name one inside"),
    ):
        with pytest.raises(TuneError, match=told):
            figure_of(row, name)


# ---- the search --------------------------------------------------------------------------------------------


def test_the_best_is_what_a_run_of_the_tuned_file_comes_to(prepared: Prepared, tmp_path: Path) -> None:
    found = found_by(prepared)
    assert found.best.feasible
    assert found.best.aim > found.base.aim
    assert found.best.aim >= 0.99 * max(one.aim for one in found.attempts if one.feasible)
    file = tmp_path / "tuned.yaml"
    file.write_text(tuned_text(read_base(BASE, "mine.yaml"), found.best.values, ["a story"]))
    policy = named_policy(str(file), prepared.scenario)
    (again,) = simulate(prepared, [Trial(policy, 5)], bounds=False)
    assert again.figures["accuracy_mean"] == found.best.aim
    assert {**again.figures, "a": 0} == {**found.best.rows[0], "a": 0}


def test_the_same_seed_finds_the_same(prepared: Prepared) -> None:
    first, second = found_by(prepared, trials=12), found_by(prepared, trials=12)
    assert [one.values for one in first.attempts] == [one.values for one in second.attempts]
    assert first.best == second.best
    assert found_by(prepared, trials=12, seed=2).attempts[3].values != first.attempts[3].values


def test_limits_decide_over_the_goal(prepared: Prepared) -> None:
    free = found_by(prepared, Goal("accuracy_mean"), trials=15)
    energy_j = free.base.rows[0]["energy_j"]
    limited = found_by(
        prepared, Goal("accuracy_mean", 1, (read_limit(f"energy_j <= {energy_j}"),)), trials=15
    )
    assert free.best.rows[0]["energy_j"] > energy_j >= limited.best.rows[0]["energy_j"]
    impossible = found_by(
        prepared, Goal("accuracy_mean", 1, (read_limit("accuracy_mean >= 0.999"),)), trials=15
    )
    assert not impossible.best.feasible
    assert impossible.best.aim == max(one.aim for one in impossible.attempts)


def test_less_can_be_better(prepared: Prepared) -> None:
    found = found_by(prepared, Goal("energy_j", -1), trials=15)
    assert found.best.rows[0]["energy_j"] <= found.base.rows[0]["energy_j"]
    assert -found.best.aim == found.best.rows[0]["energy_j"]


def test_what_does_not_matter_is_put_back(prepared: Prepared) -> None:
    found = found_by(prepared)
    assert (
        "rules[0].when.battery.below" in found.put_back
        or "rules[0].then.latency_price_per_s" in found.put_back
    )
    assert PRICE in found.best.values
    assert not set(found.put_back) & {".".join(map(str, path)) for path in found.best.values}


def test_a_stopped_search_keeps_the_best_so_far(prepared: Prepared) -> None:
    document = read_base(BASE, "mine.yaml").document
    stop, told = Stop(), []

    def tell(done: int, best: Attempt) -> None:
        told.append(best)
        if done == 5:
            stop.ask()

    found = search(
        document, numbers_of(document), Bench((prepared,), GOAL), trials=50, seed=1, stop=stop, tell=tell
    )
    assert found.interrupted
    assert len(told) == 5
    assert found.best == told[-1]
    with pytest.raises(TuneError, match="before the base"):
        search(document, numbers_of(document), Bench((prepared,), GOAL), trials=5, seed=1, stop=stop)


def test_unknown_figures_are_told_before_the_search(prepared: Prepared) -> None:
    with pytest.raises(TuneError, match="did you mean accuracy_mean"):
        found_by(prepared, Goal("acuracy_mean"))


# ---- the file ----------------------------------------------------------------------------------------------


def plain(text: str) -> Any:
    return parse_document(text, "x")[0].plain()


def test_the_bases_text_is_kept_with_each_change_above_its_line() -> None:
    base = read_base(BASE, "mine.yaml")
    values = {
        PRICE: 0.5,
        ("rules", 0, "when", "battery", "below"): "12.5 %",
        ("rules", 0, "then", "latency_price_per_s"): 0.00001,
    }
    text = tuned_text(base, values, ["where it is from"])
    assert text.splitlines()[0] == "# where it is from"
    assert "  # tuned: energy_price_per_j was 5\n  energy_price_per_j: 0.5 # dear\n" in text
    assert "    # tuned: below was 20 %\n    when: { battery: { below: 12.5 % } }\n" in text
    assert "latency_price_per_s: 0.00001 }" in text
    changed = plain(text)
    assert changed.pop("name") == "mine-tuned"
    assert changed["defaults"].pop("latency_budget_ms") == 40
    assert load_policy(text).rules[0].then.latency_price_per_s == 1e-5


def test_numbers_left_at_their_default_are_added() -> None:
    values: Mapping[Any, Any] = {
        ("defaults", "weight"): 2.0,
        ("tasks", "fashion", "weight"): 0.5,
        ("queue", "limit"): 9,
    }
    text = tuned_text(read_base(BASE, "mine.yaml"), values, [])
    policy = load_policy(text)
    assert (policy.defaults.weight, policy.queue_limit, policy.tasks[0].change.weight) == (2.0, 9, 0.5)
    assert "# my policy" in text
    assert "# tuned: tasks.fashion.weight was left at its default" in text


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "name": "flow", "defaults": {"weight": 1, "energy_price_per_j": 5}}',
        "version: 1\nname: shared\ndefaults: {energy_price_per_j: &price 5, latency_price_per_s: *price}\n",
        "version: 1\nname: 'quoted'\ndefaults:\n  energy_price_per_j:\n    5\ndescription: |\n  5 # no comment\n",
    ],
)
def test_documents_written_in_other_ways_come_out_right(text: str) -> None:
    base = read_base(text, "x")
    tuned = plain(tuned_text(base, {PRICE: 0.25, ("queue", "limit"): 8}, ["story"]))
    assert tuned["defaults"]["energy_price_per_j"] == 0.25
    assert tuned["queue"] == {"limit": 8}
    assert tuned["defaults"].get("latency_price_per_s", 5) == 5
    assert tuned["name"].endswith("-tuned")


def test_the_front_is_what_nothing_else_beats() -> None:
    points = [(1.0, 0.5), (2.0, 0.7), (2.5, 0.6), (3.0, 0.9), (1.0, 0.4)]
    assert front(points, -1, 1) == [(1.0, 0.5), (2.0, 0.7), (3.0, 0.9)]
    assert front(points, 1, -1) == [(3.0, 0.9), (2.5, 0.6), (1.0, 0.4)]


# ---- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SCENARIO)
    (tmp_path / "held.yaml").write_text(SCENARIO.replace("seed: 5", "seed: 6").replace("small", "held"))
    (tmp_path / "mine.yaml").write_text(BASE)
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    start = [
        str(folder / "mine.yaml"),
        "--trace",
        str(folder / "small.yaml"),
        "--out",
        str(folder / "tuned.yaml"),
    ]
    return [*start, "--subject-to", "on_time_frac >= 0.95", *more]


def test_the_command_tells_both_sides_and_writes_both_files(folder: Path) -> None:
    more = (
        "--maximize",
        "accuracy_mean",
        "--held-out",
        str(folder / "held.yaml"),
        "--trials",
        "6",
        "--seed",
        "1",
    )
    result = CliRunner().invoke(tune, arguments(folder, *more, "--json"))
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [one["scenario"] for one in told["training"] + told["held_out"]] == ["small", "held"]
    held = told["held_out"][0]
    assert held["beats"] == (held["tuned"]["accuracy_mean"] > held["base"]["accuracy_mean"])
    policy = load_policy_file(folder / "tuned.yaml")
    assert policy.name == "mine-tuned"
    now = {one["path"]: one["now"] for one in told["numbers"]}
    assert policy.defaults.energy_price_per_j == now["defaults.energy_price_per_j"]
    text = (folder / "tuned.yaml").read_text()
    for part in ("small.yaml", "held.yaml", "6 of 6 trials, seed 1", "maximize accuracy_mean", "was 5"):
        assert part in " ".join(text.replace("\n#", " ").split())
    page = (folder / "tuned.html").read_text()
    assert page.count("<circle") == 6 + 2  # every trial, the base and the best
    assert not re.search(r"(?:src|href)=|https?:", page)
    again = CliRunner().invoke(tune, arguments(folder, *more))
    assert again.exit_code == 0
    assert text == (folder / "tuned.yaml").read_text()
    assert "held out: held" in again.output


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        ((), 2, "--maximize or to --minimize"),
        (("--maximize", "energy_j", "--minimize", "energy_j"), 2, "--maximize or to --minimize"),
        (("--maximize", "enery_j"), 1, "did you mean energy_j"),
        (("--maximize", "energy_j", "--subject-to", "x = 3"), 1, "is no limit"),
        (("--maximize", "energy_j", "--vary", "defaults.nix=1:2"), 1, "no number of a policy"),
        (("--maximize", "energy_j", "--only"), 1, "--vary"),
        (("--maximize", "energy_j", "--held-out", "none.yaml"), 1, "none.yaml"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    folder: Path, more: tuple[str, ...], code: int, told: str
) -> None:
    result = CliRunner().invoke(tune, arguments(folder, *more))
    assert result.exit_code == code, result.output
    assert told in result.output
    assert not (folder / "tuned.yaml").exists()


def test_ctrl_c_keeps_the_best_so_far(folder: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while signal.getsignal(signal.SIGINT) is before:
            time.sleep(0.01)
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    more = ("--maximize", "accuracy_mean", "--trials", "100000", "--json")
    result = CliRunner().invoke(tune, arguments(folder, *more))
    thread.join()
    assert result.exit_code == 130, result.output
    told = json.loads(result.stdout)
    assert told["interrupted"]
    assert told["trials"] < 100000
    assert "interrupted" in (folder / "tuned.yaml").read_text()
    assert load_policy_file(folder / "tuned.yaml").name == "mine-tuned"
    assert signal.getsignal(signal.SIGINT) is before


# ---- the page of the manual ------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "tuning"


def test_the_manual_shows_what_its_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers found are taken from it: searching again takes ``python tests/docs/shown.py`` on the document."""
    by_name = {
        one.command.split()[2]: one
        for one in shown.commands_of((ROOT / "docs" / "tuning.md").read_text())
        if one.lines
    }
    tuning = by_name["tune"].lines
    base = read_base(read_policy_text(resolve_name("balanced")), "balanced")
    rows = [re.split(r" {2,}", line) for line in tuning if re.match(r"(defaults|rules)\S* {2,}", line)]
    numbers = [read_range(f"{path}={now}:{above(now)}", base.document) for path, _, now in rows]
    assert len(numbers) > 1
    values = {number.path: number.low for number in numbers}
    (tmp_path / "tuned.yaml").write_text(tuned_text(base, values, ["from the manual"]))
    monkeypatch.chdir(EXAMPLES)
    arguments = ["balanced", str(tmp_path / "tuned.yaml"), "--trace", "held-out.yaml", "--changes", "2"]
    printed = CliRunner().invoke(diff, arguments).stdout.splitlines()
    assert shown.matches(by_name["diff"], printed), "\n".join(printed)
    held_out = tuning[tuning.index("held out: held-out (tuned is better)") :]
    told = {cells[0]: cells[1:] for line in held_out if len(cells := line.split()) == 3}
    found = {cells[0]: cells[1:] for line in printed if len(cells := line.split()) == 3}
    for name in ("accuracy_mean", "energy_j", "overdraft_j", "battery_frac_end", "on_time_frac"):
        assert told[name] == found[name]


def test_where_nothing_can_be_written_is_told_before_the_search(tmp_path: Path) -> None:
    out = tmp_path / "none" / "tuned.yaml"
    arguments = ["nosuch", "--trace", "nosuch.yaml", "--maximize", "accuracy_mean", "--out", str(out)]
    result = CliRunner().invoke(tune, arguments)
    assert result.exit_code == 1
    assert result.stderr == f"error: {out}: nothing can be written to {out.parent}\n"


def above(now: str) -> str:
    """Return a number a little higher, with its unit."""
    figure, _, unit = now.partition(" ")
    return f"{float(figure) * 1.01} {unit}".strip()


def test_the_examples_can_be_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    out = str(tmp_path / "tuned.yaml")
    command = [
        "balanced",
        "--trace",
        "training.yaml",
        "--held-out",
        "held-out.yaml",
        "--trials",
        "2",
        "--out",
        out,
    ]
    result = CliRunner().invoke(tune, [*command, "--maximize", "accuracy_mean"])
    assert result.exit_code == 0, result.output
    assert "held out: held-out" in result.output
    for path in EXAMPLES.glob("*.yaml"):
        modeline = path.read_text().splitlines()[0]
        assert (EXAMPLES / modeline.partition("$schema=")[2]).resolve().is_file()
