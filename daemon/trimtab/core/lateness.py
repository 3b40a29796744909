"""What an answer is still worth after its deadline, and what that makes a candidate worth.

With a soft deadline the worth w falls from 1 at the deadline D to 0 at the end E, in straight pieces. For a latency
T whose logarithm is normal (median L, spread s) integration by parts gives

    E[w(T)] = sum over pieces of slope * (G(end) - G(begin)),    G(x) = integral of P[T <= t] up to x
                                                                     = x Phi(z) - L exp(s^2 / 2) Phi(z - s)

with z = (ln x - ln L) / s. Hard deadlines are the limit E = D.
"""

from itertools import pairwise
from math import erfc, exp, log, sqrt

from trimtab.core.state import Estimate
from trimtab.domain.decision import Candidate
from trimtab.domain.policy import AfterDeadline, Worth

STEEPNESS = 4.0
"""So many times its own time constant an exponential fall takes to its end."""
PIECES = 8
SQRT_HALF = sqrt(0.5)


def _exponential(share: float) -> float:
    """Return the worth after a share of the fall: exponential, moved so that it ends at zero."""
    return (exp(-STEEPNESS * share) - exp(-STEEPNESS)) / (1.0 - exp(-STEEPNESS))


KNOTS: dict[Worth, tuple[tuple[float, float], ...]] = {
    Worth.NONE: ((0.0, 1.0), (0.0, 0.0)),
    Worth.LINEAR: ((0.0, 1.0), (1.0, 0.0)),
    Worth.EXPONENTIAL: tuple((i / PIECES, _exponential(i / PIECES)) for i in range(PIECES + 1)),
}
"""For each shape: how much is left after which share of the time between deadline and end."""


def worth_left(after: AfterDeadline, late_ns: int) -> float:
    """Return what is left of an answer's worth so long after the deadline."""
    if late_ns <= 0:
        return 1.0
    if late_ns >= after.until_ns:
        return 0.0
    share = late_ns / after.until_ns
    for (begin, high), (end, low) in pairwise(KNOTS[after.worth]):
        if share <= end:
            return high + (low - high) * (share - begin) / (end - begin)
    return 0.0


def worth_expected(after: AfterDeadline, room: float, width: float, ln_median: float, sigma: float) -> float:
    """Return E[w(T)]: ``room`` is the time until the end and ``width`` that from the deadline, in one unit."""
    expected, deadline = 0.0, room - width
    for (begin, high), (end, low) in pairwise(KNOTS[after.worth]):
        first, last = deadline + begin * width, deadline + end * width
        slope = (high - low) / (last - first)
        expected += slope * (_reached(last, ln_median, sigma) - _reached(first, ln_median, sigma))
    return min(1.0, max(0.0, expected))


def soft_accuracy(
    accuracies: tuple[float, ...],
    ln_latencies: tuple[float, ...],
    after: AfterDeadline,
    estimate: Estimate,
    sigma: float,
    ln_room: float,
    ln_batch: float,
) -> tuple[float, float]:
    """Return the expected accuracy times what is left of its worth, and the probability of being on time.

    ``ln_room`` is ln of the time until the end, in units of the profile's: slow-down and batch are taken off. Of
    several exits the last one reached counts, as in ALERT's staircase.
    """
    room, width = exp(ln_room), after.until_ns * exp(-estimate.mean - ln_batch)
    expected, later = 0.0, 0.0
    for accuracy, ln_median in zip(reversed(accuracies), reversed(ln_latencies), strict=True):
        worth = worth_expected(after, room, width, ln_median, sigma)
        expected += accuracy * max(0.0, worth - later)
        later = worth
    deadline = room - width
    prob = normal_cdf((log(deadline) - ln_latencies[0]) / sigma) if deadline > 0.0 else 0.0
    return min(expected, max(accuracies)), prob


def soft_gain(
    candidate: Candidate, after: AfterDeadline, stage: int, later: int, late_ns: int, factor: float
) -> float:
    """Return what a later exit adds to the accuracy of answering now, each times what is then left of its worth."""
    further_ns = int((candidate.latency_ns[later] - candidate.latency_ns[stage]) * factor)
    then = candidate.accuracy_frac[later] * worth_left(after, late_ns + further_ns)
    return then - candidate.accuracy_frac[stage] * worth_left(after, late_ns)


def _reached(limit: float, ln_median: float, sigma: float) -> float:
    """Return the integral of P[T <= t] up to ``limit``."""
    if limit <= 0.0:
        return 0.0
    z = (log(limit) - ln_median) / sigma
    return limit * normal_cdf(z) - exp(ln_median + sigma * sigma / 2) * normal_cdf(z - sigma)


def normal_cdf(z: float) -> float:
    """Return the standard normal distribution function."""
    return 0.5 * erfc(-z * SQRT_HALF)
