"""What is in memory: the budget, which variants must stay, and who leaves when room is needed."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

from trimtab.core.state import Holding, Residence, State, residence_key
from trimtab.domain.family import Profile
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


def held_bytes(state: State) -> int:
    """Return what a reading of available memory already counts: all but what is still loading."""
    return sum(r.resident_bytes for r in state.residences.values() if r.holding is not Holding.LOADING)


def memory_limit(state: State) -> int:
    """Return what variants may hold: the policy's limit and what the device has to spare.

    The device's part is what it had available when it was read, plus what variants held at that moment.
    """
    goal, available = state.policy.memory, state.device.memory_available_bytes
    limit = UNLIMITED if goal.limit_bytes is None else goal.limit_bytes
    if available is None:
        return limit
    return min(limit, max(0, state.memory_held_bytes + available - goal.keep_available_bytes))


def last_resort(state: State, task: str) -> Profile | None:
    """Return the profile of the task's last resort on the first processor of this device that can run it."""
    family = state.families[task]
    profiles = {p.processor: p for p in state.profiles.get(task, ()) if p.variant == family.last_resort}
    here = [name for name, processor in state.processors.items() if not processor.is_remote]
    return next((profiles[name] for name in here if name in profiles), None)


def last_resort_key(state: State, task: str) -> str:
    """Return the residence of the task's last resort, which never leaves; empty when nothing can run it."""
    profile = last_resort(state, task)
    if profile is None:
        return ""
    return residence_key(task, profile.variant, state.processors[profile.processor].pool)


def resting(state: State, key: str, now_ns: int) -> bool:
    """Return whether a variant failed so recently that it is left alone."""
    rest = state.rests.get(key)
    return rest is not None and rest.until_ns > now_ns


def size_bytes(state: State, key: str, profile_bytes: int) -> int:
    """Return what a variant holds when loaded: as measured last time, else as profiled."""
    return state.sizes.get(key, profile_bytes)


def kept_bytes(state: State, protected: Container[str]) -> int:
    """Return what stays in memory whatever is asked for: ``protected``, which are the last resorts."""
    return sum([r.resident_bytes for key, r in state.residences.items() if key in protected])


def evictable(state: State, protected: Container[str]) -> Iterator[tuple[str, Residence]]:
    """Yield residences that may leave, least recently used first; last resorts are ``protected``."""
    idle = [
        (r.last_used_ns, key)
        for key, r in state.residences.items()
        if r.holding is Holding.RESIDENT and r.users == 0 and r.resident_bytes and key not in protected
    ]
    for _, key in sorted(idle):
        yield key, state.residences[key]


def room_for(
    state: State, protected: Container[str], resident_bytes: int, *, unused_before_ns: int | None = None
) -> Room:
    """Return whether ``resident_bytes`` fit, evicting idle variants that are not ``protected`` if need be.

    With ``unused_before_ns`` only variants last used before that moment may leave.
    """
    missing = used_bytes(state) + resident_bytes - state.memory_limit_bytes
    if missing <= 0:
        return Room(True)
    leaving: list[str] = []
    for key, residence in evictable(state, protected):
        if unused_before_ns is not None and residence.last_used_ns >= unused_before_ns:
            break
        leaving.append(key)
        missing -= residence.resident_bytes
        if missing <= 0:
            return Room(True, tuple(leaving))
    return Room(False)


def overflow(state: State, protected: Container[str]) -> list[str]:
    """Return the residences to evict so that the limit holds again, as far as ``protected`` ones permit."""
    excess = used_bytes(state) - state.memory_limit_bytes
    if excess <= 0:
        return []
    leaving: list[str] = []
    for key, residence in evictable(state, protected):
        if excess <= 0:
            break
        leaving.append(key)
        excess -= residence.resident_bytes
    return leaving
