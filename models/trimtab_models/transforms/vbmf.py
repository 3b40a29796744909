"""How many singular values of a matrix stand above noise: empirical variational Bayes, solved analytically.

Nakajima, Sugiyama, Babacan and Tomioka, 'Global analytic solution of fully-observed variational Bayesian
matrix factorization', JMLR 14, 2013: a threshold on singular values, the noise variance by a bounded search.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

_TAU_PER_ROOT_ALPHA: Final = 2.5129
"""The paper's approximation: the zero of its Xi function is close to 2.5129 sqrt(alpha) for any alpha."""

_POINTS, _ROUNDS = 64, 6


def evbmf_rank(matrix: NDArray[np.floating]) -> int:
    """Return the rank that empirical variational Bayes gives to ``matrix``, noise variance unknown.

    A matrix without noise has its numerical rank; one of nothing but noise has 0.
    """
    short, long = sorted(matrix.shape)
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False) ** 2
    clean = values > values[0] * (long * np.finfo(np.float32).eps) ** 2
    alpha = short / long
    tau = _TAU_PER_ROOT_ALPHA * math.sqrt(alpha)
    edge = (1 + tau) * (1 + alpha / tau)
    if not clean.all():
        return int(clean.sum())
    most = min(math.ceil(short / (1 + alpha)) - 1, short - 1)
    low = max(values[most] / (long * edge), values[most:].mean() / long)
    high = values.sum() / (short * long)
    noise = _least(values / long, alpha, edge, low, high)
    return int((values > long * noise * edge).sum())


def _least(values: NDArray[np.float64], alpha: float, edge: float, low: float, high: float) -> float:
    """Return the noise variance of least free energy in ``low``..``high``: a grid, refined around its best.

    The free energy has a kink wherever a singular value crosses the edge, so that a golden section may stop in
    the wrong valley.
    """
    for _ in range(_ROUNDS):
        grid = np.geomspace(low, high, _POINTS)
        best = int(np.argmin([_free_energy(values, alpha, edge, noise) for noise in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, _POINTS - 1)]
    return float(grid[best])


def _free_energy(values: NDArray[np.float64], alpha: float, edge: float, noise: float) -> float:
    """Return the free energy at a noise variance, up to a constant; ``values`` are squares over columns."""
    scaled = values / noise
    noisy, signal = scaled[scaled <= edge], scaled[scaled > edge]
    centred = signal - (1 + alpha)
    tau = 0.5 * (centred + np.sqrt(centred**2 - 4 * alpha))
    explained = signal - tau + np.log((tau + 1) / signal) + alpha * np.log(tau / alpha + 1)
    return float(np.sum(noisy - np.log(noisy)) + np.sum(explained))
