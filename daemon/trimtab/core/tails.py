"""How far off runs were, in standard deviations: a sketch of fixed size from which a confidence takes its z.

Residuals of runs are neither normal nor symmetric: now and then one takes half as long again. So the margin
that is right for 99.9 % is not 3.09 standard deviations, but what 99.9 % of the runs of late stayed below
(split conformal prediction: Vovk, Gammerman and Shafer 2005; with forgetting, so that it follows the times:
Gibbs and Candes, NeurIPS 2021). Only residuals above zero are told apart: nobody is late for being fast.
"""

from collections.abc import Iterable
from math import erfc, log2, sqrt
from typing import NamedTuple

from trimtab.core.state import Tail

FINE_PER_SIGMA = 4
FINE_BINS = 32
"""Bins of a quarter standard deviation up to 8; beyond, each is wider than the last by the fourth root of 2."""
COARSE_PER_OCTAVE = 4
BINS = 64
EDGE = FINE_BINS / FINE_PER_SIGMA
MEMORY_RUNS = 4000
"""A run counts for less by 1/e after so many more."""
GROWTH = 1.0 + 1.0 / MEMORY_RUNS
HEAVY = 1e9
"""Once a run counts for so much, all counts are scaled down."""
PRIOR_RUNS = 200.0
"""So many runs at most the other processors' count for."""
NORMAL_RUNS = 30.0
"""So many runs the normal distribution counts for."""
LEAST_Z = 0.5
SQRT_HALF = sqrt(0.5)


def upper_edge(index: int) -> float:
    """Return the largest residual (standard deviations) that falls into a bin."""
    if index < FINE_BINS:
        return (index + 1) / FINE_PER_SIGMA
    return float(EDGE * 2.0 ** ((index - FINE_BINS + 1) / COARSE_PER_OCTAVE))


UPPER = tuple([upper_edge(index) for index in range(BINS)])
_LOWER = (0.0, *UPPER[:-1])
NORMAL_INSIDE = tuple(
    [0.5 * (erfc(low * SQRT_HALF) - erfc(high * SQRT_HALF)) for low, high in zip(_LOWER, UPPER, strict=True)]
)
NOTHING = (0.0,) * BINS


def note(tail: Tail, z: float) -> None:
    """Count a run that was off by ``z`` standard deviations."""
    weight = tail.weight = tail.weight * GROWTH
    tail.total += weight
    if z > 0.0:
        counts = tail.counts
        if not counts:
            counts = tail.counts = [0.0] * BINS
        if z < EDGE:
            counts[int(z * FINE_PER_SIGMA)] += weight
        else:
            index = FINE_BINS + int(log2(z / EDGE) * COARSE_PER_OCTAVE)
            counts[index if index < BINS else BINS - 1] += weight
    if weight > HEAVY:
        tail.counts = [count / weight for count in tail.counts]
        tail.total /= weight
        tail.weight = 1.0


class Pool(NamedTuple):
    """The runs of all processors together: how many, and those above zero by bin."""

    runs: float
    counts: tuple[float, ...]


def pooled(tails: Iterable[Tail]) -> Pool:
    """Return the runs of all these together."""
    known = [tail for tail in tails if tail.counts]
    scaled = [[count / tail.weight for count in tail.counts] for tail in known]
    runs = sum([tail.total / tail.weight for tail in known])
    return Pool(runs, tuple([sum(column) for column in zip(*scaled, strict=True)]) or NOTHING)


def quantile(tail: Tail, pool: Pool, confidence: float, normal_z: float) -> float:
    """Return how many standard deviations a share ``confidence`` of the runs stays below, at least a half.

    Beside a processor's own runs count up to ``PRIOR_RUNS`` as those of the others in the ``pool`` were, and a few
    as the normal distribution has them: the first runs say little about one in a thousand. ``normal_z`` is the
    answer before anything ran.
    """
    if confidence <= 0.5 or pool.runs <= 0.0:
        return normal_z
    own, per = tail.counts or NOTHING, 1.0 / tail.weight
    runs = tail.total * per
    others = pool.runs - runs
    faith = PRIOR_RUNS / others if others > PRIOR_RUNS else 1.0
    allowed = (1.0 - confidence) * (runs + max(0.0, others) * faith + NORMAL_RUNS)
    above, counts = 0.0, pool.counts
    for index in range(BINS - 1, -1, -1):
        mine = own[index] * per
        more = mine + max(0.0, counts[index] - mine) * faith + NORMAL_RUNS * NORMAL_INSIDE[index]
        if above + more > allowed:
            lower = UPPER[index - 1] if index else 0.0
            part = (allowed - above) / more
            return max(LEAST_Z, UPPER[index] - part * (UPPER[index] - lower))
        above += more
    return LEAST_Z
