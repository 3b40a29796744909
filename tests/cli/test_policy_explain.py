"""``trimtab policy explain`` tells what the scheduler really does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trimtab.cli.main import main

POLICY = """\
version: 1
name: mine
defaults: {latency_budget_ms: 40, energy_price_per_j: 1}
battery: {reserve: 10 %, last_until: "22:00", below_reserve: reject}
rules:
  - {name: low, when: {battery: {below: 30 %}}, then: {energy_price_factor: 50}}
  - {name: strict, when: {app: camera}, then: {min_accuracy: 93 %}}
  - {name: tight, when: {memory_available: {below: 1GiB}}, then: {variants: {deny: ["resnet*"]}}}
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    (tmp_path / "mine.yaml").write_text(POLICY)

    def explain(*arguments: object) -> Result:
        return CliRunner().invoke(
            main, ["policy", "explain", str(tmp_path / "mine.yaml"), *map(str, arguments)]
        )

    return explain


def moments(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return {one["title"]: one for one in json.loads(result.output)["moments"]}


def test_tells_each_charge_in_words(run: Callable[..., Result]) -> None:
    told = run("--task", "fashion")
    assert told.exit_code == 0, told.output
    for charge in ("100 %", "50 %", "20 %", "5 %"):
        assert f"battery at {charge}" in told.output
    for words in ("charging", "memory short", "rule low: battery below 30 %", "energy costs 50 times as much",
                  "to last another 10 h", "refuses requests", "the battery is at its reserve", "serves:"):  # fmt: skip
        assert words in told.output


def test_tells_rules_prices_and_what_is_left(run: Callable[..., Result]) -> None:
    found = moments(run("--task", "fashion", "--capacity", 1000, "--json"))
    full, low = found["battery at 100 %"], found["battery at 20 %"]
    assert (full["rules"], low["rules"]) == ([], ["low"])
    assert full["spare_j"] == pytest.approx(900, rel=0.01)
    assert low["spare_j"] == pytest.approx(100, rel=0.01)
    assert full["horizon_ns"] == pytest.approx(10 * 3600e9, rel=0.01)
    assert low["energy_price_per_j"] >= 50
    assert low["changes"] == ["energy costs 50 times as much"]


def test_the_scheduler_itself_says_who_serves(run: Callable[..., Result]) -> None:
    found = moments(run("--task", "fashion", "--json"))
    full, low = found["battery at 100 %"]["served"], found["battery at 20 %"]["served"]
    assert full["energy_uj"] > low["energy_uj"], "dear energy makes it thrifty"
    assert full["value"] == pytest.approx(sum(utility for _, utility in full["parts"]), abs=1e-3)
    assert found["battery at 5 %"]["served"]["candidate"] == ""
    assert "reserve" in found["battery at 5 %"]["served"]["why"]
    short = next(one for title, one in found.items() if title.startswith("memory short"))
    assert "resnet" not in short["served"]["candidate"]


def test_a_horizon_too_far_for_the_demand_raises_the_price(run: Callable[..., Result]) -> None:
    few, many = (
        moments(run("--task", "fashion", "--capacity", 20, "--rate", rate, "--json"))["battery at 100 %"]
        for rate in (0.1, 50)
    )
    assert few["horizon_price_per_j"] < many["horizon_price_per_j"]
    assert many["served"]["energy_uj"] < few["served"]["energy_uj"]


def test_rules_for_an_app_and_the_next_rule_below(run: Callable[..., Result]) -> None:
    found = moments(run("--task", "fashion", "--app", "camera", "--json"))
    assert found["battery at 100 %"]["rules"] == ["strict"]
    assert found["battery at 100 %"]["served"]["accuracy_frac"] >= 0.93
    assert moments(run("--json"))["battery at 50 %"]["served"] is None


def test_a_rule_that_begins_just_below_a_charge_is_named(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(POLICY.replace("30 %", "20 %"))
    found = moments(CliRunner().invoke(main, ["policy", "explain", str(file), "--json"]))
    assert found["battery at 20 %"]["rules"] == []
    assert found["battery at 20 %"]["beginning"] == ["low"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "fishing"), "no shipped family is called 'fishing'"),
        (("--family", "fashion"), "--family needs --task"),
        (("--at", "25:00"), "'25:00' is no time of day"),
        (("--task", "fashion", "--family", "digits"), "digits has no task 'fashion'"),
    ],
)
def test_mistakes_are_told(run: Callable[..., Result], arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert words in result.output
