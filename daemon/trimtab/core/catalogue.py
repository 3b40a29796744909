"""What processors, families and profiles imply; worked out again only when one of these changes."""

from collections.abc import Iterable
from typing import NamedTuple

from trimtab.core.candidates import build_candidates
from trimtab.core.queueing import Sharing
from trimtab.core.residency import last_resort
from trimtab.core.selection import Entry
from trimtab.core.state import Estimate, State, residence_key
from trimtab.domain.decision import Candidate
from trimtab.domain.family import Family, Profile
from trimtab.domain.processor import Processor

MANY = 1000
"""So many requests at once are as good as any number."""


class Home(NamedTuple):
    """A variant in the pool that holds it: what its load takes and what it holds."""

    task: str
    variant: str
    pool: str
    load_ns: int
    load_uj: float
    resident_bytes: int


class Catalogue:
    """All candidates, who shares cores with whom, estimates by lane; and what can be held and must be, by residence.

    By pool, ``groups`` numbers processors that wait for each other, and ``servers`` counts those of the pool.
    """

    def __init__(self, state: State) -> None:
        """Derive everything from ``state``."""
        self._state = state
        self.sharing = Sharing(())
        self.estimates: list[Estimate] = []
        self.candidates: dict[str, tuple[Candidate, ...]] = {}
        self.blanks: dict[str, tuple[Entry, ...]] = {}
        self.homes: dict[str, Home] = {}
        self.last_resorts: dict[str, Home] = {}
        self.groups: dict[str, int] = {}
        self.servers: dict[str, int] = {}
        self.charged = self.remote = False
        """Whether some candidate costs money, or is on a server."""
        self.renew()

    def renew(self) -> None:
        """Derive everything again."""
        state = self._state
        self.sharing = Sharing(state.processors.values())
        self.estimates = list(state.estimates.values())
        self.candidates = {
            task: self.candidates_of(family, state.profiles.get(task, ()))
            for task, family in state.families.items()
        }
        self.blanks = {task: self._blanks_of(task) for task in self.candidates}
        self.servers = {}
        for processor in state.processors.values():
            at_once = processor.concurrent or MANY
            self.servers[processor.pool] = self.servers.get(processor.pool, 0) + at_once
        self.groups = _groups(state.processors.values(), self.sharing)
        self.homes = {}
        for task, candidates in self.candidates.items():
            for candidate in candidates:
                self.homes.setdefault(*self._home_of(task, candidate))
        found = [(task, last_resort(state, task)) for task in state.families]
        self.last_resorts = dict(
            [self._home_of(task, profile) for task, profile in found if profile is not None]
        )
        every = [one for some in self.candidates.values() for one in some]
        self.charged = any(one.cost_usd > 0.0 for one in every)
        self.remote = any(one.remote for one in every)

    def candidates_of(self, family: Family, profiles: tuple[Profile, ...]) -> tuple[Candidate, ...]:
        """Return a family's candidates on this device; raise ``ValueError`` where figures do not match."""
        return build_candidates(family, profiles, tuple(self._state.processors.values()))

    def _blanks_of(self, task: str) -> tuple[Entry, ...]:
        """Return what tables of a task are made from, in the order that breaks ties: energy, latency, name."""
        pools = {name: processor.pool for name, processor in self._state.processors.items()}
        lanes = {name: lane for lane, name in enumerate(pools)}
        blanks = [
            Entry(one, lanes[one.processor], residence_key(task, one.variant, pools[one.processor]))
            for one in self.candidates[task]
        ]
        return tuple(sorted(blanks, key=lambda e: (e.energy_uj, e.latency_ns, e.name)))

    def _home_of(self, task: str, one: Candidate | Profile) -> tuple[str, Home]:
        """Return the residence key of a variant on a processor, and what is known of it there."""
        pool = self._state.processors[one.processor].pool
        home = Home(task, one.variant, pool, one.load_ns, one.load_energy_uj, one.resident_bytes)
        return residence_key(task, one.variant, pool), home


def _groups(processors: Iterable[Processor], sharing: Sharing) -> dict[str, int]:
    """Return a number for each pool, the same one for pools whose processors wait for each other."""
    groups: list[tuple[int, set[str]]] = []
    for processor in processors:
        mask, pools = sharing.masks[processor.name], {processor.pool}
        for other in [one for one in groups if one[0] & mask or processor.pool in one[1]]:
            groups.remove(other)
            mask, pools = mask | other[0], pools | other[1]
        groups.append((mask, pools))
    return {pool: number for number, (_, pools) in enumerate(groups) for pool in pools}
