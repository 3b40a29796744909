"""Processors that nothing has run on for long are looked at now and then, where that harms nobody."""

from typing import Any

from tests.core.world import MS, World

from trimtab.core.probing import LOOK_EVERY, MAX_LOSS, PROBE_EVERY
from trimtab.core.state import Rest
from trimtab.domain.decision import Cause, Outcome
from trimtab.domain.policy import Policy, Settings
from trimtab.domain.request import Prefer

SECOND = 1000 * MS
POLICY = Policy("p", defaults=Settings(energy_price_per_j=0.001))


def serve(world: World, count: int, **goals: Any) -> list[str]:
    """Let requests come a tenth of a second apart, and return the processors they were given."""
    found = []
    for _ in range(count):
        world.now_ns += 100 * MS
        request_id = world.ask(**goals)
        found.append(world.decision(request_id).processor)
        while request_id in world.runs:
            world.end_stage(request_id, confidence=1.0)
    return found


def unsure(world: World, name: str = "cpu:1") -> None:
    """Make a processor look slow, long ago."""
    estimate = world.state.estimates[name]
    estimate.mean, estimate.variance, estimate.observations = 1.0, 0.2, 1
    estimate.updated_ns = estimate.since_ns = 0
    world.now_ns += 20 * SECOND


def test_a_processor_thought_slow_is_found_to_be_fast_again() -> None:
    world = World(POLICY)
    unsure(world)
    processors = serve(world, 3 * PROBE_EVERY, latency_budget_ns=SECOND)
    assert 1 <= processors.count("cpu:1") <= 3, "one request in a hundred at most"
    assert abs(world.state.estimates["cpu:1"].mean) < 0.1
    probes = [each[0].decision for each in world.decided.values() if each[0].decision.probe]
    assert {one.processor for one in probes} <= {"cpu:1", "cpu:0-1"}
    assert "a probe of cpu:1" in next(one for one in probes if one.processor == "cpu:1").summary


def test_requests_that_cannot_afford_it_do_not_probe() -> None:
    goals: dict[str, Any]
    for goals in (
        {"latency_budget_ns": 12 * MS},
        {"latency_budget_ns": SECOND, "prefer": Prefer.LATENCY},
        {"latency_budget_ns": SECOND, "prefer": Prefer.ENERGY, "max_energy_uj": 1.0},
    ):
        world = World(POLICY)
        unsure(world)
        serve(world, 2 * LOOK_EVERY, **goals)
        assert not any(each[0].decision.probe for each in world.decided.values()), goals


def test_a_probe_costs_hardly_any_value() -> None:
    world = World(POLICY, explain=True)
    unsure(world)
    serve(world, 2 * PROBE_EVERY, latency_budget_ns=SECOND)
    told = [each[0] for each in world.decided.values() if each[0].decision.probe]
    assert told
    for one in told:
        best = max(verdict.value for verdict in one.verdicts)
        assert one.decision.value >= best - MAX_LOSS


def test_a_fixed_strategy_never_probes() -> None:
    world = World(Policy("p", strategy="largest"))
    unsure(world)
    assert "cpu:1" not in serve(world, 2 * PROBE_EVERY, latency_budget_ns=SECOND)


# ---- processors that fail ------------------------------------------------------------------------------


def test_three_failures_in_a_row_let_a_processor_rest() -> None:
    world = World(POLICY)
    for name in ("large", "staged", "small"):
        request_id = world.ask(variant=name, latency_budget_ns=SECOND)
        assert world.runs[request_id].processor == "cpu:0"
        world.fail(request_id)
        world.finish_loads()
        while request_id in world.runs:
            world.end_stage(request_id, confidence=1.0)
    assert world.state.rests["cpu:0"].until_ns > world.now_ns
    assert "cpu:0" not in serve(world, 5, latency_budget_ns=SECOND)


def test_a_processor_is_used_again_after_its_rest_and_then_forgiven() -> None:
    world = World(POLICY)
    world.state.rests["cpu:0"] = Rest(3, world.now_ns + 30 * SECOND)
    world.scheduler.chooser.forget()
    assert "cpu:0" not in serve(world, 5, latency_budget_ns=SECOND)
    world.now_ns += 31 * SECOND
    assert "cpu:0" in serve(world, 5, latency_budget_ns=SECOND)
    assert "cpu:0" not in world.state.rests


def test_the_only_processor_never_rests() -> None:
    one = Policy("p", defaults=Settings(energy_price_per_j=0.001))
    world = World(one, processors=(World().processors[0],))
    for name in ("large", "staged", "small"):
        world.fail(world.ask(variant=name, latency_budget_ns=SECOND))
    assert world.state.rests["cpu:0"].failures == 3
    assert world.state.rests["cpu:0"].until_ns == 0
    refused = world.ask(variant="small", latency_budget_ns=SECOND)
    assert world.outcome(refused) is Outcome.REJECTED
    assert world.result(refused).cause is Cause.GOALS
