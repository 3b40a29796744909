"""Choose among candidates: hard constraints first, then the largest net value, ties by a written rule.

A ``Table`` holds what only changes with the device's state; a ``Situation`` what changes per request.
Entries are sorted by the most they could be worth, so that a choice looks at a handful of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import erfc, inf, log, sqrt
from typing import NamedTuple, Protocol

from trimtab.domain.decision import Candidate, Why
from trimtab.domain.policy import Goal, Settings
from trimtab.domain.request import Prefer

SQRT_HALF = sqrt(0.5)
SURE_Z = 4.0
NEVER_Z = -inf
"""z of what cannot be in time at all: worse than any other."""
NO_ROOM = -1.0
"""Stands for "no time left" where ln of a duration in ns is expected."""


class Lane(NamedTuple):
    """One processor as a request sees it: time until it is free, its slow-down and how sure that is.

    ``mean`` is ln of the slow-down and ``factor`` the slow-down, ``variance`` that of the mean, ``noise``
    that of a single run. ``cold_wait_ns`` is the wait of a request that needs a load itself: those that
    wait for theirs go first, while one that is ready passes them.
    """

    wait_ns: int
    cold_wait_ns: int
    mean: float
    variance: float
    noise: float
    full: bool
    factor: float


class Entry:
    """A candidate with what the present device state makes of it.

    ``blocked`` is the reason it cannot serve whatever the request; ``load_ns`` the duration of a load not
    yet begun and ``load_uj`` its energy; ``ready_ns`` when one that has begun should be over, else -1; ``cost`` the utility it pays for
    energy, memory and latency; ``resident_bytes`` what it holds as far as is known; ``ideal`` its value when surely on time and already loaded; ``spared``
    whether it may serve even when that could overdraw the battery's reserve.
    """

    __slots__ = ("blocked", "candidate", "cost", "detail", "energy_uj", "ideal", "lane", "latency_ns", "ln_latency",
                 "load_cost", "load_ns", "load_price", "load_uj", "name", "noise", "ready_ns", "residence", "resident",
                 "resident_bytes", "spared", "top_accuracy", "worst_uj")  # fmt: skip

    def __init__(self, candidate: Candidate, lane: int, residence: str) -> None:
        """Start from a candidate with no load, no cost and no block."""
        self.candidate = candidate
        self.name = candidate.name
        self.lane = lane
        self.residence = residence
        self.latency_ns = candidate.expected_latency_ns
        self.energy_uj = candidate.expected_energy_uj
        self.worst_uj = max(candidate.energy_uj)
        self.ln_latency = tuple([log(max(1, x)) for x in candidate.latency_ns])
        self.noise = candidate.latency_spread**2
        self.top_accuracy = max(candidate.accuracy_frac)
        self._clear()

    def _clear(self) -> None:
        self.blocked: Why | None = None
        self.detail = ""
        self.resident = True
        self.resident_bytes = self.candidate.resident_bytes
        self.load_ns = 0
        self.ready_ns = -1
        self.load_uj = 0.0
        self.load_cost = 0.0
        self.load_price = 0.0
        self.cost = 0.0
        self.ideal = 0.0
        self.spared = False

    def fresh(self) -> "Entry":
        """Return a copy with no load, no cost and no block; what a candidate implies is not worked out again."""
        copy = Entry.__new__(Entry)
        copy.candidate = self.candidate
        copy.name = self.name
        copy.lane = self.lane
        copy.residence = self.residence
        copy.latency_ns = self.latency_ns
        copy.energy_uj = self.energy_uj
        copy.worst_uj = self.worst_uj
        copy.ln_latency = self.ln_latency
        copy.noise = self.noise
        copy.top_accuracy = self.top_accuracy
        copy._clear()
        return copy

    def load_left_ns(self, now_ns: int) -> int:
        """Return how long a request waits for the variant; an overdue load is expected to take as long again."""
        if self.resident:
            return 0
        return self.load_ns if self.ready_ns < 0 else abs(self.ready_ns - now_ns)


@dataclass(slots=True)
class Table:
    """All entries of a task under one set of settings, most promising first.

    ``open`` are those nothing blocks, ``cold`` those of them whose load has not begun. Past
    ``stale_at_ns`` a table no longer tells the device's state.
    """

    settings: Settings
    rules: tuple[str, ...]
    entries: tuple[Entry, ...]
    energy_price_per_j: float
    weight: float
    prefer: Prefer = Prefer.VALUE
    stale_at_ns: int = 1 << 62
    spare_cheapest: bool = False
    open: tuple[Entry, ...] = ()
    cold: tuple[Entry, ...] = ()
    most_accurate: Entry | None = None

    def __post_init__(self) -> None:
        """Work out which entries are open."""
        wanted = [e for e in self.entries if e.blocked not in (Why.VARIANT_DENIED, Why.PROCESSOR_DENIED)]
        self.most_accurate = max(wanted, key=lambda e: (e.top_accuracy, e.ideal), default=None)
        self._open()

    def _open(self) -> None:
        """Collect what nothing blocks; with ``spare_cheapest`` the cheapest of it is spared by the reserve."""
        self.open = tuple([e for e in self.entries if e.blocked is None])
        self.cold = tuple([e for e in self.open if not e.resident and e.ready_ns < 0])
        if self.spare_cheapest and self.open:
            cheapest_uj = min([e.worst_uj + e.load_uj for e in self.open])
            for entry in self.open:
                entry.spared = entry.worst_uj + entry.load_uj <= cheapest_uj

    def block(self, entries: Iterable[Entry], why: Why, detail: str) -> None:
        """Take entries out for a reason found only when one was to be used."""
        for entry in entries:
            entry.blocked, entry.detail = why, detail
        self._open()


class Situation(NamedTuple):
    """One request at one moment. ``time_ns`` is what is left until the deadline, own overhead taken off.

    ``ln_room`` is, per lane, ln of the time left once the lane is free, less its slow-down: a loaded
    candidate whose ln(latency) is above it is more likely late than not. ``spare_uj`` is the energy that
    may be used before the battery's reserve is touched.
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
    batch: int = 1
    ln_batch: float = 0.0
    spare_uj: float = inf


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
    if slack_ns <= 0:
        return NO_ROOM
    ln_room = log(slack_ns) - mean
    return ln_room if ln_room > NO_ROOM else NO_ROOM


