"""Tell a request that comes when too much is asked apart from one that nobody could ever serve."""

import msgspec

from trimtab.core.queueing import late_count, rooms_of
from trimtab.core.selection import IDLE, Situation, Table, reason
from trimtab.core.state import State
from trimtab.core.tables import TaskTable
from trimtab.domain.decision import Why
from trimtab.domain.policy import Goal

CROWDED = "overload: others wait for every processor that could be in time"
MUCH = 1.25
"""A variant is worth loading in overload when it serves so many times as much per second."""
TOO_LATE = "overload: too many late requests wait"


def goals_to_give_up(state: State, order: tuple[Goal, ...]) -> tuple[Goal, ...]:
    """Return which goals may be given up now: no more deadlines when too many late requests wait already."""
    limit = state.policy.queue_limit
    if len(state.queue) < limit or Goal.DEADLINE not in order or late_count(state) < limit:
        return order
    return tuple([goal for goal in order if goal is not Goal.DEADLINE])


def overload(table: TaskTable, at: Situation) -> str:
    """Return why nothing can serve a request at present that could be served at another time; empty if none could."""
    if _crowded_out(table, at):
        return CROWDED
    if len(at.give_up) < len(table.give_up) and any(reason(e, at) is Why.DEADLINE for e in table.ranked):
        return TOO_LATE
    return ""


def missing_variant(table: TaskTable, at: Situation) -> str:
    """Return what would serve more per second of a processor, were it in memory; empty where nothing would by far.

    That is the steepest utility over latency above the floor, by processor, compared with what is in memory.
    """
    known = table.missing.get(at.floor_frac)
    if known is None:
        known = table.missing[at.floor_frac] = _missing(table, at.floor_frac)
    return known


def _missing(table: TaskTable, floor_frac: float) -> str:
    fitting = [e for e in table.ranked if e.top_accuracy >= floor_frac]
    steepness = {e: table.weight * e.top_accuracy / e.latency_ns for e in fitting}
    here: dict[int, float] = {}
    for entry in fitting:
        if entry.resident or entry.ready_ns >= 0:
            here[entry.lane] = max(here.get(entry.lane, 0.0), steepness[entry])
    gains = [
        (steepness[e] - here.get(e.lane, 0.0), e.residence)
        for e in fitting
        if not e.resident and e.ready_ns < 0 and steepness[e] > MUCH * here.get(e.lane, 0.0)
    ]
    return max(gains, default=(0.0, ""))[1]


def _crowded_out(table: Table, at: Situation) -> bool:
    """Return whether some candidate would meet every goal if nobody ran and nobody waited."""
    if not any(lane.wait_ns for lane in at.lanes):
        return False
    lanes = [IDLE] * len(at.lanes)
    rooms = rooms_of(at.estimates, lanes, at.time_ns, at.ln_batch)
    alone = msgspec.structs.replace(at, lanes=lanes, ln_room=rooms)
    return any(reason(entry, alone) is Why.CHOSEN for entry in table.ranked)
