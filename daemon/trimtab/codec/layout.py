"""In which order the context coder visits a tensor's weights, and which neighbours each has by then.

A tensor is taken as a matrix of ``rows`` (its first dimension) by the rest, or as the transpose of that.
Columns are split into ``channels`` x ``steps``; a step is a place in an image of ``width``. All weights of
one step (rows x channels) are coded together, from what is known of earlier steps: those of the same row and
channel at neighbouring places above and to the left.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.codec.errors import CodecError
from trimtab.codec.fields import Reader, Writer
from trimtab.codec.limits import Limits

Ints = NDArray[np.int64]

# (rows up, columns left) of the neighbours that are known when a step is coded
NEAR = ((0, 1), (0, 2), (1, 0), (1, 1), (1, -1), (2, 0))
LARGEST_SQUARE = 256
TRIED_SQUARES = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor is laid out."""

    transposed: bool
    channels: int
    width: int
    rows: int
    steps: int

    @property
    def lanes(self) -> int:
        """Return how many weights one step has."""
        return self.rows * self.channels

    def by_step(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a tensor as (steps, lanes)."""
        matrix = array.reshape(array.shape[0], -1) if array.ndim else array.reshape(1, 1)
        matrix = matrix.T if self.transposed else matrix
        return matrix.reshape(self.lanes, self.steps).T

    def restore(self, steps: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the tensor that ``by_step`` was given."""
        matrix = steps.T.reshape(self.rows, self.channels * self.steps)
        return (matrix.T if self.transposed else matrix).reshape(shape)

    def near(self, mirrored: bool = False) -> Ints:
        """Return (steps, neighbours): at which step each neighbour is, ``steps`` where there is none."""
        place = np.arange(self.steps)
        y, x = place // self.width, place % self.width
        sign = -1 if mirrored else 1
        columns = []
        for up, left in NEAR:
            other_y, other_x = y - sign * up, x - sign * left
            other = other_y * self.width + other_x
            inside = (other_x >= 0) & (other_x < self.width) & (other >= 0) & (other < self.steps)
            columns.append(np.where(inside, other, self.steps))
        return np.stack(columns, 1)

    def write(self, model: Writer) -> None:
        """Add the choices to a tensor's model."""
        model.number(int(self.transposed))
        model.number(self.channels)
        model.number(self.width)


def lay_out(shape: tuple[int, ...], transposed: bool, channels: int, width: int) -> Layout:
    """Return the layout of a tensor that is not empty; raise ``ValueError`` if it does not divide."""
    first = shape[0] if shape else 1
    rest = math.prod(shape[1:])
    rows, columns = (rest, first) if transposed else (first, rest)
    if columns % channels:
        raise ValueError(f"{columns} columns do not divide into {channels} channels")
    return Layout(transposed, channels, width, rows, columns // channels)


def read(model: Reader, shape: tuple[int, ...], limits: Limits) -> Layout:
    """Return the layout that ``Layout.write`` stored; raise ``CodecError``."""
    size = math.prod(shape)
    transposed = model.number(1, "layout")
    channels = model.number(size, "channels", 1)
    width = model.number(size, "width", 1)
    try:
        layout = lay_out(shape, bool(transposed), channels, width)
    except ValueError as error:
        raise CodecError(f"{model.where}: {error}") from error
    if not _allowed(layout, limits):
        raise CodecError(f"{model.where}: {layout.steps} steps of {layout.lanes} weights are too many")
    return layout


def _allowed(layout: Layout, limits: Limits) -> bool:
    return layout.steps <= limits.steps and layout.lanes <= limits.lanes


def candidates(shape: tuple[int, ...], limits: Limits) -> Iterator[Layout]:
    """Yield the layouts worth trying: as it is, transposed, and as channels of images."""
    for transposed in (False, True):
        whole = lay_out(shape, transposed, 1, 1)
        choices = [(1, 1), *_images(shape, whole)] if not transposed or len(shape) == 2 else [(1, 1)]
        found = [lay_out(shape, transposed, *choice) for choice in choices]
        yield from (layout for layout in found if _allowed(layout, limits))
    flat = lay_out(shape, False, math.prod(shape[1:]), 1)
    if _allowed(flat, limits):
        yield flat


def _images(shape: tuple[int, ...], whole: Layout) -> list[tuple[int, int]]:
    """Return (channels, width): of the kernel itself, or of the largest squares that may have been flattened."""
    if len(shape) > 2:
        return [(shape[1], shape[-1]), (1, shape[-1])]
    squares = [
        (whole.steps // (side * side), side)
        for side in range(min(LARGEST_SQUARE, math.isqrt(whole.steps)), 2, -1)
        if whole.steps % (side * side) == 0
    ]
    return squares[:TRIED_SQUARES]
