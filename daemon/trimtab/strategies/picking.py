"""What the field's strategies share: who can serve, how long it has to wait, and how a pick becomes a choice.

The papers know goals, estimates and constants of their own, so a rule here sees profiles, waits and what rules
a candidate out whatever the goals; trimtab's estimates and prices do not enter its pick.
"""

from abc import abstractmethod
from typing import NamedTuple

from trimtab.core.selection import (
    Choice,
    Entry,
    Situation,
    Strategy,
    Table,
    broken_goals,
    delay_ns,
    first_broken,
    judge,
)
from trimtab.core.state import Live, State
from trimtab.domain.decision import Why
from trimtab.domain.policy import Goal

HARD = frozenset(list(Why)[1 : list(Why).index(Why.ACCURACY)])
"""What rules a candidate out under every strategy: all reasons more fundamental than the goals."""


def possible(table: Table, at: Situation) -> list[Entry]:
    """Return the entries that nothing but a goal speaks against, in no order that a rule may rely on."""
    return [e for e in table.entries if first_broken(e, at) not in HARD]


def chosen(entry: Entry, at: Situation, *, late: bool) -> Choice:
    """Return the choice of an entry; ``late`` is whether the strategy itself expects it past the deadline."""
    judged = judge(entry, at)
    goals = [goal for goal in broken_goals(entry, judged, at) if goal is not Goal.DEADLINE]
    return Choice(entry, judged, (*goals, Goal.DEADLINE) if late else tuple(goals))


def latency_ns(entry: Entry, at: Situation) -> int:
    """Return how long an entry's run takes by its profile."""
    return entry.candidate.expected_latency_ns * at.batch


class Ask(NamedTuple):
    """What a rule picks from: who can serve, and for each how long until it could start (ns)."""

    entries: list[Entry]
    waits_ns: list[int]
    table: Table
    at: Situation
    live: Live
    state: State

    def slacks(self) -> list[tuple[Entry, int]]:
        """Return each entry with the time (ns) from when it could start until the deadline."""
        left_ns = self.at.time_ns
        return [(e, left_ns - wait) for e, wait in zip(self.entries, self.waits_ns, strict=True)]


class Pick(NamedTuple):
    """The entry a rule picks, and whether the rule expects it to be late."""

    entry: Entry
    late: bool


class Picking(Strategy):
    """A rule over candidates that could all be in memory.

    What is not there yet has to wait for its load. What the rule would pick if nothing had to be loaded is
    asked for, so that a variant the paper would hold in memory gets there.
    """

    @abstractmethod
    def pick(self, ask: Ask) -> Pick | None:
        """Return what the rule takes; ``None`` to refuse the request. ``ask.entries`` is never empty."""

    def choose(self, table: Table, at: Situation, live: Live, state: State, /) -> Choice | None:
        """Return what the rule picks with waits and loads as they are."""
        entries = possible(table, at)
        if not entries:
            return None
        found = self.pick(Ask(entries, [delay_ns(e, at) for e in entries], table, at, live, state))
        return None if found is None else chosen(found.entry, at, late=found.late)

    def wish(self, table: Table, at: Situation, live: Live, state: State, /) -> Entry | None:
        """Return what the rule would pick if nothing had to be loaded, where that is not in memory."""
        entries = possible(table, at)
        if not entries:
            return None
        waits_ns = [at.lanes[e.lane].wait_ns for e in entries]
        found = self.pick(Ask(entries, waits_ns, table, at, live, state))
        return found.entry if found is not None and found.entry in table.cold else None
