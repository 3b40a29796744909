"""Which variants are worth their memory: hand-worked sets, and what holds for any."""

from collections.abc import Sequence
from itertools import product
from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.world import MS, POOL_1, PROCESSORS, World

from trimtab.core import events as ev
from trimtab.core.demand import MAX_KINDS, rate_per_s
from trimtab.core.resident_set import (
    MAX_MEMBERS,
    STAY_S,
    Offer,
    Option,
    busy_share,
    options,
    resident_set,
    served,
)
from trimtab.core.state import Holding
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import MemoryGoal, Policy
from trimtab.domain.quantities import NS_PER_S

LAST = Offer("a-last", 0, 1, 0.0, (0.8,), (0.0,))


def offer(
    key: str, size: int, worth: float, *, group: int = 0, load: float = 0.0, busy: float = 0.0
) -> Offer:
    return Offer(key, group, size, load, (worth,), (busy,))


def best_value(tasks: Sequence[tuple[Option, ...]], budget_bytes: int) -> float:
    """Return the best value of all combinations that fit."""
    return max(
        sum(one.value for one in combination)
        for combination in product(*tasks)
        if sum(one.resident_bytes for one in combination) <= budget_bytes
    )


def test_the_steepest_step_comes_first_and_the_one_that_does_not_fit_is_the_price() -> None:
    """Small brings 0.1 for 2 bytes, large 0.15 for 10; another task's only one 0.09 for 4: slopes .05, .0225, .00625."""
    one = options(LAST, [offer("small", 2, 0.9), offer("large", 10, 0.95)], [1.0])
    other = options(LAST, [offer("only", 4, 0.845)], [2.0])
    assert [option.keys for option in one] == [(), ("small",), ("large",)]
    found = resident_set([one, other], 5)
    assert found.keys == ("small",)
    assert found.value == pytest.approx(0.9 + 1.6)
    assert found.price == pytest.approx(0.09 / 4)
    assert found.displaced == pytest.approx(0.1 / 2)
    found = resident_set([one, other], 6)
    assert found.keys == ("small", "only")
    assert found.price == pytest.approx(0.05 / 8)
    found = resident_set([one, other], 14)
    assert found.keys == ("only", "large")
    assert found.price == 0.0


def test_a_large_one_is_not_lost_to_a_small_one_that_is_steeper() -> None:
    small = options(LAST, [offer("small", 1, 0.82)], [1.0])
    large = options(LAST, [offer("large", 10, 0.95)], [1.0])
    assert resident_set([small, large], 10).keys == ("large",)


def test_a_load_is_paid_for_out_of_the_stay() -> None:
    """Loads cost 3 and 0; over 60 s that is 0.05 a second, more than the 0.04 by which the new one is better."""
    kept = offer("kept", 2, 0.90)
    new = offer("new", 2, 0.94, load=3.0)
    assert resident_set([options(LAST, [kept, new], [1.0])], 3).keys == ("kept",)
    cheap = new._replace(load_cost=0.04 * STAY_S / 2)
    assert resident_set([options(LAST, [kept, cheap], [1.0])], 3).keys == ("new",)


def test_another_group_serves_those_that_find_the_first_one_busy() -> None:
    """A fifth finds the best one busy; of that fifth a tenth of a fifth the next one: 0.9 * 0.8 + 0.85 * (0.2 - 0.004)."""
    parts = {0: (0.9 * 0.8, 0.9, 0.2), 1: (0.85 * 0.9, 0.85, 0.1)}
    assert served(parts) == pytest.approx(0.9 * 0.8 + 0.85 * (0.2 - 0.2 * 0.2 * 0.1))
    first, second = offer("first", 1, 0.9, group=1, busy=0.2), offer("second", 1, 0.85, group=2, busy=0.1)
    assert resident_set([options(None, [first, second], [1.0])], 2).keys == ("first", "second")
    same = second._replace(group=1)
    assert resident_set([options(None, [first, same], [1.0])], 2).keys == ("second",), "it is less often busy"


def test_the_busy_share_is_the_tail_of_a_queue() -> None:
    assert busy_share(0.5, 100.0, 0.0, 1) == pytest.approx(0.5)
    assert busy_share(0.5, 100.0, 200.0, 1) == pytest.approx(0.5 * exp(-1.0))
    assert busy_share(0.5, 100.0, 200.0, 2) == pytest.approx(0.5 * exp(-2.0))
    assert busy_share(2.0, 100.0, 200.0, 1) == pytest.approx(0.75)
    assert busy_share(0.0, 100.0, -1.0, 1) == 1.0, "it never is in time"


WORTH = st.sampled_from([i / 8 for i in range(9)])
Drawn = list[tuple[int, int, float, float, float, float, float]]
OFFERS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 12), st.sampled_from([0.0, 1.0, 5.0]), WORTH, WORTH, WORTH, WORTH
    ),
    max_size=4,
)
RATES = st.tuples(st.sampled_from([0.1, 1.0, 5.0]), st.sampled_from([0.0, 0.5, 2.0]))
TASKS = st.lists(st.tuples(OFFERS, RATES), min_size=1, max_size=3)
FALLBACK = Offer("last", 0, 1, 0.0, (0.25, 0.25), (0.0, 0.0))


def offers_of(drawn: Drawn, task: int = 0) -> list[Offer]:
    return [
        Offer(f"t{task}/v{i}", group, size, load, (a, b), (c, d))
        for i, (group, size, load, a, b, c, d) in enumerate(drawn)
    ]


