"""Chooses layout and coefficients of the context coder. Runs when a file is written, never when it is read."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from trimtab.codec.errors import CodecError
from trimtab.codec.integers import UNIT
from trimtab.codec.layout import NEAR, Layout
from trimtab.codec.neighbours import (
    CLASS_COEFFICIENTS,
    CLASSES,
    COEFFICIENT_BITS,
    LARGEST,
    LEFT_COEFFICIENTS,
    SIGN_COEFFICIENTS,
    Model,
    Neighbours,
    class_features,
)

CHOICE_SAMPLES = 1 << 15
MOST_SAMPLES = 1 << 18
NEWTON_STEPS = 10
RIDGE = 1.0
WEIGHTS_PER_CLASS = 256

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def fit(ranks: Ints, tried: Iterable[Layout]) -> tuple[Layout, Model]:
    """Return the layout and model of least estimated cost for signed ranks of codebook values; raise ``CodecError``."""
    layouts = list(dict.fromkeys(tried))
    if not layouts:
        raise CodecError(f"a tensor of shape {list(ranks.shape)} is too large for the context coder")
    costs = [_regress_all(np.sign(layout.by_step(ranks)), layout, CHOICE_SAMPLES)[0] for layout in layouts]
    layout = layouts[costs.index(min(costs))]
    by_step = layout.by_step(ranks)
    _, left, sign = _regress_all(np.sign(by_step), layout, MOST_SAMPLES)
    return layout, Model(left, sign, *_fit_classes(by_step, layout))


def _regress_all(signed: Ints, layout: Layout, most: int) -> tuple[float, Ints, Ints]:
    """Return (bits per weight for position and sign, coefficients of both) from at most ``most`` weights."""
    rows, left, signs, positive = _samples(signed, layout, most)
    left_bits, left_coefficients = _regress(rows, left, LEFT_COEFFICIENTS)
    sign_bits, sign_coefficients = _regress(signs, positive, SIGN_COEFFICIENTS)
    return (left_bits + sign_bits) / len(left), left_coefficients, sign_coefficients


def _samples(signed: Ints, layout: Layout, most: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return features and outcome of being left, and of being positive, in octaves of odds."""
    tables, near, outcomes = [], [], []
    for step, chosen, known in _steps(signed, layout, most):
        of_row, of_channel, of_step = known.densities(step)
        table = np.empty((chosen.size, LEFT_COEFFICIENTS))
        table[:, 0] = 1
        table[:, 1] = of_row[chosen // layout.channels] / UNIT
        table[:, 2] = of_channel[chosen % layout.channels] / UNIT
        table[:, 3 : 3 + len(NEAR)] = of_step / UNIT
        table[:, 3 + len(NEAR) :] = known.left(step)[:, chosen].T
        tables.append(table)
        near.append(known.near_signs(step)[:, chosen].T)
        outcomes.append(signed[step][chosen])
    outcome = np.concatenate(outcomes)
    left = outcome != 0
    signs = np.concatenate(near)[left]
    with_bias = np.concatenate([np.ones((len(signs), 1)), signs], 1)
    return np.concatenate(tables), left * 1.0, with_bias, (outcome[left] > 0) * 1.0


def _steps(signed: Ints, layout: Layout, most: int) -> Iterator[tuple[int, NDArray[np.intp], Neighbours]]:
    """Yield (step, chosen lanes, what is known before it); all lanes unless there are more weights."""
    known = Neighbours(layout, int(np.count_nonzero(signed)))
    stride = -(-signed.size // most)
    for step in range(layout.steps):
        yield step, np.arange(step % stride, layout.lanes, stride), known
        known.put(step, signed[step])


def _regress(features: Floats, outcome: Floats, count: int) -> tuple[float, Ints]:
    """Return (bits per sample times samples, coefficients in 1/32) of a logistic regression by Newton's method."""
    found = np.zeros(count)
    scaled = features * np.log(2)
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(scaled @ found, -15, 15)))
        curve = (scaled * (chance * (1 - chance) + 1e-6)[:, None]).T @ scaled + RIDGE * np.eye(count)
        found -= np.linalg.solve(curve, scaled.T @ (chance - outcome) + RIDGE * found)
    steps = 1 << COEFFICIENT_BITS
    coefficients = np.clip(np.rint(found * steps), -LARGEST, LARGEST).astype(np.int64)
    chance = 1 / (1 + np.exp2(-np.clip(features @ (coefficients / steps), -15.9, 15.9)))
    bits = -np.log2(np.where(outcome > 0, chance, 1 - chance)).sum()
    return float(bits), coefficients


def _fit_classes(ranks: Ints, layout: Layout) -> tuple[Ints, Ints]:
    """Return (coefficients, bounds) of the score by which distances from zero are told apart; 0 if too few."""
    none = np.zeros(CLASS_COEFFICIENTS, np.int64), np.zeros(CLASSES - 1, np.int64)
    left = ranks[ranks != 0]
    if left.size < CLASSES * WEIGHTS_PER_CLASS:
        return none
    features = class_features(np.sign(ranks), layout)
    table = np.concatenate([features, np.ones((len(features), 1))], 1)
    square = table.T @ table + RIDGE * np.eye(table.shape[1])
    found = np.linalg.solve(square, table.T @ np.abs(left).astype(float))[:-1]
    largest = np.abs(found).max()
    if largest == 0:
        return none
    score = np.rint(found * LARGEST / largest).astype(np.int64)
    places = np.arange(1, CLASSES) / CLASSES
    return score, np.quantile(features @ score, places, method="nearest").astype(np.int64)
