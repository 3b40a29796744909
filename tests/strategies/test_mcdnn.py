"""MCDNN's shares of energy, against figures worked by hand."""

from dataclasses import replace

import pytest
from tests.strategies.situations import GPU, Asked, S, entry

from trimtab.core.state import Holding, Residence, State
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, MoneyGoal, Policy
from trimtab.strategies.mcdnn import Mcdnn, count, frequency, share_j

CHEAP, MIDDLE, DEAR = (
    entry("cheap", 1.0, 0.6, 0.3),
    entry("middle", 2.0, 0.7, 0.9),
    entry("dear", 3.0, 0.8, 1.1),
)


def battery(**changes: object) -> State:
    """Return a state at 100 s: 500 J, 1000 s to go, a request every 2 s: 1 J each."""
    state = State(
        processors=Asked(Mcdnn(), CHEAP).state.processors,
        policy=Policy("p", battery=BatteryGoal(last_for_ns=1100 * S)),
        device=DeviceState(battery_frac=1.0, battery_capacity_j=500.0),
        notes={"requests t": 50.0, "first t": 0.0},
    )
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def ask(*entries: object, state: State, **more: object) -> Asked:
    return Asked(Mcdnn(), *entries, state=state, now_ns=100 * S, **more)  # type: ignore[arg-type]


def test_the_published_share() -> None:
    """0.2/s, 1800 J for 36,000 s: 0.05 W / 0.2 = 0.25 J; with another such task in memory half of it."""
    assert share_j(0.2, 0.0, 1800.0, 36_000.0) == pytest.approx(0.25)
    assert share_j(0.2, 0.04, 1800.0, 36_000.0) == pytest.approx(0.125)


def test_the_most_accurate_within_the_share() -> None:
    assert ask(CHEAP, MIDDLE, DEAR, state=battery()).ask() == ("middle@cpu", False)


def test_other_tasks_in_memory_take_part_of_it() -> None:
    """With f' = 1/s: 0.5 x 0.5 / (1 + 0.25) = 0.2 J: nothing is within it, so the cheapest serves."""
    state = battery()
    state.notes |= {"requests u": 101.0, "first u": 0.0}
    state.residences["u/x@p"] = Residence("u", "x", "p", Holding.RESIDENT, 1, 0, 0)
    assert ask(CHEAP, MIDDLE, DEAR, state=state).ask() == ("cheap@cpu", False)


def test_the_reserve_is_not_shared_out() -> None:
    state = battery(policy=Policy("p", battery=BatteryGoal(0.5, last_for_ns=1100 * S)))
    assert ask(CHEAP, MIDDLE, DEAR, state=state).ask() == ("cheap@cpu", False), "0.5 J each"


def test_what_is_late_is_out() -> None:
    assert ask(CHEAP, MIDDLE, DEAR, state=battery(), budget_ms=1.5).ask() == ("cheap@cpu", False)
    assert ask(CHEAP, MIDDLE, DEAR, state=battery(), budget_ms=0.5).ask() == ("cheap@cpu", True)


@pytest.mark.parametrize(("load_j", "wished"), [(0.9, "middle@cpu"), (1.2, None)])
def test_a_load_is_spread_over_the_time_since_the_last(load_j: float, wished: str | None) -> None:
    """Nothing was loaded for 100 s: 500 J - 0.9 J x 1000/100 leave 0.98 J a request; with 12 J 0.976..."""
    spread = load_j * 10.0
    cold = entry(
        "middle", 2.0, 0.7, 0.9 if spread < 10 else 0.98, resident=False, load_ms=10.0, load_j=load_j
    )
    asked = ask(CHEAP, cold, state=battery(), budget_ms=5.0)
    assert asked.ask() == ("cheap@cpu", False), "it would be late by its load"
    assert asked.wish() == wished


def test_every_variant_is_affordable_without_a_battery() -> None:
    assert ask(CHEAP, MIDDLE, DEAR, state=battery(device=DeviceState())).ask() == ("dear@cpu", False)
    charging = DeviceState(battery_frac=0.1, battery_capacity_j=500.0, charging=True)
    assert ask(CHEAP, MIDDLE, DEAR, state=battery(device=charging)).ask() == ("dear@cpu", False)


def test_frequency_is_the_mean_since_the_first_request() -> None:
    notes: dict[str, float] = {}
    assert frequency(notes, "t", 0) == 0.0
    for second in (10, 12, 14, 18):
        count(notes, "t", second * S)
    assert frequency(notes, "t", 20 * S) == pytest.approx(0.3)


def test_a_server_is_affordable_by_the_money_left() -> None:
    """$1 for 1000 s, a request every 2 s: 0.5 x 0.001 / 0.25 = 0.2 cents each, the energy for sending not asked for."""
    goal = MoneyGoal(1.0, last_for_ns=1100 * S)
    state = battery(policy=Policy("p", battery=BatteryGoal(last_for_ns=1100 * S), money=goal))
    near, far = (
        entry(name, 2.0, accuracy, 2.0, processor=GPU) for name, accuracy in (("fair", 0.85), ("best", 0.9))
    )
    for one, usd in ((near, 0.0019), (far, 0.0021)):
        one.candidate = replace(one.candidate, cost_usd=usd, remote=True)
    assert ask(CHEAP, near, far, state=state).ask() == ("fair@gpu", False)
    assert ask(CHEAP, far, state=state).ask() == ("cheap@cpu", False)
    state.money.spent_usd = 0.1
    assert ask(CHEAP, near, far, state=state).ask() == ("cheap@cpu", False)
