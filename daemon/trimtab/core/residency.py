"""What is in memory: the budget, which variants must stay, and who leaves when room is needed."""

from collections.abc import Iterator
from dataclasses import dataclass

from trimtab.core.state import Holding, Residence, State, residence_key
from trimtab.domain.quantities import NS_PER_S

UNLIMITED = 1 << 62
COLD_NS = 2 * NS_PER_S
"""A variant unused for so long may be evicted for one that is only wished for."""


@dataclass(frozen=True, slots=True)
class Room:
    """Answer to "can this be loaded?": whether, and which residences leave first, in order."""

    fits: bool
    evict: tuple[str, ...] = ()


def used_bytes(state: State) -> int:
    """Return what resident and loading variants hold; what is leaving no longer counts."""
    return sum(r.resident_bytes for r in state.residences.values() if r.holding is not Holding.EVICTING)


def memory_limit(state: State) -> int:
    """Return what variants may hold from now on: the policy's limit and what the device has to spare.

    Taken once per device reading, because the reading counts what is resident at that moment.
    """
    goal, available = state.policy.memory, state.device.memory_available_bytes
    limit = UNLIMITED if goal.limit_bytes is None else goal.limit_bytes
    if available is not None:
        held = sum(r.resident_bytes for r in state.residences.values() if r.holding is not Holding.LOADING)
        limit = min(limit, max(0, held + available - goal.keep_available_bytes))
    return limit


def last_resort_key(state: State, task: str) -> str:
    """Return the residence of the task's last resort: its smallest-thread pool, which never leaves."""
    family = state.families[task]
    candidates = [p.processor for p in state.profiles.get(task, ()) if p.variant == family.last_resort]
    for processor in state.processors.values():
        if processor.name in candidates:
            return residence_key(task, family.last_resort, processor.pool)
    return ""


def evictable(state: State) -> Iterator[tuple[str, Residence]]:
    """Yield residences that may leave, least recently used first."""
    protected = {last_resort_key(state, task) for task in state.families}
    idle = [
        (r.last_used_ns, key)
        for key, r in state.residences.items()
        if r.holding is Holding.RESIDENT and r.users == 0 and key not in protected
    ]
    for _, key in sorted(idle):
        yield key, state.residences[key]


def room_for(state: State, resident_bytes: int, *, unused_before_ns: int | None = None) -> Room:
    """Return whether ``resident_bytes`` fit, evicting idle variants if need be.

    With ``unused_before_ns`` only variants last used before that moment may leave.
    """
    missing = used_bytes(state) + resident_bytes - state.memory_limit_bytes
    if missing <= 0:
        return Room(True)
    leaving: list[str] = []
    for key, residence in evictable(state):
        if unused_before_ns is not None and residence.last_used_ns >= unused_before_ns:
            break
        leaving.append(key)
        missing -= residence.resident_bytes
        if missing <= 0:
            return Room(True, tuple(leaving))
    return Room(False)


def could_ever_fit(state: State, key: str, resident_bytes: int) -> bool:
    """Return whether a variant fits once everything but the last resorts is gone."""
    if key in state.residences:
        return True
    protected = {last_resort_key(state, task) for task in state.families}
    kept = sum(r.resident_bytes for k, r in state.residences.items() if k in protected)
    return kept + resident_bytes <= state.memory_limit_bytes


def overflow(state: State) -> list[str]:
    """Return the residences to evict so that the limit holds again, as far as that is possible."""
    excess = used_bytes(state) - state.memory_limit_bytes
    if excess <= 0:
        return []
    leaving: list[str] = []
    for key, residence in evictable(state):
        if excess <= 0:
            break
        leaving.append(key)
        excess -= residence.resident_bytes
    return leaving
