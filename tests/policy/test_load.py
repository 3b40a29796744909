"""Good documents: every key arrives in the domain with its unit."""

from pathlib import Path

import pytest

from trimtab.domain.policy import (
    BatteryGoal,
    BelowReserve,
    Change,
    Condition,
    DayTime,
    Filter,
    Goal,
    MemoryGoal,
    MoneyGoal,
    Policy,
    Range,
    Rule,
    Settings,
    TaskSettings,
    ThermalGoal,
    WhenImpossible,
)
from trimtab.domain.quantities import NS_PER_S
from trimtab.policy import PolicyError, load_policy, load_policy_file, resolve_name, shipped_policies_folder

FULL = """
version: 1
name: full
description: |
  Everything at once.
strategy: static:int8@cpu1
defaults:
  latency_budget_ms: 0.5
  min_accuracy: 88 %
  max_energy_mj: 5
  weight: 2
  energy_price_per_j: 1.5
  energy_price_factor: 3
  memory_price_per_mib: 1e-4
  latency_price_per_s: 0.25
  deadline_confidence: 99.5%
  give_up: [accuracy]
  when_impossible: reject
  variants: {allow: ["int8-*", student], deny: big}
  processors: {deny: [gpu]}
tasks:
  digits: {min_accuracy: 0.9}
battery: {reserve: 15 %, last_for: 1h 30min, below_reserve: reject}
memory: {limit: 1.5GB, keep_available: 64MiB}
queue: {limit: 3}
rules:
  - name: every part
    when:
      battery: {below: 20 %, above: 0.05}
      temperature_c: {above: 75}
      memory_available: {below: 1 KiB}
      cpu_load: {above: 0.8}
      charging: no
      time: {from: 22:00, to: 7:30}
      app: camera
      task: [digits, "f*"]
      any: [{charging: on}, {charging: false}]
      not: {app: phone}
    then: {latency_budget_ms: 1000}
"""


def test_every_key_arrives() -> None:
    assert load_policy(FULL) == Policy(
        name="full",
        description="Everything at once.",
        strategy="static:int8@cpu1",
        defaults=Settings(
            latency_budget_ns=500_000,
            min_accuracy_frac=0.88,
            max_energy_uj=5000.0,
            weight=2.0,
            energy_price_per_j=1.5,
            energy_price_factor=3.0,
            memory_price_per_mib=1e-4,
            latency_price_per_s=0.25,
            deadline_confidence=0.995,
            give_up=(Goal.ACCURACY,),
            when_impossible=WhenImpossible.REJECT,
            variants=Filter(allow=("int8-*", "student"), deny=("big",)),
            processors=Filter(deny=("gpu",)),
        ),
        tasks=(TaskSettings("digits", Change(min_accuracy_frac=0.9)),),
        battery=BatteryGoal(0.15, last_for_ns=5400 * 10**9, below_reserve=BelowReserve.REJECT),
        memory=MemoryGoal(1_500_000_000, 64 * 2**20),
        queue_limit=3,
        rules=(
            Rule(
                "every part",
                Condition(
                    battery_frac=Range(below=0.2, above=0.05),
                    temperature_c=Range(above=75.0),
                    memory_available_bytes=Range(below=1024),
                    cpu_load_frac=Range(above=0.8),
                    charging=False,
                    time=DayTime(22 * 3600, 7 * 3600 + 1800),
                    apps=("camera",),
                    tasks=("digits", "f*"),
                    any_of=(Condition(charging=True), Condition(charging=False)),
                    none_of=(Condition(apps=("phone",)),),
                ),
                Change(latency_budget_ns=10**9),
            ),
        ),
    )


def test_the_smallest_document_takes_the_domains_defaults() -> None:
    assert load_policy("{version: 1, name: tiny}") == Policy(name="tiny")


@pytest.mark.parametrize("quoted", ['"22:00"', "22:00", "'22:00'"])
def test_a_time_of_day_needs_no_quotes(quoted: str) -> None:
    policy = load_policy(f"version: 1\nname: x\nbattery: {{last_until: {quoted}}}")
    assert policy.battery.last_until_s == 79_200


@pytest.mark.parametrize("word", ["on", "no", "yes", "off", "null_", "1a"])
def test_words_that_yaml_1_1_would_turn_into_truth_stay_words(word: str) -> None:
    assert load_policy(f"version: 1\nname: {word}\ntasks: {{{word}: {{weight: 2}}}}").tasks[0].task == word


