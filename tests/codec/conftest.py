"""Pruned weights with shared values, and files whose checksums are made to fit after tampering."""

import hashlib
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from trimtab.codec import container
from trimtab.ports import Array


def pruned_weights(rows: int, side: int, values: int, seed: int = 0) -> Array:
    """Return (rows, side * side) float32: blobs on an image with dead borders, of few distinct values."""
    rng = np.random.default_rng(seed)
    place = np.arange(side)
    centres = rng.uniform(0.3 * side, 0.7 * side, (rows, 2))
    y = np.exp(-((place[None] - centres[:, :1]) ** 2) / side)
    x = np.exp(-((place[None] - centres[:, 1:]) ** 2) / side)
    field = (y[:, :, None] * x[:, None, :]).reshape(rows, -1) * rng.choice([-1.0, 1.0], (rows, 1))
    left = rng.random(field.shape) < 0.6 * np.abs(field) ** 2
    level = np.rint((field + rng.laplace(0, 0.1, field.shape)) * values / 4)
    return np.where(left, level * 0.0625, 0).astype(np.float32) + np.float32(0)


def resealed(data: bytes, at: int, value: int) -> bytes:
    """Return ``data`` with the byte ``at`` (behind the header) changed and every checksum made anew."""
    changed = bytearray(data)
    changed[at] = value
    begin = container.HEADER_BYTES
    for number in range(len(container.SECTIONS)):
        entry = container.START.size + number * container.ENTRY.size
        length, _ = container.ENTRY.unpack_from(changed, entry)
        check = zlib.crc32(changed[begin : begin + length])
        container.ENTRY.pack_into(changed, entry, length, check)
        begin += length
    table = container.HEADER_BYTES - container.DIGEST_BYTES
    digest = hashlib.sha256(bytes(changed[:table]) + bytes(changed[container.HEADER_BYTES :])).digest()
    changed[table : container.HEADER_BYTES] = digest[: container.DIGEST_BYTES]
    return bytes(changed)


@pytest.fixture(scope="session")
def weights() -> Callable[..., Array]:
    return pruned_weights


@pytest.fixture(scope="session")
def reseal() -> Callable[[bytes, int, int], bytes]:
    return resealed
