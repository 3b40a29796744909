"""Labelled images in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Images (n, 1, height, width) and labels (n,), uint8; index (n,): positions in the official split."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Samples":
        """Return the given rows, in the given order."""
        return Samples(self.images[rows], self.labels[rows], self.index[rows])

    def pixels(self) -> NDArray[np.float32]:
        """Return the images as models take them: float32 in 0..1."""
        return self.images.astype(np.float32) / np.float32(255)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Training, held-out validation and test samples, with what a network must know about them.

    ``mean`` and ``std`` are those of the training pixels in 0..1.
    """

    train: Samples
    validation: Samples
    test: Samples
    labels: tuple[str, ...]
    mean: float
    std: float

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.labels)


def hold_out(samples: Samples, count: int, seed: int) -> tuple[Samples, Samples]:
    """Split off ``count`` samples at random; return (rest, held out), each in official order."""
    order = np.random.default_rng(seed).permutation(len(samples))
    return samples.take(np.sort(order[count:])), samples.take(np.sort(order[:count]))


def balanced(samples: Samples, per_class: int, seed: int) -> Samples:
    """Return ``per_class`` random samples of every class, in official order."""
    rng = np.random.default_rng(seed)
    rows = [
        rng.choice(np.flatnonzero(samples.labels == label), per_class, replace=False)
        for label in np.unique(samples.labels)
    ]
    return samples.take(np.sort(np.concatenate(rows)))
