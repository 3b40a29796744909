"""Choose among candidates: hard constraints first, then the largest net value, ties by a written rule.

A ``Table`` holds what only changes with the device's state; a ``Situation`` what changes per request.
Entries are sorted by the most they could be worth, so that a choice looks at a handful of them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import erfc, log, sqrt
from typing import NamedTuple, Protocol

from trimtab.domain.decision import Candidate, Verdict, Why
from trimtab.domain.policy import Goal, Settings
from trimtab.domain.request import Prefer

SQRT_HALF = sqrt(0.5)
SURE_Z = 4.0
NEVER_Z = -9.0
NO_ROOM = -1.0
"""Stands for "no time left" where ln of a duration in ns is expected."""


class Lane(NamedTuple):
    """One processor as a request sees it: time until it is free, its slow-down (ln) and the variance of that."""

    wait_ns: int
    mean: float
    variance: float
    noise: float
    full: bool


class Entry:
    """A candidate with what the present device state makes of it.

    ``blocked`` is the reason it cannot serve whatever the request; ``load_ns`` what is left of its load
    at ``load_at_ns``; ``cost`` the utility it pays for energy, memory and latency; ``ideal`` its value
    when surely on time and already loaded.
    """

    __slots__ = ("blocked", "candidate", "cost", "detail", "ideal", "lane", "ln_latency", "load_at_ns", "load_cost",
                 "load_ns", "noise", "residence", "resident", "top_accuracy")  # fmt: skip

    def __init__(self, candidate: Candidate, lane: int, residence: str) -> None:
        """Start from a candidate with no load, no cost and no block."""
        self.candidate = candidate
        self.lane = lane
        self.residence = residence
        self.blocked: Why | None = None
        self.detail = ""
        self.resident = True
        self.load_ns = 0
        self.load_at_ns = 0
        self.load_cost = 0.0
        self.cost = 0.0
        self.ln_latency = tuple(log(max(1, x)) for x in candidate.latency_ns)
        self.noise = candidate.latency_spread**2
        self.top_accuracy = max(candidate.accuracy_frac)
        self.ideal = 0.0

    def load_left_ns(self, now_ns: int) -> int:
        """Return how long a request arriving now waits for the variant to be resident."""
        if self.resident:
            return 0
        return max(0, self.load_ns - (now_ns - self.load_at_ns)) if self.load_at_ns else self.load_ns


@dataclass(slots=True)
class Table:
    """All entries of a task under one set of settings, most promising first.

    ``open`` are those nothing blocks, ``cold`` those of them that would need a load.
    """

    settings: Settings
    rules: tuple[str, ...]
    entries: tuple[Entry, ...]
    open: tuple[Entry, ...]
    cold: tuple[Entry, ...]
    most_accurate: Entry | None
    energy_price_per_j: float
    weight: float
    prefer: Prefer = Prefer.VALUE


class Situation(NamedTuple):
    """One request at one moment. ``time_ns`` is what is left until the deadline, own overhead taken off.

    ``ln_room`` is, per lane, ln of the time left once the lane is free, less its slow-down: a loaded
    candidate whose ln(latency) is above it is more likely late than not.
    """

    now_ns: int
    time_ns: int
    floor_frac: float
    max_energy_uj: float | None
    min_z: float
    lanes: tuple[Lane, ...]
    ln_room: tuple[float, ...]
    variant: str
    weight: float
    give_up: tuple[Goal, ...]
    batch: int
    ln_batch: float


class Judged(NamedTuple):
    """What an entry is worth in a situation; ``why`` is ``CHOSEN`` when no constraint speaks against it."""

    why: Why
    value: float
    accuracy_frac: float
    on_time_prob: float
    z: float
    delay_ns: int
    load_ns: int


def on_time_prob(z: float) -> float:
    """Return the standard normal distribution function."""
    if z > SURE_Z:
        return 1.0
    return 0.5 * erfc(-z * SQRT_HALF) if z > -SURE_Z else 0.0


def ln_room_of(slack_ns: int, mean: float) -> float:
    """Return ln of the slack less the slow-down's mean, or ``NO_ROOM``."""
    return max(NO_ROOM, log(slack_ns) - mean) if slack_ns > 0 else NO_ROOM


