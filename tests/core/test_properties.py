"""What holds for every decision, whatever the family, the device, its state and the policy."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.world import CORE_0, CORE_1, GANG, MIB, MS, family, full, variant

from trimtab.core import commands as cm
from trimtab.core.codec import encode, encode_value
from trimtab.core.rehearsal import Rehearsal, Setup
from trimtab.core.residency import used_bytes
from trimtab.core.selection import Choice
from trimtab.core.state import Live, Phase, State
from trimtab.core.tables import settings_for
from trimtab.domain.decision import Why
from trimtab.domain.device import DeviceState
from trimtab.domain.family import ExitRule, Family, Profile
from trimtab.domain.policy import (
    AfterDeadline,
    BatteryGoal,
    BelowReserve,
    Filter,
    Goal,
    MemoryGoal,
    Policy,
    Settings,
    WhenImpossible,
    Worth,
)
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request
from trimtab.domain.settings import allows
from trimtab.strategies import strategy_named

ROOT = Path(__file__).resolve().parents[2]
GPU = Processor("gpu:0", "gpu", (), 1, provider="CUDAExecutionProvider")
PROCESSORS = (CORE_0, CORE_1, GANG, GPU)
SPEED = {"cpu:0": 1.0, "cpu:1": 1.0, "cpu:0-1": 0.6, "gpu:0": 0.25}
POWER = {"cpu:0": 2.0, "cpu:1": 2.0, "cpu:0-1": 3.5, "gpu:0": 9.0}
NAMES = ("v0", "v1", "v2", "v3", "v4")


ACCURACIES = (0.3, 0.45, 0.6, 0.7, 0.78, 0.85, 0.9, 0.93, 0.95, 0.97)


def rule(top: float, exits: int) -> ExitRule:
    """Return the exits of a variant, later ones more accurate."""
    accuracies = tuple([top * (1.0 - 0.1 * (exits - 1 - index)) for index in range(exits)])
    return full(top) if exits == 1 else ExitRule("exits", 0.9, (1.0 / exits,) * exits, accuracies)


def setup_of(seed: int, task: str = "t") -> Setup:
    """Return a family whose accuracy mostly grows with its cost, and its profiles on four processors."""
    random = Random(seed)
    count = random.randint(2, len(NAMES))
    tops = sorted(random.choices(ACCURACIES, k=count))
    base_ns, growth = random.choice((MS // 10, MS // 2, 2 * MS)), random.choice((1.4, 2.2))
    variants, profiles = [], []
    for index, name in enumerate(NAMES[:count]):
        exits, size = random.choice((1, 1, 3)), random.randint(MIB // 4, 6 * MIB)
        odd = random.choice((0.4, 1.0, 1.0, 1.7))
        variants.append(variant(name, rule(tops[index], exits), accuracy=tops[index]))
        for processor in PROCESSORS:
            stage_ns = int(base_ns * growth**index * SPEED[processor.name] / exits) + 1
            energy_uj = stage_ns * POWER[processor.name] * odd * 1e-3
            times, energies = (stage_ns,) * exits, (energy_uj,) * exits
            profiles.append(Profile(name, processor.name, times, 0.05, energies, 5 * MS, 500.0, size))
    return Setup(PROCESSORS, ((family(*variants, task=task, last_resort=NAMES[0]), tuple(profiles)),))


def setups(task: str = "t") -> st.SearchStrategy[Setup]:
    """Draw families and their profiles."""
    return st.integers(0, 1 << 40).map(lambda seed: setup_of(seed, task))


prices = st.sampled_from([(0.0, 20.0), (2.0, 20.0), (20.0, 80.0), (0.0, 400.0), (80.0, 400.0)])
wanted = st.builds(
    Settings,
    min_accuracy_frac=st.sampled_from([0.0, 0.0, 0.5, 0.8, 0.97]),
    max_energy_uj=st.sampled_from([None, None, 500.0, 20_000.0]),
    energy_price_per_j=st.sampled_from([0.0, 0.5, 20.0, 80.0]),
    memory_price_per_mib=st.sampled_from([0.0, 0.001, 0.1]),
    latency_price_per_s=st.sampled_from([0.0, 0.1, 5.0]),
    deadline_confidence=st.sampled_from([0.3, 0.9, 0.99]),
    give_up=st.sampled_from([(), (Goal.ENERGY,), (Goal.DEADLINE, Goal.ACCURACY), tuple(Goal)]),
    when_impossible=st.sampled_from(WhenImpossible),
    variants=st.sampled_from([Filter(), Filter(deny=("v1",)), Filter(allow=("v0", "v2"))]),
    processors=st.sampled_from([Filter(), Filter(deny=("gpu:*",)), Filter(allow=("cpu:0", "gpu:0"))]),
    after_deadline=st.sampled_from([AfterDeadline(), AfterDeadline(), AfterDeadline(Worth.LINEAR, 20 * MS)]),
)
policies = st.builds(
    Policy,
    name=st.just("p"),
    defaults=wanted,
    battery=st.builds(
        BatteryGoal,
        reserve_frac=st.sampled_from([0.0, 0.2]),
        last_for_ns=st.sampled_from([None, 600 * NS_PER_S]),
        below_reserve=st.sampled_from(BelowReserve),
    ),
    memory=st.sampled_from([MemoryGoal(), MemoryGoal(limit_bytes=9 * MIB)]),
)
devices = st.builds(
    DeviceState,
    battery_frac=st.sampled_from([None, 0.201, 0.25, 0.9]),
    battery_capacity_j=st.sampled_from([1.0, 50.0, 1e4]),
    charging=st.booleans(),
    memory_available_bytes=st.sampled_from([None, 2 * MIB, 20 * MIB]),
)
requests = st.builds(
    Request,
    request_id=st.just("r"),
    task=st.just("t"),
    latency_budget_ns=st.sampled_from([None, 200 * MS, 15 * MS, 4 * MS, MS]),
    min_accuracy_frac=st.sampled_from([None, None, 0.9]),
    variant=st.sampled_from(["", "", "", "v0"]),
    batch=st.sampled_from([1, 1, 3]),
)
warm = st.integers(0, 12)


def played(setup: Setup, policy: Policy, device: DeviceState, times: int) -> Rehearsal:
    """Return a device that has served so many requests."""
    play = Rehearsal(strategy_named, setup, policy)
    play.read((device,))
    if times:
        play.ask(Request("w", "t", latency_budget_ns=500 * MS), times=times, gap_ns=50 * MS)
    return play


# ---- hard constraints ------------------------------------------------------------------------------------


@settings(max_examples=250)
@given(setups(), policies, devices, requests, warm)
def test_no_decision_breaks_a_hard_constraint_or_a_goal_it_does_not_name(
    setup: Setup, policy: Policy, device: DeviceState, request: Request, times: int
) -> None:
    play = played(setup, policy, device, times)
    told = play.ask(request, times=1, gap_ns=50 * MS)
    if isinstance(told, cm.Finish):
        return
    decision, asked = told.decision, policy.defaults
    chosen = next(v for v in told.verdicts if v.why is Why.CHOSEN)
    grounds = told.grounds
    assert grounds is not None
    assert request.variant in ("", decision.variant)
    assert allows(asked.variants, decision.variant)
    assert allows(asked.processors, decision.processor)
    assert len(play.state.residences) == 1 or used_bytes(play.state) <= play.state.memory_limit_bytes
    if grounds.spare_uj is not None and policy.battery.below_reserve is BelowReserve.REJECT:
        assert decision.energy_uj <= grounds.spare_uj + 1e-6
    assert set(decision.given_up) <= set(asked.give_up)
    assert asked.when_impossible is WhenImpossible.SERVE or not decision.given_up
    if Goal.ACCURACY not in decision.given_up:
        assert decision.accuracy_frac >= grounds.floor_frac
    if Goal.ENERGY not in decision.given_up and grounds.max_energy_uj is not None:
        assert decision.energy_uj <= grounds.max_energy_uj
    if Goal.DEADLINE not in decision.given_up and not asked.after_deadline.until_ns:
        assert chosen.on_time_prob >= asked.deadline_confidence - 1e-9


# ---- prices and budgets ----------------------------------------------------------------------------------


def chosen_under(play: Rehearsal, request: Request, changed: Settings) -> Choice | None:
    """Return what the scheduler's strategy takes in the present state under these settings."""
    chooser, state, now_ns = play.chooser, play.state, play.now_ns
    budget_ns = changed.latency_budget_ns if request.latency_budget_ns is None else request.latency_budget_ns
    live = Live(request, 0, Phase.NEW, now_ns, now_ns + budget_ns, changed, (), "p")
    table = chooser.table_for(live, now_ns)
    return chooser.strategy.choose(table, chooser.situation(live, table, now_ns), live, state)


