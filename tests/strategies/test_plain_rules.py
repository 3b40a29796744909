"""Chance and battery tiers, against what they say."""

from collections import Counter

import pytest
from tests.strategies.situations import GPU, Asked, entry

from trimtab.domain.device import DeviceState
from trimtab.strategies import strategy_named
from trimtab.strategies.random_choice import Random, drawn, fnv1a

SMALL, MEDIUM, LARGE = (
    entry("small", 1.0, 0.6, 0.1),
    entry("medium", 5.0, 0.7, 0.5),
    entry("large", 20.0, 0.8, 2.0),
)
ALL = (SMALL, MEDIUM, LARGE)


def test_the_hash_is_the_published_one() -> None:
    assert [hex(fnv1a(text)) for text in ("", "a", "foobar")] == [
        "0xcbf29ce484222325",
        "0xaf63dc4c8601ec8c",
        "0x85944171f73967e8",
    ]


def test_every_candidate_is_as_likely() -> None:
    counts = Counter(drawn(7, f"request {index}", 3) for index in range(3000))
    assert all(900 < counts[index] < 1100 for index in range(3))


def test_the_same_request_draws_the_same_whatever_the_order_of_candidates() -> None:
    first = Asked(Random(3), *ALL).ask()
    assert first == Asked(Random(3), *reversed(ALL)).ask()
    asked = {Asked(Random(seed), *ALL).ask() for seed in range(20)}
    assert len(asked) == 3


def test_a_draw_that_cannot_be_in_time_gives_the_deadline_up() -> None:
    assert Asked(Random(), LARGE, budget_ms=10).ask() == ("large@cpu", True)


@pytest.mark.parametrize(
    ("charge", "variant"),
    [(None, "large"), (0.51, "large"), (0.5, "medium"), (0.21, "medium"), (0.2, "small")],
)
def test_a_tier_holds_above_its_threshold(charge: float | None, variant: str) -> None:
    asked = Asked(strategy_named("tiers:20%=medium,0.5=large,else=small"), *ALL)
    asked.state.device = DeviceState(battery_frac=charge)
    assert asked.ask() == (f"{variant}@cpu", False)


def test_a_tier_may_be_a_pattern_and_runs_where_it_finishes_first() -> None:
    on_gpu = entry("medium", 2.0, 0.7, 1.0, processor=GPU)
    rule = strategy_named("tiers:else=*m*")
    assert Asked(rule, *ALL, on_gpu).ask() == ("medium@gpu", False), "of small and medium the more accurate"
    assert Asked(rule, *ALL, on_gpu, waits_ms=(0.0, 4.0)).ask() == ("medium@cpu", False)
    assert Asked(strategy_named("tiers:else=none"), *ALL).ask() == ("small@cpu", False), "the least energy"


@pytest.mark.parametrize("text", ["tiers", "tiers:0.5=large", "tiers:1.5=large,else=small", "tiers:x=a,else=b", "tiers:0.5=,else=b", "tiers:0.5=a,50%=b,else=c", "random:x"])  # fmt: skip
def test_what_cannot_be_meant(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected (tiers|random)"):
        strategy_named(text)
