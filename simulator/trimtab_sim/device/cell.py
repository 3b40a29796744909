"""A lithium-ion cell: charge counted, open-circuit voltage and resistance looked up, time passed in closed form.

Thevenin model with one pair (Plett, Battery Management Systems I, 2015, ch. 2). With charge s, current I
(negative while discharging), temperature T:

    ds/dt = I / Q          V = OCV(s) + I (1 - p) R + u          du/dt = (I p R - u) / tau
    R(s, T) = R25(s) exp(E / R_gas (1 / T - 1 / 298.15))

Q is capacity times health. The tables are the device profile's; p and tau are stated here.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, sqrt
from typing import Final

from trimtab_sim.device.profile import Battery

GAS_J_PER_MOL_K: Final = 8.314462618
ZERO_C_K: Final = 273.15
REFERENCE_K: Final = 298.15
POLARISED_FRAC: Final = 0.25
"""Share of a cell's resistance that builds up with time; of that of an iPhone 13 Pro Max (measured)."""
POLARISED_S: Final = 120.0
"""Time constant of that share; 60 to 600 s fit that phone's log alike (measured)."""
MOST_FRAC: Final = 0.01
"""Charge that may move in one step of the integration: the voltage changes by some 10 mV."""
LONGEST_S: Final = 600.0
RECHARGE_FRAC: Final = 0.95
"""A full cell that stays plugged in is charged again below this (assumed)."""


class Curve:
    """A piecewise linear function given by points in rising order, constant beyond its ends."""

    def __init__(self, x: Sequence[float], y: Sequence[float]) -> None:
        """Take the points; raise ``ValueError`` for none, for two at one place or another order."""
        if len(x) != len(y) or not x or any(low >= high for low, high in pairwise(x)):
            raise ValueError("a curve needs points in rising order")
        self._x = tuple(map(float, x))
        self._y = tuple(map(float, y))

    def at(self, x: float) -> float:
        """Return the value at ``x``."""
        xs, ys = self._x, self._y
        if x <= xs[0]:
            return ys[0]
        if x >= xs[-1]:
            return ys[-1]
        i = bisect_right(xs, x)
        low = xs[i - 1]
        return ys[i - 1] + (ys[i] - ys[i - 1]) * (x - low) / (xs[i] - low)

    def mean(self) -> float:
        """Return the mean between the first and the last point."""
        steps = zip(pairwise(self._x), pairwise(self._y), strict=True)
        area = sum((b - a) * (low + high) / 2 for (a, b), (low, high) in steps)
        return area / (self._x[-1] - self._x[0]) if len(self._x) > 1 else self._y[0]


@dataclass(frozen=True, slots=True)
class Passed:
    """What a stretch of time did: how long the cell lasted, mean current (mA), mean heat inside it (mW)."""

    lasted_s: float
    current_ma: float
    heat_mw: float