def energy_of(choice: Choice) -> float:
    return choice.entry.energy_uj + choice.entry.load_uj


@settings(max_examples=250)
@given(setups(), policies, devices, requests, warm, prices)
def test_a_lower_price_never_lowers_the_use_of_what_it_is_the_price_of(
    setup: Setup, policy: Policy, device: DeviceState, request: Request, times: int, ends: tuple[float, float]
) -> None:
    play = played(setup, policy, device, times)
    play.state.energy.price_per_j = 0.0
    play.chooser.forget_prices()
    (low, high), base = ends, policy.defaults
    for field, scale, used in (
        ("energy_price_per_j", 1.0, energy_of),
        ("latency_price_per_s", 1.0, lambda choice: choice.entry.latency_ns),
        ("memory_price_per_mib", 0.002, lambda choice: choice.entry.resident_bytes),
    ):
        prices_of: tuple[dict[str, Any], ...] = ({field: low * scale}, {field: high * scale})
        cheap, dear = (chosen_under(play, request, replace(base, **price)) for price in prices_of)
        assert (cheap is None) == (dear is None)
        if cheap is None or dear is None or cheap.given_up or dear.given_up:
            continue
        assert used(cheap) >= used(dear) * (1 - 1e-9), field


def no_worse(more: Choice | None, less: Choice | None) -> None:
    """Check that what was possible with less is possible with more, and worth no less."""
    if less is None or less.given_up:
        return
    assert more is not None
    assert not more.given_up
    assert more.judged.value >= less.judged.value - 1e-9


