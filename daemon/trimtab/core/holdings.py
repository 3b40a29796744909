"""Carry out residency: load for a request or ahead of it, evict for room, remember what failed."""

from collections.abc import Callable

from trimtab.core.commands import Command, Evict, Load
from trimtab.core.residency import COLD_NS, last_resort_key, overflow, room_for
from trimtab.core.selection import Entry
from trimtab.core.state import Holding, Live, Residence, Rest, State, residence_key
from trimtab.domain.quantities import NS_PER_S

REST_NS = 30 * NS_PER_S
"""First rest of a variant that failed; doubles with each failure in a row, up to 32 times."""
WISHES_BEFORE_EVICTING = 3


class Holdings:
    """The variants in memory. Every change goes through here, so that bytes and users always add up."""

    def __init__(self, state: State, emit: Callable[[Command], None]) -> None:
        """Work on ``state`` and send commands to ``emit``."""
        self._state = state
        self._emit = emit

    def claim(self, live: Live, entry: Entry, now_ns: int) -> bool:
        """Count a request on an entry's variant, loading it if need be; return whether there is room."""
        residence = self._state.residences.get(entry.residence)
        if residence is None:
            residence = self._load(live.request.task, entry, now_ns)
        if residence is None or residence.holding is Holding.EVICTING:
            return False
        residence.users += 1
        live.residence = entry.residence
        return True

    def release(self, live: Live, now_ns: int) -> None:
        """End a request's claim on its variant."""
        residence = self._state.residences.get(live.residence)
        if residence is not None:
            residence.users -= 1
            residence.last_used_ns = now_ns
        live.residence = ""
        self.shed()

    def used(self, live: Live, now_ns: int) -> None:
        """Note that a run on the request's variant began."""
        residence = self._state.residences[live.residence]
        residence.uses += 1
        residence.last_used_ns = now_ns

    def shed(self) -> None:
        """Evict what no longer fits under the memory limit and is idle."""
        for key in overflow(self._state):
            self._evict(key)

    def fulfil(self, task: str, entry: Entry, now_ns: int) -> None:
        """Load a variant that would have won had it been resident.

        At once when there is room, after a few wishes when something unused has to leave for it. One
        load at a time, so that wishes cannot crowd out the loads that requests wait for.
        """
        state = self._state
        if any(r.holding is not Holding.RESIDENT for r in state.residences.values()):
            return
        wishes = state.wishes[entry.residence] = state.wishes.get(entry.residence, 0) + 1
        unused_before_ns = now_ns - COLD_NS if wishes >= WISHES_BEFORE_EVICTING else -1
        room = room_for(state, entry.candidate.resident_bytes, unused_before_ns=unused_before_ns)
        if room.fits:
            self._load(task, entry, now_ns)

    def load_last_resorts(self, now_ns: int) -> None:
        """Load each task's last resort where it is not in memory; it has to stay whatever the limit."""
        for task, family in self._state.families.items():
            key = last_resort_key(self._state, task)
            if key and key not in self._state.residences and key not in self._state.rests:
                profile = next(
                    p
                    for p in self._state.profiles[task]
                    if p.variant == family.last_resort
                    and residence_key(task, p.variant, self._state.processors[p.processor].pool) == key
                )
                pool = self._state.processors[profile.processor].pool
                self._begin(task, profile.variant, pool, profile.resident_bytes, profile.load_ns, now_ns)

    def loaded(self, key: str, resident_bytes: int, now_ns: int) -> None:
        """Note that a load finished; what it really holds replaces the profile's figure."""
        residence = self._state.residences[key]
        residence.holding = Holding.RESIDENT
        residence.resident_bytes = resident_bytes
        residence.ready_ns = residence.last_used_ns = now_ns
        self._state.wishes.pop(key, None)
        self._state.rests.pop(key, None)
        self.shed()

    def failed(self, key: str, now_ns: int) -> None:
        """Let a variant that failed rest, longer each time."""
        rest = self._state.rests.get(key, Rest(0, 0))
        rest.failures += 1
        rest.until_ns = now_ns + REST_NS * (1 << min(rest.failures - 1, 5))
        self._state.rests[key] = rest

    def _load(self, task: str, entry: Entry, now_ns: int) -> Residence | None:
        candidate = entry.candidate
        room = room_for(self._state, candidate.resident_bytes)
        if not room.fits:
            return None
        for key in room.evict:
            self._evict(key)
        pool = self._state.processors[candidate.processor].pool
        return self._begin(
            task, candidate.variant, pool, candidate.resident_bytes, candidate.load_ns, now_ns
        )

    def _begin(
        self, task: str, variant: str, pool: str, resident_bytes: int, load_ns: int, now_ns: int
    ) -> Residence:
        residence = Residence(
            task, variant, pool, Holding.LOADING, resident_bytes, now_ns + load_ns, now_ns
        )
        self._state.residences[residence_key(task, variant, pool)] = residence
        self._emit(Load(task, variant, pool))
        return residence

    def _evict(self, key: str) -> None:
        residence = self._state.residences[key]
        residence.holding = Holding.EVICTING
        self._emit(Evict(residence.task, residence.variant, residence.pool))
