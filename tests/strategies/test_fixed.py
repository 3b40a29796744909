"""The strategies that never adapt."""

import pytest
from tests.core.world import MS, POOL_1, PROFILES, SMALL, World, family

from trimtab.core import events as ev
from trimtab.core.lifecycle import IllegalEventError
from trimtab.core.selection import NetValue, Table
from trimtab.domain.decision import Cause
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, Filter, Goal, MemoryGoal, Policy, Settings
from trimtab.strategies import strategy_named
from trimtab.strategies.fixed import Largest, Smallest, Static

SECOND = 1000 * MS


def world(strategy: str, **settings: object) -> World:
    return World(Policy("p", strategy=strategy, defaults=Settings(**settings)))  # type: ignore[arg-type]


def test_names() -> None:
    assert isinstance(strategy_named("value"), NetValue)
    assert isinstance(strategy_named("largest"), Largest)
    assert isinstance(strategy_named("smallest"), Smallest)
    static = strategy_named("static:large@cpu:1")
    assert isinstance(static, Static)
    assert (static.variant, static.processor) == ("large", "cpu:1")


@pytest.mark.parametrize("name", ["", "static", "static:large", "static:@cpu", "static:a@", "best"])
def test_unknown_names_tell_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        strategy_named(name)
    with pytest.raises(IllegalEventError, match="expected"):
        World().feed(ev.PolicyReplaced(Policy("p", strategy=name)))


def test_largest_whatever_the_goals() -> None:
    fixed = world("largest", energy_price_per_j=1000.0)
    for budget_ms in (1, 100):
        decision = fixed.decision(fixed.ask(latency_budget_ns=budget_ms * MS))
        assert decision.variant == "large"
    assert fixed.decision("r4").given_up == (Goal.DEADLINE,)
    assert fixed.decision("r5").given_up == ()


def test_largest_runs_where_it_finishes_first() -> None:
    policy = Policy("p", strategy="largest", defaults=Settings(latency_budget_ns=SECOND))
    fixed = World(policy, processors=World().processors[:2])
    placed = [fixed.decision(fixed.ask()).processor for _ in range(3)]
    assert placed == ["cpu:0", "cpu:1", "cpu:0"]


def test_smallest_even_below_the_floor() -> None:
    fixed = world("smallest", min_accuracy_frac=0.9, max_energy_uj=1.0)
    decision = fixed.decision(fixed.ask(latency_budget_ns=SECOND))
    assert (decision.variant, decision.given_up) == ("small", (Goal.ENERGY, Goal.ACCURACY))


def test_static_stays_where_it_is() -> None:
    fixed = world("static:small@cpu:1")
    assert {fixed.decision(fixed.ask(latency_budget_ns=SECOND)).candidate for _ in range(3)} == {
        "small@cpu:1"
    }


def test_limits_of_the_device_hold_for_them_too() -> None:
    denied = world("static:large@cpu:0", variants=Filter(deny=("large",)))
    result = denied.result(denied.ask())
    assert result.cause is Cause.GOALS
    assert result.reason.endswith("not used by this strategy")
    small = World(Policy("p", strategy="largest", memory=MemoryGoal(limit_bytes=3 << 20)), load_all=False)
    assert "it does not fit into memory" in small.result(small.ask()).reason
    empty = World(Policy("p", strategy="largest", battery=BatteryGoal(0.5)), device=DeviceState(0.5, 100.0))
    assert empty.result(empty.ask()).cause is Cause.GOALS


def test_an_empty_table_has_no_choice() -> None:
    one = World(families=((family(SMALL), PROFILES[:3]),))
    request_id = one.ask()
    live = one.state.live[request_id]
    table = one.scheduler.chooser.table("t", "", live.request.prefer, one.now_ns)
    at = one.scheduler.chooser.situation(live, table, one.now_ns)
    empty = Table(table.settings, (), (), 0.0, 1.0)
    for name in ("value", "largest", "smallest", "static:small@cpu:0"):
        assert strategy_named(name).choose(empty, at, live, one.state) is None
    assert f"t/small@{POOL_1}" in one.state.residences