def judge(entry: Entry, at: Situation, *, ignore_load: bool = False) -> Judged:
    """Return an entry's net value and the first constraint it breaks, most fundamental first."""
    candidate = entry.candidate
    lane = at.lanes[entry.lane]
    load_ns = 0 if ignore_load or entry.resident else entry.load_left_ns(at.now_ns)
    if load_ns > lane.wait_ns:
        delay_ns, ln_room = load_ns, ln_room_of(at.time_ns - load_ns, lane.mean + at.ln_batch)
    else:
        delay_ns, ln_room = lane.wait_ns, at.ln_room[entry.lane]
    accuracy, floor_z = 0.0, NEVER_Z
    if ln_room > NO_ROOM:
        sigma = sqrt(lane.variance + (lane.noise if lane.noise > entry.noise else entry.noise))
        accuracy, floor_z = _by_the_deadline(entry, ln_room, sigma, at.floor_frac)
    value = at.weight * accuracy - entry.cost - (0.0 if ignore_load else entry.load_cost)
    why = _first_broken(entry, candidate, at, lane, floor_z)
    return Judged(why, value, accuracy, on_time_prob(floor_z), floor_z, delay_ns, load_ns)


def _by_the_deadline(entry: Entry, ln_slack: float, sigma: float, floor_frac: float) -> tuple[float, float]:
    """Return the expected accuracy at the deadline (ALERT's staircase) and z of the first exit good enough."""
    accuracies, latencies = entry.candidate.accuracy_frac, entry.ln_latency
    if len(accuracies) == 1:
        z = (ln_slack - latencies[0]) / sigma
        return accuracies[0] * on_time_prob(z), z
    expected, floor_z, later = 0.0, NEVER_Z, 0.0
    for index in range(len(accuracies) - 1, -1, -1):
        z = (ln_slack - latencies[index]) / sigma
        reached = on_time_prob(z)
        expected += accuracies[index] * max(0.0, reached - later)
        later = reached
        if accuracies[index] >= floor_frac or floor_z == NEVER_Z:
            floor_z = z
    return expected, floor_z


def _first_broken(entry: Entry, candidate: Candidate, at: Situation, lane: Lane, floor_z: float) -> Why:
    if at.variant and candidate.variant != at.variant:
        return Why.NOT_PINNED
    if entry.blocked is not None:
        return entry.blocked
    if lane.full:
        return Why.QUEUE_FULL
    if entry.top_accuracy < at.floor_frac:
        return Why.ACCURACY
    if at.max_energy_uj is not None and candidate.expected_energy_uj * at.batch > at.max_energy_uj:
        return Why.ENERGY
    if floor_z < at.min_z:
        return Why.DEADLINE
    return Why.CHOSEN


class Choice(NamedTuple):
    """The entry that serves, what it is worth, and the goals it is not expected to meet."""

    entry: Entry
    judged: Judged
    given_up: tuple[Goal, ...]


class Strategy(Protocol):
    """A rule that picks one entry of a table for a request."""

    def choose(self, table: Table, at: Situation) -> Choice | None:
        """Return the choice, or ``None`` when no candidate can serve at all. Must be deterministic."""


class NetValue:
    """trimtab's own rule: the candidate worth most after paying for what it uses.

    When none meets every goal, goals are given up in the policy's order, and the candidate that comes
    nearest to the goal given up last is taken.
    """

    def choose(self, table: Table, at: Situation) -> Choice | None:
        """Return the best entry that meets every goal, else the best with goals given up in order."""
        best = _best(table, at)
        if best is not None:
            return Choice(*best, ())
        return _compromise(table, at)


def _best(table: Table, at: Situation) -> tuple[Entry, Judged] | None:
    by_value = table.prefer is Prefer.VALUE or table.prefer is Prefer.ACCURACY
    best: tuple[Entry, Judged] | None = None
    best_key: tuple[float, ...] = ()
    floor, ln_room, likely = at.floor_frac, at.ln_room, at.min_z >= 0.0
    for entry in table.open:
        if best is not None and by_value and entry.ideal < best[1].value:
            break
        if entry.top_accuracy < floor or (likely and entry.ln_latency[0] > ln_room[entry.lane]):
            continue
        judged = judge(entry, at)
        if judged.why is not Why.CHOSEN:
            continue
        primary = -judged.value if by_value else 0.0
        if best is not None and primary > best_key[0]:
            continue
        key = preference(table.prefer, entry, judged)
        if best is None or (key, entry.candidate.name) < (best_key, best[0].candidate.name):
            best, best_key = (entry, judged), key
    return best


