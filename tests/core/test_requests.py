"""One request after the other: how it is decided, queued, run and answered."""

from dataclasses import replace
from typing import Any

import pytest
from tests.core.world import (
    MS,
    PLAIN,
    PROFILES,
    SMALL,
    World,
    family,
)

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.queueing import DEFAULT_CLASS, LATE_CLASS, class_of
from trimtab.core.state import Phase
from trimtab.domain.decision import Cause, Outcome, Why
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import (
    BatteryGoal,
    BelowReserve,
    Filter,
    Goal,
    Policy,
    Settings,
    WhenImpossible,
)
from trimtab.domain.request import Prefer

SECOND = 1000 * MS
ONE_CORE = Policy("p", defaults=Settings(processors=Filter(allow=("cpu:0",))))


def policy(**settings: object) -> Policy:
    settings.setdefault("energy_price_per_j", 0.001)
    return Policy("p", defaults=Settings(**settings))  # type: ignore[arg-type]


# ---- choosing --------------------------------------------------------------------------------------


def test_takes_the_most_accurate_in_time() -> None:
    world = World()
    relaxed = world.ask(latency_budget_ns=100 * MS)
    assert world.decision(relaxed).candidate == "large@cpu:0"
    world.end_stage(relaxed, confidence=0.99)
    assert world.outcome(relaxed) is Outcome.DONE
    assert world.result(relaxed).on_time
    hurried = world.ask(latency_budget_ns=3 * MS)
    decision = world.decision(hurried)
    assert (decision.variant, decision.instead_of) == ("small", "large@cpu:0")
    assert decision.instead_why is Why.DEADLINE
    assert "not large@cpu:0: too likely to miss the deadline" in decision.summary


def test_dear_energy_buys_smaller_variants() -> None:
    world = World(policy(energy_price_per_j=50.0))
    assert world.decision(world.ask(latency_budget_ns=SECOND)).variant == "small"


def test_a_pinned_variant_serves_whatever_it_is_worth() -> None:
    world = World()
    request_id = world.ask(variant="small", latency_budget_ns=SECOND)
    assert world.decision(request_id).variant == "small"
    assert world.decision(request_id).instead_why is Why.NOT_PINNED


@pytest.mark.parametrize(
    ("prefer", "chosen"),
    [
        (Prefer.ENERGY, "small@cpu:0"),
        (Prefer.LATENCY, "small@cpu:0"),
        (Prefer.VALUE, "staged@cpu:0/patient"),
        (Prefer.ACCURACY, "large@cpu:0"),
    ],
)
def test_the_callers_preference_decides(prefer: Prefer, chosen: str) -> None:
    world = World(policy(energy_price_per_j=5.0))
    request_id = world.ask(prefer=prefer, latency_budget_ns=SECOND)
    assert world.decision(request_id).candidate == chosen


def test_preferring_latency_counts_the_slow_down_of_each_processor() -> None:
    world = World()
    for _ in range(20):
        world.end_stage(world.ask(variant="small", latency_budget_ns=SECOND), factor=4.0)
    assert world.state.estimates["cpu:0"].mean > 1.0
    request_id = world.ask(prefer=Prefer.LATENCY, latency_budget_ns=SECOND)
    assert world.decision(request_id).processor == "cpu:1"


def test_a_batch_costs_in_proportion() -> None:
    world = World()
    assert world.decision(world.ask(latency_budget_ns=25 * MS, batch=4)).variant != "large"
    request_id = world.ask(latency_budget_ns=25 * MS, batch=4, variant="small")
    assert world.decision(request_id).energy_uj == pytest.approx(4 * 2000.0)
    before = world.state.estimates["cpu:0"].observations
    world.end_stage(request_id, confidence=1.0)
    assert world.state.estimates["cpu:0"].observations == before


# ---- goals and giving them up ----------------------------------------------------------------------


