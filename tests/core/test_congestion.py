"""The price of processor time: its formula by hand, and what it does to choices and to staged runs."""

from dataclasses import replace
from math import e, exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.world import GANG, MS, PLAIN, PROCESSORS, World

from trimtab.core.congestion import FULL, NOTHING, Worth, time_price, time_prices, worth_of
from trimtab.core.explain import UNEXPLAINED
from trimtab.core.queueing import Sharing, lanes_of
from trimtab.core.selection import Lane
from trimtab.core.state import Demand, Estimate, Live, Phase, State
from trimtab.domain.decision import Outcome
from trimtab.domain.policy import Settings
from trimtab.domain.processor import Processor
from trimtab.domain.request import Request

STILL = {one.name: Estimate() for one in PROCESSORS}
fills = st.floats(0.0, 2.0)
slopes = st.floats(1e-9, 1e3)


def test_time_is_worth_the_slopes_of_the_hull_of_accuracy_over_latency() -> None:
    """0.5 in 1 ns, 0.7 in 2 ns, 0.9 in 12 ns; 0.55 in 3 ns lies below the hull."""
    offers = [(1.0, 0.5), (2.0, 0.7), (12.0, 0.9), (3.0, 0.55)]
    assert worth_of(offers) == pytest.approx((0.02, 0.5, 1.0 + log(25.0)))
    assert worth_of([(2.0, 0.8)]) == (0.4, 0.4, 1.0)
    assert worth_of([]) == NOTHING


def test_the_price_rises_from_the_least_worth_to_the_most() -> None:
    """With high / low = e it is low at a fill of one half, high when full, and nothing below one half."""
    worth = Worth(2.0, 2.0 * e, 2.0)
    assert time_price(0.49, worth) == 0.0
    assert time_price(0.5 + 1e-9, worth) == pytest.approx(2.0)
    assert time_price(0.75, worth) == pytest.approx(2.0 * exp(0.5))
    assert time_price(1.0, worth) == pytest.approx(2.0 * e)
    assert time_price(3.0, worth) == pytest.approx(2.0 * e)
    assert time_price(1.0, NOTHING) == 0.0


@given(fill=fills, more=fills, low=slopes, factor=st.floats(1.0, 1e6))
def test_a_fuller_processor_never_costs_less_and_never_more_than_time_is_worth(
    fill: float, more: float, low: float, factor: float
) -> None:
    worth = Worth(low, low * factor, 1.0 + log(factor))
    assert time_price(fill, worth) <= time_price(fill + more, worth) <= worth.high * (1 + 1e-9)


def waiting(*tasks: str) -> dict[str, Live]:
    """Return requests in flight, one for each of these tasks, named by number."""
    return {
        str(index): Live(Request(str(index), task), index, Phase.QUEUED, 0, MS, Settings(), (), "")
        for index, task in enumerate(tasks, 1)
    }


def test_one_request_each_of_several_tasks_is_no_burst() -> None:
    sharing, worths = Sharing(PROCESSORS), (Worth(1.0, 1.0),) * 3
    lanes = [Lane(0, 0, full=False, fill=FULL)] * 3
    queue = [(1, 1, number, str(number)) for number in (1, 2, 3)]
    apart = State(estimates=STILL, queue=queue, live=waiting("a", "b", "c"))
    together = State(estimates=STILL, queue=queue, live=waiting("a", "a", "a"))
    assert time_prices(apart, sharing, lanes, worths, MS, 0) == pytest.approx([0.0] * 3)
    prices = time_prices(together, sharing, lanes, worths, MS, 0)
    assert prices is not None
    assert prices[0] == pytest.approx(1 - exp(-2))


def test_a_wide_processor_costs_what_its_cores_do_and_those_that_wait_are_few_count_less() -> None:
    sharing = Sharing(PROCESSORS)
    worths = (Worth(1.0, 1.0), Worth(1.0, e, 2.0), Worth(5.0, 5.0))
    lanes = [Lane(0, 0, full=False, fill=FULL), Lane(0, 0, full=False, fill=FULL), Lane(0, 0, full=False)]
    state = State(estimates=STILL, queue=[(1, 1, i, str(i)) for i in range(40)])
    assert time_prices(state, sharing, lanes, worths, MS, 0) == pytest.approx([1.0, e, 1.0 + e])
    state = State(estimates=STILL, queue=[(1, 1, 1, "1"), (1, 1, 2, "2")], live=waiting("t", "t"))
    few = time_prices(state, sharing, lanes, worths, MS, 0)
    assert few == pytest.approx([(1 - exp(-1)) * price for price in (1.0, e, 1.0 + e)])
    assert time_prices(state, sharing, [Lane(0, 0, full=False)] * 3, worths, MS, 0) is None