class Cell:
    """A cell with its state: charge and polarisation. Times in seconds, temperatures in degrees Celsius."""

    def __init__(self, battery: Battery, level_frac: float = 1.0) -> None:
        """Begin at rest with ``level_frac`` of the charge; raise ``ValueError`` outside 0..1."""
        if not 0.0 <= level_frac <= 1.0:
            raise ValueError(f"no such charge: {level_frac}")
        self._battery = battery
        self._ocv_mv = Curve(battery.charge_frac, battery.ocv_mv)
        self._ohm = Curve(battery.resistance_frac, [r / 1000 for r in battery.resistance_mohm])
        self._kelvin = battery.resistance_kj_per_mol * 1000 / GAS_J_PER_MOL_K
        self._asked_c = 25.0
        self._arrhenius = 1.0
        self._polarised_mv = 0.0
        self._full = False
        self.capacity_mah = battery.capacity_mah * battery.health_frac
        self.capacity_j = self.capacity_mah * self._ocv_mv.mean() * 3.6e-3
        """The energy of a full charge at open-circuit voltage, in joules."""
        self.charge_frac = float(level_frac)
        self.throughput_mah = 0.0
        """Charge moved in both directions."""

    @property
    def open_circuit_mv(self) -> float:
        """Return the voltage of the cell at rest at its present charge."""
        return self._ocv_mv.at(self.charge_frac)

    @property
    def empty(self) -> bool:
        """Return whether no charge is left."""
        return self.charge_frac <= 0.0

    def resistance_ohm(self, temperature_c: float = 25.0) -> float:
        """Return the whole resistance at the present charge, of which ``POLARISED_FRAC`` takes time."""
        if temperature_c != self._asked_c:
            self._asked_c = temperature_c
            inverse_k = 1.0 / (temperature_c + ZERO_C_K) - 1.0 / REFERENCE_K
            self._arrhenius = exp(self._kelvin * inverse_k)
        return self._ohm.at(self.charge_frac) * self._arrhenius

    def voltage_mv(self, current_ma: float, temperature_c: float = 25.0) -> float:
        """Return the voltage at the terminals while ``current_ma`` flows (negative: discharge)."""
        ohm = self.resistance_ohm(temperature_c)
        return self.open_circuit_mv + self._polarised_mv + current_ma * ohm * (1.0 - POLARISED_FRAC)

    def current_ma(self, power_mw: float, temperature_c: float = 25.0) -> float | None:
        """Return the current at which ``power_mw`` leaves the terminals; ``None``: more than the cell can give.

        The higher root of V I = P with V = E + I r: I = (sqrt(E^2 - 4 P r) - E) / 2 r.
        """
        rest_v = (self.open_circuit_mv + self._polarised_mv) / 1000
        ohm = self.resistance_ohm(temperature_c) * (1.0 - POLARISED_FRAC)
        if ohm <= 0.0:
            return -power_mw / rest_v
        square = rest_v * rest_v - 4.0 * power_mw / 1000 * ohm
        return None if square < 0.0 else (sqrt(square) - rest_v) / (2.0 * ohm) * 1000

    def carry(self, current_ma: float, duration_s: float, temperature_c: float = 25.0) -> Passed:
        """Let a current flow until the time is over or the cell is empty; a full one takes no more."""
        delta_frac = current_ma * duration_s / 3600.0 / self.capacity_mah
        lasted_s = duration_s
        if self.charge_frac + delta_frac < 0.0:
            lasted_s = duration_s * self.charge_frac / -delta_frac
            delta_frac = -self.charge_frac
        ohm = self.resistance_ohm(temperature_c)
        settled_mv = current_ma * ohm * POLARISED_FRAC
        mean_mv = self._relax(settled_mv, lasted_s)
        self.charge_frac = min(1.0, max(0.0, self.charge_frac + delta_frac))
        self.throughput_mah += abs(current_ma) * lasted_s / 3600.0
        heat_mw = current_ma**2 * ohm * (1.0 - POLARISED_FRAC) / 1000 + abs(current_ma * mean_mv) / 1000
        return Passed(lasted_s, current_ma, heat_mw)

    def supply(self, power_mw: float, duration_s: float, temperature_c: float = 25.0) -> Passed:
        """Give ``power_mw`` until the time is over, the charge used up or the voltage below the cut-off.

        The current of each step is the one at its middle (midpoint rule); where in the last step the voltage
        fell below the cut-off is found by a straight line.
        """
        left_s, charge_mas, heat_mj = duration_s, 0.0, 0.0
        while left_s > 0.0:
            step_s = min(left_s, self._longest_s(power_mw))
            current = self._midway_ma(power_mw, step_s, temperature_c)
            before_mv = self._headroom_mv(power_mw, temperature_c)
            if current is None or before_mv <= 0.0:
                break
            state = self.charge_frac, self._polarised_mv, self.throughput_mah
            passed = self.carry(current, step_s, temperature_c)
            after_mv = self._headroom_mv(power_mw, temperature_c)
            if after_mv <= 0.0:
                self.charge_frac, self._polarised_mv, self.throughput_mah = state
                share = before_mv / (before_mv - after_mv)
                passed = self.carry(current, passed.lasted_s * share, temperature_c)
            lasted_s = passed.lasted_s
            charge_mas += current * lasted_s
            heat_mj += passed.heat_mw * lasted_s
            left_s -= lasted_s
            if lasted_s < step_s:
                break
        lasted_s = max(duration_s - max(left_s, 0.0), 0.0)
        return (
            Passed(lasted_s, charge_mas / lasted_s, heat_mj / lasted_s) if lasted_s else Passed(0.0, 0.0, 0.0)
        )

    def charging_ma(self, temperature_c: float = 25.0, current_frac: float = 1.0) -> float:
        """Return the current a charger gives now: constant until the voltage is reached, then what keeps it.

        Zero once it fell to the current at which charging ends, until the charge is below ``RECHARGE_FRAC``.
        """
        battery = self._battery
        if self._full and self.charge_frac >= RECHARGE_FRAC:
            return 0.0
        ohm = self.resistance_ohm(temperature_c) * (1.0 - POLARISED_FRAC)
        room_mv = battery.charge_mv - self.open_circuit_mv - self._polarised_mv
        holding_ma = room_mv / ohm if ohm > 0.0 else battery.charge_ma
        current_ma = max(0.0, min(battery.charge_ma * current_frac, holding_ma))
        ended_ma = min(battery.charge_end_ma, battery.charge_ma * current_frac)
        self._full = self.charge_frac >= 1.0 or holding_ma < ended_ma
        return 0.0 if self._full else current_ma

    def charge(self, duration_s: float, temperature_c: float = 25.0, current_frac: float = 1.0) -> Passed:
        """Charge from a charger that also feeds the device; return mean current and heat."""
        left_s, charge_mas, heat_mj = duration_s, 0.0, 0.0
        while left_s > 0.0:
            current = self.charging_ma(temperature_c, current_frac)
            step_s = min(left_s, 60.0 if current else left_s)
            passed = self.carry(current, step_s, temperature_c)
            charge_mas += current * step_s
            heat_mj += passed.heat_mw * step_s
            left_s -= step_s
        spent_s = max(duration_s, 1e-12)
        return Passed(duration_s, charge_mas / spent_s, heat_mj / spent_s)

    def _longest_s(self, power_mw: float) -> float:
        """Return how long a step may be at this power: little charge moves, and the step is not endless."""
        about_ma = abs(power_mw) / self.open_circuit_mv * 1000
        moves_s = MOST_FRAC * self.capacity_mah * 3600.0 / about_ma if about_ma > 0.0 else LONGEST_S
        return min(LONGEST_S, moves_s)

    def _midway_ma(self, power_mw: float, step_s: float, temperature_c: float) -> float | None:
        """Return the current in the middle of a step, ``None`` if the cell cannot give it."""
        first = self.current_ma(power_mw, temperature_c)
        if first is None:
            return None
        charge_frac, polarised_mv = self.charge_frac, self._polarised_mv
        half_s = step_s / 2
        self.charge_frac = min(1.0, max(0.0, charge_frac + first * half_s / 3600.0 / self.capacity_mah))
        self._relax(first * self.resistance_ohm(temperature_c) * POLARISED_FRAC, half_s)
        current = self.current_ma(power_mw, temperature_c)
        self.charge_frac, self._polarised_mv = charge_frac, polarised_mv
        return current

    def _headroom_mv(self, power_mw: float, temperature_c: float) -> float:
        """Return by how much the voltage under load is above the cut-off; not above 0 means switched off."""
        if self.charge_frac <= 0.0:
            return 0.0
        current = self.current_ma(power_mw, temperature_c)
        if current is None:
            return -self._battery.cutoff_mv
        return self.voltage_mv(current, temperature_c) - self._battery.cutoff_mv

    def _relax(self, settled_mv: float, duration_s: float) -> float:
        """Let the polarisation approach its settled value; return its mean over the time."""
        if duration_s <= 0.0:
            return self._polarised_mv
        away_mv = self._polarised_mv - settled_mv
        fading = exp(-duration_s / POLARISED_S)
        self._polarised_mv = settled_mv + away_mv * fading
        return settled_mv + away_mv * (1.0 - fading) * POLARISED_S / duration_s