def preference(prefer: Prefer, entry: Entry, judged: Judged) -> tuple[float, ...]:
    """Return a sort key, smallest first: the caller's preference, then energy, then latency."""
    energy, finish = entry.candidate.expected_energy_uj, judged.delay_ns + entry.candidate.expected_latency_ns
    if prefer is Prefer.ENERGY:
        return (energy, -judged.value, finish)
    if prefer is Prefer.LATENCY:
        return (finish, energy, -judged.value)
    return (-judged.value, energy, finish)


GOAL_OF = {Why.ENERGY: Goal.ENERGY, Why.ACCURACY: Goal.ACCURACY, Why.DEADLINE: Goal.DEADLINE}


def broken_goals(entry: Entry, judged: Judged, at: Situation) -> tuple[Goal, ...]:
    """Return every goal that an entry is not expected to meet."""
    broken = []
    if at.max_energy_uj is not None and entry.candidate.expected_energy_uj * at.batch > at.max_energy_uj:
        broken.append(Goal.ENERGY)
    if entry.top_accuracy < at.floor_frac:
        broken.append(Goal.ACCURACY)
    if judged.z < at.min_z:
        broken.append(Goal.DEADLINE)
    return tuple(broken)


def _compromise(table: Table, at: Situation) -> Choice | None:
    """Give goals up one after the other, in the policy's order, until a candidate meets the rest."""
    judged = [(entry, judge(entry, at)) for entry in table.entries]
    possible = [(e, j, broken_goals(e, j, at)) for e, j in judged if j.why is Why.CHOSEN or j.why in GOAL_OF]
    dropped: set[Goal] = set()
    for goal in at.give_up:
        dropped.add(goal)
        fitting = [(e, j, b) for e, j, b in possible if dropped.issuperset(b)]
        if fitting:
            return Choice(*min(fitting, key=lambda item: _nearest(goal, item[0], item[1])))
    return None


def _nearest(goal: Goal, entry: Entry, judged: Judged) -> tuple[float | str, ...]:
    energy, name = entry.candidate.expected_energy_uj, entry.candidate.name
    if goal is Goal.ENERGY:
        return (energy, -judged.value, name)
    if goal is Goal.ACCURACY:
        return (-entry.top_accuracy, -judged.value, energy, name)
    return (-judged.z, judged.delay_ns + entry.candidate.expected_latency_ns, energy, name)


def verdicts(table: Table, at: Situation, choice: Choice | None) -> Iterator[Verdict]:
    """Yield every candidate's verdict in this situation, most promising first."""
    for entry in table.entries:
        judged = judge(entry, at)
        why = judged.why
        if choice is not None and entry is choice.entry:
            why = Why.CHOSEN
        elif why is Why.CHOSEN:
            tied = choice is not None and judged.value == choice.judged.value
            why = Why.TIE if tied else Why.VALUE
        yield Verdict(
            candidate=entry.candidate.name,
            why=why,
            value=judged.value,
            accuracy_frac=entry.top_accuracy,
            on_time_prob=judged.on_time_prob,
            wait_ns=at.lanes[entry.lane].wait_ns,
            load_ns=judged.load_ns,
            latency_ns=entry.candidate.expected_latency_ns * at.batch,
            energy_uj=entry.candidate.expected_energy_uj * at.batch,
            detail=_detail(entry, why, at),
        )


def _detail(entry: Entry, why: Why, at: Situation) -> str:
    if why is Why.ACCURACY:
        return f"{entry.top_accuracy:.2%} < {at.floor_frac:.2%}"
    if why is Why.ENERGY and at.max_energy_uj is not None:
        return f"{entry.candidate.expected_energy_uj * at.batch / 1e3:.3g} > {at.max_energy_uj / 1e3:.3g} mJ"
    return entry.detail


def rank_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return entries by ideal value, largest first; ties by energy, latency and name."""
    return tuple(
        sorted(
            entries,
            key=lambda e: (
                -e.ideal,
                e.candidate.expected_energy_uj,
                e.candidate.expected_latency_ns,
                e.candidate.name,
            ),
        )
    )
