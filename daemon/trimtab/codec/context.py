"""Our coder: a range coder whose model of each weight is what is known of its neighbours.

Pruned weights of a first layer are not scattered evenly: whole input pixels are dead, and a weight is likelier to
be left, and of the same sign, where the same neuron's weights at neighbouring pixels are. Three decisions
per weight: left or pruned, its sign, and how far from zero its codebook value is. The first two are logistic
models of a few neighbours with 8-bit coefficients from the file; the last has adaptive counts, by a class
that says how many neighbours are left and agree in sign. All models are in whole numbers.
"""

from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from trimtab.codec import fitting
from trimtab.codec import layout as layouts
from trimtab.codec.errors import CodecError
from trimtab.codec.fields import Reader, Writer
from trimtab.codec.integers import squash
from trimtab.codec.layout import Layout
from trimtab.codec.limits import Limits
from trimtab.codec.neighbours import CLASSES, Model, Neighbours, classes
from trimtab.codec.streams import Streams
from trimtab.codec.tensors import SharedTensor

FIRST_BLOCK = 32
MOST_CELLS = 1 << 22
SCALE = 1 << 16
WORD_BYTES = 4

# the package's submodules cannot be imported by name
Bernoulli = constriction.stream.model.Bernoulli
Categorical = constriction.stream.model.Categorical
RangeDecoder = constriction.stream.queue.RangeDecoder
RangeEncoder = constriction.stream.queue.RangeEncoder

Ints = NDArray[np.int64]
Symbols = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Signs:
    """How many codebook values there are on either side of zero."""

    negatives: int
    positives: int

    @property
    def both(self) -> bool:
        """Return whether signs have to be stored."""
        return self.negatives > 0 and self.positives > 0

    @property
    def distances(self) -> int:
        """Return how many distances from zero there are, at least 1."""
        return max(self.negatives, self.positives, 1)


def encode(tensor: SharedTensor, index: Writer, streams: Streams, limits: Limits) -> int:
    """Add a tensor's model to ``index`` and its codes to ``streams``; return the number of steps."""
    signs = Signs(tensor.negatives, tensor.codebook.size - tensor.negatives)
    nonzero = int(np.count_nonzero(tensor.symbols))
    index.number(nonzero)
    if not nonzero:
        return 0
    ranks = np.where(
        tensor.symbols > signs.negatives,
        tensor.symbols - signs.negatives,
        np.where(tensor.symbols > 0, tensor.symbols - signs.negatives - 1, 0),
    ).astype(np.int64)
    layout, model = fitting.fit(ranks, layouts.candidates(ranks.shape, limits))
    layout.write(index)
    model.write(index)
    positions, codes = RangeEncoder(), RangeEncoder()
    by_step = layout.by_step(ranks)
    _encode_steps(by_step, nonzero, layout, model, signs, (positions, codes))
    _encode_distances(by_step, layout, model, signs, codes)
    for section, coder in (("positions", positions), ("codes", codes)):
        body = coder.get_compressed().astype("<u4").tobytes()
        index.number(len(body))
        streams.add(section, body)
    return layout.steps


def decode(
    shape: tuple[int, ...], signs: Signs, index: Reader, streams: Streams, limits: Limits, name: str
) -> tuple[Symbols, int]:
    """Return a tensor's symbols and the number of steps; raise ``CodecError``."""
    size = int(np.prod(shape, dtype=np.int64))
    nonzero = index.number(size, "weights left")
    if not nonzero:
        return np.zeros(shape, np.int32), 0
    if not signs.negatives + signs.positives:
        raise CodecError(f"{index.where}: {nonzero} weights are left, but the codebook is empty")
    layout = layouts.read(index, shape, limits)
    model = Model.read(index)
    coders = (_decoder("positions", index, streams, name), _decoder("codes", index, streams, name))
    try:
        found = _decode_steps(nonzero, layout, model, signs, coders)
        distances = _decode_distances(found, layout, model, signs, coders[1])
    except (AssertionError, ValueError, RuntimeError) as error:
        raise CodecError(f"section codes: tensor {name!r}: cannot be decoded: {error}") from error
    if np.count_nonzero(found) != nonzero:
        raise CodecError(f"section positions: tensor {name!r}: not the {nonzero} weights that are left")
    return layout.restore(_symbols(found, distances, signs, name), shape), layout.steps


