"""How much two latencies have in common before anything is learned: variances by what they share.

All of ln(latency): a variance of 0.04 is a standard deviation of about 20 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab_sim.catalogue.measurements import Trait

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """What ran, on which kind of processor and by which software; the same on every device."""

    unit: str
    runtime: str
    precision: str
    name: str


Shares = Mapping[tuple[str, ...], float]
"""Variance that two items have in common when they agree in all of these fields of ``Item``.

``kin`` is agreed in by sizes of one network. ``work`` stands for the product of what both compute, each as
ln(work) about the mean: the variance of a slope. Networks without traits have neither in common with any, and
``untold`` of them is the same network.
"""

TYPICAL: Final[Shares] = {
    ("untold",): 3.45,
    ("name",): 0.05,
    ("name", "unit"): 0.02,
    ("name", "unit", "runtime"): 0.19,
    ("name", "unit", "precision"): 0.054,
    ("name", "unit", "runtime", "precision"): 0.09,
    ("unit", "runtime"): 0.7,
    ("unit", "precision"): 0.29,
    ("unit", "runtime", "precision"): 0.02,
    ("kin",): 2.0,
    ("kin", "unit", "precision"): 0.05,
    ("work",): 0.5,
    ("work", "unit", "precision"): 0.03,
    ("work", "kin"): 0.03,
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
    ("kin", "unit", "precision"): 0.03,
    ("work", "unit"): 0.01,
}
"""Of a device's deviation from the typical one: mostly the speed of the device and of its units."""


def shared(items: Sequence[Item], shares: Shares, traits: Mapping[str, Trait]) -> Matrix:
    """Return the covariance (items x items) that ``shares`` stands for."""
    alike = _alike(items, traits)
    total = np.zeros((len(items), len(items)))
    for fields, variance in shares.items():
        agree = np.full(total.shape, variance)
        for field in fields:
            agree *= alike[field]
        total += agree
    return total


def _alike(items: Sequence[Item], traits: Mapping[str, Trait]) -> dict[str, Matrix]:
    """Return how alike items are in each field: 1 or 0, for ``work`` the product of both."""
    alike = {}
    for field in Item.__slots__:
        words = np.array([getattr(item, field) for item in items])
        alike[field] = (words[:, np.newaxis] == words[np.newaxis, :]).astype(np.float64)
    told = [traits.get(item.name) for item in items]
    known = np.array([one is not None for one in told], np.float64)
    kin = np.array([one.kin if one else "" for one in told])
    alike["untold"] = alike["name"] * np.outer(1 - known, 1 - known)
    alike["kin"] = (kin[:, np.newaxis] == kin[np.newaxis, :]) * np.outer(known, known)
    log_work = np.array([math.log(one.work) if one else math.nan for one in told])
    about_mean = np.nan_to_num(log_work - np.nanmean(log_work)) if known.any() else log_work * 0
    alike["work"] = np.outer(np.nan_to_num(about_mean), np.nan_to_num(about_mean))
    return alike
