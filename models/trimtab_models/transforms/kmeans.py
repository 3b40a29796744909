"""k-means of numbers on a line: sorted once, each Lloyd step costs k searches. Nothing is left to chance."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_STEPS = 300
"""Lloyd's steps come to rest long before, or move centroids by less than matters."""
_REFILLS = 8


def kmeans(
    values: Numbers, clusters: int, initialisation: Literal["linear", "density", "random"], seed: int = 0
) -> tuple[Numbers, NDArray[np.int64]]:
    """Return centroids in ascending order (at most ``clusters``) and which of them each value (n,) is nearest to.

    Linear: centroids start evenly spaced from the least to the largest value; density: at evenly spaced
    quantiles; random: at distinct values drawn with ``seed`` (Han et al., ICLR 2016, section 3.2). A centroid
    without members, as linear ones have in the gap that pruning leaves around zero, moves into the cluster of
    largest squared error; one that stays without is dropped. With no more distinct values than clusters the
    result is exact.
    """
    values = np.asarray(values, np.float64)
    distinct = np.unique(values)
    if distinct.size <= clusters:
        return distinct, np.searchsorted(distinct, values)
    centroids = _settle(np.sort(values), _start(distinct, values, clusters, initialisation, seed))
    nearest = _nearest(values, centroids)
    used, nearest = np.unique(nearest, return_inverse=True)
    return centroids[used], nearest


def _start(distinct: Numbers, values: Numbers, clusters: int, initialisation: str, seed: int) -> Numbers:
    if initialisation == "linear":
        return np.linspace(distinct[0], distinct[-1], clusters)
    if initialisation == "density":
        return np.quantile(values, (np.arange(clusters) + 0.5) / clusters)
    return np.sort(np.random.default_rng(seed).choice(distinct, clusters, replace=False))


def _settle(ordered: Numbers, centroids: Numbers) -> Numbers:
    """Run Lloyd's steps; give centroids left without members a part of the widest clusters; repeat."""
    for _ in range(_REFILLS):
        centroids = _lloyd(ordered, centroids)
        counts, squares, farthest = _members(ordered, centroids)
        empty = np.flatnonzero(counts == 0)
        wide = np.argsort(-squares, kind="stable")[: empty.size]
        wide = wide[squares[wide] > 0]
        if not wide.size:
            break
        moved = centroids.copy()
        moved[empty[: wide.size]] = (centroids[wide] + farthest[wide]) / 2
        centroids = np.sort(moved)
    return _lloyd(ordered, centroids)


def _lloyd(ordered: Numbers, centroids: Numbers) -> Numbers:
    """Move centroids to the mean of their members until they rest; one without members stays."""
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(_STEPS):
        edges = _edges(ordered, centroids)
        counts = np.diff(edges)
        means = np.diff(total[edges]) / np.maximum(counts, 1)
        moved = np.sort(np.where(counts > 0, means, centroids))
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def _edges(ordered: Numbers, centroids: Numbers) -> NDArray[np.int64]:
    """Return where each cluster begins among the ordered values, and their number at the end."""
    between = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2, side="right")
    return np.concatenate([[0], between, [ordered.size]])


def _members(ordered: Numbers, centroids: Numbers) -> tuple[NDArray[np.int64], Numbers, Numbers]:
    """Return each cluster's members, their squared error and the member farthest from the centroid."""
    edges = _edges(ordered, centroids)
    counts = np.diff(edges)
    error = np.square(ordered - np.repeat(centroids, counts))
    squares = np.diff(np.concatenate([[0.0], np.cumsum(error)])[edges])
    first, last = (
        ordered[np.minimum(at, ordered.size - 1)] for at in (edges[:-1], np.maximum(edges[1:] - 1, 0))
    )
    farthest = np.where(centroids - first > last - centroids, first, last)
    return counts, np.where(counts > 1, squares, 0.0), farthest


def _nearest(values: Numbers, centroids: Numbers) -> NDArray[np.int64]:
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values, side="left")
