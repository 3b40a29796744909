"""One request after the other: how it is decided, queued, run and answered."""

from dataclasses import replace
from typing import Any

import pytest
from tests.core.world import (
    MIB,
    MS,
    PLAIN,
    POOL_1,
    PROFILES,
    SMALL,
    World,
    family,
    full,
    profile,
    variant,
)

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.lifecycle import ENDINGS, TRANSITIONS, IllegalEventError, move
from trimtab.core.queueing import DEFAULT_CLASS, LATE_CLASS, class_of
from trimtab.core.state import Phase
from trimtab.domain.decision import Cause, Outcome, Why
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import (
    BatteryGoal,
    BelowReserve,
    Change,
    Condition,
    Filter,
    Goal,
    Policy,
    Rule,
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
    assert world.decision(waiting).variant == "staged"
    world.end_stage(waiting, confidence=1.0)
    assert world.outcome(waiting) is Outcome.DONE


def test_keeps_the_settings_it_was_admitted_under() -> None:
    world = World(replace(ONE_CORE, name="old"))
    running = world.ask(variant="small", latency_budget_ns=SECOND)
    waiting = world.ask(latency_budget_ns=20 * MS)
    world.feed(ev.PolicyReplaced(policy(variants=Filter(deny=("staged",)))))
    world.end_stage(running, factor=15.0)
    assert world.decision(waiting).variant == "staged"
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


# ---- failures --------------------------------------------------------------------------------------


def test_a_failed_variant_rests_and_another_serves() -> None:
    world = World(ONE_CORE, explain=True)
    request_id = world.ask(latency_budget_ns=SECOND)
    world.fail(request_id)
    assert [d.decision.variant for d in world.decided[request_id]] == ["large", "staged"]
    whys = {v.candidate: v for v in world.decided[request_id][-1].verdicts}
    assert (whys["large@cpu:0"].why, whys["large@cpu:0"].detail) == (Why.UNHEALTHY, "1 failure in a row")
    world.end_stage(request_id, confidence=1.0)
    assert world.outcome(request_id) is Outcome.DONE
    world.now_ns += 30 * SECOND
    again = world.ask(latency_budget_ns=SECOND)
    assert world.decision(again).variant == "large", "its rest is over, nothing else told the scheduler"
    assert world.state.rests
    world.end_stage(again)
    assert not world.state.rests


def test_one_that_failed_and_waits_again_may_still_be_rejected_for_lack_of_time() -> None:
    settings = replace(ONE_CORE.defaults, when_impossible=WhenImpossible.REJECT)
    world = World(replace(ONE_CORE, defaults=settings))
    unlucky = world.ask(latency_budget_ns=25 * MS)
    urgent = world.ask(variant="small", priority=1, latency_budget_ns=SECOND)
    world.fail(unlucky)
    assert world.decision(unlucky).variant == "staged"
    world.end_stage(urgent, factor=23.9)
    result = world.result(unlucky)
    assert (result.outcome, result.cause) == (Outcome.REJECTED, Cause.GOALS)


def test_fails_when_every_variant_did() -> None:
    world = World(ONE_CORE)
    request_id = world.ask(latency_budget_ns=SECOND)
    for _ in range(3):
        world.fail(request_id)
    result = world.result(request_id)
    assert (result.outcome, result.cause, result.reason) == (Outcome.FAILED, Cause.VARIANT, "boom")


def test_rests_double_and_end_with_success() -> None:
    world = World(families=((family(SMALL), tuple(p for p in PROFILES if p.variant == "small")),))
    for failures in (1, 2, 3):
        world.fail(world.ask(latency_budget_ns=SECOND))
        rest = world.state.rests[f"t/small@{POOL_1}"]
        assert (rest.failures, rest.until_ns - world.now_ns) == (failures, 30 * SECOND << (failures - 1))
        world.now_ns = rest.until_ns


def test_a_bad_input_is_the_callers_failure() -> None:
    world = World()
    request_id = world.ask()
    world.fail(request_id, fault="request")
    assert world.result(request_id).cause is Cause.INPUT
    assert not world.state.rests


def test_queued_requests_leave_a_variant_that_failed() -> None:
    world = World(ONE_CORE)
    running, waiting = world.ask(latency_budget_ns=SECOND), world.ask(latency_budget_ns=2 * SECOND)
    world.fail(running)
    world.end_stage(running, confidence=1.0)
    assert [d.decision.variant for d in world.decided[waiting]] == ["large", "staged"]


def test_a_failed_load_sends_requests_elsewhere() -> None:
    world = World(load_all=False)
    request_id = world.ask(variant="large")
    load = world.loads.pop()
    world.feed(ev.LoadFailed(load.task, load.variant, load.pool, "no such file"))
    assert world.decision(request_id).processor == "cpu:0-1", "the other pool may do better"
    load = world.loads.pop()
    world.feed(ev.LoadFailed(load.task, load.variant, load.pool, "no such file"))
    result = world.result(request_id)
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.VARIANT)
    assert result.reason == "no such file"


