"""Logits in whole numbers: close to the real functions, and the same everywhere."""

import hashlib
import math

import numpy as np

from trimtab.codec.integers import LARGEST_LOGIT, UNIT, log2_units, squash, stretch


def test_logarithm() -> None:
    values = np.array([1, 2, 3, 1000, 4095, 4096, 4097, 10**6, 2**40 + 12345, 2**53 + 1])
    found = log2_units(values) / UNIT
    assert np.allclose(found, np.log2(values.astype(float)), atol=1.5 / UNIT)
    assert log2_units(np.array([0])).tolist() == [0]


def test_logistic() -> None:
    logits = np.arange(-LARGEST_LOGIT, LARGEST_LOGIT + 1)
    found = squash(logits).astype(float)
    expected = 1 / (1 + 2.0 ** (-logits / UNIT))
    assert np.all(np.abs(found - expected) < 0.004)
    assert np.all(np.diff(found) >= 0)
    assert np.array_equal(found * 65536, np.rint(found * 65536))
    assert squash(np.array([0])).tolist() == [0.5]
    assert squash(np.array([-(10**9), 10**9])).tolist() == [found[0], found[-1]]
    assert 0 < found[0] < found[-1] < 1


def test_stretch_undoes_squash() -> None:
    part, whole = np.array([1, 30, 500, 970]), np.int64(1000)
    found = squash(stretch(part, whole)).astype(float)
    assert np.allclose(found, part / 1000, rtol=0.06, atol=0.01)
    assert math.isclose(float(stretch(np.int64(1), np.int64(3))), -UNIT)


def test_tables_never_change() -> None:
    """Files depend on every entry: another value of this digest means another format version."""
    body = (squash(np.arange(-1100, 1100)) * 65536).astype("<i4").tobytes()
    body += log2_units(np.arange(5000)).astype("<i4").tobytes()
    assert (
        hashlib.sha256(body).hexdigest() == "f1602d72ce5da351b8277f0ef8e4c73a1eedb5a83be6a4d613d41a10b46e731b"
    )
