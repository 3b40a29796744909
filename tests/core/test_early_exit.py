"""Staged variants: when they go on and when they stop."""

from typing import Any

from tests.core.world import MS, World

from trimtab.domain.decision import Outcome
from trimtab.domain.policy import Goal, Policy, Settings

SECOND = 1000 * MS
STAGED: dict[str, Any] = {"variant": "staged", "latency_budget_ns": SECOND}


def policy(**settings: object) -> Policy:
    settings.setdefault("energy_price_per_j", 0.001)
    return Policy("p", defaults=Settings(**settings))  # type: ignore[arg-type]


def stages(world: World, request_id: str, confidence: float, factor: float = 1.0) -> int:
    """Run a request to its end and return the exit it left at."""
    while request_id in world.runs:
        world.end_stage(request_id, confidence, factor)
    assert world.outcome(request_id) is Outcome.DONE
    return world.result(request_id).exit_index


def ask_by(world: World, exit_rule: str) -> str:
    """Let a request run the staged variant under a certain exit rule."""
    request_id = world.ask(**STAGED)
    live, names = world.state.live[request_id], [f"staged@{p.name}/{exit_rule}" for p in world.processors]
    found = {c.processor: c for c in world.scheduler.chooser.candidates["t"] if c.name in names}
    assert live.candidate is not None
    live.candidate = found[live.candidate.processor]
    world.finish_loads()
    return request_id


def test_stops_when_confident() -> None:
    world = World(policy())
    assert stages(world, world.ask(**STAGED), confidence=0.95) == 0


def test_goes_to_the_end_when_never_confident() -> None:
    world = World(policy())
    request_id = world.ask(**STAGED)
    assert stages(world, request_id, confidence=0.1) == 2
    assert world.result(request_id).given_up == ()
    assert world.result(request_id).run_ns == 6 * MS


def test_stops_when_the_next_stage_would_miss_the_deadline() -> None:
    world = World(policy())
    request_id = world.ask(variant="staged", latency_budget_ns=7 * MS)
    assert stages(world, request_id, confidence=0.1, factor=1.5) == 1
    assert world.result(request_id).on_time
    assert world.result(request_id).given_up == ()


def test_says_that_the_floor_was_given_up_when_stopped_below_it() -> None:
    world = World(policy())
    request_id = world.ask(variant="staged", latency_budget_ns=9 * MS, min_accuracy_frac=0.9)
    assert world.decision(request_id).given_up == ()
    assert stages(world, request_id, confidence=0.1, factor=1.9) == 1
    assert world.result(request_id).given_up == (Goal.ACCURACY,)


def test_is_rather_late_when_the_policy_gives_up_the_deadline_first() -> None:
    for order in ((Goal.DEADLINE,), (Goal.DEADLINE, Goal.ACCURACY)):
        world = World(policy(give_up=order))
        request_id = world.ask(variant="staged", latency_budget_ns=9 * MS, min_accuracy_frac=0.9)
        assert stages(world, request_id, confidence=0.1, factor=1.9) == 2
        assert not world.result(request_id).on_time


def test_stops_in_time_when_neither_may_be_given_up() -> None:
    world = World(policy(give_up=(Goal.ENERGY,)))
    request_id = world.ask(variant="staged", latency_budget_ns=9 * MS, min_accuracy_frac=0.9)
    assert stages(world, request_id, confidence=0.1, factor=1.9) == 1


def test_stops_when_no_later_exit_is_worth_its_energy() -> None:
    """From exit 0: 0.15 / 0.5 more accuracy for 4 mJ at exit 1, 0.2 / 0.5 for 8 mJ at exit 2."""
    for price, reached in ((50.0, 2), (70.0, 1), (80.0, 0)):
        world = World(policy(energy_price_per_j=price))
        assert stages(world, ask_by(world, "patient"), confidence=0.1) == reached, price


def test_time_has_a_price_too() -> None:
    world = World(policy(energy_price_per_j=0.0, latency_price_per_s=400.0))
    assert stages(world, ask_by(world, "patient"), confidence=0.1) == 0


def test_the_floor_goes_on_at_any_price() -> None:
    world = World(policy(energy_price_per_j=1000.0, min_accuracy_frac=0.85))
    request_id = world.ask(variant="staged", latency_budget_ns=SECOND)
    assert stages(world, request_id, confidence=0.1) == 1


def test_an_exit_that_adds_nothing_is_not_run() -> None:
    """The hasty rule's last exit is as accurate as the one before it."""
    world = World(policy(energy_price_per_j=0.0))
    assert stages(world, ask_by(world, "hasty"), confidence=0.1) == 1