def test_failed_loads_leave_a_request_to_what_is_in_memory() -> None:
    world = World(load_all=False, families=((family(), PROFILES),))
    request_id = world.ask(min_accuracy_frac=0.85, latency_budget_ns=SECOND)
    while world.loads:
        load = world.loads.pop()
        world.feed(ev.LoadFailed(load.task, load.variant, load.pool, "no such file"))
    assert world.decision(request_id).variant == "small"
    assert world.decision(request_id).given_up == (Goal.ACCURACY,)
    world.end_stage(request_id)
    assert world.outcome(request_id) is Outcome.DONE


# ---- illegal events, rules, explanations -----------------------------------------------------------


def test_an_illegal_event_tells_the_story() -> None:
    world = World()
    request_id = world.ask(app="camera")
    with pytest.raises(
        IllegalEventError, match=r"no such stage is running; request so far: .*camera"
    ) as error:
        world.feed(ev.StageFinished(request_id, 1, 1, 1.0, 1.0))
    assert error.value.live is world.state.live[request_id]


def test_no_transition_outside_the_table() -> None:
    world = World()
    live = world.state.live[world.ask()]
    with pytest.raises(AssertionError, match="no transition running -> running"):
        move(live, Phase.RUNNING)
    assert set(TRANSITIONS) == set(ENDINGS) == set(Phase)


def test_rules_apply_by_app() -> None:
    rule = Rule("thrifty", Condition(apps=("widget",)), Change(variants=Filter(deny=("large",))))
    world = World(Policy("p", rules=(rule,), defaults=Settings(energy_price_per_j=0.001)))
    assert world.decision(world.ask(app="camera", latency_budget_ns=SECOND)).variant == "large"
    denied = world.decision(world.ask(app="widget", latency_budget_ns=SECOND))
    assert (denied.variant, denied.rules) == ("staged", ("thrifty",))


def test_explanations_do_not_change_choices() -> None:
    plain, explaining = World(), World(explain=True)
    for world in (plain, explaining):
        for budget_ms in (2, 5, 8, 30, 100):
            world.ask(latency_budget_ns=budget_ms * MS, max_energy_uj=15_000.0, min_accuracy_frac=0.7)
    assert [d[-1].decision for d in plain.decided.values()] == [
        d[-1].decision for d in explaining.decided.values()
    ]
    verdicts = explaining.decided["r8"][-1].verdicts
    assert [v.why for v in verdicts].count(Why.CHOSEN) == 1
    whys = {v.candidate: (v.why, v.detail) for v in verdicts}
    assert whys["large@cpu:1"] == (Why.ENERGY, "20 > 15 mJ")


def test_explains_ties_preferences_and_floors() -> None:
    twins = family(
        variant("a", full(0.9), accuracy=0.9), variant("b", full(0.9), accuracy=0.9), last_resort="a"
    )
    profiles = tuple(profile(name, World().processors[0], (MS,)) for name in "ab")
    world = World(families=((twins, profiles),), explain=True)
    tie = world.decided[world.ask(latency_budget_ns=SECOND)][-1].verdicts
    assert [v.why for v in tie] == [Why.CHOSEN, Why.TIE]
    world = World(explain=True)
    thrifty = world.ask(prefer=Prefer.ENERGY, latency_budget_ns=SECOND, min_accuracy_frac=0.8)
    whys = {v.candidate: (v.why, v.detail) for v in world.decided[thrifty][-1].verdicts}
    assert whys["large@cpu:0"] == (Why.VALUE, "the caller prefers energy")
    assert whys["staged@cpu:0/hasty"] == (Why.ACCURACY, "78.00% < 80.00%")
    world.feed(ev.PolicyReplaced(Policy("s", strategy="smallest")))
    fixed = world.ask(latency_budget_ns=SECOND)
    whys = {v.candidate: (v.why, v.detail) for v in world.decided[fixed][-1].verdicts}
    assert whys["large@cpu:0"] == (Why.VALUE, "the strategy does not use it")


def test_results_add_up() -> None:
    world = World(load_all=False)
    request_id = world.ask(variant="large", latency_budget_ns=SECOND)
    world.finish_loads(after_ns=7 * MS, resident_bytes=3 * MIB)
    world.end_stage(request_id, energy_uj=777.0)
    result = world.result(request_id)
    assert (result.load_ns, result.run_ns, result.queue_ns) == (7 * MS, 10 * MS, 0)
    assert result.energy_uj == 777.0
    assert world.state.sizes[f"t/large@{POOL_1}"] == 3 * MIB


def test_a_fault_is_the_requests_or_the_variants() -> None:
    world = World()
    with pytest.raises(IllegalEventError, match="a fault is one of request, variant"):
        world.feed(ev.RunFailed(world.ask(), 0, "boom", fault="weather"))


def test_an_id_in_flight_and_an_empty_batch_are_illegal() -> None:
    world = World()
    request_id = world.ask()
    with pytest.raises(IllegalEventError, match="this id is in flight"):
        world.ask(request_id)
    with pytest.raises(IllegalEventError, match="a batch has at least one sample, not 0"):
        world.ask(batch=0)
