"""Learns from devices what is typical of each network and how devices deviate together: mean and covariance.

A row x (one device with one set of cores) over all items (network, precision, runtime, unit), x = ln(latency),
mostly unknown, is taken as x ~ N(mu, C) plus noise. Both are learned by expectation maximisation for missing
data (Dempster, Laird and Rubin 1977), with C shrunk towards a prior covariance C0 (the mode under an inverse
Wishart prior), and rows that fit badly weighted down as under a multivariate t (Lange, Little and Taylor 1989).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trimtab_sim.catalogue.kinship import DEVIATION, TYPICAL, Item, Matrix, Shares, shared
from trimtab_sim.catalogue.measurements import Trait

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Settings:
    """Constants of learning and predicting; docs/catalogues.md tells how they were found.

    ``noise`` is the variance of ln(latency) from one measurement to another; ``shrink`` counts how many rows
    the prior covariance is worth; ``freedom`` are the degrees of freedom by which rows are weighted, and
    ``cell_freedom`` those for single known latencies of the device predicted. ``kindred`` is what rows of the same
    device and unit with other cores have in common. ``spread`` is the variance of a mean of one row.
    """

    typical: Shares = field(default_factory=lambda: TYPICAL)
    deviation: Shares = field(default_factory=lambda: DEVIATION)
    noise: float = 0.004
    spread: float = 0.08
    shrink: float = 5.0
    freedom: float = 3.0
    cell_freedom: float = 2.0
    kindred: float = 0.6
    rounds: int = 5
    additive_rounds: int = 12


@dataclass(frozen=True, slots=True)
class Learned:
    """ln(latency) of each item on the typical device, and the covariance of devices' deviations from it."""

    mean: Vector
    covariance: Matrix


@dataclass(frozen=True, slots=True)
class Prior:
    """Covariances over items before anything is learned: of the typical device's latencies, of deviations from them."""

    typical: Matrix
    deviation: Matrix


def prior_of(items: Sequence[Item], traits: Mapping[str, Trait], settings: Settings) -> Prior:
    """Return what is supposed of items before anything is learned."""
    return Prior(shared(items, settings.typical, traits), shared(items, settings.deviation, traits))


def learn(rows: Matrix, weights: Vector, prior: Prior, settings: Settings) -> Learned:
    """Return mean and covariance over the prior's items; ``rows`` (rows x items) has NaN where unknown.

    Rows of one device tell less than rows of several, hence ``weights``.
    """
    if not len(rows):
        return Learned(np.zeros(len(prior.deviation)), prior.typical + prior.deviation)
    first, covariance = _first(rows, prior.typical, settings), prior.deviation
    mean = first.mean
    for _ in range(settings.rounds):
        shift, scatter = _expect(rows, weights, Learned(mean, covariance), settings)
        mean = mean + shift
        covariance = (scatter + settings.shrink * prior.deviation) / (weights.sum() + settings.shrink)
    return Learned(mean, covariance + first.covariance)


def _first(rows: Matrix, alike: Matrix, settings: Settings) -> Learned:
    """Return an additive model's item effects, carried over to items like them (kriging) where few or none were seen."""
    known = ~np.isnan(rows)
    counts, overall = known.sum(axis=0), float(np.nanmean(rows))
    offsets, effects = np.zeros(len(rows)), np.zeros(rows.shape[1])
    for _ in range(settings.additive_rounds):
        effects = np.where(known, rows - offsets[:, np.newaxis], 0.0).sum(axis=0) / np.maximum(counts, 1)
        effects = np.where(counts > 0, effects, overall)
        offsets = np.where(known, rows - effects, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    seen = np.flatnonzero(counts)
    among = alike[np.ix_(seen, seen)] + np.diag(settings.spread / counts[seen])
    weights = np.linalg.solve(among, alike[seen]).T
    mean: Vector = overall + weights @ (effects[seen] - overall)
    return Learned(mean, alike - weights @ alike[seen])


def _expect(rows: Matrix, weights: Vector, known: Learned, settings: Settings) -> tuple[Vector, Matrix]:
    """Return how far the mean moves, and the weighted scatter of the rows about the moved mean."""
    size = len(known.mean)
    total, scatter, weight_sum = np.zeros(size), np.zeros((size, size)), 0.0
    for row, weight in zip(rows, weights, strict=True):
        seen = np.flatnonzero(~np.isnan(row))
        with_seen = known.covariance[:, seen]
        residual = row[seen] - known.mean[seen]
        inverse = np.linalg.inv(with_seen[seen] + settings.noise * np.eye(len(seen)))
        gain = with_seen @ inverse
        deviation = gain @ residual
        misfit = float(residual @ inverse @ residual)
        trust = (settings.freedom + len(seen)) / (settings.freedom + misfit)
        total += weight * trust * deviation
        scatter += weight * (trust * np.outer(deviation, deviation) + known.covariance - gain @ with_seen.T)
        weight_sum += weight * trust
    shift = total / (weight_sum + 0.5)
    moved = np.outer(shift, total)
    return shift, scatter - moved - moved.T + weight_sum * np.outer(shift, shift)
