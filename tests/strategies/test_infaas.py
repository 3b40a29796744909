"""INFaaS's recent answers and its bounded scan, against figures worked by hand."""

import pytest
from tests.core.world import World
from tests.strategies.situations import GPU, Asked, entry

from trimtab.domain.policy import Policy
from trimtab.strategies.infaas import RECENT, Infaas

A, B, C, D = (
    entry(name, ms, acc)
    for name, ms, acc in (("a", 1.0, 0.5), ("b", 2.0, 0.6), ("c", 3.0, 0.7), ("d", 3.5, 0.8))
)


def test_scans_three_at_least_and_takes_the_least_slack() -> None:
    """15 % of 4 ms at 0.6 ms each is one; three are looked at, from the least accurate on."""
    assert Asked(Infaas(), A, B, C, D, budget_ms=4).ask() == ("c@cpu", False)
    assert Asked(Infaas(), A, B, C, D, budget_ms=16).ask() == ("d@cpu", False), "15 % of 16 ms: four"


def test_starts_at_the_accuracy_floor() -> None:
    assert Asked(Infaas(), A, B, C, D, budget_ms=3.2, floor=0.6).ask() == ("c@cpu", False)
    assert Asked(Infaas(), A, B, C, D, budget_ms=3.2, floor=0.75).ask() is None


def test_answers_again_what_it_answered_last() -> None:
    floor = Asked(Infaas(), A, B, C, D, budget_ms=4, floor=0.75)
    assert floor.ask() == ("d@cpu", False)
    after = Asked(Infaas(), A, B, C, D, budget_ms=4, state=floor.state)
    assert after.ask() == ("d@cpu", False), (
        "accurate enough and fast enough, though a scan would not reach it"
    )
    tight = Asked(Infaas(), A, B, C, D, budget_ms=2.5, state=floor.state)
    assert tight.ask() == ("b@cpu", False), "3.5 ms are too long: scanned"


def test_remembers_five() -> None:
    many = [entry(f"v{i}", 1.0 + i, 0.5 + i / 100) for i in range(8)]
    state = None
    for one in many:
        asked = Asked(Infaas(), one, budget_ms=50, state=state)
        asked.ask()
        state = asked.state
    assert state is not None
    assert sorted(state.notes) == [f"turn t/v{i}@cpu" for i in range(8 - RECENT, 8)]


def test_prefers_what_is_in_memory_then_the_shortest_load_and_run() -> None:
    cold = [
        entry("quick", 1.0, 0.5, resident=False, load_ms=300),
        entry("light", 9.0, 0.6, resident=False, load_ms=200),
    ]
    assert Asked(Infaas(), *cold, budget_ms=50).ask() == ("light@cpu", True)
    assert Asked(Infaas(), *cold, D, budget_ms=50).ask() == ("d@cpu", False)


def test_loose_budgets_keep_off_accelerators() -> None:
    on_gpu = entry("d", 30.0, 0.8, processor=GPU)
    assert Asked(Infaas(), C, on_gpu, budget_ms=100).ask() == ("d@gpu", False)
    assert Asked(Infaas(), C, on_gpu, budget_ms=101).ask() == ("c@cpu", False)
    assert Asked(Infaas(), on_gpu, budget_ms=101).ask() == ("d@gpu", False), "there is nothing else"


def test_black_lists_what_is_slow_until_it_recovers() -> None:
    asked = Asked(Infaas(), A, B, C, budget_ms=4)
    assert asked.ask() == ("c@cpu", False)
    asked.ran(C, 2.6)
    assert asked.ask() == ("b@cpu", False)
    asked.ran(C, 2.0)
    assert asked.ask() == ("b@cpu", False)
    asked.ran(C, 1.4)
    assert Asked(Infaas(), C, budget_ms=4, state=asked.state).ask() == ("c@cpu", False)


@pytest.mark.parametrize(("wait_ms", "served"), [(799.0, "c@cpu"), (801.0, "a@gpu")])
def test_black_lists_where_much_waits(wait_ms: float, served: str) -> None:
    other = entry("a", 2.0, 0.5, processor=GPU)
    asked = Asked(Infaas(), C, other, budget_ms=100, waits_ms=(wait_ms, 0.0))
    found = asked.ask()
    assert found is not None
    assert found[0] == served


def test_the_least_busy_of_several_cores_serves() -> None:
    world = World(Policy("p", strategy="infaas"), processors=World().processors[:2])
    placed = [world.decision(world.ask(min_accuracy_frac=0.95)).processor for _ in range(4)]
    assert placed == ["cpu:0", "cpu:1", "cpu:0", "cpu:1"]
