"""Carry out residency: load for a request or ahead of it, evict for room, remember what failed."""

from collections.abc import Callable
from math import ceil

from trimtab.core.catalogue import Catalogue
from trimtab.core.commands import Command, Evict, Load
from trimtab.core.residency import COLD_NS, memory_limit, overflow, resting, room_for, size_bytes, used_bytes
from trimtab.core.selection import Entry
from trimtab.core.state import Holding, Live, Residence, Rest, State
from trimtab.domain.quantities import NS_PER_S

REST_NS = 30 * NS_PER_S
"""First rest of a variant that failed; doubles with each failure in a row, up to 16 minutes."""
MAX_DOUBLINGS = 5
EVICTION_PRICE = 0.02
"""Value that must be missed beyond a load's price before something has to leave for it: two points."""
MAX_MISSED = 1e6
"""More value than any load costs; also stands for "could not be served well at all"."""

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

        Wishes wait until there are none, so that they cannot crowd out the loads that requests wait for.
        """
        self._used_bytes = used_bytes(state)

    # ---- requests count on variants ----------------------------------------------------------------

    def claim(self, live: Live, entry: Entry, now_ns: int) -> bool:
        """Count a request on an entry's variant, loading it if need be; return whether there is room.

        The energy that the request may use at most is set aside until ``release``.
        """
        residence = self._state.residences.get(entry.residence)
        if residence is None:
            residence = self._load(live.request.task, entry, now_ns)
        if residence is None:
            self._short = True
            return False
        assert residence.holding is not _EVICTING, f"{entry.residence} was chosen while it leaves"
        residence.users += 1
        live.residence = entry.residence
        live.committed_uj = committed_uj = ceil(entry.worst_uj * live.request.batch + entry.load_uj)
        self._state.energy.committed_uj += committed_uj
        return True

    def release(self, live: Live, now_ns: int) -> None:
        """End a request's claim on its variant and on energy."""
        residence = self._state.residences[live.residence]
        residence.users -= 1
        residence.last_used_ns = now_ns
        self._state.energy.committed_uj -= live.committed_uj
        live.residence, live.committed_uj = "", 0
        self.loose = True
        if self._short:
            self._short = False
            self._changed()

    def forget(self) -> None:
        """Forget that memory was found to be short; the next request finds out again."""
        self._short = False

    # ---- coming and going --------------------------------------------------------------------------

    def limit_memory(self) -> None:
        """Take over the memory limit that policy and device now set."""
        self._state.memory_limit_bytes = memory_limit(self._state)
        self.loose = True

    def shed(self) -> None:
        """Evict what no longer fits under the memory limit and is idle."""
        self.loose = False
        if self._used_bytes > self._state.memory_limit_bytes:
            for key in overflow(self._state, self._catalogue.last_resorts):
                self._evict(key)

    def wish(self, task: str, entry: Entry, missed: float, now_ns: int) -> None:
        """Note the value a request missed because a variant was not in memory; load it once that adds up.

        It is loaded when what was missed reaches what the load costs (the rule of "rent or buy": at most
        twice the cost of knowing the future), and there is room or something unused to leave for it.
        """
        state = self._state
        total = min(MAX_MISSED, state.wishes.get(entry.residence, 0.0) + missed)
        state.wishes[entry.residence] = total
        if total < entry.load_price:
            return
        protected = self._catalogue.last_resorts
        room = room_for(state, protected, entry.resident_bytes, unused_before_ns=now_ns - COLD_NS)
        if room.fits and total >= entry.load_price + (EVICTION_PRICE if room.evict else 0.0):
            self._load(task, entry, now_ns)

    def load_last_resorts(self, now_ns: int) -> None:
        """Load each task's last resort where it is not in memory; it has to stay whatever the limit."""
        state = self._state
        for key, one in self._catalogue.last_resorts.items():
            if key not in state.residences and not resting(state, key, now_ns):
                held = size_bytes(state, key, one.resident_bytes)
                self._begin(
                    key,
                    Residence(
                        one.task, one.variant, one.pool, Holding.LOADING, held, now_ns + one.load_ns, now_ns
                    ),
                )

    def loaded(self, key: str, resident_bytes: int, now_ns: int) -> None:
        """Note that a load finished; what it really holds replaces the profile's figure."""
        residence = self._state.residences[key]
        residence.holding = Holding.RESIDENT
        self.moving -= 1
        self._used_bytes += resident_bytes - residence.resident_bytes
        residence.resident_bytes = self._state.sizes[key] = resident_bytes
        residence.ready_ns = residence.last_used_ns = now_ns
        self._state.wishes.pop(key, None)
        self.loose = True
        self._changed()

    def gone(self, key: str) -> None:
        """Note that a variant is no longer in memory: it left, or it never came."""
        residence = self._state.residences.pop(key)
        if residence.holding is not Holding.EVICTING:
            self._used_bytes -= residence.resident_bytes
        self.moving -= 1
        self._changed()

    def _load(self, task: str, entry: Entry, now_ns: int) -> Residence | None:
        candidate = entry.candidate
        room = room_for(self._state, self._catalogue.last_resorts, entry.resident_bytes)
        if not room.fits:
            return None
        for key in room.evict:
            self._evict(key)
        pool, held = self._state.processors[candidate.processor].pool, entry.resident_bytes
        ready_ns = now_ns + candidate.load_ns
        residence = Residence(task, candidate.variant, pool, Holding.LOADING, held, ready_ns, now_ns)
        return self._begin(entry.residence, residence)

    def _begin(self, key: str, residence: Residence) -> Residence:
        self._state.residences[key] = residence
        self._used_bytes += residence.resident_bytes
        self.moving += 1
        self.loose = True
        self._emit(Load(residence.task, residence.variant, residence.pool))
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

    def worked(self, key: str, now_ns: int) -> None:
        """Forget the failures of a variant that works again after its rest."""
        if key in self._state.rests and not resting(self._state, key, now_ns):
            del self._state.rests[key]
