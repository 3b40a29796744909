"""The sketch of residuals: what a confidence asks for is what so many of the runs kept."""

from random import Random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.core.state import Tail
from trimtab.core.tails import BINS, UPPER, note, pooled, quantile

CONFIDENCES = (0.9, 0.99, 0.999)


def asked(tail: Tail, confidence: float, *others: Tail) -> float:
    return quantile(tail, pooled([tail, *others]), confidence, NormalDist().inv_cdf(confidence))


def test_before_anything_ran_the_normal_distribution_holds() -> None:
    assert asked(Tail(), 0.99) == pytest.approx(2.3263, abs=1e-3)


def test_bins_rise_without_gaps() -> None:
    assert len(UPPER) == BINS
    assert list(UPPER) == sorted(set(UPPER))
    assert UPPER[31] == 8.0
    assert UPPER[35] == pytest.approx(16.0)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_normal_residuals_ask_for_what_the_normal_distribution_does(confidence: float) -> None:
    tail, rng = Tail(), Random(1)
    for _ in range(20_000):
        note(tail, rng.gauss(0.0, 1.0))
    assert asked(tail, confidence) == pytest.approx(NormalDist().inv_cdf(confidence), rel=0.12)


@pytest.mark.parametrize("confidence", CONFIDENCES)
@given(seed=st.integers(0, 10**6), shape=st.floats(1.5, 6.0))
def test_heavy_tails_are_kept_as_often_as_asked(confidence: float, seed: int, shape: float) -> None:
    """Judged on runs that come after those it was learned from; the last bin reaches past 2,000 sigmas."""
    tail, rng = Tail(), Random(seed)
    for _ in range(4000):
        note(tail, rng.paretovariate(shape) - 1.0)
    z = asked(tail, confidence)
    kept = sum([rng.paretovariate(shape) - 1.0 <= z for _ in range(4000)]) / 4000
    assert kept >= confidence - {0.9: 0.025, 0.99: 0.008, 0.999: 0.003}[confidence]


def test_only_slow_runs_count() -> None:
    """A processor that is far too fast half of the time is late no more often for it."""
    even, fast = Tail(), Tail()
    for index in range(2000):
        note(even, 1.0 if index % 2 else -1.0)
        note(fast, 1.0 if index % 2 else -50.0)
    assert asked(even, 0.99) == asked(fast, 0.99)


def test_the_other_processors_count_while_one_has_hardly_run() -> None:
    heavy, new = Tail(), Tail()
    for index in range(1000):
        note(heavy, 20.0 if index % 20 == 0 else 0.5)
    note(new, 0.5)
    assert asked(new, 0.99) < 3.0
    assert asked(new, 0.99, heavy) > 15.0
    for _ in range(20_000):
        note(new, 0.5)
    assert asked(new, 0.99, heavy) < 3.0


def test_times_that_are_over_are_forgotten_in_memory_that_does_not_grow() -> None:
    tail = Tail()
    for _ in range(2000):
        note(tail, 30.0)
    for _ in range(120_000):
        note(tail, 0.1)
    assert asked(tail, 0.99) < 1.0
    assert len(tail.counts) == BINS
    assert tail.total / tail.weight == pytest.approx(4001, rel=0.01)
    assert tail.weight < 1e10


@given(st.lists(st.floats(-100.0, 1e6), max_size=200))
def test_surer_never_asks_for_less(residuals: list[float]) -> None:
    tail = Tail()
    for one in residuals:
        note(tail, one)
    found = [asked(tail, confidence) for confidence in (0.6, 0.9, 0.95, 0.99, 0.999)]
    assert found == sorted(found)
    assert found[0] > 0.0
