"""The paper's coder: relative indices and codebook indices, each Huffman-coded (Han et al., ICLR 2016).

A weight's relative index is the number of pruned weights before it, since the last stored one. It has
``gap_bits`` bits; where more are pruned in a row, a filler zero is stored on the way (their figure 2).
Codes are canonical: a file stores the length of each symbol's code only.
"""

from itertools import islice
from typing import Any

import numpy as np
from bitarray import bitarray
from bitarray.util import canonical_decode, huffman_code, int2ba
from numpy.typing import NDArray

from trimtab.codec.container import deflate
from trimtab.codec.errors import CodecError
from trimtab.codec.fields import Reader, Writer
from trimtab.codec.limits import Limits
from trimtab.codec.streams import Streams
from trimtab.codec.tensors import SharedTensor

GAP_BITS = range(1, 17)
TRIED_GAP_BITS = (3, 4, 5, 6, 8, 10, 12)
LONGEST_CODE = 31

Ints = NDArray[np.int64]


def relative(symbols: NDArray[np.int32], gap_bits: int) -> tuple[Ints, Ints]:
    """Return (gaps, codes) of the stored entries in row-major order; a filler zero has code 0."""
    flat = symbols.reshape(-1)
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1) - 1
    fillers = gaps >> gap_bits
    ends = np.cumsum(fillers + 1)
    count = int(ends[-1]) if ends.size else 0
    all_gaps = np.full(count, (1 << gap_bits) - 1, np.int64)
    codes = np.zeros(count, np.int64)
    all_gaps[ends - 1] = gaps & ((1 << gap_bits) - 1)
    codes[ends - 1] = flat[places]
    return all_gaps, codes


def absolute(gaps: Ints, codes: Ints, shape: tuple[int, ...], where: str) -> NDArray[np.int32]:
    """Return the symbols of which ``relative`` gave ``gaps`` and ``codes``; raise ``CodecError``."""
    flat = np.zeros(int(np.prod(shape, dtype=np.int64)), np.int32)
    places = np.cumsum(gaps + 1) - 1
    if places.size and places[-1] >= flat.size:
        raise CodecError(f"{where}: an entry lies at {places[-1]}, beyond the {flat.size} weights")
    flat[places] = codes
    return flat.reshape(shape)


def encode(tensor: SharedTensor, index: Writer, streams: Streams, gap_bits: int | None = None) -> None:
    """Add a tensor's model to ``index`` and its codes to ``streams``; ``gap_bits`` None takes the smallest."""
    tried = TRIED_GAP_BITS if gap_bits is None else (gap_bits,)
    choices = []
    for bits in tried:
        gaps, codes = relative(tensor.symbols, bits)
        model = Writer()
        model.number(bits)
        model.number(gaps.size)
        packed = [_encode_symbols(gaps, 1 << bits, model), _encode_symbols(codes, _letters(tensor), model)]
        choices.append((sum(map(len, packed)) + len(deflate(model.body())), model.body(), packed))
    _, model_body, (positions, codes_body) = min(choices, key=lambda choice: choice[0])
    index.data(model_body)
    streams.add("positions", positions)
    streams.add("codes", codes_body)


def decode(
    shape: tuple[int, ...], codebook: int, index: Reader, streams: Streams, limits: Limits, name: str
) -> NDArray[np.int32]:
    """Return a tensor's symbols; raise ``CodecError``."""
    model = Reader(index.data(limits.index_bytes, f"model of {name}"), f"section index: tensor {name!r}")
    size = int(np.prod(shape, dtype=np.int64))
    bits = model.number(GAP_BITS[-1], "gap bits", 1)
    entries = model.number(size, "number of entries")
    gaps = _decode_symbols(entries, 1 << bits, model, streams, "positions", name)
    codes = _decode_symbols(entries, codebook + 1, model, streams, "codes", name)
    model.end()
    return absolute(gaps, codes, shape, f"section positions: tensor {name!r}")


def _letters(tensor: SharedTensor) -> int:
    return tensor.codebook.size + 1


def _encode_symbols(symbols: Ints, letters: int, model: Writer) -> bytes:
    """Add the code lengths of ``letters`` symbols and the stream's bytes to the model; return the stream."""
    counts = np.bincount(symbols, minlength=letters)
    lengths = _code_lengths(counts)
    for length in lengths:
        model.number(length)
    bits = bitarray(endian="big")
    if symbols.size:
        bits.encode(_codes(lengths), symbols.tolist())
    body: bytes = bits.tobytes()
    model.number(len(body))
    return body


def _code_lengths(counts: Ints) -> list[int]:
    """Return the length of each symbol's Huffman code, 0 for one that does not occur."""
    used: dict[Any, int | float] = {int(symbol): int(counts[symbol]) for symbol in np.flatnonzero(counts)}
    codes = huffman_code(used) if used else {}
    lengths = [len(codes[symbol]) if symbol in codes else 0 for symbol in range(counts.size)]
    if max(lengths) > LONGEST_CODE:
        raise CodecError(f"a Huffman code of {max(lengths)} bits is longer than {LONGEST_CODE}")
    return lengths


def _codes(lengths: list[int]) -> dict[int, bitarray]:
    """Return the canonical codes: shorter first, then smaller symbols."""
    codes: dict[int, bitarray] = {}
    value = before = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        value <<= length - before
        codes[symbol] = int2ba(value, length)
        value, before = value + 1, length
    return codes


def _decode_symbols(
    entries: int, letters: int, model: Reader, streams: Streams, section: str, name: str
) -> Ints:
    where = f"section {section}: tensor {name!r}"
    lengths = [model.number(LONGEST_CODE, f"code length for {section}") for _ in range(letters)]
    space = sum(1 << LONGEST_CODE - length for length in lengths if length)
    if space > 1 << LONGEST_CODE or (entries and not space):
        raise CodecError(f"{where}: code lengths do not make a prefix code")
    body = streams.take(section, model, name)
    if entries > 8 * len(body):
        raise CodecError(f"{where}: {entries} entries in {len(body)} bytes")
    if not entries:
        return np.zeros(0, np.int64)
    bits = bitarray(endian="big")
    bits.frombytes(body)
    counts = np.bincount(lengths, minlength=LONGEST_CODE + 1)
    counts[0] = 0
    order = sorted((symbol for symbol in range(letters) if lengths[symbol]), key=lengths.__getitem__)
    try:
        found = np.fromiter(islice(canonical_decode(bits, counts.tolist(), order), entries), np.int64)
    except ValueError as error:
        raise CodecError(f"{where}: {error}") from error
    if len(found) < entries:
        raise CodecError(f"{where}: ends after {len(found)} of {entries} entries")
    return found
