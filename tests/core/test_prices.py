"""The price of energy against cases worked out by hand, and the battery's account."""

from math import exp, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.world import MS, World

from trimtab.core import events as ev
from trimtab.core.prices import (
    TILT,
    Clearing,
    Market,
    concave_hull,
    energy_left_j,
    energy_price,
    horizon_left_s,
    note_answer,
    note_arrival,
    note_reading,
    rate_per_s,
    spare_uj,
    surprise,
    tilted_price,
)
from trimtab.core.state import Demand, Energy, Flow, Forecast, Stream
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, BelowReserve, Policy, Settings

S = 1000 * MS
HULL = ((1.0, 0.6), (2.0, 0.8), (4.0, 0.9))
"""Slopes 0.2 and 0.05 utility per joule."""


@pytest.mark.parametrize(
    ("budget_j", "price"),
    [
        (1000.0, 0.0),  # 100 x 4 J for everyone
        (400.0, 0.0),  # exactly enough
        (399.0, 0.05),  # runs out in the second segment
        (201.0, 0.05),
        (199.0, 0.2),  # runs out in the first
        (101.0, 0.2),
        (99.0, 0.2),  # not even the cheapest: the steepest step, and no share of it
    ],
)
def test_the_price_is_the_slope_where_the_budget_runs_out(budget_j: float, price: float) -> None:
    assert energy_price([Market(100.0, HULL)], budget_j).price_per_j == pytest.approx(price)


def test_two_tasks_share_one_budget_by_slope() -> None:
    """Cheapest for both: 100 + 10 J; then steps 0.3 (20 J), 0.2 (100 J), 0.05 (200 J)."""
    markets = [Market(100.0, HULL), Market(10.0, ((1.0, 0.2), (3.0, 0.8)))]
    budgets = {120.0: 0.3, 131.0: 0.2, 240.0: 0.05, 431.0: 0.0}
    assert {b: energy_price(markets, b).price_per_j for b in budgets} == pytest.approx(budgets)


def test_no_demand_has_no_price() -> None:
    assert energy_price([], 0.0) == (0.0, 1.0)
    assert energy_price([Market(5.0, ())], -1.0) == (0.0, 1.0)
    assert energy_price([Market(5.0, ((1.0, 0.5),))], 0.0) == (0.0, 1.0)


def test_the_hull_drops_what_is_dominated_or_bends_up() -> None:
    offers = [(4.0, 0.9), (1.0, 0.6), (1.0, 0.5), (3.0, 0.82), (2.0, 0.8), (5.0, 0.9)]
    assert concave_hull(offers) == HULL
    assert concave_hull([]) == ()


points = st.tuples(st.floats(0.001, 10.0), st.floats(0.0, 1.0))


@given(st.lists(points, min_size=1, max_size=12), st.floats(0.0, 5.0))
def test_the_hull_keeps_the_best_offer_at_any_price(offers: list[tuple[float, float]], price: float) -> None:
    def worth(offer: tuple[float, float]) -> float:
        return offer[1] - price * offer[0]

    hull = concave_hull(offers)
    assert max(map(worth, hull)) == pytest.approx(max(map(worth, offers)), abs=1e-9)
    assert list(hull) == sorted(hull)


def test_the_scheduler_prices_energy_by_the_horizon() -> None:
    """1 request per second for 100 s; small takes 2 mJ for 0.80, patient 6.8 mJ for 0.90, large 20 mJ for 0.95."""
    goal = BatteryGoal(0.0, last_for_ns=100 * S)
    for capacity_j, price in ((10.0, 0.0), (1.0, 0.05 / 13.2e-3), (0.3, 0.1 / 4.8e-3)):
        world = World(Policy("p", battery=goal), device=DeviceState(charging=True))
        world.state.device = DeviceState(1.0, capacity_j)
        world.state.energy = Energy(since_ns=world.now_ns, reading_frac=1.0)
        world.state.policy_since_ns = world.now_ns
        flow = Flow(recent=600.0, late=10_000.0)
        world.state.forecast = Forecast(
            world.now_ns, 590.0, 9990.0, 9990.0, streams={"t": Stream("t", flow=flow)}
        )
        clearing = world.scheduler.chooser.markets.clearing(world.now_ns).energy
        assert clearing.price_per_j == pytest.approx(price, rel=0.01)


def test_charging_and_no_horizon_have_no_price() -> None:
    world = World(Policy("p", battery=BatteryGoal(0.1)), device=DeviceState(1.0, 0.1))
    assert world.state.energy.price_per_j == 0.0
    world.feed(ev.PolicyReplaced(Policy("p", battery=BatteryGoal(0.1, last_for_ns=900 * S))))
    assert world.state.energy.price_per_j > 0.0
    assert world.decision(world.ask(latency_budget_ns=S)).variant == "small"
    world.feed(ev.DeviceChanged(DeviceState(1.0, 0.1, charging=True)))
    assert world.state.energy.price_per_j == 0.0