def judge(entry: Entry, at: Situation, *, ignore_load: bool = False) -> Judged:
    """Return an entry's net value and the first constraint it breaks, most fundamental first."""
    lane = at.lanes[entry.lane]
    load_ns, delay_ns, ln_room = 0, lane.wait_ns, at.ln_room[entry.lane]
    if not (ignore_load or entry.resident):
        load_ns = entry.load_left_ns(at.now_ns)
        cold_ns = load_ns if load_ns > lane.cold_wait_ns else lane.cold_wait_ns
        if cold_ns > delay_ns:
            delay_ns, ln_room = cold_ns, ln_room_of(at.time_ns - cold_ns, lane.mean + at.ln_batch)
    accuracy, floor_z = 0.0, NEVER_Z
    if ln_room > NO_ROOM:
        sigma = sqrt(lane.variance + (lane.noise if lane.noise > entry.noise else entry.noise))
        accuracy, floor_z = _by_the_deadline(entry, ln_room, sigma, at.floor_frac)
    value = at.weight * accuracy - entry.cost - (0.0 if ignore_load else entry.load_cost)
    why = _first_broken(entry, at, lane, floor_z)
    return Judged(why, value, accuracy, on_time_prob(floor_z), floor_z, delay_ns, load_ns)


def _by_the_deadline(entry: Entry, ln_slack: float, sigma: float, floor_frac: float) -> tuple[float, float]:
    """Return the expected accuracy at the deadline (ALERT's staircase) and z of the first exit good enough."""
    accuracies, latencies = entry.candidate.accuracy_frac, entry.ln_latency
    if len(accuracies) == 1:
        z = (ln_slack - latencies[0]) / sigma
        return accuracies[0] * on_time_prob(z), z
    expected, later = 0.0, 0.0
    for index in range(len(accuracies) - 1, -1, -1):
        reached = on_time_prob((ln_slack - latencies[index]) / sigma)
        expected += accuracies[index] * max(0.0, reached - later)
        later = reached
    floor_z = (ln_slack - latencies[floor_exit(accuracies, floor_frac)]) / sigma
    return min(expected, entry.top_accuracy), floor_z


def floor_exit(accuracy_frac: tuple[float, ...], floor_frac: float) -> int:
    """Return the first exit accurate enough, or the last one where none is."""
    for index, accuracy in enumerate(accuracy_frac):
        if accuracy >= floor_frac:
            return index
    return len(accuracy_frac) - 1


def _first_broken(entry: Entry, at: Situation, lane: Lane, floor_z: float) -> Why:
    if at.variant and entry.candidate.variant != at.variant:
        return Why.NOT_PINNED
    if entry.blocked is not None:
        return entry.blocked
    if not entry.spared and entry.worst_uj * at.batch + entry.load_uj > at.spare_uj:
        return Why.RESERVE
    if lane.full:
        return Why.QUEUE_FULL
    if entry.top_accuracy < at.floor_frac:
        return Why.ACCURACY
    if at.max_energy_uj is not None and entry.energy_uj * at.batch > at.max_energy_uj:
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
    """A rule that picks one entry of a table for a request.

    One that ``adapts`` also has variants loaded ahead, and staged runs stopped, at today's prices.
    """

    @property
    def adapts(self) -> bool:
        """Return whether prices and the device's state matter to this rule."""

    def choose(self, table: Table, at: Situation) -> Choice | None:
        """Return the choice, or ``None`` when no candidate can serve at all. Must be deterministic."""


