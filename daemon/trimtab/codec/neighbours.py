"""What is known when a weight is coded, as whole numbers, and the coefficients that weigh it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.codec.fields import Reader, Writer
from trimtab.codec.integers import UNIT, stretch
from trimtab.codec.layout import NEAR, Layout

Ints = NDArray[np.int64]

COEFFICIENT_BITS = 5
LARGEST = 127
# bias, density of the row, of the channel, of each neighbouring step; then each neighbour itself
LEFT_COEFFICIENTS = 3 + 2 * len(NEAR)
SIGN_COEFFICIENTS = 1 + len(NEAR)
GROUPS = (
    (0,),
    (2,),
    (3, 4),
    (1, 5),
)  # neighbours beside, above, diagonal, two away; with their mirror images
CLASS_COEFFICIENTS = 2 * len(GROUPS)
CLASSES = 8
PRIOR_WEIGHTS = 16
BLOCK = 1 << 18
LARGEST_SCORE = LARGEST * 4 * CLASS_COEFFICIENTS


@dataclass(frozen=True, slots=True)
class Model:
    """A tensor's coefficients, in 1/32; ``bounds`` of the score part the classes, ascending."""

    left: Ints
    sign: Ints
    score: Ints
    bounds: Ints

    def write(self, index: Writer) -> None:
        """Add the coefficients to a tensor's model."""
        for values in (self.left, self.sign, self.score, self.bounds):
            for value in values.tolist():
                index.signed(value)

    @classmethod
    def read(cls, index: Reader) -> "Model":
        """Return what ``write`` stored; raise ``CodecError``."""

        def numbers(count: int, most: int, what: str) -> Ints:
            return np.array([index.signed(most, what) for _ in range(count)], np.int64)

        return cls(
            numbers(LEFT_COEFFICIENTS, LARGEST, "coefficient of positions"),
            numbers(SIGN_COEFFICIENTS, LARGEST, "coefficient of signs"),
            numbers(CLASS_COEFFICIENTS, LARGEST, "coefficient of classes"),
            numbers(CLASSES - 1, LARGEST_SCORE, "bound of classes"),
        )


class Neighbours:
    """Signs (-1, 0 pruned, 1) of all weights coded so far, and how dense rows, channels and steps are."""

    def __init__(self, layout: Layout, nonzero: int) -> None:
        self._layout = layout
        self._near = layout.near()
        self._size = layout.steps * layout.lanes
        self._prior = PRIOR_WEIGHTS * nonzero
        self._rows = np.zeros(layout.rows, np.int64)
        self._channels = np.zeros(layout.channels, np.int64)
        self._density = np.zeros(layout.steps + 1, np.int64)
        self.signed = np.zeros((layout.steps + 1, layout.lanes), np.int8)
        self._left = np.zeros((layout.steps + 1, layout.lanes), np.int8)

    def densities(self, step: int) -> tuple[Ints, Ints, Ints]:
        """Return logits: of each row so far, of each channel so far, of each neighbouring step."""
        layout = self._layout
        rows = stretch(
            self._rows * self._size + self._prior,
            np.int64((step * layout.channels + PRIOR_WEIGHTS) * self._size),
        )
        if layout.channels == 1:
            return rows, np.zeros(1, np.int64), self._density[self._near[step]]
        channels = stretch(
            self._channels * self._size + self._prior,
            np.int64((step * layout.rows + PRIOR_WEIGHTS) * self._size),
        )
        return rows, channels, self._density[self._near[step]]

    def left(self, step: int) -> Ints:
        """Return (neighbours, lanes): 1 where that neighbour is left."""
        found: Ints = self._left[self._near[step]]
        return found

    def near_signs(self, step: int) -> Ints:
        """Return (neighbours, lanes): the sign of that neighbour, 0 if pruned."""
        found: Ints = self.signed[self._near[step]]
        return found

    def left_logits(self, step: int, coefficients: Ints) -> Ints:
        """Return per lane the logit of being left."""
        rows, channels, near = self.densities(step)
        flat = coefficients[0] * UNIT + (coefficients[3 : 3 + len(NEAR)] * near).sum()
        lanes: Ints = np.add.outer(coefficients[1] * rows, coefficients[2] * channels).reshape(-1)
        lanes += flat
        lanes += UNIT * (coefficients[3 + len(NEAR) :] @ self.left(step))
        lanes >>= COEFFICIENT_BITS
        return lanes

    def sign_logits(self, step: int, left: NDArray[np.bool_], coefficients: Ints) -> Ints:
        """Return the logit of being positive of each lane that is left."""
        near = self.near_signs(step)[:, left]
        logits: Ints = (UNIT * (coefficients[0] + coefficients[1:] @ near)) >> COEFFICIENT_BITS
        return logits

    def put(self, step: int, signed: Ints) -> None:
        """Take note of a step's signs."""
        layout = self._layout
        self.signed[step] = signed
        left = self._left[step]
        left[:] = signed != 0
        if layout.channels == 1:
            self._rows += left
        else:
            grid = left.reshape(layout.rows, layout.channels)
            self._rows += grid.sum(1)
            self._channels += grid.sum(0)
        count = int(left.sum())
        self._density[step] = stretch(np.int64(5 * count + 2), np.int64(5 * layout.lanes + 4))


def class_features(signed: Ints, layout: Layout) -> Ints:
    """Return (weights left, 8): per group how many neighbours are left, and the sum of their agreement in sign.

    ``signed`` is (steps, lanes); neighbours are those on both sides.
    """
    return _features(signed, layout, *np.nonzero(signed))


def _features(signed: Ints, layout: Layout, steps: Ints, lanes: Ints) -> Ints:
    padded = np.concatenate([signed, np.zeros((1, signed.shape[1]), signed.dtype)])
    own = signed[steps, lanes]
    sides = (layout.near()[steps], layout.near(mirrored=True)[steps])
    columns = []
    for group in GROUPS:
        found = [padded[side[:, neighbour], lanes] for side in sides for neighbour in group]
        columns += [sum(np.abs(one) for one in found), own * sum(found)]
    return np.stack(columns, 1).astype(np.int64)


def classes(signed: Ints, layout: Layout, model: Model) -> Ints:
    """Return the class of each weight that is left, in order of steps and lanes; positive ones are apart."""
    own = signed[signed != 0] > 0
    if not model.score.any():
        return np.where(own, CLASSES, 0)
    steps, lanes = np.nonzero(signed)
    found = np.where(own, CLASSES, 0)
    for begin in range(0, found.size, BLOCK):
        part = slice(begin, begin + BLOCK)
        score = _features(signed, layout, steps[part], lanes[part]) @ model.score
        found[part] += np.searchsorted(model.bounds, score, side="right")
    return found
