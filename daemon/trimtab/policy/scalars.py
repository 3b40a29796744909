"""Human-friendly scalars -> exact numbers. The schema decides which spellings are allowed."""

import re
from decimal import Decimal
from typing import Final

from trimtab.domain.quantities import NS_PER_MS, NS_PER_S

_SIZES: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_DURATIONS: Final = {
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86_400 * NS_PER_S,
}
_AMOUNT = re.compile(r"([0-9.]+) ?([A-Za-z]+)")
_YES: Final = frozenset({"yes", "on"})


def fraction(value: str | int | float) -> float:
    """Return 0..1 from ``0.15`` or ``"15 %"``; decimal, so that 15 % is the same float as 0.15."""
    if isinstance(value, str):
        return float(Decimal(value.strip().removesuffix("%").strip()) / 100)
    return float(value)


def size_bytes(value: str | int | float) -> int:
    """Return bytes from ``"64MiB"`` or a plain number of bytes, rounded to a whole one."""
    if not isinstance(value, str):
        return int(value)
    return sum(round(amount * _SIZES[unit]) for amount, unit in _amounts(value))


def usd(value: str | int | float) -> float:
    """Return US dollars from ``"0.05 USD"`` or a plain number of them."""
    if isinstance(value, str):
        return float(Decimal(value.strip().removesuffix("USD").strip()))
    return float(value)


def duration_ns(value: str) -> int:
    """Return nanoseconds from ``"8h"``, ``"1h 30min"`` or ``"500ms"``."""
    return sum(round(amount * _DURATIONS[unit]) for amount, unit in _amounts(value))


def day_time_s(value: str) -> int:
    """Return seconds after midnight from ``"22:00"``."""
    hours, minutes = value.strip().split(":")
    return int(hours) * 3600 + int(minutes) * 60


def yes_or_no(value: str | bool) -> bool:
    """Return the truth of ``true``, ``"yes"`` or ``"on"``."""
    return value in _YES if isinstance(value, str) else value


def _amounts(value: str) -> list[tuple[Decimal, str]]:
    """Return the numbers and units in ``value``."""
    return [(Decimal(amount), unit) for amount, unit in _AMOUNT.findall(value)]