@settings(max_examples=150)
@given(setups(), policies, devices, requests, warm, st.floats(1.0, 5.0))
def test_more_time_energy_or_memory_never_lowers_the_value(
    setup: Setup, policy: Policy, device: DeviceState, request: Request, times: int, factor: float
) -> None:
    play, base = played(setup, policy, device, times), policy.defaults
    less = chosen_under(play, request, base)
    budget_ns = base.latency_budget_ns if request.latency_budget_ns is None else request.latency_budget_ns
    longer = replace(request, latency_budget_ns=int(budget_ns * factor))
    no_worse(chosen_under(play, longer, base), less)
    if base.max_energy_uj is not None:
        no_worse(chosen_under(play, request, replace(base, max_energy_uj=base.max_energy_uj * factor)), less)
    no_worse(
        chosen_under(play, request, replace(base, min_accuracy_frac=base.min_accuracy_frac / factor)), less
    )
    state = play.state
    if state.device.battery_frac is not None:
        state.device = replace(state.device, battery_frac=min(1.0, state.device.battery_frac * factor))
        no_worse(chosen_under(play, request, base), less)
    state.memory_limit_bytes = int(state.memory_limit_bytes * factor)
    play.chooser.forget()
    no_worse(chosen_under(play, request, base), less)


# ---- order and chance ------------------------------------------------------------------------------------


def story(play: Rehearsal, tasks: tuple[str, ...], count: int) -> list[tuple[str, str, float]]:
    """Return what was decided for requests for several tasks in turn."""
    found = []
    for index in range(count):
        task = tasks[index % len(tasks)]
        told = play.ask(
            Request(f"{task}-", task, latency_budget_ns=(3, 20, 200)[index % 3] * MS), times=1, gap_ns=40 * MS
        )
        if isinstance(told, cm.Decided):
            found.append((task, told.decision.candidate, round(told.decision.value, 9)))
        else:
            found.append((task, told.result.cause, 0.0))
    return found


