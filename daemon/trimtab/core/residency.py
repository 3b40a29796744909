"""What is in memory: the budget, which variants must stay, and who leaves when room is needed."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from trimtab.core.state import Holding, Residence, State, residence_key
from trimtab.domain.family import Profile
from trimtab.domain.quantities import NS_PER_S

SETTLED_NS = 2 * NS_PER_S
"""A variant is left alone for so long before it leaves for one that no request waits for."""


@dataclass(frozen=True, slots=True)
class Room:
    """Answer to "can this be loaded?": whether, and which residences leave first, in order."""

    fits: bool
    evict: tuple[str, ...] = ()


def used_bytes(state: State) -> int:
    """Return what resident and loading variants hold; what is leaving no longer counts."""
    return sum(r.resident_bytes for r in state.residences.values() if r.holding is not Holding.EVICTING)


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
    """Yield idle residences that may leave, in order; last resorts are ``protected``."""
    return ((key, r) for key, r in ranked(state, protected) if r.users == 0)


def ranked(state: State, protected: Container[str]) -> Iterator[tuple[str, Residence]]:
    """Yield residences in the order in which they should leave, those in use included; never ``protected`` ones.

    What the plan does not name goes first, least recently used first; then what it names, least worth first.
    """
    ranks = {key: rank for rank, key in enumerate(reversed(state.plan.keys), 1)}
    found = [
        (ranks.get(key, 0), r.last_used_ns, key)
        for key, r in state.residences.items()
        if r.holding is Holding.RESIDENT and key not in protected and r.resident_bytes > 0
    ]
    for _, _, key in sorted(found):
        yield key, state.residences[key]


def room_for(state: State, protected: Container[str], resident_bytes: int) -> Room:
    """Return whether ``resident_bytes`` fit, evicting idle variants that are not ``protected`` if need be."""
    return _room(evictable(state, protected), used_bytes(state) + resident_bytes - state.memory_limit_bytes)


def room_ahead(state: State, protected: Container[str], resident_bytes: int, now_ns: int) -> Room:
    """Return whether a load that no request waits for fits, if idle variants leave that nothing speaks for.

    These are the ones that the plan does not name and that have been in memory for a while; where there is no plan,
    those unused for a while.
    """
    planned, settled_ns = state.plan.keys, now_ns - SETTLED_NS
    leaving = (
        (key, r)
        for key, r in evictable(state, protected)
        if key not in planned and (r.ready_ns if planned else r.last_used_ns) <= settled_ns
    )
    return _room(leaving, used_bytes(state) + resident_bytes - state.memory_limit_bytes)


def _room(leaving: Iterable[tuple[str, Residence]], missing_bytes: int) -> Room:
    """Return which of ``leaving``, in that order, have to go until nothing is missing."""
    keys: list[str] = []
    if missing_bytes <= 0:
        return Room(True)
    for key, residence in leaving:
        keys.append(key)
        missing_bytes -= residence.resident_bytes
        if missing_bytes <= 0:
            return Room(True, tuple(keys))
    return Room(False, tuple(keys))


def overflow(state: State, protected: Container[str]) -> tuple[str, ...]:
    """Return the residences that have to leave so that the limit holds again, as far as ``protected`` ones permit.

    Those in use among them leave when they are idle: what the plan names does not leave in their place.
    """
    return _room(ranked(state, protected), used_bytes(state) - state.memory_limit_bytes).evict