class NetValue:
    """trimtab's own rule: the candidate worth most after paying for what it uses.

    When none meets every goal, goals are given up in the policy's order, and the candidate that comes
    nearest to the goal given up last is taken.
    """

    adapts = True

    def choose(self, table: Table, at: Situation) -> Choice | None:
        """Return the best entry that meets every goal, else the best with goals given up in order."""
        best = _best(table, at)
        if best is not None:
            return Choice(*best, ())
        return _compromise(table, at)


def may_be_in_time(entry: Entry, at: Situation) -> bool:
    """Return false only for an entry whose first exit is likelier late than not, where that is too unsure."""
    return at.min_z < 0.0 or entry.ln_latency[0] <= at.ln_room[entry.lane]


def _best(table: Table, at: Situation) -> tuple[Entry, Judged] | None:
    """Return the best entry that meets every goal.

    Skipped unjudged are only entries that cannot win: no entry is worth more than its ideal value, none
    finishes before its lane is free, and one whose first exit is likelier late than not misses any
    confidence of one half or more.
    """
    prefer = table.prefer
    by_value = prefer is Prefer.VALUE or prefer is Prefer.ACCURACY
    best: tuple[Entry, Judged] | None = None
    best_key: tuple[float, ...] = ()
    floor, ln_room, likely = at.floor_frac, at.ln_room, at.min_z >= 0.0
    for entry in table.open:
        if at.variant and entry.candidate.variant != at.variant:
            continue
        if entry.top_accuracy < floor or (likely and entry.ln_latency[0] > ln_room[entry.lane]):
            continue
        if best is not None:
            if by_value:
                if entry.ideal < best[1].value:
                    break
            elif _least(prefer, entry, at) > best_key[0]:
                continue
        judged = judge(entry, at)
        if judged.why is not Why.CHOSEN:
            continue
        key = preference(prefer, entry, judged, at)
        if best is None or (key, entry.name) < (best_key, best[0].name):
            best, best_key = (entry, judged), key
    return best


def _least(prefer: Prefer, entry: Entry, at: Situation) -> float:
    """Return a lower bound of the first part of an entry's preference key."""
    if prefer is Prefer.ENERGY:
        return entry.energy_uj
    lane = at.lanes[entry.lane]
    return lane.wait_ns + entry.latency_ns * at.batch * lane.factor


def finish_ns(entry: Entry, judged: Judged, at: Situation) -> float:
    """Return the expected time from now until an entry's answer, own overhead not counted."""
    return judged.delay_ns + entry.latency_ns * at.batch * at.lanes[entry.lane].factor


def preference(prefer: Prefer, entry: Entry, judged: Judged, at: Situation) -> tuple[float, ...]:
    """Return a sort key, smallest first: the caller's preference, then energy, then latency."""
    if prefer is Prefer.ENERGY:
        return (entry.energy_uj, -judged.value, finish_ns(entry, judged, at))
    if prefer is Prefer.LATENCY:
        return (finish_ns(entry, judged, at), entry.energy_uj, -judged.value)
    return (-judged.value, entry.energy_uj, finish_ns(entry, judged, at))


NEGOTIABLE = (Why.CHOSEN, Why.ENERGY, Why.ACCURACY, Why.DEADLINE)
"""Nothing speaks against it but goals that a policy may give up."""


def broken_goals(entry: Entry, judged: Judged, at: Situation) -> tuple[Goal, ...]:
    """Return every goal that an entry is not expected to meet."""
    broken = []
    if at.max_energy_uj is not None and entry.energy_uj * at.batch > at.max_energy_uj:
        broken.append(Goal.ENERGY)
    if entry.top_accuracy < at.floor_frac:
        broken.append(Goal.ACCURACY)
    if judged.z < at.min_z:
        broken.append(Goal.DEADLINE)
    return tuple(broken)


def _compromise(table: Table, at: Situation) -> Choice | None:
    """Give goals up one after the other, in the policy's order, until a candidate meets the rest."""
    judged = [(entry, judge(entry, at)) for entry in table.open]
    possible = [(e, j, broken_goals(e, j, at)) for e, j in judged if j.why in NEGOTIABLE]
    dropped: set[Goal] = set()
    for goal in at.give_up:
        dropped.add(goal)
        fitting = [(e, j, b) for e, j, b in possible if dropped.issuperset(b)]
        if fitting:
            return Choice(*min(fitting, key=lambda item: _nearest(goal, item[0], item[1], at)))
    return None


def _nearest(goal: Goal, entry: Entry, judged: Judged, at: Situation) -> tuple[float | str, ...]:
    """Return a sort key, smallest first: how near an entry comes to the goal that was given up last."""
    if goal is Goal.ENERGY:
        return (entry.energy_uj, -judged.value, entry.name)
    if goal is Goal.ACCURACY:
        return (-entry.top_accuracy, -judged.value, entry.energy_uj, entry.name)
    return (-judged.z, finish_ns(entry, judged, at), entry.energy_uj, entry.name)