@settings(max_examples=60)
@given(setups("a"), setups("b"), policies, devices)
def test_decisions_do_not_depend_on_the_order_in_which_families_came(
    first: Setup, second: Setup, policy: Policy, device: DeviceState
) -> None:
    both = (*first.families, *second.families)
    told = []
    for families in (both, both[::-1]):
        play = Rehearsal(strategy_named, Setup(PROCESSORS, families), policy)
        play.read((device,))
        told.append(story(play, ("a", "b"), 8))
    assert told[0] == told[1]


@settings(max_examples=60)
@given(setups(), policies, devices)
def test_decisions_do_not_depend_on_the_order_of_variants_and_profiles(
    setup: Setup, policy: Policy, device: DeviceState
) -> None:
    ((one, profiles),) = setup.families
    turned = (replace(one, variants=one.variants[::-1]), profiles[::-1])
    told = []
    for families in (setup.families, (turned,)):
        play = Rehearsal(strategy_named, Setup(PROCESSORS, families), policy)
        play.read((device,))
        told.append(story(play, ("t",), 6))
    assert told[0] == told[1]


def many(seed: int) -> Rehearsal:
    """Return a device that served six families made by chance from ``seed``."""
    random = Random(seed)
    families: list[tuple[Family, tuple[Profile, ...]]] = []
    for index in range(6):
        names = [f"v{random.randrange(1000)}" for _ in range(5)]
        made = [variant(name, full(random.uniform(0.5, 0.99)), accuracy=0.9) for name in dict.fromkeys(names)]
        profiles = []
        for one in made:
            work_ns = random.randrange(MS // 10, 20 * MS)
            for p in PROCESSORS:
                run_ns = int(work_ns * SPEED[p.name])
                energy_uj = run_ns * POWER[p.name] * 1e-3
                profiles.append(
                    Profile(one.name, p.name, (run_ns,), 0.05, (energy_uj,), 5 * MS, 500.0, 2 * MIB)
                )
        families.append((family(*made, task=f"t{index}", last_resort=made[0].name), tuple(profiles)))
    goal = BatteryGoal(0.1, last_for_ns=600 * NS_PER_S)
    policy = Policy("p", defaults=Settings(energy_price_per_j=0.5), battery=goal, memory=MemoryGoal(20 * MIB))
    play = Rehearsal(strategy_named, Setup(PROCESSORS, tuple(families)), policy)
    play.read((DeviceState(0.5, 40.0),))
    return play


def digest() -> str:
    """Return a digest of all that was decided, and of the state it left, over three devices."""
    found = hashlib.sha256()
    for seed in range(3):
        play = many(seed)
        for index in range(60):
            told = play.ask(Request("r", f"t{index % 6}", app=f"a{index % 4}"), times=1, gap_ns=20 * MS)
            found.update(encode(replace(told, verdicts=(), grounds=None))[1])
        found.update(encode_value(play.state))
    return found.hexdigest()


def test_decisions_do_not_depend_on_the_hash_seed() -> None:
    code = "from tests.core.test_properties import digest; print(digest())"
    told = set()
    for seed in ("0", "1", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])}
        ran = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=ROOT, check=True
        )
        told.add(ran.stdout)
    assert told == {digest() + "\n"}


# ---- memory ----------------------------------------------------------------------------------------------


def size_after(count: int, play: Rehearsal, random: Random) -> int:
    """Return the size of the state after so many requests of apps, floors and tasks that never come again."""
    for index in range(count):
        task = f"t{random.randrange(6)}" if index % 5 else f"unknown{random.random()}"
        floor = random.random() if index % 3 == 0 else None
        asked = Request(
            f"{random.random()}-", task, f"app{random.random()}", random.randrange(MS, 90 * MS), floor
        )
        play.ask(asked, times=1, gap_ns=random.randrange(3 * MS))
    assert isinstance(play.state, State)
    return len(encode_value(play.state))


def test_the_state_does_not_grow_with_traffic() -> None:
    play, random = many(1), Random(5)
    first = size_after(1500, play, random)
    assert not play.state.live
    assert size_after(3000, play, random) <= first * 1.05
    assert settings_for(play.state, "t0", "app", play.now_ns)