def test_gives_goals_up_in_the_policys_order() -> None:
    world = World(policy(min_accuracy_frac=0.9, max_energy_uj=5000.0))
    met = world.ask(latency_budget_ns=SECOND, max_energy_uj=50_000.0)
    assert world.decision(met).given_up == ()
    energy = world.ask(latency_budget_ns=SECOND)
    assert world.decision(energy).given_up == (Goal.ENERGY,)
    both = world.ask(latency_budget_ns=3 * MS, priority=1)
    assert world.decision(both).given_up == (Goal.ACCURACY,)
    assert world.decision(both).variant == "small"
    assert "gave up accuracy" in world.decision(both).summary


def test_a_late_request_waits_behind_all_others() -> None:
    world = World()
    late = world.ask(latency_budget_ns=0)
    assert world.decision(late).given_up == (Goal.DEADLINE,)
    assert world.state.live[late].rank[0] == LATE_CLASS
    world.end_stage(late)
    assert world.outcome(late) is Outcome.DONE
    assert not world.result(late).on_time


def test_rejects_when_the_policy_says_so() -> None:
    world = World(policy(when_impossible=WhenImpossible.REJECT), explain=True)
    result = world.result(world.ask(latency_budget_ns=MS // 10))
    assert (result.outcome, result.cause) == (Outcome.REJECTED, Cause.GOALS)
    assert "12 too likely to miss the deadline" in result.reason
    assert len(world.finished[result.request_id].verdicts) == 12


def test_a_goal_left_out_of_the_order_is_never_given_up() -> None:
    world = World(policy(give_up=(Goal.ENERGY,), min_accuracy_frac=0.99))
    assert world.result(world.ask()).cause is Cause.GOALS


@pytest.mark.parametrize(
    ("goals", "cause"),
    [
        ({"task": "poetry"}, Cause.UNKNOWN_TASK),
        ({"variant": "huge"}, Cause.UNKNOWN_VARIANT),
        ({"task": "empty"}, Cause.NOT_READY),
    ],
)
def test_refuses_what_it_does_not_know(goals: dict[str, Any], cause: Cause) -> None:
    world = World(families=((family(), PROFILES), (family(SMALL, task="empty"), ())), load_all=False)
    assert world.result(world.ask(**goals)).cause is cause


def test_too_many_late_requests_are_shed() -> None:
    world = World(Policy("p", queue_limit=2))
    asked = [world.ask(variant="large", latency_budget_ns=MS) for _ in range(6)]
    causes = [world.finished[r].result.cause for r in asked if r in world.finished]
    assert causes == [Cause.OVERLOAD] * 2
    assert len(world.state.queue) == 2


def test_a_full_queue_overloads() -> None:
    only = Settings(processors=Filter(allow=("cpu:1",)), when_impossible=WhenImpossible.REJECT)
    world = World(Policy("p", queue_limit=2, defaults=only))
    asked = [world.ask(latency_budget_ns=SECOND) for _ in range(5)]
    assert [world.finished[r].result.cause for r in asked if r in world.finished] == [Cause.OVERLOAD] * 2


# ---- the queue -------------------------------------------------------------------------------------


def test_priorities_become_classes() -> None:
    assert class_of(1) < class_of(2) < class_of(0) == DEFAULT_CLASS < class_of(5000)
    assert class_of(1 << 40) < LATE_CLASS
    assert class_of(-3) == class_of(1)


def test_earliest_deadline_first_within_a_class() -> None:
    world = World(ONE_CORE)
    first = world.ask(latency_budget_ns=SECOND)
    late, soon = world.ask(latency_budget_ns=800 * MS), world.ask(latency_budget_ns=700 * MS)
    urgent = world.ask(latency_budget_ns=900 * MS, priority=1)
    order = []
    for request_id in (first, urgent, soon, late):
        order.append(next(iter(world.runs)))
        world.end_stage(order[-1], confidence=1.0)
        assert order[-1] == request_id


def test_wide_and_narrow_processors_exclude_each_other() -> None:
    world = World(processors=World().processors)
    narrow = world.ask(latency_budget_ns=SECOND)
    world.feed(ev.PolicyReplaced(Policy("wide", defaults=Settings(processors=Filter(allow=("cpu:0-1",))))))
    wide = world.ask(latency_budget_ns=SECOND)
    world.finish_loads()
    assert wide not in world.runs
    world.feed(ev.PolicyReplaced(PLAIN))
    behind = world.ask(latency_budget_ns=2 * SECOND, variant="small")
    assert behind not in world.runs, "a waiting wide request keeps the other core"
    world.end_stage(narrow)
    assert wide in world.runs
    assert behind not in world.runs
    world.end_stage(wide, confidence=1.0)
    assert behind in world.runs


def test_a_loading_request_does_not_hold_up_others() -> None:
    world = World(load_all=False)
    waiting = world.ask(variant="large", latency_budget_ns=SECOND)
    assert world.state.live[waiting].phase is Phase.LOADING
    quick = world.ask(variant="small", latency_budget_ns=3 * MS)
    assert world.decision(quick).wait_ns == 0
    assert quick in world.runs


def test_a_ready_load_comes_first() -> None:
    world = World(ONE_CORE, load_all=False)
    world.ask(variant="small", latency_budget_ns=SECOND)
    for _ in range(6):
        world.ask(variant="small", latency_budget_ns=SECOND)
    loading = world.ask(variant="large", latency_budget_ns=900 * MS)
    assert world.state.live[loading].phase is Phase.LOADING
    behind = world.ask(variant="small", latency_budget_ns=2 * SECOND)
    assert world.decision(behind).wait_ns > 15 * MS


def test_expires_in_the_queue_when_the_timer_fires() -> None:
    world = World(ONE_CORE)
    running = world.ask(variant="large", latency_budget_ns=SECOND)
    waiting = world.ask(variant="small", latency_budget_ns=40 * MS)
    assert world.state.timer_ns == world.now_ns + 40 * MS
    world.feed(ev.TimerFired(), 40 * MS)
    assert world.result(waiting).cause is Cause.DEADLINE
    assert world.outcome(waiting) is Outcome.EXPIRED
    assert running in world.runs


def test_a_timer_that_fires_early_is_set_again() -> None:
    world = World(ONE_CORE)
    world.ask(variant="large", latency_budget_ns=SECOND)
    world.ask(variant="small", latency_budget_ns=40 * MS)
    commands = world.feed(ev.TimerFired(), 39 * MS)
    assert commands == [cm.SetTimer(world.now_ns + MS)]


def test_expires_instead_of_starting_too_late() -> None:
    world = World(ONE_CORE)
    running = world.ask(variant="large", latency_budget_ns=SECOND)
    waiting = world.ask(variant="small", latency_budget_ns=20 * MS)
    world.end_stage(running, factor=5.0)
    assert world.result(waiting).reason == "expired before it could start"


def test_is_decided_again_when_its_slack_shrank() -> None:
    world = World(ONE_CORE)
    running = world.ask(variant="small", latency_budget_ns=SECOND)
    waiting = world.ask(latency_budget_ns=20 * MS)
    assert world.decision(waiting).variant == "large"
    world.end_stage(running, factor=15.0)
    assert len(world.decided[waiting]) == 2
    assert world.decision(waiting).variant == "small"
    world.end_stage(waiting, confidence=1.0)
    assert world.outcome(waiting) is Outcome.DONE


def test_keeps_the_settings_it_was_admitted_under() -> None:
    world = World(replace(ONE_CORE, name="old"))
    running = world.ask(variant="small", latency_budget_ns=SECOND)
    waiting = world.ask(latency_budget_ns=20 * MS)
    world.feed(ev.PolicyReplaced(policy(variants=Filter(deny=("small",)))))
    world.end_stage(running, factor=15.0)
    assert world.decision(waiting).variant == "small"
    assert world.decision(waiting).policy == "old"


def test_an_overdue_run_is_expected_to_take_as_long_again() -> None:
    world = World(ONE_CORE)
    world.ask(variant="large", latency_budget_ns=SECOND)
    world.now_ns += 60 * MS
    late = world.ask(variant="small", latency_budget_ns=SECOND)
    assert 40 * MS < world.decision(late).wait_ns < 60 * MS


# ---- callers leave, drains, timers -----------------------------------------------------------------


def test_cancels_in_every_phase() -> None:
    world = World(load_all=False)
    loading = world.ask(variant="large")
    world.feed(ev.RequestCancelled(loading))
    assert world.outcome(loading) is Outcome.CANCELLED
    running = world.ask(variant="small")
    world.feed(ev.RequestCancelled(running))
    assert world.outcome(running) is Outcome.CANCELLED
    assert world.state.live[running].phase is Phase.ABANDONED
    assert world.feed(ev.RequestCancelled(running)) == []
    assert world.feed(ev.RequestCancelled("nobody")) == []
    world.end_stage(running)
    assert not world.state.live


def test_an_abandoned_run_may_fail() -> None:
    world = World()
    running = world.ask()
    world.feed(ev.RequestCancelled(running))
    world.fail(running)
    assert not world.state.live


def test_drains_once() -> None:
    world = World()
    running = world.ask()
    assert world.feed(ev.DrainStarted()) == []
    assert world.result(world.ask()).cause is Cause.DRAINING
    assert world.end_stage(running, confidence=1.0)[-1] == cm.Drained()
    assert world.feed(ev.DrainStarted()) == []


# ---- the battery's reserve -------------------------------------------------------------------------


def battery(frac: float, capacity_j: float | None, **more: bool) -> DeviceState:
    return DeviceState(battery_frac=frac, battery_capacity_j=capacity_j, **more)  # type: ignore[arg-type]


def test_what_could_overdraw_the_reserve_is_served_by_the_cheapest() -> None:
    low = Policy("p", battery=BatteryGoal(0.5), defaults=Settings(energy_price_per_j=0.001))
    world = World(low, explain=True)
    world.feed(ev.DeviceChanged(battery(0.6, 0.25)))  # 25 mJ above the reserve; large takes 20 mJ
    first, second = world.ask(latency_budget_ns=SECOND), world.ask(latency_budget_ns=SECOND)
    assert world.decision(first).variant == "large"
    assert world.decision(second).variant == "small", "what the first may use is set aside"
    whys = {v.candidate: v for v in world.decided[second][-1].verdicts}
    assert whys["large@cpu:1"].why is Why.RESERVE
    assert whys["large@cpu:1"].detail == "0.005 J left above the reserve"
    world.feed(ev.DeviceChanged(battery(0.6, 0.25, charging=True)))
    assert world.decision(world.ask(latency_budget_ns=SECOND)).variant == "large"


def test_spent_energy_counts_before_the_gauge_moves() -> None:
    world = World(Policy("p", battery=BatteryGoal(0.5)))
    world.feed(ev.DeviceChanged(battery(0.6, 0.5)))  # 50 mJ
    first = world.ask(latency_budget_ns=SECOND)
    assert world.decision(first).variant == "large"
    world.end_stage(first, energy_uj=40_000.0)
    assert world.decision(world.ask(latency_budget_ns=SECOND)).variant == "small"


@pytest.mark.parametrize("capacity_j", [None, 1000.0])
def test_refuses_at_the_reserve_when_told_to(capacity_j: float | None) -> None:
    strict = Policy("p", battery=BatteryGoal(0.5, below_reserve=BelowReserve.REJECT))
    world = World(strict)
    world.feed(ev.DeviceChanged(battery(0.5, capacity_j)))
    result = world.result(world.ask(latency_budget_ns=SECOND))
    assert (result.cause, result.reason) == (Cause.RESERVE, "the battery is at its reserve")
    world.feed(ev.DeviceChanged(battery(0.51, capacity_j)))
    assert world.decision(world.ask(latency_budget_ns=SECOND)).variant == "large"