def test_requests_expected_soon_count_as_those_that_wait_do() -> None:
    """One waits, which is this one's only company; 30 arrivals over 30 s are 1 a second, so 1 ms brings 0.001."""
    sharing, worths = Sharing(PROCESSORS), (Worth(1.0, 1.0),) * 3
    lanes = [Lane(0, 0, full=False, fill=1.0)] * 3
    state = State(
        estimates=STILL,
        queue=[(1, 1, 1, "1")],
        live=waiting("t"),
        demand={"t": Demand(30.0 * (1 - exp(-1)), 0, 30_000 * MS)},
    )
    alone = time_prices(state, sharing, lanes, worths, MS, 30_000 * MS)
    assert alone is not None
    assert alone[0] == pytest.approx(1 - exp(-0.001), rel=1e-6)


def test_cores_that_nobody_has_a_narrow_processor_for_count_as_those_of_the_one_there_is() -> None:
    """A processor of four cores beside one of one core costs four times as much a second."""
    one, four = Processor("little:0", "cpu", (0,), 1), Processor("little:0-3", "cpu", (0, 1, 2, 3), 4)
    assert Sharing((one, four, GANG)).wide == ((1, (0,), 4.0), (2, (0,), 2.0))
    assert Sharing((one,)).wide == ()


def burst(world: World, count: int, budget_ms: int) -> list[str]:
    return [world.ask(latency_budget_ns=budget_ms * MS) for _ in range(count)]


def test_in_a_burst_small_variants_are_taken_while_large_ones_would_still_be_in_time() -> None:
    world = World()
    asked = burst(world, 24, 100)
    variants = [world.decision(one).variant for one in asked]
    assert variants[:3] == ["large"] * 3
    small = variants.index("small")
    chosen = world.decision(asked[small])
    assert chosen.wait_ns + 2 * 10 * MS < 100 * MS, "a large one would have been in time with ease"
    assert set(variants[small:]) == {"small"}
    while world.runs:
        world.end_stage(next(iter(world.runs)), confidence=1.0)
    assert all(world.result(one).on_time for one in asked)


def test_a_lonely_request_pays_nothing_for_time() -> None:
    world = World(explain=True)
    told = world.decided[world.ask(latency_budget_ns=100 * MS)][-1]
    assert told.grounds is not None
    assert [price.resource for price in told.grounds.prices] == ["energy", "memory", "latency"]
    assert told.decision.variant == "large"


def test_the_price_is_told_and_is_part_of_each_net_value() -> None:
    world = World(explain=True)
    last = burst(world, 12, 60)[-1]
    told = world.decided[last][-1]
    assert told.grounds is not None
    prices = {price.resource: price for price in told.grounds.prices}
    assert prices["time on cpu:0"].utility > 0.0
    assert (prices["time on cpu:0"].unit, prices["time on cpu:0"].source) == ("s", "requests that wait")
    for verdict in told.verdicts:
        parts = {part.name: part.utility for part in verdict.parts}
        assert parts["processor"] < 0.0
        assert UNEXPLAINED not in parts
        assert verdict.value == pytest.approx(sum(parts.values()), abs=1e-9)


def test_a_staged_run_stops_for_those_that_wait() -> None:
    """Alone it goes on to the last exit; with others short of time behind it the next exit is not worth its time."""
    ends = []
    for others in (0, 14):
        world = World(replace(PLAIN), processors=PROCESSORS[:1])
        first = world.ask(variant="staged", latency_budget_ns=1000 * MS)
        waiting = burst(world, others, 40)
        while first in world.runs:
            world.end_stage(first, confidence=0.3)
        assert world.outcome(first) is Outcome.DONE
        assert len(world.state.queue) >= max(0, len(waiting) - 8)
        ends.append(world.result(first).exit_index)
    assert ends == [2, 0]


def test_the_fill_is_the_tightest_of_those_that_wait() -> None:
    """Behind a run of 10 ms: one due in 40 ms needs 11 of them, one due in 1 s needs 21 of 1000 ms."""
    world = World(processors=PROCESSORS[:1])
    world.state.overhead_ns = 0.0
    for estimate in world.state.estimates.values():
        estimate.mean = 0.0
    world.ask(variant="large", latency_budget_ns=1000 * MS)
    late = world.ask(variant="large", latency_budget_ns=1000 * MS)
    soon = world.ask(variant="small", latency_budget_ns=40 * MS)
    lives, sharing = world.state.live, world.scheduler.chooser.catalogue.sharing
    assert lives[soon].rank < lives[late].rank
    asker = lives[late]
    asker.rank = (1 << 10, world.now_ns + 500 * MS, 99)
    (lane,) = lanes_of(world.state, sharing, asker, world.now_ns)
    assert lane.wait_ns == 11 * MS
    assert lane.fill == pytest.approx(11 / 40)
