"""How a cell ages: capacity lost and resistance gained over cycles and years.

Schmalstieg, Kaebitz, Ecker, Sauer: A holistic aging model for Li(NiMnCo)O2 based 18650 lithium-ion batteries,
J. Power Sources 257 (2014) 325-334. With mean voltage V (volts), depth of cycles D, temperature T (kelvin),
t days and q ampere-hours through that cell of 2.05 Ah:

    lost  = (7.543 V - 23.75) 1e6 exp(-6976 / T) t^0.75
          + (7.348e-3 (V - 3.667)^2 + 7.6e-4 + 4.081e-3 D) sqrt(q)
    gained = (5.270 V - 16.32) 1e5 exp(-5986 / T) t^0.75
          + (2.153e-4 (V - 3.725)^2 - 1.521e-5 + 2.798e-4 D) q

Phones' cells of today last longer than that one: both are scaled alike, so that a profile's
``cycles_to_80_percent`` comes true for one cycle a day of the reference use.
"""

from dataclasses import dataclass, replace
from math import exp, sqrt
from typing import Final

from trimtab_sim.device.cell import ZERO_C_K
from trimtab_sim.device.profile import Battery

CELL_AH: Final = 2.05


@dataclass(frozen=True, slots=True)
class Use:
    """How a phone is used (assumed): mean voltage of its cell, depth of its cycles, temperature, cycles a day."""

    voltage_mv: float = 3850.0
    depth_frac: float = 0.8
    temperature_c: float = 25.0
    cycles_per_day: float = 1.0


REFERENCE_USE: Final = Use()


@dataclass(frozen=True, slots=True)
class Wear:
    """What is left of a new cell's capacity, and how many times its resistance there is."""

    health_frac: float
    resistance_factor: float


def wear(cycles: float, cycles_to_80_percent: float, use: Use = REFERENCE_USE) -> Wear:
    """Return a cell's wear after full cycles of ``use``; raise ``ValueError`` for less than none."""
    if cycles < 0 or cycles_to_80_percent <= 0:
        raise ValueError(f"no such wear: {cycles} cycles of {cycles_to_80_percent} to 80 %")
    scale = 0.2 / _unscaled(cycles_to_80_percent, REFERENCE_USE)[0]
    lost, gained = _unscaled(cycles, use)
    return Wear(max(0.0, 1.0 - scale * lost), 1.0 + scale * gained)


def aged(battery: Battery, cycles: float, use: Use = REFERENCE_USE) -> Battery:
    """Return a battery after so many cycles since new, in place of the profile's own health.

    Its resistance is taken to be that of a cell at the profile's health.
    """
    after = wear(cycles, battery.cycles_to_80_percent, use)
    before = wear(_cycles_at(battery), battery.cycles_to_80_percent)
    factor = after.resistance_factor / before.resistance_factor
    resistance = tuple(mohm * factor for mohm in battery.resistance_mohm)
    return replace(battery, health_frac=after.health_frac, resistance_mohm=resistance)


def _unscaled(cycles: float, use: Use) -> tuple[float, float]:
    """Return capacity lost and resistance gained of the published cell."""
    volts, kelvin = use.voltage_mv / 1000, use.temperature_c + ZERO_C_K
    days, ah = cycles / use.cycles_per_day, 2.0 * CELL_AH * cycles
    lost = (7.543 * volts - 23.75) * 1e6 * exp(-6976 / kelvin) * days**0.75
    lost += (7.348e-3 * (volts - 3.667) ** 2 + 7.6e-4 + 4.081e-3 * use.depth_frac) * sqrt(ah)
    gained = (5.270 * volts - 16.32) * 1e5 * exp(-5986 / kelvin) * days**0.75
    gained += (2.153e-4 * (volts - 3.725) ** 2 - 1.521e-5 + 2.798e-4 * use.depth_frac) * ah
    return lost, gained


def _cycles_at(battery: Battery) -> float:
    """Return after how many reference cycles a battery has its profile's health, by bisection."""
    low, high = 0.0, 20.0 * battery.cycles_to_80_percent
    for _ in range(60):
        middle = (low + high) / 2
        if wear(middle, battery.cycles_to_80_percent).health_frac > battery.health_frac:
            low = middle
        else:
            high = middle
    return low
