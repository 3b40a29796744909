"""Money for servers: the account is never overdrawn, and its price is the dual of two budgets."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.test_links import OPEN, world
from tests.core.world import MS

from trimtab.core import events as ev
from trimtab.core.money import Lot, Offer, two_prices
from trimtab.domain.decision import Cause, Outcome, Why
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import MoneyGoal, Settings
from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.bound import Kind, two_budget_bound

NOTHING = Offer(0.0, 0.0, 0.0)
HERE = (Offer(1.0, 0.6, 0.0), Offer(4.0, 0.9, 0.0))
THERE = (Offer(0.0, 0.5, 0.001), Offer(0.0, 0.9, 0.003))
HOUR_NS = 3600 * NS_PER_S


def rich(budget_usd: float, **horizon: int) -> object:
    """Return a policy with this much money; a run on the test's server costs one cent."""
    return replace(OPEN, money=MoneyGoal(budget_usd, **horizon))


# ---- the price -----------------------------------------------------------------------------------------


def test_prices_of_two_budgets_by_hand() -> None:
    """100 requests at home or away, no joule to spend: a dollar buys 500, then (0.9 - 0.5) / 0.002 = 200 of utility."""
    lots = [Lot(100.0, (NOTHING, *HERE, *THERE))]
    plenty = two_prices(lots, 0.0, 0.4)
    assert plenty.money.price_per_j == 0.0
    some = two_prices(lots, 0.0, 0.2)
    assert some.money.price_per_j == pytest.approx(200.0)
    assert some.money.share == pytest.approx(0.5)
    little = two_prices(lots, 0.0, 0.05)
    assert little.money.price_per_j == pytest.approx(500.0)


def test_more_energy_makes_money_cheaper() -> None:
    lots = [Lot(100.0, (NOTHING, *HERE, *THERE))]
    prices = [two_prices(lots, budget_j, 0.1).money.price_per_j for budget_j in (0.0, 50.0, 200.0, 400.0)]
    assert prices == sorted(prices, reverse=True)
    assert prices[0] > 100.0 > 1e-5 > prices[-1]


offers = st.lists(
    st.builds(Offer, st.floats(0.01, 5.0), st.floats(0.01, 1.0), st.sampled_from([0.0, 1e-6, 3e-6, 2e-5])),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 200), offers), min_size=1, max_size=4),
    st.floats(0.0, 500.0),
    st.floats(0.0, 2e-3),
    st.sampled_from([0.0, 10.0, 1e4, 1e6]),
)
def test_the_prices_are_those_of_the_linear_program(
    lots: list[tuple[int, list[Offer]]], budget_j: float, budget_usd: float, near: float
) -> None:
    """At the dual, what requests are worth after paying plus what the budgets are worth is the program's optimum."""
    found = two_prices(
        [Lot(float(count), (NOTHING, *some)) for count, some in lots], budget_j, budget_usd, near
    )
    joule, dollar = found.energy.price_per_j, found.money.price_per_j
    dual = joule * budget_j + dollar * budget_usd
    for count, some in lots:
        dual += count * max(o.utility - joule * o.energy_j - dollar * o.usd for o in (NOTHING, *some))
    kinds = [
        Kind([o.utility for o in some], [o.energy_j * 1e6 for o in some], [o.usd for o in some], count)
        for count, some in lots
    ]
    best = two_budget_bound(kinds, budget_j * 1e6, budget_usd).accuracy_mean * sum(c for c, _ in lots)
    assert dual == pytest.approx(best, rel=1e-6, abs=1e-6)


# ---- the account ---------------------------------------------------------------------------------------


def test_what_is_in_flight_is_promised_and_what_was_charged_is_gone() -> None:
    it = world(rich(0.05))  # type: ignore[arg-type]
    spent = it.state.money.spent_usd
    asked = it.ask()
    promised = it.state.money.committed_nusd / 1e9
    assert 0.010 < promised < 0.015, "a slow run costs more than the usual one"
    del it.runs[asked]
    it.feed(ev.StageFinished(asked, 0, 30 * MS, 100.0, 0.9, cost_usd=0.011), 30 * MS)
    assert it.state.money.committed_nusd == 0
    assert it.state.money.spent_usd == pytest.approx(spent + 0.011)


def test_money_is_never_overdrawn() -> None:
    it = world(rich(0.05), explain=True)  # type: ignore[arg-type]
    asked = [it.ask() for _ in range(10)]
    away = [one for one in asked if it.runs.get(one) and it.runs[one].processor == "cloud"]
    assert 1 <= len(away) <= 4, "each may cost more than a cent"
    here = [v for v in it.decided[asked[-1]][-1].verdicts if v.candidate == "best@cloud"]
    assert here[0].why is Why.MONEY
    for one in away:
        del it.runs[one]
        it.feed(ev.StageFinished(one, 0, 30 * MS, 100.0, 0.9, cost_usd=0.012), MS)
    assert it.state.money.spent_usd <= 0.05


def test_a_request_that_only_money_keeps_from_an_answer_is_told_so() -> None:
    it = world(rich(0.001))  # type: ignore[arg-type]
    asked = it.ask(variant="best")
    assert it.outcome(asked) is Outcome.REJECTED
    assert it.result(asked).cause is Cause.MONEY


def test_a_policy_may_price_money_itself() -> None:
    """A cent is worth one point of accuracy and a half: the server's 0.99 does not pay against the 0.80 here."""
    dear = replace(
        OPEN, defaults=Settings(energy_price_per_j=0.001, allow_remote=True, money_price_per_usd=25.0)
    )
    it = world(dear)
    assert it.runs[it.ask()].processor != "cloud"


def test_a_daily_budget_comes_back_at_its_time_of_day() -> None:
    it = world(rich(0.02, last_until_s=22 * 3600), device=DeviceState(local_time_s=21 * 3600))  # type: ignore[arg-type]
    it.state.money.spent_usd = 0.02
    it.feed(ev.DeviceChanged(DeviceState(local_time_s=21 * 3600 + 1800)), HOUR_NS // 2)
    assert it.runs[it.ask()].processor != "cloud"
    it.feed(ev.DeviceChanged(DeviceState(local_time_s=22 * 3600 + 60)), HOUR_NS // 2 + 60 * NS_PER_S)
    assert it.state.money.spent_usd == 0.0
    assert it.state.money.ends_ns == it.now_ns + 24 * HOUR_NS - 60 * NS_PER_S


def test_the_same_goal_again_does_not_give_the_money_back() -> None:
    it = world(rich(0.02))  # type: ignore[arg-type]
    it.state.money.spent_usd = 0.02
    it.feed(ev.PolicyReplaced(replace(it.state.policy, name="other")))
    assert it.state.money.spent_usd == 0.02
    it.feed(ev.PolicyReplaced(rich(0.03)))  # type: ignore[arg-type]
    assert it.state.money.spent_usd == 0.0


def test_without_a_budget_money_is_no_limit() -> None:
    it = world()
    asked = [it.ask() for _ in range(8)]
    assert {it.runs[one].processor for one in asked} == {"cloud"}
    assert it.state.money.price_per_usd == 0.0 < inf
