"""Where a number comes from, and unit conversions in one place."""

from enum import StrEnum
from typing import Final

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
UJ_PER_MJ: Final = 1_000
UJ_PER_J: Final = 1_000_000


class Source(StrEnum):
    """Say how a figure was obtained; every profile and sensor value carries one."""

    MEASURED = "measured"
    """Read from a meter or a clock on this machine."""
    PUBLISHED = "published"
    """Taken from a named publication or vendor file."""
    ASSUMED = "assumed"
    """A stated model or default; nobody measured it."""


def energy_uj(power_mw: float, duration_ns: float) -> float:
    """Return the energy in microjoules of ``power_mw`` milliwatts over ``duration_ns`` (mW x ns = pJ)."""
    return power_mw * duration_ns / 1e6
