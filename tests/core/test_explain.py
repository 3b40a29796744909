"""What an explaining scheduler says: prices, estimates, parts of each net value, and goals nobody met."""

from collections.abc import Callable

import pytest
from tests.core.world import MS, World

from trimtab.core import commands as cm
from trimtab.core.codec import encode
from trimtab.core.explain import UNEXPLAINED
from trimtab.domain.decision import Verdict, Why
from trimtab.domain.device import DeviceState
from trimtab.domain.grounds import Grounds
from trimtab.domain.policy import BatteryGoal, Goal, MemoryGoal, Policy, Settings
from trimtab.domain.request import Prefer

PRICED = Settings(
    energy_price_per_j=0.5, energy_price_factor=2.0, memory_price_per_mib=0.01, latency_price_per_s=3.0
)


def explained(world: World, **goals: object) -> cm.Decided:
    return world.decided[world.ask(**goals)][-1]  # type: ignore[arg-type]


def grounds_of(told: cm.Decided | cm.Finish) -> Grounds:
    assert told.grounds is not None
    return told.grounds


def verdict(told: cm.Decided, candidate: str) -> Verdict:
    return next(v for v in told.verdicts if v.candidate == candidate)


def test_a_net_value_is_the_sum_of_its_parts() -> None:
    """Large on a core: 20 mJ at 1 a joule, 2 MiB at 0.01 when 6 of 8 are used, 10 ms at 3 a second, 0.5 mJ to load.

    A load that is not planned costs two points besides.
    """
    policy = Policy("p", defaults=PRICED, memory=MemoryGoal(limit_bytes=8 << 20))
    told = explained(World(policy, explain=True), latency_budget_ns=1000 * MS)
    parts = {part.name: part.utility for part in verdict(told, "large@cpu:0").parts}
    assert parts == {
        "accuracy": pytest.approx(0.95),
        "energy": pytest.approx(-0.02),
        "memory": pytest.approx(-2 * 0.01 * 6 / 8),
        "latency": pytest.approx(-0.03),
        "load": pytest.approx(-0.0205),
    }
    assert verdict(told, "large@cpu:0").value == pytest.approx(sum(parts.values()))


def test_prices_are_told_with_their_units_and_where_they_come_from() -> None:
    told = explained(World(Policy("p", defaults=PRICED), explain=True))
    prices = {p.resource: (p.utility, p.unit, p.source) for p in grounds_of(told).prices}
    assert prices["energy"] == (1.0, "J", "policy x 2")
    assert prices["latency"] == (3.0, "s", "policy")
    short = Policy("p", battery=BatteryGoal(0.1, last_for_ns=3600_000 * MS))
    world = World(short, DeviceState(0.5, 1.0), explain=True)
    energy = grounds_of(explained(world)).prices[0]
    assert (energy.resource, energy.source) == ("energy", "horizon")
    assert energy.utility == pytest.approx(world.state.energy.price_per_j)
    assert energy.utility > 0.0


def test_what_was_asked_and_what_each_processor_promised_is_told() -> None:
    world = World(explain=True)
    told = explained(world, latency_budget_ns=30 * MS, min_accuracy_frac=0.9, max_energy_uj=25_000.0)
    grounds = grounds_of(told)
    assert grounds.time_ns == 30 * MS - grounds.overhead_ns
    assert (grounds.floor_frac, grounds.confidence, grounds.max_energy_uj) == (0.9, 0.95, 25_000.0)
    assert grounds.spare_uj is None, "without a battery nothing is spared"
    assert [one.processor for one in grounds.processors] == ["cpu:0", "cpu:1", "cpu:0-1"]
    mine = told.decision.processor
    busy = grounds_of(explained(world, latency_budget_ns=30 * MS)).processors
    assert {one.processor for one in busy if one.wait_ns > 0} == {mine, "cpu:0-1"}, "the gang shares the core"
    world.end_stage(told.decision.request_id, factor=1.5)
    learned = {one.processor: one for one in grounds_of(explained(world)).processors}
    before = next(one for one in busy if one.processor == mine)
    assert learned[mine].slowdown > before.slowdown
    assert learned[mine].observations == before.observations + 1


def test_a_late_candidate_tells_how_sure_it_was_and_how_sure_it_had_to_be() -> None:
    told = explained(World(explain=True), latency_budget_ns=8 * MS)
    late = verdict(told, "large@cpu:0")
    assert late.why is Why.DEADLINE
    assert late.detail.endswith("< 95.00% sure")


def test_a_refusal_is_told_like_a_decision_and_a_compromise_names_its_goals() -> None:
    strict = World(Policy("p", defaults=Settings(give_up=())), explain=True)
    refused = strict.finished[strict.ask(min_accuracy_frac=0.99)]
    assert grounds_of(refused).floor_frac == 0.99
    assert {v.why for v in refused.verdicts} == {Why.ACCURACY}
    compromise = explained(World(explain=True), min_accuracy_frac=0.99)
    assert compromise.decision.given_up == (Goal.ACCURACY,)
    assert [v.why for v in compromise.verdicts].count(Why.CHOSEN) == 1


PLACES: dict[str, Callable[[], World]] = {
    "idle": lambda: World(explain=True),
    "priced": lambda: World(Policy("p", defaults=PRICED), explain=True),
    "cold": lambda: World(Policy("p", defaults=PRICED), explain=True, load_all=False),
    "horizon": lambda: World(
        Policy("p", battery=BatteryGoal(0.1, last_for_ns=3600_000 * MS)), DeviceState(0.5, 1.0), explain=True
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("batch", [1, 3])
def test_nothing_in_a_net_value_is_left_unexplained(place: str, batch: int) -> None:
    world = PLACES[place]()
    for prefer in Prefer:
        for budget_ms in (3, 40):
            told = explained(world, latency_budget_ns=budget_ms * MS, prefer=prefer, batch=batch)
            for one in told.verdicts:
                assert UNEXPLAINED not in {part.name for part in one.parts}
                assert one.value == pytest.approx(sum(part.utility for part in one.parts), abs=1e-9)


def test_the_journal_holds_nothing_of_it_unless_asked() -> None:
    world = World()
    decided = explained(world)
    _, body = encode(decided)
    assert b"verdicts" not in body
    assert b"grounds" not in body
