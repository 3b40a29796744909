"""Proteus' assignment, against figures worked by hand."""

from collections import Counter

import pytest
from tests.core.world import MS, World

from trimtab.domain.policy import Policy, Settings
from trimtab.strategies.proteus import front, plan, split
from trimtab.strategies.workload import Offer, Stream


def offer(variant: str, processor: str, ms: float, accuracy: float, task: str = "t", *takes: str) -> Offer:
    return Offer(
        task, f"{variant}@{processor}", variant, processor, takes or (processor,), ms / 1e3, 1.0, accuracy
    )


SLOW = [offer("large", name, 20.0, 0.9) for name in ("a", "b")]
FAST = [offer("small", name, 5.0, 0.7) for name in ("a", "b")]


def test_demand_goes_to_the_most_accurate_first() -> None:
    """120 a second with a factor of 1: 50 to the one of 20 ms, the rest to the one of 5 ms."""
    found = split(Stream("t", 120.0, 1.0, 0.0), [SLOW[0], FAST[1]], 1.0)
    assert found is not None
    accuracy, routes = found
    assert [r.offer.variant for r in routes] == ["large", "small"]
    assert [r.share for r in routes] == pytest.approx([50 / 120, 70 / 120])
    assert accuracy == pytest.approx((50 * 0.9 + 70 * 0.7) / 120)
    assert split(Stream("t", 300.0, 1.0, 0.0), [SLOW[0], FAST[1]], 1.0) is None, "250 a second at most"


def hosted(rate_per_s: float) -> dict[str, str]:
    routes = plan([(Stream("t", rate_per_s, 1.0, 0.0), [*SLOW, *FAST])])
    return {r.offer.processor: r.offer.variant for r in routes}


def test_accuracy_is_scaled_down_with_demand() -> None:
    """1.05 times the demand must fit: two large ones do 100 a second, one of each 250, two small ones 400."""
    assert sorted(hosted(95.0).values()) == ["large", "large"]
    assert sorted(hosted(96.0).values()) == ["large", "small"]
    assert sorted(hosted(238.0).values()) == ["large", "small"]
    assert sorted(hosted(239.0).values()) == ["small", "small"]


def test_what_is_too_much_goes_unserved() -> None:
    assert sorted(hosted(1500.0).values()) == ["small", "small"], "a factor of 0.25"
    assert hosted(2500.0) == {}, "a fifth would be 500"


def test_tasks_share_the_processors() -> None:
    """Faces need one processor for themselves; sounds then have to do with the other."""
    wanted = [
        (Stream("faces", 40.0, 1.0, 0.0), [offer("f", name, 20.0, 0.9, "faces") for name in ("a", "b")]),
        (Stream("sounds", 90.0, 1.0, 0.0), [offer("big", "a", 20.0, 0.9, "sounds"), offer("big", "b", 20.0, 0.9, "sounds"), offer("tiny", "b", 5.0, 0.6, "sounds")]),
    ]  # fmt: skip
    assert {(r.offer.task, r.offer.name) for r in plan(wanted)} == {("faces", "f@a"), ("sounds", "tiny@b")}


def test_processors_that_share_a_core_are_not_used_together() -> None:
    wide = offer("large", "pair", 15.0, 0.9, "t", "core:0", "core:1")
    one = offer("large", "one", 20.0, 0.9, "t", "core:0")
    routes = plan([(Stream("t", 60.0, 1.0, 0.0), [wide, one])])
    assert [r.offer.processor for r in routes] == ["pair"]


def test_more_tasks_than_processors_share_them_in_time() -> None:
    """Half a processor each: 25 a second with 20 ms, 100 with 5 ms."""
    ways = {
        task: [offer("large", "a", 20.0, 0.9, task), offer("small", "a", 5.0, 0.7, task)] for task in "tu"
    }
    routes = plan([(Stream("t", 20.0, 1.0, 0.0), ways["t"]), (Stream("u", 60.0, 1.0, 0.0), ways["u"])])
    assert {(r.offer.task, r.offer.variant, r.share) for r in routes} == {
        ("t", "large", 1.0),
        ("u", "small", 1.0),
    }


def test_looks_at_the_front_only() -> None:
    worse = offer("worse", "a", 10.0, 0.6)
    late = offer("late", "a", 900.0, 0.95)
    assert front([SLOW[0], FAST[0], worse, late], 0.5) == [FAST[0], SLOW[0]]
    many = [offer(f"v{i}", "a", 1.0 + i, 0.5 + i / 100) for i in range(30)]
    kept = front(many, 1.0)
    assert (len(kept), kept[0].variant, kept[-1].variant) == (6, "v0", "v29")


def test_requests_follow_the_shares_and_hopeless_ones_are_dropped() -> None:
    world = World(
        Policy("p", strategy="proteus", defaults=Settings(latency_budget_ns=1000 * MS)),
        processors=World().processors[:2],
    )
    world.ask()
    world.state.notes.update({key: 0.0 for key in world.state.notes if key.startswith("sent ")})
    for key in [key for key in world.state.notes if key.startswith("share ")]:
        del world.state.notes[key]
    world.state.notes |= {"share t/large@cpu:0": 0.25, "share t/small@cpu:1": 0.75}
    served = Counter(world.decision(world.ask()).variant for _ in range(8))
    assert served == {"large": 2, "small": 6}
    assert "no candidate meets the goals" in world.result(world.ask(latency_budget_ns=MS // 2)).reason
