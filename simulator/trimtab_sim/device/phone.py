"""A simulated phone or board: cell, heat, throttling, memory and background as the device the driver sees.

Time passes in stretches of constant power: ``CLOSE_NS`` long while a sensor is near a threshold, else
``QUIET_NS``, or ``IDLE_NS`` when nothing ran. The energy of runs and loads is spread over the stretch in which it
was drawn. Between two stretches everything is looked up, so calls are cheap.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trimtab.domain.device import DeviceState, with_clock
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J, UJ_PER_MJ
from trimtab_sim.battery import DAY_S, STEP_FRAC
from trimtab_sim.device.background import (
    AWAKE,
    LOST_IN_CHARGER_FRAC,
    Background,
    Draw,
    of_states,
)
from trimtab_sim.device.cell import Cell
from trimtab_sim.device.cpu import target_of, targets
from trimtab_sim.device.memory import MIB, AppMemory, Pressure
from trimtab_sim.device.profile import ChargeLimit, DeviceProfile
from trimtab_sim.device.thermal import HeatNetwork, Throttling

QUIET_NS: Final = 10 * NS_PER_S
CLOSE_NS: Final = NS_PER_S
IDLE_NS: Final = 60 * NS_PER_S
TEMPERATURE_STEP_MC: Final = 500
MEMORY_STEP_BYTES: Final = 16 * MIB
"""Sensors tell temperature and memory in these steps, so that a reading changes only when something did."""
NODES: Final = ("soc", "battery", "skin")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What surrounds a phone: level, day and time of day at the start, temperature, what it does, other apps.

    ``background`` and ``pressure`` are a phone awake with Wi-Fi, and seeded apps, if not given. ``ambient_c``
    is the profile's if not given. ``settled``: the phone has lain in its background long enough to be as warm
    as it will get; else it begins at the temperature around it.
    """

    level_frac: float = 1.0
    local_time_s: int = 0
    weekday: int | None = None
    ambient_c: float | None = None
    background: Background | None = None
    pressure: Pressure | None = None
    seed: int = 0
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Insight:
    """What no sensor of a phone tells, or not so exactly."""

    at_ns: int
    level_frac: float
    voltage_mv: float
    current_ma: float
    soc_c: float
    battery_c: float
    skin_c: float
    caps_khz: tuple[tuple[str, float], ...]
    drawn_mw: float


