"""Memory: what other apps leave, and whom the system kills when too little is left.

As Android does it (source.android.com/docs/core/perf/lmkd): apps stay in memory after use; once less than a
threshold is free, the one used longest ago goes first, until enough is free again.
"""

import random
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.device.profile import Memory
from trimtab_sim.traces.series import Series

MIB: Final = 1 << 20
NS_PER_H: Final = 3600 * NS_PER_S
APPS: Final = 24
"""Apps a user opens now and then (assumed)."""
APP_MIB: Final = 300.0
"""Median size of an app (assumed); sizes are lognormal."""
APP_SPREAD: Final = 0.6
OPENED_PER_H: Final = 12.0
"""How often an app is opened (assumed)."""


class Pressure(Protocol):
    """What other programs leave of the memory."""

    def available_bytes(self, now_ns: int, resident_bytes: int) -> int:
        """Return what is free at ``now_ns`` (never going back) while trimtab holds ``resident_bytes``."""


class AppMemory:
    """Other apps, opened at random and killed when memory is low; the same seed gives the same apps.

    ``killed`` counts apps killed, ``starved`` the moments at which killing every other app but the one in use
    was not enough: then trimtab itself would have been killed.
    """

    def __init__(
        self, memory: Memory, seed: int = 0, opened_per_h: float = OPENED_PER_H, start_ns: int = 0
    ) -> None:
        """Begin with no app open; raise ``ValueError`` for a rate below 0."""
        if opened_per_h < 0:
            raise ValueError(f"no such rate: {opened_per_h} apps per hour")
        self._memory = memory
        self._rng = random.Random(seed)  # noqa: S311  a simulation, not a secret
        self._mib = [APP_MIB * self._rng.lognormvariate(0.0, APP_SPREAD) for _ in range(APPS)]
        self._per_ns = opened_per_h / NS_PER_H
        self._open: OrderedDict[int, float] = OrderedDict()
        self._used_mib = 0.0
        self._next_ns = start_ns
        self.killed = self.starved = 0
        self._plan()

    def available_bytes(self, now_ns: int, resident_bytes: int = 0) -> int:
        """Return what is free once apps were opened and killed up to ``now_ns``."""
        held_mib = resident_bytes / MIB
        while self._next_ns <= now_ns:
            self._open_one()
            self._reclaim(held_mib)
            self._plan()
        self._reclaim(held_mib)
        return round(max(0.0, self._free_mib(held_mib)) * MIB)

    def _plan(self) -> None:
        """Draw when the next app is opened."""
        if self._per_ns > 0:
            self._next_ns += max(1, round(self._rng.expovariate(self._per_ns)))
        else:
            self._next_ns = 1 << 62

    def _open_one(self) -> None:
        """Bring an app to the front; a few are used most (rank r with weight 1 / r)."""
        app = self._rng.choices(range(APPS), [1.0 / (rank + 1) for rank in range(APPS)])[0]
        if app in self._open:
            self._open.move_to_end(app)
        else:
            self._open[app] = self._mib[app]
            self._used_mib += self._mib[app]

    def _free_mib(self, held_mib: float) -> float:
        return self._memory.total_mib - self._memory.system_mib - self._used_mib - held_mib

    def _reclaim(self, held_mib: float) -> None:
        """Kill apps, the one used longest ago first and the one in front never, until enough is free."""
        while self._free_mib(held_mib) < self._memory.low_mib:
            if len(self._open) <= 1:
                self.starved += 1
                return
            _, mib = self._open.popitem(last=False)
            self._used_mib -= mib
            self.killed += 1


class RecordedMemory:
    """What a recorded device had available, less what trimtab holds now; before the first record, the first."""

    def __init__(
        self, at_ns: Sequence[int], available_bytes: Sequence[float], resident_bytes: int = 0
    ) -> None:
        """Take times in order; ``resident_bytes`` is what trimtab itself held while it was recorded.

        Raises ``ValueError`` for no record.
        """
        if not at_ns or len(at_ns) != len(available_bytes):
            raise ValueError("recorded memory needs at least one record, and a time for each")
        self._at_ns = list(at_ns)
        self._bytes = list(available_bytes)
        self._resident_bytes = resident_bytes

    @classmethod
    def of(cls, series: Series, start_ns: int = 0) -> "RecordedMemory":
        """Return the memory that a trace recorded, its first row at ``start_ns``; raise ``ValueError`` for none."""
        at_ns, values = series.known("memory_available_bytes")
        return cls([int(at) + start_ns for at in at_ns], [float(value) for value in values])

    def available_bytes(self, now_ns: int, resident_bytes: int = 0) -> int:
        """Return what was available at ``now_ns``."""
        index = max(0, bisect_right(self._at_ns, now_ns) - 1)
        return max(0, round(self._bytes[index]) + self._resident_bytes - resident_bytes)