def test_the_floor_limits_what_the_horizon_counts_on() -> None:
    for floor, saves in ((0.0, True), (0.95, False)):
        policy = Policy(
            "p", battery=BatteryGoal(last_for_ns=900 * S), defaults=Settings(min_accuracy_frac=floor)
        )
        world = World(policy, device=DeviceState(1.0, 0.1))
        for _ in range(3):
            world.ask(variant="small")
        world.ask(variant="small", app=str(world.now_ns))
        world.now_ns += 2 * S
        world.ask(variant="small")
        assert (world.state.energy.price_per_j > 0.0) is saves, (
            "only large meets 0.95: nothing cheaper to buy"
        )


def test_prices_again_after_many_arrivals_or_a_second() -> None:
    world = World(Policy("p", battery=BatteryGoal(0.1, last_for_ns=900 * S)), device=DeviceState(1.0, 50.0))
    priced_ns = world.state.energy.priced_ns
    world.now_ns += S // 2
    for _ in range(127):
        world.ask(variant="small")
    assert world.state.energy.priced_arrivals <= world.state.arrivals - 120 or (
        world.state.energy.priced_ns > priced_ns
    )
    world.now_ns += 2 * S
    world.ask()
    assert world.state.energy.priced_ns == world.now_ns


def test_the_horizon() -> None:
    device = DeviceState(local_time_s=82_800)
    until = BatteryGoal(last_until_s=79_200)
    assert horizon_left_s(BatteryGoal(), device, 0, 0, 0) is None
    assert horizon_left_s(until, device, 0, 0, 0) == 82_800, "23:00 until 22:00 tomorrow"
    assert horizon_left_s(BatteryGoal(last_for_ns=10 * S), device, 0, 4 * S, 6 * S) == 8.0
    assert horizon_left_s(BatteryGoal(last_for_ns=10 * S), device, 0, 0, 10 * S) is None


def test_learns_the_devices_own_drain() -> None:
    """The battery loses 10 J in 10 s, 4 J of them ours: 6 J are the device's own."""
    energy, drain = Energy(), Flow()
    note_reading(energy, drain, DeviceState(1.0, 1000.0), 0)
    energy.own_uj = 4e6
    note_reading(energy, drain, DeviceState(1.0, 1000.0), 5 * S)
    assert drain.fresh == 0.0, "the gauge has not moved"
    note_reading(energy, drain, DeviceState(0.99, 1000.0), 10 * S)
    assert drain.fresh == pytest.approx(6.0)
    assert energy.own_uj == 0.0


def test_a_falling_gauge_bounds_our_own_account() -> None:
    """Steps are 10 J. By our account 3 J were used when the gauge fell by 10: the charge is no higher than it says."""
    energy, drain = Energy(), Flow()
    note_reading(energy, drain, DeviceState(1.0, 1000.0), 0)
    energy.own_uj = 3e6
    note_reading(energy, drain, DeviceState(0.99, 1000.0), 1 * S)
    assert energy_left_j(energy, DeviceState(0.99, 1000.0), 0.5, 1 * S) == pytest.approx(490.0)
    assert energy.doubt_j == pytest.approx(7.0)
    energy.own_uj = 12e6  # 2 J more than the gauge has seen: it may not have moved yet
    note_reading(energy, drain, DeviceState(0.98, 1000.0), 2 * S)
    assert energy_left_j(energy, DeviceState(0.98, 1000.0), 0.5, 2 * S) == pytest.approx(478.0)
    assert energy.doubt_j == pytest.approx(3.5), "half of what it was: our account was right"
    energy.own_uj = 20e6  # more than a step below: the gauge would have fallen
    note_reading(energy, drain, DeviceState(0.98, 1000.0), 3 * S)
    assert energy_left_j(energy, DeviceState(0.98, 1000.0), 0.5, 3 * S) == pytest.approx(470.0)


def test_time_on_the_charger_counts_for_nothing() -> None:
    energy, plugged, unplugged = Energy(), DeviceState(1.0, 1000.0, charging=True), DeviceState(1.0, 1000.0)
    energy.background_mw = 1000.0
    note_reading(energy, Flow(), plugged, 0)
    note_reading(energy, Flow(), plugged, 3600 * S)
    note_reading(energy, Flow(), unplugged, 3660 * S, was_charging=True)
    assert energy.since_ns == 3660 * S
    assert energy_left_j(energy, unplugged, 0.0, 3661 * S) == pytest.approx(999.0)


def test_what_may_be_spent() -> None:
    energy = Energy(committed_uj=2_000_000, since_ns=0)
    assert spare_uj(energy, DeviceState(), 0.1, 0) == inf
    assert spare_uj(energy, DeviceState(0.05, charging=True), 0.1, 0) == inf
    assert spare_uj(energy, DeviceState(0.05), 0.1, 0) == 0.0
    assert spare_uj(energy, DeviceState(0.2), 0.1, 0) == inf
    assert spare_uj(energy, DeviceState(0.2, 100.0), 0.1, 0) == pytest.approx(8e6)
    energy.kept_j, energy.doubt_j = 3.0, 1.0
    assert spare_uj(energy, DeviceState(0.2, 100.0), 0.1, 0) == pytest.approx(4e6)


