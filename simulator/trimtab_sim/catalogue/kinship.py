"""How much two latencies have in common before anything is learned: variances by what they share.

All of ln(latency): a variance of 0.04 is a standard deviation of about 20 %.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """What ran, on which kind of processor and by which software; the same on every device."""

    unit: str
    runtime: str
    precision: str
    name: str


Shares = Mapping[tuple[str, ...], float]
"""Variance that two items have in common when they agree in all of these fields of ``Item``."""

TYPICAL: Final[Shares] = {
    ("name",): 3.5,
    ("name", "unit"): 0.02,
    ("name", "unit", "runtime"): 0.19,
    ("name", "unit", "precision"): 0.054,
    ("name", "unit", "runtime", "precision"): 0.09,
    ("unit", "runtime"): 0.7,
    ("unit", "precision"): 0.29,
    ("unit", "runtime", "precision"): 0.02,
}
"""Of an item's latency on the typical device: networks differ most, then runtimes, then precisions."""

DEVIATION: Final[Shares] = {
    (): 0.8,
    ("unit",): 0.5,
    ("unit", "runtime"): 0.02,
    ("precision",): 0.2,
    ("unit", "precision"): 0.1,
    ("unit", "runtime", "precision"): 0.03,
    ("name",): 0.005,
    ("name", "unit"): 0.005,
    ("name", "unit", "runtime"): 0.03,
    ("name", "precision"): 0.06,
    ("name", "unit", "precision"): 0.05,
    ("name", "unit", "runtime", "precision"): 0.05,
}
"""Of a device's deviation from the typical one: mostly the speed of the device and of its units."""


def shared(items: Sequence[Item], shares: Shares) -> Matrix:
    """Return the covariance (items x items) that ``shares`` stands for."""
    same = {}
    for field in Item.__slots__:
        words = np.array([getattr(item, field) for item in items])
        same[field] = words[:, np.newaxis] == words[np.newaxis, :]
    total = np.zeros((len(items), len(items)))
    for fields, variance in shares.items():
        agree = np.ones(total.shape, bool)
        for field in fields:
            agree &= same[field]
        total += variance * agree
    return total
