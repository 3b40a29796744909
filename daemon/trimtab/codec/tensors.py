"""What a file holds besides the skeleton: plain arrays, and weights that are pruned and share their values."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.codec.errors import CodecError

Array = NDArray[Any]
SIGN = np.uint32(0x80000000)

DTYPES: tuple[np.dtype[Any], ...] = tuple(
    np.dtype(name).newbyteorder("<")
    for name in (
        *("float32", "float16", "float64", "int8", "uint8", "int16"),
        *("uint16", "int32", "uint32", "int64", "uint64", "bool"),
    )
)


@dataclass(frozen=True, slots=True)
class SharedTensor:
    """Pruned float32 weights: the codebook index of every nonzero weight, 0 for a pruned one.

    ``symbols`` is int32 of the tensor's shape; ``codebook`` float32, in ascending order of value
    (-0.0 is a value of its own, before every positive one), without +0.0.
    """

    symbols: NDArray[np.int32]
    codebook: NDArray[np.float32]

    @property
    def negatives(self) -> int:
        """Return how many codebook values have a minus sign: they come first."""
        return int(np.count_nonzero(self.codebook.view(np.uint32) & SIGN))

    def dense(self) -> NDArray[np.float32]:
        """Return the weights in row-major order, +0.0 where pruned."""
        values = np.concatenate([np.zeros(1, np.float32), self.codebook])
        return np.asarray(values[self.symbols], order="C")


def share(weights: NDArray[np.float32]) -> SharedTensor:
    """Return ``weights`` with its distinct nonzero bit patterns as the codebook; nothing is lost."""
    bits = np.ascontiguousarray(weights, np.float32).reshape(weights.shape).view(np.uint32)
    keys, inverse = np.unique(ordered(bits), return_inverse=True)
    zero = np.searchsorted(keys, SIGN)  # the key of +0.0
    present = zero < keys.size and keys[zero] == SIGN
    found = inverse.reshape(weights.shape).astype(np.int32)
    if present:
        symbols = np.where(found == zero, 0, np.where(found < zero, found + 1, found))
        keys = np.delete(keys, zero)
    else:
        symbols = found + 1
    return SharedTensor(symbols.astype(np.int32), _unordered(keys).view(np.float32))


def ordered(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return float32 bit patterns as whole numbers in the order of the values."""
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def _unordered(keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return np.where(keys & SIGN, keys ^ SIGN, ~keys)


def check_codebook(codebook: NDArray[np.float32], where: str) -> None:
    """Raise ``CodecError`` unless values ascend and none is +0.0."""
    keys = ordered(codebook.view(np.uint32))
    if np.any(keys[1:] <= keys[:-1]) or np.any(keys == SIGN):
        raise CodecError(f"{where}: codebook is not in ascending order of nonzero values")


def to_bytes(array: Array) -> bytes:
    """Return the array's bytes, little-endian: first the low byte of every value, then the next, and so on."""
    stored = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    planes = stored.reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize)
    return planes.T.tobytes()


def from_bytes(body: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Return the array of which ``to_bytes`` gave ``body``, in the machine's byte order and writable."""
    planes = np.frombuffer(body, np.uint8).reshape(dtype.itemsize, math.prod(shape))
    whole = np.ascontiguousarray(planes.T).reshape(-1).view(dtype).reshape(shape)
    return whole.astype(dtype.newbyteorder("="), copy=True)
