"""What a scenario refers to is read and checked before anything runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters.family_store import load_family, shipped_families
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BelowReserve
from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.scenario import Prepared, ScenarioError, load_scenario, named_policy, prepare
from trimtab_sim.scenario.model import BackgroundTrace, BatterySpec
from trimtab_sim.scenario.surroundings import Recorded, RecordedSurroundings, plain_device
from trimtab_sim.traces import Series

Make = Callable[..., Prepared]
HEAD = "version: 1\nname: small\nseed: 5\nfamily: fashion\n"
STREAM = "workload:\n  - {app: camera, arrivals: {poisson: {rate_per_s: 10}}, latency_budget_ms: 50}\n"


def problems(make: Make, *args: str, **kwargs: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        make(*args, **kwargs)
    return [f"{p.line}:{p.column}: {p.path}: {p.message}" for p in caught.value.problems]


def test_names_that_lead_nowhere_are_told_with_their_place(make: Make, tmp_path: Path) -> None:
    found = problems(
        make,
        "policy: [balancd, ./mine.yaml]\n"
        "strategy: [value, 'static:resnt@cpu:0']\n"
        "background: [day.csv]\n"
        "processors: ['gpu*', {name: 'cpu:0', like: 'cpu:1'}, {name: x, like: 'cpu:9'}]\n",
        stream="workload:\n  - {task: fashon, arrivals: a.csv}\n  - {variant: resnt, arrivals: {regular: {every: 1s}}}\n",
    )
    assert [line.partition(": ")[2].partition(": ")[0] for line in found] == [
        "workload[0].task", "workload[0].arrivals", "workload[1].variant", "policy[0]", "policy[1]", "strategy[1]",
        "background[0]", "processors[0]", "processors[1].name", "processors[2].like",
    ]  # fmt: skip
    assert "did you mean fashion?" in found[0]
    assert str(tmp_path / "a.csv") in found[1]


def test_a_family_that_is_not_there(make: Make) -> None:
    head = HEAD.replace("family: fashion", "family: [fashion, fashin, fashion]")
    found = problems(make, head=head)
    assert found[0].startswith("4:19: family[1]: ")
    found = problems(make, head=head.replace("fashin, ", ""))
    assert found == ["4:19: family[1]: task 'fashion' is served by two families"]


def test_policies_by_name_path_and_inline(make: Make, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("version: 1\nname: mine\nbattery: {reserve: 30 %, last_for: 2h}\n")
    prepared = make("policy: [balanced, mine.yaml, {version: 1, name: own, defaults: {weight: 2}}]\n")
    assert [policy.name for policy in prepared.policies] == ["balanced", "mine", "own"]
    assert prepared.policies[1].battery.reserve_frac == 0.3
    assert prepared.policies[2].defaults.weight == 2.0
    (tmp_path / "mine.yaml").write_text("version: 1\nnam: mine\n")
    found = problems(make, "policy: [mine.yaml, {version: 1, name: own, defauts: {}}]\n")
    assert "2:1: nam: unknown key 'nam'; did you mean name?" in found
    assert any(
        line.endswith("policy[1].defauts: unknown key 'defauts'; did you mean defaults?") for line in found
    )


def test_the_scenarios_battery_goal_replaces_the_policys(make: Make) -> None:
    text = (
        "battery: {energy_j: 9, reserve: 25 %, horizon: 3h, below_reserve: reject}\npolicy: battery-saver\n"
    )
    goal = make(text).policies[0].battery
    assert (goal.reserve_frac, goal.last_for_ns, goal.last_until_s) == (0.25, 3 * 3600 * NS_PER_S, None)
    assert goal.below_reserve is BelowReserve.REJECT
    kept = make("battery: {energy_j: 9}\npolicy: battery-saver\n")
    plain = make("policy: battery-saver\n")
    assert kept.policies[0].battery == plain.policies[0].battery
    assert named_policy("battery-saver", kept.scenario) == plain.policies[0]


def test_processors_are_kept_and_made(make: Make) -> None:
    prepared = make(
        "processors: ['cpu:1', {name: 'slow:0', like: 'cpu:0', latency_factor: 2, energy_factor: 3, cores: [7]}]\n"
    )
    world = prepared.world
    assert [processor.name for processor in world.processors] == ["cpu:1", "slow:0"]
    assert world.processors[1].cores == (7,)
    stored = load_family(shipped_families() / "fashion").family
    assert stored.profiles is not None
    profiles = {(p.variant, p.processor): p for p in stored.profiles.profiles}
    for one in world.profiles["fashion"]:
        like = profiles[one.variant, "cpu:0" if one.processor == "slow:0" else "cpu:1"]
        factor = 2 if one.processor == "slow:0" else 1
        assert one.stage_latency_ns == tuple(factor * latency for latency in like.stage_latency_ns)
        assert one.load_ns == factor * like.load_ns
        assert sum(one.stage_energy_uj) == pytest.approx((factor + factor // 2) * sum(like.stage_energy_uj))


def test_variants_and_tasks_are_narrowed(make: Make) -> None:
    head = "version: 1\nname: small\nfamily: {source: fashion, variants: 'student*'}\n"
    world = make(head=head).world
    names = [variant.name for variant in world.families[0].variants]
    assert names
    assert all(name.startswith("student") for name in names)
    assert world.families[0].reference in names
    assert {profile.variant for profile in world.profiles["fashion"]} == set(names)
    assert "no variant of task 'fashion' is left" in problems(make, head=head.replace("student*", "none*"))[0]
    assert "no task is left" in problems(make, head=head.replace("variants", "tasks"))[0]


def test_odd_rows_of_a_file_are_noted_with_their_line(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t_s\n1\nx\n3\n")
    prepared = make(stream="workload: [{arrivals: a.csv}]\n")
    assert [note.startswith(f"{tmp_path / 'a.csv'}:3: ") for note in prepared.notes] == [True]
    assert [arrival.at_ns for arrival in prepared.arrivals(0)] == [NS_PER_S, 3 * NS_PER_S]


def test_requests_before_the_beginning_are_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t_s\n-1.5\n3\n")
    (found,) = problems(make, stream="workload: [{arrivals: a.csv}]\n")
    assert "workload[0].arrivals: " in found
    assert found.endswith("the first request comes 1.5 s before the beginning; times count from it")


def test_contention_of_no_processor_is_refused(make: Make) -> None:
    (found,) = problems(make, "contention: [{factor: 2}, {processor: 'gpu*', factor: 2}]\n")
    assert "contention[1].processor: matches no processor; known here: cpu:0, cpu:1, cpu:0-1" in found


def test_a_network_whose_run_would_not_end_is_refused(make: Make, tmp_path: Path) -> None:
    table = "task,variant,processor,accuracy_pct,latency_ms\na,b,cpu:0,50,1e10\n"
    (tmp_path / "slow.csv").write_text(table)
    head = HEAD.replace("family: fashion", "family: slow.csv")
    (found,) = problems(make, head=head)
    assert "family: a/b takes 2.78e+03 h on cpu:0; at most 1 h can be simulated" in found


def test_a_stream_that_begins_after_the_end_is_noted(make: Make) -> None:
    late = "workload: [{begin: 1h, arrivals: {poisson: {rate_per_s: 1}}}]\n"
    prepared = make(stream=late)
    assert prepared.notes == ("workload[0]: begins when the scenario has ended, so it asks for nothing",)
    assert list(prepared.arrivals(0)) == []


def test_rare_requests_may_not_come_at_all(make: Make) -> None:
    for kind in (
        "poisson: {rate_per_s: 1e-12}",
        "gamma: {rate_per_s: 1e-12}",
        "diurnal: {rate_per_s: 1e-12}",
    ):
        assert list(make(stream=f"workload: [{{arrivals: {{{kind}}}}}]\n").arrivals(0)) == []


def test_without_a_duration_the_last_request_ends_it(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t_s\n1\n3\n")
    text = f"{HEAD}workload: [{{arrivals: a.csv, speed: 2}}]\n"
    assert prepare(load_scenario(text, str(tmp_path / "s.yaml"))).duration_ns == 1_500_000_001
    assert make("battery: {energy_j: 5, horizon: 1h}\n").duration_ns == 20 * NS_PER_S
    horizon = prepare(load_scenario(f"{HEAD}{STREAM}battery: {{energy_j: 5, horizon: 1h}}\n"))
    assert horizon.duration_ns == 3600 * NS_PER_S


def series(**columns: list[float]) -> Series:
    rows = len(next(iter(columns.values())))
    at_ns = np.arange(100, 100 + rows) * NS_PER_S
    return Series("t", at_ns, {name: np.array(values) for name, values in columns.items()})


def test_traces_are_lived_through_from_some_row_on_and_again() -> None:
    nan = float("nan")
    told = series(temperature_mc=[nan, 30_000, nan, 40_000], battery_frac=[1, 1, 1, 1])
    once = Recorded(BackgroundTrace("t"), told)
    assert set(once.columns) == {"temperature_mc"}
    assert [once.value("temperature_mc", at * NS_PER_S) for at in (0, 1, 2, 3, 99)] == [
        None,
        3e4,
        3e4,
        4e4,
        4e4,
    ]
    again = Recorded(BackgroundTrace("t", repeat=True, begin_ns=NS_PER_S), told)
    assert [again.value("temperature_mc", at * NS_PER_S) for at in (0, 2, 3, 4)] == [3e4, 4e4, None, 3e4]
    assert Recorded(BackgroundTrace("t", ("battery_frac",)), told).value("temperature_mc", 0) is None


def test_surroundings_tell_what_traces_know() -> None:
    first = Recorded(BackgroundTrace("a"), series(temperature_mc=[30_000], memory_available_bytes=[5.0]))
    second = Recorded(BackgroundTrace("b"), series(temperature_mc=[50_000], charging=[1.0]))
    around = RecordedSurroundings((first, second), 86_390, NS_PER_S, resident_bytes=lambda: 2)
    state = around.at(21 * NS_PER_S)
    assert state == DeviceState(
        charging=True,
        memory_available_bytes=3,
        temperature_mc=50_000,
        local_time_s=10,
        sources=(("charging", "recorded"), ("memory", "recorded"), ("temperature", "recorded")),
    )


def test_a_battery_without_a_device() -> None:
    around = RecordedSurroundings((), 0, NS_PER_S)
    half = plain_device(BatterySpec(capacity_j=10.0, energy_j=5.0), around, NS_PER_S).reading(NS_PER_S)
    assert (half.battery_frac, half.battery_capacity_j) == (0.5, 10.0)
    full = plain_device(BatterySpec(energy_j=5.0), around, NS_PER_S).reading(NS_PER_S)
    assert (full.battery_frac, full.battery_capacity_j) == (1.0, 5.0)
    assert plain_device(None, around, NS_PER_S).reading(NS_PER_S).battery_frac is None