def tasks_of(drawn: list[tuple[Drawn, tuple[float, float]]]) -> list[tuple[Option, ...]]:
    return [options(FALLBACK, offers_of(some, task), rates) for task, (some, rates) in enumerate(drawn)]


@settings(max_examples=50)
@given(TASKS, st.integers(0, 40))
def test_a_set_fits_and_reaches_half_of_the_best_gain(
    drawn: list[tuple[Drawn, tuple[float, float]]], budget_bytes: int
) -> None:
    tasks = tasks_of(drawn)
    found = resident_set(tasks, budget_bytes)
    sizes = {
        one.key: one.resident_bytes for task, (some, _) in enumerate(drawn) for one in offers_of(some, task)
    }
    assert sum(sizes[key] for key in found.keys) <= budget_bytes
    assert all(len(option.keys) <= MAX_MEMBERS for task in tasks for option in task)
    nothing = sum(task[0].value for task in tasks)
    best = best_value(tasks, budget_bytes)
    assert best + 1e-6 >= found.value >= nothing + (best - nothing) / 2 - 1e-6


@settings(max_examples=50)
@given(TASKS, st.integers(0, 40), st.integers(0, 10))
def test_more_memory_never_lowers_the_value(
    drawn: list[tuple[Drawn, tuple[float, float]]], budget_bytes: int, more_bytes: int
) -> None:
    tasks = tasks_of(drawn)
    assert (
        resident_set(tasks, budget_bytes + more_bytes).value >= resident_set(tasks, budget_bytes).value - 1e-9
    )


@settings(max_examples=50)
@given(OFFERS, RATES, st.randoms(use_true_random=False))
def test_a_set_does_not_depend_on_the_order_of_offers(
    drawn: Drawn, rates: tuple[float, float], random: Random
) -> None:
    offers = offers_of(drawn)
    shuffled = random.sample(offers, len(offers))
    assert options(FALLBACK, offers, rates) == options(FALLBACK, shuffled, rates)


# ---- what the plan is made for -------------------------------------------------------------------------


def test_a_rate_is_what_came_over_the_time_it_came_in() -> None:
    world = World(load_all=False, processors=PROCESSORS[:2])
    for _ in range(121):
        world.ask(latency_budget_ns=1000 * MS)
        world.finish_loads(0)
        for running in list(world.runs):
            world.end_stage(running, confidence=1.0)
        world.now_ns += NS_PER_S - world.now_ns % NS_PER_S
    (kind,) = world.state.kinds
    assert kind.budget_ns == 1000 * MS
    assert rate_per_s(kind) == pytest.approx(1.0, rel=0.2)
    assert world.state.plan.keys == (f"t/large@{POOL_1}",)


def test_kinds_are_bounded() -> None:
    world = World(load_all=False, processors=PROCESSORS[:2])
    for index in range(3 * MAX_KINDS):
        world.ask(min_accuracy_frac=index / 1000)
    assert len(world.state.kinds) == MAX_KINDS


def test_what_is_asked_at_this_time_every_day_is_loaded_before_it_is_asked() -> None:
    """Three mornings of requests from eight to nine; on the fourth, large is wanted back at 7:56, with nobody asking."""
    world = World(load_all=False, processors=PROCESSORS[:2])
    start_ns = world.now_ns

    def read(day: int, hour: int, minute: int) -> None:
        world.now_ns = max(world.now_ns, start_ns + ((day * 24 + hour) * 60 + minute) * 60 * NS_PER_S)
        world.feed(ev.DeviceChanged(DeviceState(local_time_s=(hour * 60 + minute) * 60)))
        world.finish_loads()

    for day in range(3):
        for hour, minute in product(range(24), range(0, 60, 10)):
            read(day, hour, minute)
            for _ in range(20 if hour == 8 else 0):
                request_id = world.ask(latency_budget_ns=1000 * MS)
                world.finish_loads()
                while request_id in world.runs:
                    world.end_stage(request_id)
        assert not world.state.plan.keys, "at night nothing is worth a load"
    world.feed(ev.PolicyReplaced(Policy("tight", memory=MemoryGoal(limit_bytes=2 << 20))))
    world.finish_evictions()
    world.feed(ev.PolicyReplaced(Policy("plain")))
    assert len(world.state.residences) == 1
    for hour, minute in product(range(8), range(0, 60, 10)):
        read(3, hour, minute)
    assert not world.state.plan.keys
    read(3, 7, 56)
    assert world.state.plan.keys == (f"t/large@{POOL_1}",)
    assert world.state.residences[f"t/large@{POOL_1}"].holding is Holding.RESIDENT


def test_apps_with_other_rules_or_budgets_are_other_kinds() -> None:
    world = World(load_all=False)
    world.ask(app="one", latency_budget_ns=100 * MS)
    world.ask(app="two", latency_budget_ns=110 * MS)
    assert len(world.state.kinds) == 1
    world.ask(app="two", latency_budget_ns=900 * MS)
    assert len(world.state.kinds) == 2


def test_a_draining_daemon_loads_nothing_ahead() -> None:
    world = World(load_all=False, processors=PROCESSORS[:2])
    first = world.ask(latency_budget_ns=16 * MS)
    assert world.state.plan.keys
    world.feed(ev.DrainStarted())
    world.finish_loads()
    assert len(world.state.residences) == 2, "the last resort, and what the request waited for"
    assert world.decision(first).variant == "staged"
