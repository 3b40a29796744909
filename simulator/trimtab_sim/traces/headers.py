"""The header names that a CSV may use, each with the column it fills and its unit.

Case does not matter; blanks, dots and hyphens count as ``_``, and ``temperature (C)`` reads ``temperature_c``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from trimtab_sim.traces.series import ARRIVAL_COLUMNS, ARRIVAL_LABELS, COLUMNS, ENERGY_PREFIX


@dataclass(frozen=True, slots=True)
class Header:
    """What fills ``column``: the number times ``factor``; ``unknown`` is a number that means unknown."""

    column: str
    factor: float = 1.0
    unknown: float | None = None


@dataclass(frozen=True, slots=True)
class TimeHeader:
    """A time: ``unit_ns`` per step, counted from 1970 (``absolute``) or from the trace's start.

    ``unit_ns`` 0 is a date and time by ISO 8601, or seconds since 1970.
    """

    unit_ns: int
    absolute: bool


TIMES: Final[Mapping[str, TimeHeader]] = MappingProxyType(
    {
        **{f"{stem}_{unit}": TimeHeader(ns, absolute=False)
           for stem in ("at", "t", "time", "elapsed")
           for unit, ns in (("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9))},
        **{f"unix_{unit}": TimeHeader(ns, absolute=True)
           for unit, ns in (("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9))},
        "seconds": TimeHeader(10**9, absolute=False),
        **{name: TimeHeader(0, absolute=True) for name in ("timestamp", "datetime", "time", "date", "utc")},
    }
)  # fmt: skip
"""Header names of the time; the first of these in a file is its time."""

_FRACTION: Final = (("frac", 1.0), ("pct", 0.01), ("percent", 0.01))
_BYTES: Final = (("bytes", 1.0), ("kb", 1e3), ("kib", 2.0**10), ("mb", 1e6), ("mib", 2.0**20),
                 ("gb", 1e9), ("gib", 2.0**30))  # fmt: skip


def _spelled(column: str, stems: str, units: tuple[tuple[str, float], ...]) -> dict[str, Header]:
    return {f"{stem}_{unit}": Header(column, factor) for stem in stems.split() for unit, factor in units}


def _plain(column: str, names: str, factor: float = 1.0) -> dict[str, Header]:
    return {name: Header(column, factor) for name in names.split()}


SERIES: Final[Mapping[str, Header]] = MappingProxyType(
    {
        **{name: Header(name) for name in COLUMNS},
        **_spelled("battery_frac", "battery battery_level soc", _FRACTION),
        **_plain("battery_frac", "battery soc level battery_level", 0.01),
        **_spelled("battery_shown_frac", "shown battery_shown", _FRACTION),
        **_spelled("voltage_mv", "voltage volt battery_voltage", (("mv", 1.0), ("v", 1e3), ("uv", 1e-3))),
        **_spelled("current_ma", "current battery_current", (("ma", 1.0), ("a", 1e3), ("ua", 1e-3))),
        **_spelled("average_current_ma", "avg_current average_current", (("ma", 1.0), ("ua", 1e-3))),
        **_spelled("charge_mah", "charge capacity charge_now", (("mah", 1.0), ("uah", 1e-3))),
        **_spelled("charge_full_mah", "full charge_full", (("mah", 1.0), ("uah", 1e-3))),
        **_spelled("discharge_mw", "discharge power", (("mw", 1.0), ("w", 1e3), ("uw", 1e-3))),
        **_spelled("temperature_mc", "temperature temp battery_temp battery_temperature",
                   (("mc", 1.0), ("c", 1e3), ("celsius", 1e3))),
        **_plain("temperature_mc", "temperature temp", 1e3),
        **_spelled("memory_available_bytes", "memory_available mem_available memory_free mem_free", _BYTES),
        **_spelled("memory_total_bytes", "memory_total mem_total", _BYTES),
        **_spelled("memory_pressure_frac", "memory_pressure", _FRACTION),
        **_spelled("cpu_load_frac", "cpu_load cpu load cpu_usage", _FRACTION),
        **_spelled("brightness_frac", "brightness", _FRACTION),
        **_plain("luminance_nits", "nits"),
        "lux": Header("illuminance_lux", unknown=-1.0),
        **_plain("plugged", "external_power ac_powered"),
        **_plain("screen_on", "screen"),
    }
)  # fmt: skip
"""Header names of a device's figures."""

ARRIVALS: Final[Mapping[str, Header]] = MappingProxyType(
    {
        **{name: Header(name) for name in (*ARRIVAL_COLUMNS, *ARRIVAL_LABELS)},
        **_spelled("latency_budget_ns", "latency_budget budget",
                   (("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9))),
        **_spelled("min_accuracy_frac", "min_accuracy accuracy_floor", _FRACTION),
        **_spelled("max_energy_uj", "max_energy", (("uj", 1.0), ("mj", 1e3), ("j", 1e6))),
        **_plain("context_tokens", "contexttokens"),
        **_plain("generated_tokens", "generatedtokens"),
    }
)  # fmt: skip
"""Header names of a list of arrivals; the two without a blank are of Azure's traces."""


def normal(name: str) -> str:
    """Return a header name in the spelling of the tables."""
    text = name.replace("\ufeff", "").replace("°", "").replace("%", "pct").strip().lower()
    if text.startswith(ENERGY_PREFIX):
        return name.strip()
    return re.sub(r"[\s.\-/()\[\]]+", "_", text).strip("_")


def find(name: str) -> Header | None:
    """Return what a header name fills, or ``None``; the name as in ``normal``."""
    if name.startswith(ENERGY_PREFIX) and len(name) > len(ENERGY_PREFIX):
        return Header(name)
    return SERIES.get(name) or ARRIVALS.get(name)
