"""Requests whose variant or input fails, events that cannot happen, and explanations."""

from dataclasses import replace

import pytest
from tests.core.world import (
    MIB,
    MS,
    POOL_1,
    PROFILES,
    SMALL,
    World,
    family,
    full,
    profile,
    variant,
)

from trimtab.core import events as ev
from trimtab.core.lifecycle import ENDINGS, TRANSITIONS, IllegalEventError, move
from trimtab.core.state import Phase
from trimtab.domain.decision import Cause, Outcome, Why
from trimtab.domain.policy import (
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


def test_a_rest_that_is_over_is_over_for_every_table() -> None:
    """Another preference has a table of its own, which did not see the variant work again."""
    world = World(ONE_CORE)
    failed = world.ask(latency_budget_ns=SECOND)
    world.fail(failed)
    world.end_stage(failed, confidence=1.0)
    other = world.ask(latency_budget_ns=SECOND, prefer=Prefer.ACCURACY)
    assert world.decision(other).variant == "staged"
    world.end_stage(other, confidence=1.0)
    world.now_ns += 30 * SECOND
    again = world.ask(latency_budget_ns=SECOND)
    world.end_stage(again)
    assert not world.state.rests
    accurate = world.ask(latency_budget_ns=SECOND, prefer=Prefer.ACCURACY)
    assert world.decision(accurate).variant == "large"


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
