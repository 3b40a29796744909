"""Logarithm and logistic function in exact integer arithmetic: the same on every machine, byte for byte.

Logits count 1/64 of a factor of two of the odds (``UNIT`` = 64 means odds 2:1); probabilities are /65536.
Both tables are made with whole-number powers and roots only, so that no processor's rounding and no
library's ``log`` or ``exp`` enters a file.
"""

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

UNIT = 64
ONE = 1 << 16
TABLE_BITS = 12
OCTAVES = 16
HALF = UNIT // 2
LARGEST_LOGIT = OCTAVES * UNIT - 1


@cache
def _logarithms() -> Integers:
    """Return floor(64 log2 n) for n = 1..4096, and that of 1 for 0: the bit length of n to the 64th power."""
    exact = [0, *((n**UNIT).bit_length() - 1 for n in range(1, (1 << TABLE_BITS) + 1))]
    return np.array(exact, np.int64)


@cache
def _logistic() -> Integers:
    """Return 65536 / (1 + 2^(-h/2)) rounded for h = -32..32 half octaves."""
    scale = 1 << 40
    powers = [math.isqrt(scale * scale << h) for h in range(2 * OCTAVES + 1)]  # 2^(h/2) * 2^40
    upper = [(2 * ONE * power + power + scale) // (2 * (power + scale)) for power in powers]
    return np.array([ONE - value for value in upper[:0:-1]] + upper, np.int64)


def log2_units(values: Integers | np.int64) -> Integers:
    """Return 64 log2 of whole numbers below 2^62, rounded down; numbers below 1 count as 1."""
    at_least_one = np.maximum(values, 1)
    bits: NDArray[Any] = np.frexp(at_least_one.astype(np.float64))[1]
    shift = np.maximum(bits.astype(np.int64) - TABLE_BITS, 0)
    found: Integers = _logarithms()[at_least_one >> shift] + shift * UNIT
    return found


def stretch(part: Integers | np.int64, whole: Integers | np.int64) -> Integers:
    """Return the logit of ``part / whole``, whole numbers or arrays of them."""
    return log2_units(part) - log2_units(whole - part)


def squash(logits: Integers) -> NDArray[np.float32]:
    """Return probabilities of logits: multiples of 1/65536 within 1/65536..65535/65536, exact in float32."""
    placed = np.minimum(np.maximum(logits, -LARGEST_LOGIT), LARGEST_LOGIT)
    placed += LARGEST_LOGIT
    return _probabilities()[placed]


@cache
def _probabilities() -> NDArray[np.float32]:
    """Return the probability of every logit from the least to the largest: between half octaves, a line."""
    table = _logistic()
    low, rest = np.divmod(np.arange(-LARGEST_LOGIT, LARGEST_LOGIT + 1) + OCTAVES * UNIT, HALF)
    mixed = (table[low] * (HALF - rest) + table[low + 1] * rest) // HALF
    found: NDArray[np.float32] = (np.clip(mixed, 1, ONE - 1) / ONE).astype(np.float32)
    return found
