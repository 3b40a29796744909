"""Now and then let a request that can afford it run where nothing has run for long, to learn how it is there.

A processor that was thought slow is not used, and so is never found to be fast again. A probe is bounded in number
(one request in ``PROBE_EVERY``, a processor once in ``PROBE_AFTER_NS``) and in harm: the request must be sure to be
in time also there, on what is in memory and idle, with every goal met, for hardly less value or little more energy.
"""

from trimtab.core.estimator import variance_at
from trimtab.core.selection import BY_VALUE, IDLE, SURE_Z, Choice, Entry, Situation, judge
from trimtab.core.state import State
from trimtab.core.tables import TaskTable
from trimtab.domain.decision import Why
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Prefer

PROBE_EVERY = 100
LOOK_EVERY = 64
"""Requests between two looks that found nothing to probe."""
PROBE_AFTER_NS = 10 * NS_PER_S
UNSURE_VARIANCE = 0.01
"""From a tenth up, in ln, a level is worth a probe."""
MAX_LOSS = 0.02
"""Value that a probe may cost, as a share of what a whole point of accuracy is worth to the request."""
MAX_ENERGY_FACTOR = 1.5
MAX_JUDGED = 4

_CHOSEN = Why.CHOSEN


def probe(state: State, table: TaskTable, at: Situation, choice: Choice) -> Choice | None:
    """Return another choice for a request if a probe is due and harmless; notes when to look again."""
    unsure = _unsure(state, choice.entry.lane, at.now_ns)
    found = _harmless(table, at, choice, unsure) if unsure and table.prefer is not Prefer.LATENCY else None
    state.probe_due = state.arrivals + (LOOK_EVERY if found is None else PROBE_EVERY)
    return found


def _unsure(state: State, chosen: int, now_ns: int) -> set[int]:
    """Return the processors (by lane) whose level nobody has seen for long and that is worth knowing."""
    pairs = zip(state.estimates.values(), state.energy_estimates.values(), strict=True)
    return {
        lane
        for lane, (latency, energy) in enumerate(pairs)
        if lane != chosen
        and (now_ns - latency.updated_ns >= PROBE_AFTER_NS or not latency.observations)
        and max(variance_at(latency, now_ns), variance_at(energy, now_ns)) >= UNSURE_VARIANCE
    }


def _harmless(table: TaskTable, at: Situation, choice: Choice, unsure: set[int]) -> Choice | None:
    """Return the most promising entry on an unsure processor that costs the request next to nothing."""
    judged_so_far = 0
    for entry in table.ranked:
        if entry.lane in unsure and _may_serve(entry, at, choice, table):
            judged = judge(entry, at)
            least = choice.judged.value - MAX_LOSS * at.weight
            sure = judged.why is _CHOSEN and judged.z >= SURE_Z
            if sure and (table.prefer not in BY_VALUE or judged.value >= least):
                return Choice(entry, judged, ())
            judged_so_far += 1
            if judged_so_far == MAX_JUDGED:
                return None
    return None


def _may_serve(entry: Entry, at: Situation, choice: Choice, table: TaskTable) -> bool:
    """Return whether an entry is loaded, idle, accurate enough, and no great waste of energy."""
    if not entry.resident or entry.candidate.remote or entry.top_accuracy < at.floor_frac:
        return False
    lane = at.lanes[entry.lane]
    if lane.wait_ns != IDLE.wait_ns or lane.full:
        return False
    return table.prefer in BY_VALUE or entry.energy_uj <= MAX_ENERGY_FACTOR * choice.entry.energy_uj
