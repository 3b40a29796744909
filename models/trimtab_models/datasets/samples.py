"""Labelled samples in memory, as they are stored and as models take them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXEL_SCALE = 1 / 255
"""Makes 0..1 of 8-bit pixels."""

_BLOCK = 500


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Inputs (n, ...) in their stored integer type, labels (n,) uint8, index (n,) in the official split.

    Times ``scale`` (one factor, or one per channel in the second axis) the inputs are what a model takes.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.uint8]
    index: NDArray[np.int64]
    scale: float | tuple[float, ...] = PIXEL_SCALE

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one input."""
        return tuple(self.inputs.shape[1:])

    def take(self, rows: NDArray[np.int64]) -> "Samples":
        """Return the given rows, in the given order."""
        return replace(self, inputs=self.inputs[rows], labels=self.labels[rows], index=self.index[rows])

    def tensors(self) -> NDArray[np.float32]:
        """Return the inputs as models take them: float32, scaled."""
        return scaled(self.inputs, self.scale)


def scaled(inputs: NDArray[Any], scale: float | tuple[float, ...]) -> NDArray[np.float32]:
    """Return stored inputs (n, channels, ...) as float32 times ``scale``, one factor or one per channel."""
    if isinstance(scale, float):
        if scale == PIXEL_SCALE:  # the division is what applications do; it rounds differently
            return inputs.astype(np.float32) / np.float32(255)
        return inputs.astype(np.float32) * np.float32(scale)
    factors = np.asarray(scale, np.float32).reshape(-1, *[1] * (inputs.ndim - 2))
    return inputs.astype(np.float32) * factors


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Training, held-out validation and test samples, with what a network must know about them.

    ``mean`` and ``std`` are those of the scaled training inputs, one per channel. ``input_name`` is the name
    of the tensor in requests: ``image`` (channels, height, width), ``audio`` (time,) or ``window``
    (channels, time).
    """

    train: Samples
    validation: Samples
    test: Samples
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_name: str = "image"

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one input."""
        return self.test.shape


def moments(samples: Samples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of the scaled inputs, rounded; of each channel, if they have any."""
    stored = samples.inputs if samples.inputs.ndim > 2 else samples.inputs[:, None]
    channels = stored.shape[1]
    total, square = np.zeros(channels), np.zeros(channels)
    for start in range(0, len(stored), _BLOCK):  # float64 of a whole set would not fit small machines
        block = stored[start : start + _BLOCK].astype(np.float64).reshape(-1, channels, stored[0, 0].size)
        total += block.sum(axis=(0, 2))
        square += np.square(block).sum(axis=(0, 2))
    scale = np.broadcast_to(np.asarray(samples.scale, np.float64), channels)
    mean = total / (stored.size / channels)
    std = np.sqrt(square / (stored.size / channels) - mean**2)
    return tuple(_rounded(mean * scale)), tuple(_rounded(std * scale))


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 4) for value in values]


def hold_out(samples: Samples, count: int, seed: int) -> tuple[Samples, Samples]:
    """Split off ``count`` samples at random; return (rest, held out), each in official order."""
    order = np.random.default_rng(seed).permutation(len(samples))
    return samples.take(np.sort(order[count:])), samples.take(np.sort(order[:count]))


def balanced(samples: Samples, per_class: int, seed: int) -> Samples:
    """Return ``per_class`` random samples of every class (all there are, if fewer), in official order."""
    rng = np.random.default_rng(seed)
    rows = []
    for label in np.unique(samples.labels):
        members = np.flatnonzero(samples.labels == label)
        rows.append(rng.choice(members, min(per_class, len(members)), replace=False))
    return samples.take(np.sort(np.concatenate(rows)))
