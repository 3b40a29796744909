"""What processors, families and profiles imply; worked out again only when one of these changes."""

from typing import NamedTuple

from trimtab.core.candidates import build_candidates
from trimtab.core.queueing import Sharing
from trimtab.core.residency import last_resort
from trimtab.core.selection import Entry
from trimtab.core.state import Estimate, State, residence_key
from trimtab.domain.decision import Candidate
from trimtab.domain.family import Family, Profile


class LastResort(NamedTuple):
    """The variant of a task that never leaves memory, in the pool it is kept in."""

    task: str
    variant: str
    pool: str
    load_ns: int
    resident_bytes: int


class Catalogue:
    """All candidates, who shares cores with whom, estimates by lane, and last resorts by residence."""

    def __init__(self, state: State) -> None:
        """Derive everything from ``state``."""
        self._state = state
        self.sharing = Sharing(())
        self.estimates: list[Estimate] = []
        self.candidates: dict[str, tuple[Candidate, ...]] = {}
        self.blanks: dict[str, tuple[Entry, ...]] = {}
        self.last_resorts: dict[str, LastResort] = {}
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
        found = [(task, last_resort(state, task)) for task in state.families]
        resorts = [self._resort_of(task, profile) for task, profile in found if profile is not None]
        self.last_resorts = {residence_key(one.task, one.variant, one.pool): one for one in resorts}

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

    def _resort_of(self, task: str, profile: Profile) -> LastResort:
        pool = self._state.processors[profile.processor].pool
        return LastResort(task, profile.variant, pool, profile.load_ns, profile.resident_bytes)