def _symbols(signed: Ints, distances: Ints, signs: Signs, name: str) -> Symbols:
    """Return codebook indices of signs (-1, 0, 1) and distances from zero of those that are left."""
    left = signed != 0
    negative = signed[left] < 0
    codes = np.where(negative, signs.negatives - distances, signs.negatives + 1 + distances)
    if np.any(codes < 1) or np.any(codes > signs.negatives + signs.positives):
        raise CodecError(f"section codes: tensor {name!r}: a code lies outside the codebook")
    symbols = np.zeros(signed.shape, np.int32)
    symbols[left] = codes
    return symbols


def _decoder(section: str, index: Reader, streams: Streams, name: str) -> Any:
    body = streams.take(section, index, name)
    if len(body) % WORD_BYTES:
        raise CodecError(f"section {section}: tensor {name!r}: {len(body)} bytes are not whole words")
    return RangeDecoder(np.frombuffer(body, "<u4").astype(np.uint32))


def _encode_steps(
    ranks: Ints, nonzero: int, layout: Layout, model: Model, signs: Signs, coders: tuple[Any, Any]
) -> None:
    known = Neighbours(layout, nonzero)
    for step in range(layout.steps):
        signed = np.sign(ranks[step])
        left = signed != 0
        coders[0].encode(
            left.astype(np.int32), Bernoulli(perfect=False), squash(known.left_logits(step, model.left))
        )
        if signs.both and left.any():
            positive = (signed[left] > 0).astype(np.int32)
            coders[1].encode(
                positive, Bernoulli(perfect=False), squash(known.sign_logits(step, left, model.sign))
            )
        known.put(step, signed)


def _decode_steps(nonzero: int, layout: Layout, model: Model, signs: Signs, coders: tuple[Any, Any]) -> Ints:
    """Return (steps, lanes): -1, 0 or 1 per weight."""
    known = Neighbours(layout, nonzero)
    for step in range(layout.steps):
        left = coders[0].decode(Bernoulli(perfect=False), squash(known.left_logits(step, model.left))) != 0
        signed = np.zeros(layout.lanes, np.int64)
        if left.any():
            if signs.both:
                odds = squash(known.sign_logits(step, left, model.sign))
                signed[left] = 2 * coders[1].decode(Bernoulli(perfect=False), odds).astype(np.int64) - 1
            else:
                signed[left] = 1 if signs.positives else -1
        known.put(step, signed)
    return known.signed[:-1].astype(np.int64)


def _encode_distances(ranks: Ints, layout: Layout, model: Model, signs: Signs, coder: Any) -> None:
    left = ranks != 0
    distances = np.abs(ranks[left]) - 1
    counts = _Counts(classes(np.sign(ranks), layout, model), signs.distances)
    for block in counts.blocks():
        coder.encode(distances[block].astype(np.int32), Categorical(perfect=False), counts.shares(block))
        counts.learn(block, distances[block])


def _decode_distances(signed: Ints, layout: Layout, model: Model, signs: Signs, coder: Any) -> Ints:
    counts = _Counts(classes(signed, layout, model), signs.distances)
    distances = np.zeros(int(np.count_nonzero(signed)), np.int64)
    for block in counts.blocks():
        distances[block] = coder.decode(Categorical(perfect=False), counts.shares(block))
        counts.learn(block, distances[block])
    return distances


class _Counts:
    """How often each distance occurred so far, per class of weights; blocks of weights grow by a quarter."""

    def __init__(self, owners: Ints, distances: int) -> None:
        self._owners = owners
        self._counts = np.zeros((2 * CLASSES, distances), np.int64)

    def blocks(self) -> Any:
        """Yield slices over all weights; none if there is only one distance."""
        distances = self._counts.shape[1]
        begin, end = 0, len(self._owners) if distances > 1 else 0
        while begin < end:
            most = max(1, MOST_CELLS // distances)
            upto = min(end, begin + min(most, max(FIRST_BLOCK, begin // 4)))
            yield slice(begin, upto)
            begin = upto

    def shares(self, block: slice) -> NDArray[np.float32]:
        """Return (weights, distances): whole numbers in proportion to the probabilities."""
        distances = self._counts.shape[1]
        everywhere = self._counts.sum(0) + 1
        total = everywhere.sum()
        weight = self._counts * total + distances * everywhere
        shares = 1 + weight * SCALE // weight.sum(1, keepdims=True)
        found: NDArray[np.float32] = shares.astype(np.float32)[self._owners[block]]
        return found

    def learn(self, block: slice, distances: Ints) -> None:
        """Count the distances of a block."""
        np.add.at(self._counts, (self._owners[block], distances), 1)
