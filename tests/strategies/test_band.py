"""Band's three rules, against figures worked by hand."""

import pytest
from tests.core.world import MS, World
from tests.strategies.situations import GPU, Asked, entry

from trimtab.core.state import Phase
from trimtab.domain.decision import Outcome
from trimtab.domain.policy import Policy, Settings
from trimtab.strategies import strategy_named
from trimtab.strategies.band import Band

ON_CPU = entry("net", 10.0, 0.9)
ON_GPU = entry("net", 4.0, 0.9, processor=GPU)
SMALLER = entry("tiny", 1.0, 0.5)


@pytest.mark.parametrize("rule", ["shortest", "slack", "heft"])
def test_goes_where_it_finishes_first(rule: str) -> None:
    free = Asked(Band(rule), ON_CPU, ON_GPU, SMALLER)
    assert free.ask() == ("net@gpu", False)
    busy = Asked(Band(rule), ON_CPU, ON_GPU, SMALLER, waits_ms=(0.0, 7.0))
    assert busy.ask() == ("net@cpu", False), "7 + 4 ms against 10 ms"


def test_smooths_what_runs_took_by_a_tenth() -> None:
    """Three times the profile once: 4 ms x (0.1 x 3 + 0.9) = 4.8 ms."""
    asked = Asked(Band("shortest"), ON_CPU, ON_GPU, waits_ms=(0.0, 5.5))
    assert asked.ask() == ("net@gpu", False), "5.5 + 4 ms against 10"
    asked.ran(ON_GPU, 3.0)
    assert asked.state.notes == {"t/net@gpu": pytest.approx(1.2)}
    assert asked.ask() == ("net@cpu", False), "5.5 + 4.8 ms against 10"


def test_drops_what_would_be_late() -> None:
    late = Asked(Band("slack"), ON_CPU, SMALLER, budget_ms=12, waits_ms=(2.1, 0.0))
    assert late.ask() is None
    assert Asked(Band("slack"), ON_CPU, SMALLER, budget_ms=12, waits_ms=(2.0, 0.0)).ask() == (
        "net@cpu",
        False,
    )


def test_an_app_settles_for_a_model_that_fits_its_budget() -> None:
    assert Asked(Band("slack"), ON_CPU, SMALLER, budget_ms=9.9).ask() == ("tiny@cpu", False)
    assert Asked(Band("slack"), ON_CPU, SMALLER, budget_ms=10).ask() == ("net@cpu", False)
    assert Asked(Band("slack"), ON_CPU, SMALLER, budget_ms=0.5).ask() is None
    over = entry("over", 20.0, 0.95)
    assert Asked(Band("slack"), over, ON_CPU, SMALLER, floor=0.8).ask() == ("net@cpu", False), "the fastest"


def test_a_model_can_be_named() -> None:
    assert Asked(strategy_named("band:slack@tiny"), ON_CPU, ON_GPU, SMALLER).ask() == ("tiny@cpu", False)
    assert Asked(strategy_named("band:slack@none"), ON_CPU, ON_GPU, SMALLER).ask() is None


def test_orders() -> None:
    asked = Asked(Band("heft"), ON_CPU, ON_GPU, budget_ms=100, now_ns=1000 * MS)
    order = {
        rule: Band(rule).order_ns(asked.table, asked.live, asked.state)
        for rule in ("shortest", "slack", "heft")
    }
    assert order == {"shortest": 1000 * MS, "slack": 1096 * MS, "heft": -4 * MS}


def finished(rule: str) -> list[str]:
    """Return the order in which requests for a small and a large model are served on one core."""
    world = World(
        Policy("p", strategy=f"band:{rule}", defaults=Settings(latency_budget_ns=1000 * MS)),
        processors=World().processors[:1],
    )
    world.ask("first", variant="large", latency_budget_ns=500 * MS)
    world.ask("small", variant="small", latency_budget_ns=90 * MS)
    world.ask("large", variant="large", latency_budget_ns=95 * MS)
    world.ask("patient", variant="large", latency_budget_ns=900 * MS)
    done = []
    while world.runs:
        request_id = next(iter(world.runs))
        world.end_stage(request_id)
        done.append(request_id)
    assert all(world.outcome(one) is Outcome.DONE for one in done)
    return done


def test_each_rule_serves_the_queue_in_its_order() -> None:
    assert finished("shortest") == ["first", "small", "large", "patient"], "first come first served"
    assert finished("slack") == ["first", "large", "small", "patient"], "slack 85 before 89 ms"
    assert finished("heft") == ["first", "large", "patient", "small"], "10 ms of work before 1 ms"


def test_is_decided_once_more_when_its_processor_is_free() -> None:
    world = World(Policy("p", strategy="band:slack", defaults=Settings(latency_budget_ns=100 * MS)))
    ids = [world.ask(variant="large") for _ in range(3)]
    waiting = [one for one in ids if world.state.live[one].phase is Phase.QUEUED]
    world.end_stage(ids[0], factor=2.0)
    assert len(world.decided[waiting[0]]) == 2
    plain = World(Policy("p", strategy="band:shortest", defaults=Settings(latency_budget_ns=100 * MS)))
    ids = [plain.ask(variant="large") for _ in range(3)]
    plain.end_stage(ids[0])
    assert len(plain.decided[ids[2]]) == 1


def test_an_unknown_rule() -> None:
    with pytest.raises(ValueError, match="shortest, slack, heft; expected band:"):
        strategy_named("band")
