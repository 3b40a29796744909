"""The device's condition in simulated time: a battery that drains, and what surrounds it.

The battery does what the daemon's virtual battery behind its sensors does, number for number: background and
draws are taken out as they come, the level told moves in steps of a thousandth, and empty stays empty.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from trimtab.domain.device import DeviceState, with_clock
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J

STEP_FRAC: Final = 0.001
"""The level told moves only when the true one is a whole step away from it, as the daemon's sensors do."""
DAY_S: Final = 86_400
SOURCES: Final = tuple([(what, "simulated") for what in ("battery", "battery_capacity", "charging")])


class Device(Protocol):
    """The device as the driver sees it."""

    def reading(self, now_ns: int) -> DeviceState:
        """Return what the sensors tell at ``now_ns``."""

    def draw(self, energy_uj: float, now_ns: int) -> None:
        """Take the energy of a run or load out."""


class Surroundings:
    """Memory, load, temperature and charging over time: each state holds until the next one.

    ``local_time_s`` runs on by itself from the state's own; battery figures are the battery's business.
    """

    def __init__(self, states: Sequence[tuple[int, DeviceState]] = ((0, DeviceState()),)) -> None:
        """Take (time in ns, state) pairs in order of time; raise ``ValueError`` for none or another order."""
        self._times = [at_ns for at_ns, _ in states]
        self._states = [state for _, state in states]
        if not self._times or self._times != sorted(self._times):
            raise ValueError("surroundings need at least one state, and states in order of time")

    def at(self, now_ns: int) -> DeviceState:
        """Return the state that holds at ``now_ns``; before the first one, the first one."""
        index = max(0, bisect_right(self._times, now_ns) - 1)
        state = self._states[index]
        passed_s = max(0, now_ns - self._times[index]) // NS_PER_S
        return with_clock(state, state.local_time_s, state.weekday, passed_s)


class Plugged:
    """A device without a battery."""

    def __init__(self, surroundings: Surroundings | None = None) -> None:
        """Live in ``surroundings``."""
        self._surroundings = surroundings or Surroundings()

    def reading(self, now_ns: int) -> DeviceState:
        """Return the surroundings."""
        return self._surroundings.at(now_ns)

    def draw(self, energy_uj: float, now_ns: int) -> None:
        """Take it from the wall."""


class Battery:
    """A battery of ``capacity_j`` that a constant ``background_mw`` and what is drawn empty for good."""

    def __init__(
        self,
        capacity_j: float,
        level_frac: float = 1.0,
        background_mw: float = 0.0,
        *,
        start_ns: int = 0,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Charge to ``level_frac`` at ``start_ns``; raise ``ValueError`` for an impossible battery."""
        if capacity_j <= 0 or not 0 <= level_frac <= 1 or background_mw < 0:
            raise ValueError(f"no such battery: {capacity_j} J at {level_frac}, {background_mw} mW")
        self._capacity_uj = capacity_j * UJ_PER_J
        self._left_uj = self._capacity_uj * level_frac
        self._background_mw = background_mw
        self._seen_ns = start_ns
        self._surroundings = surroundings or Surroundings()
        self._told: float | None = None
        self.empty_ns: int | None = start_ns if level_frac == 0 else None
        """When it ran out; ``None`` while it has not."""

    def level_frac(self, now_ns: int) -> float:
        """Return the true state of charge."""
        self._pass_time(now_ns)
        return self._left_uj / self._capacity_uj

    def draw(self, energy_uj: float, now_ns: int) -> None:
        """Take energy out; more than is left empties it."""
        self._pass_time(now_ns)
        self._left_uj -= energy_uj
        if self._left_uj <= 0.0:
            self._left_uj = 0.0
            self._note_empty(now_ns)

    def reading(self, now_ns: int) -> DeviceState:
        """Return the surroundings with the level as a fuel gauge would tell it, and capacity."""
        return replace(
            self._surroundings.at(now_ns),
            battery_frac=self._steady(self.level_frac(now_ns)),
            battery_capacity_j=self._capacity_uj / UJ_PER_J,
            charging=False,
            sources=SOURCES,
        )

    def _pass_time(self, now_ns: int) -> None:
        passed_ns = now_ns - self._seen_ns
        if passed_ns <= 0:
            return
        left_uj, spent_uj = self._left_uj, self._background_mw * passed_ns / 1e6
        if left_uj > spent_uj:
            self._left_uj = left_uj - spent_uj
        else:
            if left_uj > 0.0:
                self._note_empty(self._seen_ns + round(left_uj / self._background_mw * 1e6), empty=True)
            self._left_uj = 0.0
        self._seen_ns = now_ns

    def _note_empty(self, at_ns: int, *, empty: bool = False) -> None:
        if self.empty_ns is None and (empty or self._left_uj == 0.0):
            self.empty_ns = at_ns

    def _steady(self, level_frac: float) -> float:
        if self._told is None or abs(level_frac - self._told) >= STEP_FRAC * 0.999999:
            self._told = round(round(level_frac / STEP_FRAC) * STEP_FRAC, 6)
        return self._told
