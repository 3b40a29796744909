"""Tell a request that comes when too much is asked apart from one that nobody could ever serve."""

import msgspec

from trimtab.core.queueing import late_count, rooms_of
from trimtab.core.selection import IDLE, Situation, Table, reason
from trimtab.core.state import State
from trimtab.core.tables import TaskTable
from trimtab.domain.decision import Why
from trimtab.domain.policy import Goal

CROWDED = "overload: others wait for every processor that could be in time"
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


def _crowded_out(table: Table, at: Situation) -> bool:
    """Return whether some candidate would meet every goal if nobody ran and nobody waited."""
    if not any(lane.wait_ns for lane in at.lanes):
        return False
    lanes = [IDLE] * len(at.lanes)
    rooms = rooms_of(at.estimates, lanes, at.time_ns, at.ln_batch)
    alone = msgspec.structs.replace(at, lanes=lanes, ln_room=rooms)
    return any(reason(entry, alone) is Why.CHOSEN for entry in table.ranked)