class SimulatedPhone:
    """A device of a profile in its conditions; begins at ``start_ns``. A board has no battery and never runs out."""

    def __init__(
        self,
        profile: DeviceProfile,
        conditions: Conditions | None = None,
        *,
        start_ns: int = 0,
        resident_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        """Switch it on; ``resident_bytes`` tells what trimtab holds in memory at the moment of asking.

        Raises ``ValueError`` for a level outside 0..1.
        """
        self._conditions = conditions or Conditions()
        self._profile = profile
        self.cell = Cell(profile.battery, self._conditions.level_frac) if profile.battery else None
        self._targets = targets(profile)
        self._heat = HeatNetwork(profile.thermal, self._conditions.ambient_c)
        self._where = tuple(self._heat.names.index(name) if name in self._heat.names else 0 for name in NODES)
        self._throttling = Throttling(profile.thermal, self._targets)
        self._background = self._conditions.background or of_states(profile, AWAKE)
        self._pressure = self._conditions.pressure or AppMemory(
            profile.memory, self._conditions.seed, start_ns=start_ns
        )
        self._target_of = {one.name: target_of(profile, one) for one in profile.processors}
        self._limits = tuple(sorted(profile.thermal.charging, key=lambda limit: limit.set_c))
        self._limited = 0
        self._resident_bytes = resident_bytes
        self._start_ns = self._seen_ns = start_ns
        self._stretch_ns = QUIET_NS
        self._pending_uj = 0.0
        self._current_ma = 0.0
        self._told: float | None = None
        self._off = False
        self.drawn_uj = 0.0
        """All energy that the device has drawn, from battery or charger."""
        self.empty_ns: int | None = None
        """When it first ran out; ``None`` while it has not."""
        self.shut_down_ns: int | None = None
        """When it first got too hot and switched off."""
        self._begin()

    def draw(self, energy_uj: float, now_ns: int) -> None:
        """Take the energy of a run or load that ended at ``now_ns`` out."""
        self._pending_uj += energy_uj
        if now_ns - self._seen_ns >= self._stretch_ns:
            self.pass_time(now_ns)

    def reading(self, now_ns: int) -> DeviceState:
        """Return what the sensors tell; they see the stretch that is over, so at most its length ago."""
        if now_ns - self._seen_ns >= self._stretch_ns:
            self.pass_time(now_ns)
        passed_s = max(0, now_ns - self._start_ns) // NS_PER_S
        plain, _ = self._background.at(self._seen_ns - self._start_ns)
        available = self._pressure.available_bytes(now_ns, self._resident_bytes())
        hottest_mc = max(self._heat.temperatures_c) * 1000 if self._heat.temperatures_c else 0.0
        told = DeviceState(
            battery_frac=self._steady() if self.cell is not None else None,
            battery_capacity_j=self.cell.capacity_j if self.cell is not None else None,
            charging=self.cell is not None and plain.plugged,
            memory_available_bytes=available // MEMORY_STEP_BYTES * MEMORY_STEP_BYTES,
            memory_total_bytes=round(self._profile.memory.total_mib * MIB),
            cpu_load_frac=plain.load_frac,
            temperature_mc=round(hottest_mc / TEMPERATURE_STEP_MC) * TEMPERATURE_STEP_MC,
            sources=_SOURCES if self.cell is not None else _SOURCES[3:],
        )
        return with_clock(told, self._conditions.local_time_s, self._conditions.weekday, passed_s)

    def slowdown(self, processor: str, now_ns: int) -> float:
        """Return how many times slower than profiled a processor is; raise ``KeyError`` for an unknown one.

        Fits ``ModelledRuntime(contention=...)``.
        """
        target = self._target_of[processor]
        if now_ns - self._seen_ns >= self._stretch_ns:
            self.pass_time(now_ns)
        caps = self._throttling.caps_khz
        return self._targets[target].slowdown(caps[target]) if target in caps else 1.0

    def power_factor(self, processor: str, now_ns: int) -> float:
        """Return the power of a run as a share of what it is unthrottled; raise ``KeyError`` as ``slowdown``.

        Times ``slowdown`` it is the factor of the run's energy.
        """
        target = self._target_of[processor]
        if now_ns - self._seen_ns >= self._stretch_ns:
            self.pass_time(now_ns)
        caps = self._throttling.caps_khz
        return self._targets[target].power_factor(caps[target]) if target in caps else 1.0

    def level_frac(self, now_ns: int) -> float:
        """Return the true state of charge, 0 for a board.

        Within a stretch it is what is left once the stretch's energy so far is taken out: looking often must not
        squeeze the energy of a run into the moment since the last look, which no cell could supply.
        """
        if now_ns - self._seen_ns >= self._stretch_ns:
            self.pass_time(now_ns)
        if self.cell is None:
            return 0.0
        plain, _ = self._background.at(self._seen_ns - self._start_ns)
        if self._off or plain.plugged:
            return self.cell.charge_frac
        drawn_uj = self._pending_uj + plain.total_mw * max(0, now_ns - self._seen_ns) / NS_PER_S * UJ_PER_MJ
        return max(0.0, self.cell.charge_frac - drawn_uj / UJ_PER_J / self.cell.capacity_j)

    def insight(self, now_ns: int) -> Insight:
        """Return what is going on inside."""
        self.pass_time(now_ns)
        cell = self.cell
        soc_c, battery_c, skin_c = (self._heat.temperatures_c[i] for i in self._where)
        plain, _ = self._background.at(now_ns - self._start_ns)
        return Insight(
            now_ns,
            cell.charge_frac if cell is not None else 0.0,
            cell.voltage_mv(self._current_ma, battery_c) if cell is not None else 0.0,
            self._current_ma,
            soc_c,
            battery_c,
            skin_c,
            tuple(sorted(self._throttling.caps_khz.items())),
            plain.total_mw,
        )

    def pass_time(self, now_ns: int) -> None:
        """Let time pass up to ``now_ns``; what is before the last time seen is over."""
        whole_s = (now_ns - self._seen_ns) / NS_PER_S
        if whole_s <= 0.0:
            return
        run_mw = self._pending_uj / whole_s / UJ_PER_MJ
        self._pending_uj = 0.0
        while self._seen_ns < now_ns:
            plain, ends_ns = self._background.at(self._seen_ns - self._start_ns)
            longest_ns = IDLE_NS if run_mw == 0.0 and self._stretch_ns == QUIET_NS else self._stretch_ns
            until_ns = min(now_ns, self._start_ns + ends_ns, self._seen_ns + longest_ns)
            self._stretch(plain, run_mw, (until_ns - self._seen_ns) / NS_PER_S)
            self._seen_ns = until_ns

    def _stretch(self, plain: Draw, run_mw: float, duration_s: float) -> None:
        """Let one stretch of constant power pass."""
        drawn_mw = 0.0 if self._off and not plain.plugged else plain.total_mw + run_mw
        self.drawn_uj += drawn_mw * duration_s * UJ_PER_MJ
        cell_mw, charger_mw = self._battery_passes(plain, drawn_mw, duration_s)
        soc, battery, skin = self._where
        heat = [0.0] * len(self._heat.names)
        if drawn_mw:
            heat[soc] += plain.soc_mw + run_mw
            heat[skin] += plain.skin_mw
        heat[battery] += cell_mw
        heat[skin] += charger_mw
        self._heat.pass_time(duration_s, heat)
        self._throttle((self._seen_ns - self._start_ns) / NS_PER_S + duration_s)

    def _throttle(self, now_s: float) -> None:
        """Let the thermal policy look, if it may have something to do."""
        temperatures = self._heat.temperatures_c
        if self._stretch_ns == QUIET_NS and not self._throttling.watch_closely(temperatures):
            return
        self._throttling.update(temperatures, now_s)
        if self._throttling.shut_down and self.shut_down_ns is None:
            self.shut_down_ns = self._start_ns + round(now_s * NS_PER_S)
        close = self._throttling.watch_closely(temperatures)
        self._stretch_ns = CLOSE_NS if close else QUIET_NS

    def _battery_passes(self, plain: Draw, drawn_mw: float, duration_s: float) -> tuple[float, float]:
        """Charge or drain the cell; return the heat in it and in the charger's electronics (mW)."""
        cell = self.cell
        if cell is None:
            return 0.0, 0.0
        battery_c = self._heat.temperatures_c[self._where[1]]
        if plain.plugged:
            passed = cell.charge(duration_s, battery_c, self._charge_frac())
            self._current_ma = passed.current_ma
            self._off = False
            return passed.heat_mw, LOST_IN_CHARGER_FRAC * passed.current_ma * cell.open_circuit_mv / 1000
        if self._off:
            self._current_ma = 0.0
            cell.carry(0.0, duration_s, battery_c)
            return 0.0, 0.0
        passed = cell.supply(drawn_mw, duration_s, battery_c)
        self._current_ma = passed.current_ma
        if passed.lasted_s < duration_s or cell.empty:
            self._off = True
            if self.empty_ns is None:
                self.empty_ns = self._seen_ns + round(passed.lasted_s * NS_PER_S)
        return passed.heat_mw, 0.0

    def _charge_frac(self) -> float:
        """Return the share of the full charging current that the skin's temperature allows."""
        skin_c = self._heat.temperatures_c[self._where[2]]
        while self._limited < len(self._limits) and skin_c >= self._limits[self._limited].set_c:
            self._limited += 1
        while self._limited > 0 and skin_c < self._limits[self._limited - 1].clear_c:
            self._limited -= 1
        limit: ChargeLimit | None = self._limits[self._limited - 1] if self._limited else None
        return limit.current_frac if limit is not None else 1.0

    def _steady(self) -> float:
        """Return the level in steps of a thousandth, as the daemon's sensors tell it; 0 once it is off."""
        assert self.cell is not None
        level_frac = 0.0 if self._off else self.cell.charge_frac
        if self._told is None or abs(level_frac - self._told) >= STEP_FRAC * 0.999999:
            self._told = round(round(level_frac / STEP_FRAC) * STEP_FRAC, 6)
        return self._told

    def _begin(self) -> None:
        """Warm up if asked to, and note a battery that is empty from the start."""
        if self._conditions.settled:
            plain, _ = self._background.at(0)
            heat = [0.0] * len(self._heat.names)
            heat[self._where[0]] += plain.soc_mw
            heat[self._where[2]] += plain.skin_mw
            self._heat.pass_time(DAY_S, heat)
            self._throttle(0.0)
        if self.cell is not None and self.cell.empty:
            self._off = True
            self.empty_ns = self._start_ns


_SOURCES: Final = tuple(
    (name, "simulated")
    for name in (
        "battery",
        "battery_capacity",
        "charging",
        "memory",
        "memory_total",
        "cpu_load",
        "temperature",
    )
)
