"""DeepX's choice under an error bound, against figures worked by hand."""

import pytest
from tests.strategies.situations import GPU, Asked, entry

from trimtab.strategies import strategy_named
from trimtab.strategies.deepx import Deepx

FULL = entry("full", 40.0, 0.90, 4.0)
RANK_32 = entry("rank-32", 20.0, 0.86, 2.0)
RANK_8 = entry("rank-8", 10.0, 0.80, 1.0)
ON_GPU = entry("rank-32", 5.0, 0.86, 3.0, processor=GPU)


def test_the_least_energy_within_the_bound() -> None:
    """5 points below 0.90: rank 8 is out, rank 32 on the CPU the cheapest."""
    assert Asked(Deepx(), FULL, RANK_32, RANK_8, ON_GPU).ask() == ("rank-32@cpu", False)
    assert Asked(strategy_named("deepx:0.1"), FULL, RANK_32, RANK_8, ON_GPU).ask() == ("rank-8@cpu", False)
    assert Asked(strategy_named("deepx:0"), FULL, RANK_32, RANK_8, ON_GPU).ask() == ("full@cpu", False)


def test_a_faster_processor_where_the_deadline_asks_for_it() -> None:
    assert Asked(Deepx(), FULL, RANK_32, RANK_8, ON_GPU, budget_ms=19).ask() == ("rank-32@gpu", False)


def test_the_soonest_within_the_bound_when_nothing_is_in_time() -> None:
    assert Asked(Deepx(), FULL, RANK_32, RANK_8, budget_ms=15).ask() == ("rank-32@cpu", True)


@pytest.mark.parametrize("text", ["deepx:1", "deepx:-0.1", "deepx:much"])
def test_what_is_no_bound(text: str) -> None:
    with pytest.raises(ValueError, match="expected deepx"):
        strategy_named(text)
