"""By how much the noise of each processor is stretched, so that a deadline confidence means what it says."""

from trimtab.core.state import Margin, State
from trimtab.core.tails import Pool, pooled, quantile

FRESH_SHIFT = 5
MAX_FRESH = 64
"""Margins are worked out again after a thirty-second part more runs, after so many at most."""
MAX_MARGINS = 32


def stretches(state: State, confidence: float, normal_z: float) -> list[float]:
    """Return for each processor the square of how much further off runs are than the normal distribution has it.

    ``confidence`` (0..1) is the share of runs that has to stay within, ``normal_z`` the standard deviations that the
    normal distribution asks for.
    """
    if normal_z <= 0.0:
        return [1.0] * len(state.estimates)
    runs = 0
    for estimate in state.estimates.values():
        runs += estimate.observations
    key = repr(confidence)
    known = state.margins.get(key)
    if known is not None and 0 <= runs - known.runs <= min(MAX_FRESH, known.runs >> FRESH_SHIFT):
        return known.stretches
    if len(state.margins) >= MAX_MARGINS:
        state.margins.clear()
    found = _worked_out(state, confidence, normal_z)
    state.margins[key] = Margin(runs, found)
    return found


def _worked_out(state: State, confidence: float, normal_z: float) -> list[float]:
    tails = [estimate.tail for estimate in state.estimates.values()]
    pool: Pool = pooled(tails)
    return [(quantile(tail, pool, confidence, normal_z) / normal_z) ** 2 for tail in tails]
