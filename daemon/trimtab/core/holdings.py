"""Carry out residency: load for a request or ahead of it, evict for room, remember what failed."""

from collections.abc import Callable
from math import ceil

from trimtab.core.catalogue import Catalogue, Home
from trimtab.core.commands import Command, Evict, Load
from trimtab.core.memory_budget import settle_memory
from trimtab.core.money import NUSD_PER_USD
from trimtab.core.prices import rations, spare_uj
from trimtab.core.residency import (
    Room,
    overflow,
    resting,
    room_ahead,
    room_for,
    size_bytes,
    used_bytes,
)
from trimtab.core.selection import Entry
from trimtab.core.state import Holding, Live, Residence, Rest, State
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J

REST_NS = 30 * NS_PER_S
"""First rest of a variant that failed; doubles with each failure in a row, up to 16 minutes."""
MAX_DOUBLINGS = 5
LOAD_MARGIN = 1.25
"""A load under way is expected to take so much longer than profiled: who waits for it in vain gets no answer."""
PROCESSOR_FAILURES = 3
"""So many failures in a row on one processor, of whatever variants, and the processor rests too (Band: 30 s)."""
_EVICTING = Holding.EVICTING


class Holdings:
    """The variants in memory. Every change goes through here, so that bytes and users always add up."""

    def __init__(
        self,
        state: State,
        catalogue: Catalogue,
        emit: Callable[[Command], None],
        changed: Callable[[], None],
    ) -> None:
        """Work on ``state``, send commands to ``emit`` and tell ``changed`` when a variant comes or goes."""
        self._state = state
        self._catalogue = catalogue
        self._emit = emit
        self._changed = changed
        self.loose = False
        """Whether something may be evicted that could not be before."""
        self._short = False
        self.moving = sum(r.holding is not Holding.RESIDENT for r in state.residences.values())
        """How many variants are loading or leaving.

        The plan's loads wait until there are none, so that they cannot crowd out those that requests wait for.
        """
        self._doomed = sum(r.doomed for r in state.residences.values())
        self._used_bytes = used_bytes(state)

    # ---- requests count on variants ----------------------------------------------------------------

    def claim(self, live: Live, entry: Entry, now_ns: int) -> bool:
        """Count a request on an entry's variant, loading it if need be; return whether there is room.

        The energy that the request may use at most is set aside until ``release``.
        """
        residence = self._state.residences.get(entry.residence)
        if residence is None:
            room = room_for(self._state, self._catalogue.last_resorts, entry.resident_bytes)
            if not room.fits:
                self._short = True
                return False
            residence = self._load(entry.residence, room, now_ns)
        assert residence.holding is not _EVICTING, f"{entry.residence} was chosen while it leaves"
        residence.users += 1
        live.residence = entry.residence
        live.committed_uj = committed_uj = ceil(entry.worst_uj * live.request.batch + entry.load_uj)
        self._state.energy.committed_uj += committed_uj
        if entry.worst_usd:
            live.committed_nusd = ceil(entry.worst_usd * live.request.batch * NUSD_PER_USD)
            self._state.money.committed_nusd += live.committed_nusd
        return True

    def release(self, live: Live, now_ns: int) -> None:
        """End a request's claim on its variant and on energy."""
        residence = self._state.residences[live.residence]
        residence.users -= 1
        residence.last_used_ns = now_ns
        self._state.energy.committed_uj -= live.committed_uj
        if live.committed_nusd:
            self._state.money.committed_nusd -= live.committed_nusd
            live.committed_nusd = 0
        live.residence, live.committed_uj = "", 0
        self.loose = True
        if self._short:
            self._short = False
            self._changed()

    def forget(self) -> None:
        """Forget that memory was found to be short; the next request finds out again."""
        self._short = False

    # ---- coming and going --------------------------------------------------------------------------

    def limit_memory(self, now_ns: int) -> bool:
        """Take over the memory limit that policy and device now set; return whether it changed."""
        changed = settle_memory(self._state, now_ns)
        self.loose = self.loose or changed
        return changed

    def shed(self) -> None:
        """Evict what no longer fits under the memory limit; what is in use leaves when it is idle."""
        self.loose = False
        leaving: tuple[str, ...] = ()
        if self._used_bytes > self._state.memory_limit_bytes:
            leaving = overflow(self._state, self._catalogue.last_resorts)
        elif not self._doomed:
            return
        for key, residence in self._state.residences.items():
            doomed = key in leaving and residence.users > 0
            if doomed != residence.doomed:
                residence.doomed = doomed
                self._doomed += 1 if doomed else -1
                self._changed()
        for key in leaving:
            if not self._state.residences[key].users:
                self._evict(key)

    def follow_plan(self, now_ns: int) -> None:
        """Load the first variant that the plan names and that is not in memory, one at a time."""
        state = self._state
        if self.moving or state.draining:
            return
        for key in state.plan.keys:
            if key not in state.residences and self.load_ahead(key, now_ns):
                return

    def load_ahead(self, key: str, now_ns: int) -> bool:
        """Load a variant that no request waits for, if there is room and its load leaves the reserve alone."""
        state, home = self._state, self._catalogue.homes.get(key)
        if home is None or key in state.residences or resting(state, key, now_ns):
            return False
        left_uj = spare_uj(state.energy, state.device, state.policy.battery.reserve_frac, now_ns)
        held = size_bytes(state, key, home.resident_bytes)
        room = room_ahead(state, self._catalogue.last_resorts, held, now_ns)
        if not room.fits or home.load_uj > left_uj:
            return False
        self._load(key, room, now_ns)
        return True

    def load_last_resorts(self, now_ns: int) -> None:
        """Load each task's last resort where it is not in memory; it has to stay whatever the limit.

        Where the energy until a horizon is rationed, only those are loaded that are asked for and pay at its price.
        """
        state = self._state
        rationed = rations(state)
        for key, home in self._catalogue.last_resorts.items():
            if key in state.residences or resting(state, key, now_ns):
                continue
            if not rationed or self._pays(key, home.task):
                self._begin(key, home, now_ns)

    def _pays(self, key: str, task: str) -> bool:
        """Return whether somebody asked for a task, and its last resort is worth its energy at the horizon's price."""
        state = self._state
        if all(stream.task != task for stream in state.forecast.streams.values()):
            return False
        price_per_uj = state.energy.price_per_j / UJ_PER_J
        weight = state.policy.defaults.weight
        entries = [e for e in self._catalogue.blanks[task] if e.residence == key]
        return any(weight * e.top_accuracy >= price_per_uj * e.energy_uj for e in entries)

    def loaded(self, key: str, resident_bytes: int, now_ns: int) -> None:
        """Note that a load finished; what it really holds replaces the profile's figure."""
        residence = self._state.residences[key]
        residence.holding = Holding.RESIDENT
        self.moving -= 1
        self._used_bytes += resident_bytes - residence.resident_bytes
        residence.resident_bytes = self._state.sizes[key] = resident_bytes
        residence.ready_ns = residence.last_used_ns = now_ns
        self.loose = True
        self._changed()

    def gone(self, key: str) -> None:
        """Note that a variant is no longer in memory: it left, or it never came."""
        residence = self._state.residences.pop(key)
        if residence.holding is not Holding.EVICTING:
            self._used_bytes -= residence.resident_bytes
        self.moving -= 1
        self._changed()

    def _load(self, key: str, room: Room, now_ns: int) -> Residence:
        for leaving in room.evict:
            self._evict(leaving)
        return self._begin(key, self._catalogue.homes[key], now_ns)

    def _begin(self, key: str, home: Home, now_ns: int) -> Residence:
        held = size_bytes(self._state, key, home.resident_bytes)
        loading = [r.ready_ns for r in self._state.residences.values() if r.holding is Holding.LOADING]
        ready_ns = max(now_ns, max(loading, default=now_ns)) + int(LOAD_MARGIN * home.load_ns)
        residence = Residence(home.task, home.variant, home.pool, Holding.LOADING, held, ready_ns, now_ns)
        self._state.residences[key] = residence
        self._used_bytes += held
        self.moving += 1
        self.loose = True
        self._emit(Load(home.task, home.variant, home.pool))
        self._changed()
        return residence

    def _evict(self, key: str) -> None:
        residence = self._state.residences[key]
        residence.holding = Holding.EVICTING
        self._used_bytes -= residence.resident_bytes
        self.moving += 1
        self._emit(Evict(residence.task, residence.variant, residence.pool))
        self._changed()

    # ---- health ------------------------------------------------------------------------------------

    def failed(self, key: str, now_ns: int) -> None:
        """Let a variant that failed rest, longer after each failure in a row."""
        rest = self._state.rests.setdefault(key, Rest(0, 0))
        rest.failures += 1
        rest.until_ns = now_ns + REST_NS * (1 << min(rest.failures - 1, MAX_DOUBLINGS))
        self._changed()

    def failed_on(self, processor: str, now_ns: int) -> None:
        """Let a processor rest on which run after run failed, as long as another one can serve.

        Variants fail by themselves, so one or two failures in a row say nothing of the processor yet.
        """
        rests = self._state.rests
        rest = rests.setdefault(processor, Rest(0, 0))
        rest.failures += 1
        others = [name for name in self._state.processors if name != processor]
        spared = any(not resting(self._state, name, now_ns) for name in others)
        if rest.failures >= PROCESSOR_FAILURES and spared:
            doublings = min(rest.failures - PROCESSOR_FAILURES, MAX_DOUBLINGS)
            rest.until_ns = now_ns + REST_NS * (1 << doublings)
            self._changed()

    def worked(self, key: str, now_ns: int) -> None:
        """Forget the failures of a variant, or of a processor, that works again after its rest."""
        if key in self._state.rests and not resting(self._state, key, now_ns):
            del self._state.rests[key]