def test_forgets_arrivals() -> None:
    demand = Demand()
    for second in range(300):
        note_arrival(demand, second * S)
    assert rate_per_s(demand, 300 * S) == pytest.approx(1.0, rel=0.03)
    assert rate_per_s(demand, 330 * S) == pytest.approx(exp(-1.0), rel=0.03)


@pytest.mark.parametrize(
    ("budget_j", "share"), [(99.0, 0.0), (101.0, 0.01), (150.0, 0.5), (300.0, 0.5), (400.0, 1.0)]
)
def test_the_share_is_how_much_of_the_segment_the_budget_buys(budget_j: float, share: float) -> None:
    """100 J for the cheapest, then 100 J to the second point and 200 J to the third."""
    assert energy_price([Market(100.0, HULL)], budget_j).share == pytest.approx(share)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_the_price_in_use_is_below_the_dual_for_the_share_of_time(share: float) -> None:
    energy, dual = Energy(), 2.0
    prices = [tilted_price(energy, Clearing(dual, share)) for _ in range(200)]
    assert all(abs(price / dual - 1.0) == pytest.approx(TILT) for price in prices)
    assert sum(price < dual for price in prices) == pytest.approx(200 * share, abs=1)
    assert tilted_price(energy, Clearing(0.0, 1.0)) == 0.0


def rationing(below: BelowReserve = BelowReserve.REJECT, capacity_j: float = 1.0) -> World:
    policy = Policy("p", battery=BatteryGoal(last_for_ns=100 * S, below_reserve=below))
    return World(policy, device=DeviceState(1.0, capacity_j), load_all=False)


def expect_requests(world: World, per_s: float) -> None:
    flow = Flow(recent=600.0 * per_s, late=10_800.0 * per_s)
    world.state.forecast = Forecast(
        world.now_ns, 590.0, 10_790.0, 10_790.0, streams={"t": Stream("t", flow=flow)}
    )
    world.feed(ev.DeviceChanged(world.state.device))


def test_what_others_would_do_more_with_is_refused_where_the_policy_rejects() -> None:
    """1000 requests a second on 1 J: small, the best per joule, serves one in 200; its price is above all others."""
    for below, refused in ((BelowReserve.REJECT, True), (BelowReserve.CHEAPEST, False)):
        world = rationing(below)
        expect_requests(world, 1000.0)
        reasons = [world.result(r).reason for r in [world.ask() for _ in range(20)] if r in world.finished]
        assert bool(reasons) is refused
        assert all("worth more" in reason for reason in reasons)
        assert world.state.energy.price_per_j > 0.0


def test_nobody_is_refused_when_energy_lasts() -> None:
    world = rationing(capacity_j=1000.0)
    expect_requests(world, 1.0)
    assert world.decision(world.ask(latency_budget_ns=S)).energy_price_per_j == 0.0


def test_where_energy_is_rationed_the_first_request_loads_the_last_resort() -> None:
    assert not rationing().state.residences
    world = rationing(BelowReserve.CHEAPEST)
    assert [r.variant for r in world.state.residences.values()] == ["small"]


offerings = st.lists(
    st.tuples(st.floats(0.1, 100.0), st.lists(points, min_size=1, max_size=5)), min_size=1, max_size=4
)


@given(offerings, st.floats(0.0, 500.0), st.floats(0.0, 100.0))
def test_more_budget_never_raises_the_price(
    given_offers: list[tuple[float, list[tuple[float, float]]]], budget_j: float, more_j: float
) -> None:
    markets = [Market(n, concave_hull(offers)) for n, offers in given_offers]
    price = energy_price(markets, budget_j).price_per_j
    assert energy_price(markets, budget_j + more_j).price_per_j <= price


@given(st.lists(points, min_size=1, max_size=8), st.floats(0.0, 5.0), st.floats(0.0, 5.0))
def test_a_lower_price_never_lowers_the_energy_bought(
    offers: list[tuple[float, float]], price: float, less: float
) -> None:
    def bought(at: float) -> float:
        return max(concave_hull(offers), key=lambda o: (o[1] - at * o[0], o[0]))[0]

    assert bought(max(0.0, price - less)) >= bought(price) - 1e-9


def test_requests_that_take_more_than_told_shrink_the_budget() -> None:
    """Two of 1 mJ that took 1 and 3 mJ took about twice what was told; less than told lends nothing, by hand."""
    energy = Energy()
    assert surprise(energy) == 1.0
    note_answer(energy, 1000.0, 1000.0)
    note_answer(energy, 1000.0, 3000.0)
    assert surprise(energy) == pytest.approx((0.99 * 1000.0 + 3000.0) / (0.99 * 1000.0 + 1000.0))
    thrifty = Energy()
    note_answer(thrifty, 1000.0, 100.0)
    assert surprise(thrifty) == 1.0
