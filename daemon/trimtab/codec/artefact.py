"""Deep Compression artefacts: a network's skeleton and its tensors to one file's bytes, and back.

The format is specified in docs/codec.md. Nothing here opens files, runs networks or unpickles anything.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from trimtab.codec import container, huffman
from trimtab.codec.accounting import Accounting, TensorUse
from trimtab.codec.errors import CodecError
from trimtab.codec.fields import Reader, Writer
from trimtab.codec.limits import DEFAULT, Limits
from trimtab.codec.streams import Streams
from trimtab.codec.tensors import (
    DTYPES,
    Array,
    SharedTensor,
    check_codebook,
    from_bytes,
    share,
    to_bytes,
)

FLOAT32 = np.dtype("<f4")
PLAIN, SHARED = 0, 1


@dataclass(frozen=True, slots=True)
class Artefact:
    """What is compressed. ``skeleton`` is opaque here.

    ``shared`` names the float32 tensors to be coded by codebook; all others are stored as they are.
    """

    skeleton: bytes
    tensors: Mapping[str, Array]
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tensor as the index describes it, decoded as far as the index goes."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    symbols: np.ndarray[Any, np.dtype[np.int32]] | None
    codebook: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def plain_bytes(self) -> int:
        """Return its bytes in the dense section."""
        return 0 if self.symbols is not None else math.prod(self.shape) * self.dtype.itemsize


def encode(
    artefact: Artefact, coder: str = "context", *, gap_bits: int | None = None, limits: Limits = DEFAULT
) -> bytes:
    """Return the file; ``coder`` is "huffman" or "context", ``gap_bits`` the former's. Raise ``CodecError``.

    The same content gives the same bytes; tensors are stored in the order of their names.
    """
    _check(artefact, coder, gap_bits, limits)
    index, streams, steps = Writer(), Streams(), 0
    codebooks, dense = [], []
    index.number(len(artefact.tensors))
    for name, array in sorted(artefact.tensors.items()):
        is_shared = name in artefact.shared
        _describe(name, array, is_shared, index)
        if not is_shared:
            dense.append(to_bytes(array))
            continue
        tensor = share(array)
        index.number(tensor.codebook.size)
        if tensor.codebook.size > limits.codebook:
            raise CodecError(f"tensor {name!r}: {tensor.codebook.size} values, more than {limits.codebook}")
        codebooks.append(to_bytes(tensor.codebook))
        if array.size:
            steps += _encode_symbols(
                name, tensor, (coder, gap_bits), index, streams, replace(limits, steps=limits.steps - steps)
            )
    sections = {
        "skeleton": container.deflate(artefact.skeleton),
        "index": container.deflate(index.body(), container.WORDS + artefact.skeleton),
        "codebooks": container.deflate(b"".join(codebooks)),
        "dense": container.deflate(b"".join(dense)),
        "positions": streams.body("positions"),
        "codes": streams.body("codes"),
    }
    return container.pack(coder, sections, limits)


def decode(data: bytes, limits: Limits = DEFAULT) -> Artefact:
    """Return what ``encode`` was given, bit for bit; raise ``CodecError`` and nothing else."""
    skeleton, entries, dense = _read(data, limits)
    shared = frozenset(entry.name for entry in entries if entry.symbols is not None)
    return Artefact(skeleton, _arrays(entries, dense), shared)


def inspect(data: bytes, limits: Limits = DEFAULT) -> Accounting:
    """Return where the bytes of a file are; raise ``CodecError``."""
    coder, sections = container.unpack(data, limits)
    _, entries, dense = _read(data, limits)
    nonzero = {name: int(np.count_nonzero(array)) for name, array in _arrays(entries, dense).items()}
    uses = tuple(
        TensorUse(entry.name, entry.shape, entry.dtype.name, nonzero[entry.name], entry.codebook.size)
        for entry in entries
    )
    sizes = {f"{name}_bytes": len(body) for name, body in sections.items()}
    return Accounting(coder, container.HEADER_BYTES, **sizes, tensors=uses)


def _arrays(entries: Sequence[_Entry], dense: bytes) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    at = 0
    for entry in entries:
        if entry.symbols is not None:
            tensors[entry.name] = SharedTensor(entry.symbols, entry.codebook).dense()
        else:
            body = dense[at : at + entry.plain_bytes]
            tensors[entry.name] = from_bytes(body, entry.dtype, entry.shape)
            at += entry.plain_bytes
    return tensors


def _check(artefact: Artefact, coder: str, gap_bits: int | None, limits: Limits) -> None:
    if coder not in container.CODERS:
        raise CodecError(f"coder is {coder!r}; there are {', '.join(container.CODERS)}")
    if gap_bits is not None and (coder != "huffman" or gap_bits not in huffman.GAP_BITS):
        raise CodecError(f"gap_bits is {gap_bits}; the coder huffman takes 1 to {huffman.GAP_BITS[-1]}")
    if len(artefact.tensors) > limits.tensors:
        raise CodecError(f"{len(artefact.tensors)} tensors, more than {limits.tensors}")
    if len(artefact.skeleton) > limits.skeleton_bytes:
        raise CodecError(f"skeleton: {len(artefact.skeleton)} bytes, more than {limits.skeleton_bytes}")
    if unknown := sorted(artefact.shared - artefact.tensors.keys()):
        raise CodecError(f"shared: no tensor {unknown[0]!r}")
    total = sum(array.nbytes for array in artefact.tensors.values())
    if total > limits.decoded_bytes:
        raise CodecError(f"tensors have {total} bytes, more than {limits.decoded_bytes}")
    for name, array in artefact.tensors.items():
        _check_tensor(name, array, name in artefact.shared, limits)


def _check_tensor(name: str, array: Array, is_shared: bool, limits: Limits) -> None:
    if not 1 <= len(name.encode()) <= limits.name_bytes:
        raise CodecError(f"tensor {name[:40]!r}: its name has not 1 to {limits.name_bytes} bytes")
    if array.dtype.newbyteorder("<") not in DTYPES:
        raise CodecError(f"tensor {name!r}: type {array.dtype} cannot be stored")
    if array.ndim > limits.rank:
        raise CodecError(f"tensor {name!r}: {array.ndim} dimensions, more than {limits.rank}")
    if is_shared and array.dtype != np.float32:
        raise CodecError(f"tensor {name!r}: shared weights are float32, not {array.dtype}")


def _describe(name: str, array: Array, is_shared: bool, index: Writer) -> None:
    index.data(name.encode())
    index.number(DTYPES.index(array.dtype.newbyteorder("<")) << 1 | (SHARED if is_shared else PLAIN))
    index.number(array.ndim)
    for size in array.shape:
        index.number(size)


def _encode_symbols(
    name: str,
    tensor: SharedTensor,
    how: tuple[str, int | None],
    index: Writer,
    streams: Streams,
    limits: Limits,
) -> int:
    """Add one tensor by (coder, gap bits); return the steps it takes. Raise ``CodecError`` naming it."""
    coder, gap_bits = how
    try:
        if coder == "context":
            steps: int = _context().encode(tensor, index, streams, limits)
            return steps
        huffman.encode(tensor, index, streams, gap_bits)
    except CodecError as error:
        raise CodecError(f"tensor {name!r}: {error}") from error
    return 0


def _read(data: bytes, limits: Limits) -> tuple[bytes, list[_Entry], bytes]:
    """Return skeleton, tensors, and bytes of the dense section."""
    coder, sections = container.unpack(data, limits)
    skeleton = container.inflate(sections["skeleton"], limits.skeleton_bytes, "skeleton")
    words = container.WORDS + skeleton
    index = Reader(container.inflate(sections["index"], limits.index_bytes, "index", words), "section index")
    codebooks = container.inflate(sections["codebooks"], limits.decoded_bytes, "codebooks")
    streams = Streams(sections["positions"], sections["codes"])
    entries = _Tensors(coder, index, codebooks, streams, limits).read()
    expected = sum(entry.plain_bytes for entry in entries)
    dense = container.inflate(sections["dense"], expected, "dense")
    if len(dense) != expected:
        raise CodecError(f"section dense: {len(dense)} bytes; the index describes {expected}")
    return skeleton, entries, dense


class _Tensors:
    """Reads the index in order, and with it what belongs to each tensor in the other sections."""

    def __init__(self, coder: str, index: Reader, codebooks: bytes, streams: Streams, limits: Limits) -> None:
        self._coder, self._index, self._codebooks = coder, index, codebooks
        self._streams, self._limits = streams, limits
        self._at = 0
        self._decoded_bytes = 0
        self._steps = 0

    def read(self) -> list[_Entry]:
        """Return all tensors; raise ``CodecError``."""
        count = self._index.number(self._limits.tensors, "number of tensors")
        entries: list[_Entry] = []
        for _ in range(count):
            entry = self._entry(entries[-1].name if entries else "")
            entries.append(entry)
        self._index.end()
        self._streams.end()
        if self._at != len(self._codebooks):
            raise CodecError(f"section codebooks: {len(self._codebooks) - self._at} bytes too many")
        return entries

    def _entry(self, before: str) -> _Entry:
        name = self._name(before)
        where = f"section index: tensor {name!r}"
        self._index.where = where
        kind = self._index.number(2 * len(DTYPES) - 1, "type")
        dtype = DTYPES[kind >> 1]
        rank = self._index.number(self._limits.rank, "number of dimensions")
        shape = tuple(self._index.number(self._limits.decoded_bytes, "dimension") for _ in range(rank))
        self._decoded_bytes += math.prod(max(size, 1) for size in shape) * dtype.itemsize
        if self._decoded_bytes > self._limits.decoded_bytes:
            raise CodecError(f"{where}: with it, tensors have more than {self._limits.decoded_bytes} bytes")
        if kind & 1 == PLAIN:
            return _Entry(name, dtype, shape, None, np.zeros(0, np.float32))
        if dtype != FLOAT32:
            raise CodecError(f"{where}: shared weights are float32, not {dtype.name}")
        codebook = self._codebook(name)
        return _Entry(name, dtype, shape, self._symbols(name, shape, codebook), codebook)

    def _name(self, before: str) -> str:
        raw = self._index.data(self._limits.name_bytes, "name of a tensor")
        try:
            name = raw.decode()
        except UnicodeDecodeError as error:
            raise CodecError("section index: a tensor's name is not UTF-8") from error
        if name <= before:
            raise CodecError(f"section index: tensor {name!r} is not in order after {before!r}")
        return name

    def _codebook(self, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        left = (len(self._codebooks) - self._at) // FLOAT32.itemsize
        size = self._index.number(min(self._limits.codebook, left), "codebook values")
        body = self._codebooks[self._at : self._at + size * FLOAT32.itemsize]
        self._at += len(body)
        codebook = from_bytes(body, FLOAT32, (size,))
        check_codebook(codebook, f"section codebooks: tensor {name!r}")
        return codebook

    def _symbols(
        self, name: str, shape: tuple[int, ...], codebook: np.ndarray[Any, np.dtype[np.float32]]
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        if not math.prod(shape):
            return np.zeros(shape, np.int32)
        if self._coder == "huffman":
            return huffman.decode(shape, codebook.size, self._index, self._streams, self._limits, name)
        empty = np.zeros(shape, np.int32)
        negatives = SharedTensor(empty, codebook).negatives
        context = _context()
        signs = context.Signs(negatives, codebook.size - negatives)
        left = replace(self._limits, steps=self._limits.steps - self._steps)
        symbols: np.ndarray[Any, np.dtype[np.int32]]
        symbols, steps = context.decode(shape, signs, self._index, self._streams, left, name)
        self._steps += steps
        return symbols


def _context() -> ModuleType:
    """Return the context coder; raise ``CodecError`` where the package it stands on has no build."""
    try:
        from trimtab.codec import context
    except ImportError as error:
        raise CodecError(f"coder context: needs the package constriction ({error})") from error
    return context