@pytest.mark.parametrize(
    ("written", "truth"), [("true", True), ("yes", True), ("on", True), ("False", False), ("off", False)]
)
def test_truth_may_be_written_as_people_do(written: str, truth: bool) -> None:
    text = f"version: 1\nname: x\nrules: [{{name: r, when: {{charging: {written}}}, then: {{weight: 2}}}}]"
    assert load_policy(text).rules[0].when.charging is truth


def test_an_anchor_may_be_used_again() -> None:
    text = "version: 1\nname: x\ntasks: {a: &quick {latency_budget_ms: 5}, b: *quick}"
    first, second = load_policy(text).tasks
    assert first.change == second.change == Change(latency_budget_ns=5_000_000)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\nname: x\n")
    assert load_policy_file(path).name == "x"


def test_json_is_yaml_even_beyond_the_basic_plane() -> None:
    assert load_policy('{"version": 1, "name": "x", "description": "\\ud83d\\ude00"}').description == "😀"


def test_an_unreadable_file_is_a_policy_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        load_policy_file(tmp_path / "none.yaml")


def test_text_that_is_not_utf8_is_placed(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"version: 1\nname: \xff\n")
    with pytest.raises(PolicyError, match=r"p\.yaml:2:7: not UTF-8: byte 0xFF"):
        load_policy_file(path)


def test_a_file_too_large_is_refused_even_when_cut_inside_a_character(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"##" + "é".encode() * 200_000)
    with pytest.raises(PolicyError, match="at most 256 KiB"):
        load_policy_file(path)


def test_names_are_shipped_policies_first_then_files(tmp_path: Path) -> None:
    assert resolve_name("balanced") == shipped_policies_folder() / "balanced.yaml"
    own = tmp_path / "own.yaml"
    own.touch()
    assert resolve_name(str(own)) == own
    assert resolve_name(own) == own


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("balnced", "no such policy or file; did you mean balanced?"),
        ("zzz", "no such policy or file; shipped policies: balanced, battery-saver"),
        ("./zzz.yaml", "no such file; shipped policies"),
        ("zzz.yml", "no such file; shipped policies"),
    ],
)
def test_an_unknown_name_is_explained(name: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        resolve_name(name)
    assert message in str(caught.value)


def test_money_for_servers_arrives_in_dollars() -> None:
    text = "version: 1\nname: x\ndefaults: {allow_remote: yes, money_price_per_usd: 20}\nmoney: "
    policy = load_policy(text + "{budget: 0.05 USD, last_until: 06:30}\n")
    assert policy.money == MoneyGoal(0.05, last_until_s=6 * 3600 + 1800)
    assert (policy.defaults.allow_remote, policy.defaults.money_price_per_usd) == (True, 20.0)
    assert load_policy(text + "{budget: 2, last_for: 30d}\n").money == MoneyGoal(
        2.0, last_for_ns=30 * 86_400 * NS_PER_S
    )
    assert load_policy("version: 1\nname: x\n").defaults.allow_remote is False


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ("{last_for: 1h}", "4:1: money: budget is missing"),
        ("{budget: 5ct}", "money.budget: expected an amount such as 0.05 USD"),
        ("{budget: 1, last_for: 1h, last_until: 22:00}", "money: last_until and last_for exclude each other"),
        ("{budget: 1, last_for: 1ms}", "money.last_for: expected a duration from 1 s to 365 d"),
    ],
)
def test_money_that_cannot_be_meant(goal: str, message: str) -> None:
    with pytest.raises(PolicyError, match="money") as caught:
        load_policy(f"version: 1\nname: x\n\nmoney: {goal}\n", "p.yaml")
    assert message in str(caught.value)


def test_limits_on_power_and_heat() -> None:
    policy = load_policy("version: 1\nname: x\nbattery: {power_budget_mw: 250}\nthermal: {limit_c: 42.5}\n")
    assert policy.battery.power_budget_mw == 250.0
    assert policy.thermal == ThermalGoal(42.5)
    assert load_policy("version: 1\nname: x\n").thermal is None
    with pytest.raises(PolicyError, match=r"battery.power_budget_mw: expected milliwatts above 0"):
        load_policy("version: 1\nname: x\nbattery: {power_budget_mw: 0}\n")
    with pytest.raises(PolicyError, match=r"limit_c is missing"):
        load_policy("version: 1\nname: x\nthermal: {}\n")
