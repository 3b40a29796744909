"""Exact conversion of numbers as files write them: decimal text in, whole units of the project out."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

TIME_NS: Final[Mapping[str, int]] = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
ENERGY_UJ: Final[Mapping[str, int]] = {"uj": 1, "mj": 10**3, "j": 10**6}
SIZE_BYTES: Final[Mapping[str, int]] = {
    "bytes": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
SHARE_FRAC: Final[Mapping[str, Fraction]] = {"frac": Fraction(1), "pct": Fraction(1, 100)}
COUNT: Final[Mapping[str, int]] = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
"""What K, M, G and B (billion) behind a number stand for."""
LARGEST: Final = 10**18
"""Numbers beyond this are no latency, energy or size of anything (1e18 ns are 32 years)."""


def number(text: str) -> Fraction:
    """Return a decimal number exactly; raise ``ValueError`` saying what is wrong."""
    try:
        value = Decimal(text.strip().replace("_", "?"))
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None
    if not value.is_finite() or value.adjusted() > 18 or (value.adjusted() < -18 and value):
        raise ValueError(f"{text!r} is not a possible figure")
    return Fraction(value)


def above_zero(text: str) -> Fraction:
    """Return a number greater than 0; raise ``ValueError``."""
    value = number(text)
    if value <= 0:
        raise ValueError(f"{text} is not above 0")
    return value


def not_negative(text: str) -> Fraction:
    """Return a number of at least 0; raise ``ValueError``."""
    value = number(text)
    if value < 0:
        raise ValueError(f"{text} is below 0")
    return value


def count(text: str) -> int:
    """Return ``1.00G``, ``394M`` or ``3500`` as a whole number; raise ``ValueError``."""
    word = text.strip()
    suffix = word[-1:].lower() if word[-1:].isalpha() else ""
    if suffix not in COUNT:
        raise ValueError(f"{text!r} is not a number with K, M, G or B")
    return round(not_negative(word.removesuffix(word[-1:]) if suffix else word) * COUNT[suffix])


def whole(value: Fraction, factor: Fraction | int, least: int = 0) -> int:
    """Return ``value`` times ``factor`` as the nearest whole number, at least ``least``."""
    return max(least, round(value * factor))
