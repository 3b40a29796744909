"""Choose among candidates: hard constraints first, then the largest net value, ties by a written rule.

A ``Table`` holds what only changes with the device's state; a ``Situation`` what changes per request.
Entries are sorted by the most they could be worth, so that a choice looks at a handful of them.
"""

from collections.abc import Iterable, Sequence
from math import erfc, exp, inf, log, sqrt
from operator import attrgetter
from typing import Protocol

from trimtab.core.estimator import DRIFT_PER_NS, MAX_VARIANCE, variance_at
from trimtab.core.lateness import soft_accuracy
from trimtab.core.state import Estimate, Live, State
from trimtab.domain.decision import Candidate, Why
from trimtab.domain.policy import AfterDeadline, Goal, Settings
from trimtab.domain.record import Record
from trimtab.domain.request import Prefer

SQRT_HALF = sqrt(0.5)
SURE_Z = 4.0
NEVER_Z = -inf
"""z of what cannot be in time at all: worse than any other."""
ROUNDING = 1e-12
"""Differences between values that are worked out in another order stay below this."""
DENIED = (Why.VARIANT_DENIED, Why.PROCESSOR_DENIED, Why.NOT_ASKED, Why.PRIVATE)
NO_ROOM = -1.0
"""Stands for "no time left" where ln of a duration in ns is expected."""

_CHOSEN, _DEADLINE = Why.CHOSEN, Why.DEADLINE
_ENERGY, _LATENCY = Prefer.ENERGY, Prefer.LATENCY
BY_VALUE = (Prefer.VALUE, Prefer.ACCURACY)
"""Callers that are served by net value."""


class Lane(Record, frozen=True):
    """How long one processor is busy for a request.

    ``cold_wait_ns`` is the wait of a request that needs a load itself: those that wait for theirs go first,
    while one that is ready passes them. ``full`` says that its queue is. ``fill`` is the largest share of the
    time until its deadline for which one that waits has to.
    """

    wait_ns: int
    cold_wait_ns: int
    full: bool
    fill: float = 0.0


IDLE = Lane(0, 0, full=False)


class Entry:
    """A candidate with what the present device state makes of it.

    ``blocked`` is the reason it cannot serve whatever the request; ``load_ns`` the duration of a load not
    yet begun and ``load_uj`` its energy; ``ready_ns`` when one that has begun should be over, else -1;
    ``cost`` the utility it pays for energy, memory and latency, ``bytes_cost`` for memory alone,
    ``load_cost`` for a load; it ``crowds`` when what would have to leave for it is worth more than it could be;
    ``resident_bytes`` what it holds as far as is known; ``ideal`` its value when surely on time and already
    loaded, ``bound`` the same less its load; ``bias`` is what runs taught of its ln(latency) beyond the profile and
    ``noise`` how unsure its own latency is beyond its processor's; ``spared`` whether it may serve even when that could overdraw the battery's reserve.
    """

    __slots__ = ("bias", "blocked", "bound", "bytes_cost", "candidate", "cost", "crowds", "detail", "energy_uj", "ideal", "lane", "latency_ns", "ln_first",
                 "ln_latency", "load_cost", "load_ns", "load_uj", "name", "noise", "ready_ns", "residence",
                 "resident", "resident_bytes", "spared", "top_accuracy", "worst_uj", "worst_usd")  # fmt: skip

    def __init__(self, candidate: Candidate, lane: int, residence: str) -> None:
        """Start from a candidate with no load, no cost and no block."""
        self.candidate = candidate
        self.name = candidate.name
        self.lane = lane
        self.residence = residence
        self.latency_ns = candidate.expected_latency_ns
        self.energy_uj = candidate.expected_energy_uj
        self.worst_uj = max(candidate.energy_uj)
        self.worst_usd = candidate.worst_usd
        self.ln_latency = tuple([log(max(1, x)) for x in candidate.latency_ns])
        self.ln_first = self.ln_latency[0]
        self.bias = 0.0
        self.noise = candidate.latency_spread**2
        self.top_accuracy = max(candidate.accuracy_frac)
        self.cost = 0.0
        self.ideal = self.bound = 0.0
        self.clear()

    def clear(self) -> None:
        """Forget what the device's state made of the candidate."""
        self.blocked: Why | None = None
        self.detail = ""
        self.resident = True
        self.resident_bytes = self.candidate.resident_bytes
        self.bytes_cost = 0.0
        self.load_ns = 0
        self.ready_ns = -1
        self.load_uj = 0.0
        self.load_cost = 0.0
        self.crowds = False
        self.spared = False

    def copy(self) -> "Entry":
        """Return the same candidate's entry for another table; what it implies is not worked out again."""
        copy = Entry.__new__(Entry)
        for name in Entry.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy


_ideal, _bound = attrgetter("ideal"), attrgetter("bound")


class Table:
    """All entries of a task under one set of settings.

    ``ranked`` are those nothing blocks, by what they are worth at most with their load; ``cold`` those of
    them whose load has not begun, by their ideal value. ``most_accurate`` is the best there is under these
    settings, blocked or not. Past ``stale_at_ns`` a table no longer tells the device's state.
    """

    __slots__ = ("_all", "_cold", "_entries", "_open", "_spared", "_top", "cold", "energy_price_per_j",
                 "money_price_per_usd", "most_accurate", "prefer", "ranked", "rules", "settings", "spare_cheapest", "stale_at_ns",
                 "weight")  # fmt: skip

    def __init__(
        self,
        settings: Settings,
        rules: tuple[str, ...],
        entries: Iterable[Entry],
        energy_price_per_j: float,
        weight: float,
        *,
        prefer: Prefer = Prefer.VALUE,
        spare_cheapest: bool = False,
    ) -> None:
        """Hold ``entries``, which are this table's own: equals stay in their order.

        With ``spare_cheapest`` the cheapest one that nothing blocks is spared by the battery's reserve.
        """
        self.settings = settings
        self.rules = rules
        self.energy_price_per_j = energy_price_per_j
        self.money_price_per_usd = 0.0
        self.weight = weight
        self.prefer = prefer
        self.stale_at_ns = 1 << 62
        self.spare_cheapest = spare_cheapest
        self._all = tuple(entries)
        self._entries: tuple[Entry, ...] | None = None
        self._spared = False
        self.sift()
        self.rank()
        self.spare()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return all entries, most promising first."""
        if self._entries is None:
            self._entries = tuple(sorted(self._all, key=_ideal, reverse=True))
        return self._entries

    @property
    def all(self) -> tuple[Entry, ...]:
        """Return all entries in the order that breaks ties."""
        return self._all

    @property
    def open(self) -> tuple[Entry, ...]:
        """Return the entries that nothing blocks, most promising first."""
        return tuple([e for e in self.entries if e.blocked is None])

    def sift(self) -> None:
        """Find what is open, cold and most accurate after something was blocked or memory changed."""
        self._open = [e for e in self._all if e.blocked is None]
        self._cold = [e for e in self._open if not e.resident and e.ready_ns < 0]
        allowed = [e for e in self._all if e.blocked not in DENIED]
        top = max([e.top_accuracy for e in allowed], default=0.0)
        self._top = [e for e in allowed if e.top_accuracy == top]

    def rank(self) -> None:
        """Put everything into order after values changed."""
        self._entries = None
        self.ranked = sorted(self._open, key=_bound, reverse=True)
        self.cold = sorted(self._cold, key=_ideal, reverse=True)
        self.most_accurate = max(self._top, key=_ideal, default=None)
        if self._spared:
            self._spared = False
            for entry in self._all:
                entry.spared = False

    def spare(self) -> None:
        """Mark the cheapest open entries if the reserve spares them; called when that could matter."""
        if self.spare_cheapest and not self._spared and self._open:
            self._spared = True
            cheapest_uj = min([e.worst_uj + e.load_uj for e in self._open])
            for entry in self._open:
                entry.spared = entry.worst_uj + entry.load_uj <= cheapest_uj

    def block(self, entries: Iterable[Entry], why: Why, detail: str) -> None:
        """Take entries out for a reason found only when one was to be used."""
        for entry in entries:
            entry.blocked, entry.detail = why, detail
        spared = self._spared
        self.sift()
        self.rank()
        if spared:
            self.spare()


class Situation(Record, frozen=True):
    """One request at one moment. ``time_ns`` is what is left until the deadline, own overhead taken off.

    After a soft deadline there is time left until the answer is worth nothing; ``after`` says how its worth falls.

    ``lanes``, ``estimates``, ``ln_room`` and ``stretches`` are one per processor: its waits, its slow-down, ln of
    the time left once it is free, less that slow-down (a loaded candidate whose ln(latency) is above it is more
    likely late than not), and by what its noise is multiplied so that the confidence asked for is what its runs
    kept. ``spare_uj`` is the energy that may be used before the battery's reserve is touched, ``spare_usd`` the
    money. ``time_prices`` is what a ns of a profile's latency costs on each processor in utility, slow-down and
    batch included, ``None`` when all are free.
    """

    now_ns: int
    time_ns: int
    floor_frac: float
    max_energy_uj: float | None
    min_z: float
    lanes: Sequence[Lane]
    estimates: Sequence[Estimate]
    ln_room: Sequence[float]
    stretches: Sequence[float]
    variant: str
    weight: float
    give_up: tuple[Goal, ...]
    batch: int = 1
    ln_batch: float = 0.0
    spare_uj: float = inf
    spare_usd: float = inf
    time_prices: Sequence[float] | None = None
    after: AfterDeadline | None = None


class Judged(Record, frozen=True):
    """What an entry is worth in a situation; ``why`` is ``CHOSEN`` when no constraint speaks against it.

    ``delay_ns`` is the wait for its processor or load, ``finish_ns`` the time from now until its answer.
    """

    why: Why
    value: float
    accuracy_frac: float
    on_time_prob: float
    z: float
    delay_ns: int
    load_ns: int
    finish_ns: float


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
    index = entry.lane
    estimate = at.estimates[index]
    if ignore_load or entry.resident:
        load_ns, delay_ns, ln_room = 0, at.lanes[index].wait_ns, at.ln_room[index]
    else:
        load_ns, delay_ns, ln_room = _with_load(entry, at)
    accuracy, prob, floor_z = 0.0, 0.0, NEVER_Z
    if ln_room > NO_ROOM:
        variance, noise, idle_ns = estimate.variance, estimate.noise, at.now_ns - estimate.since_ns
        if idle_ns > 0:
            variance += DRIFT_PER_NS * idle_ns
        if variance > MAX_VARIANCE:
            variance = MAX_VARIANCE
        sigma = sqrt(variance + noise * at.stretches[index] + entry.noise)
        latencies = entry.ln_latency
        if len(latencies) == 1:
            floor_z = (ln_room - latencies[0]) / sigma
            prob = 1.0 if floor_z > SURE_Z else on_time_prob(floor_z)
            accuracy = entry.top_accuracy * prob
        else:
            accuracy, floor_z = _by_the_deadline(entry, ln_room, sigma, at.floor_frac)
            prob = on_time_prob(floor_z)
        if at.after is not None:
            accuracies = entry.candidate.accuracy_frac
            accuracy, prob = soft_accuracy(
                accuracies, latencies, at.after, estimate, sigma, ln_room, at.ln_batch
            )
    value = at.weight * accuracy - entry.cost - (0.0 if ignore_load else entry.load_cost)
    why = first_broken(entry, at)
    if why is _CHOSEN and floor_z < at.min_z:
        why = _DEADLINE
    if at.time_prices is not None:
        value -= at.time_prices[index] * entry.latency_ns
    finish_ns = delay_ns + entry.latency_ns * at.batch * exp(estimate.mean)
    return Judged(why, value, accuracy, prob, floor_z, delay_ns, load_ns, finish_ns)


def reason(entry: Entry, at: Situation) -> Why:
    """Return the first constraint that an entry breaks, as ``judge`` does, and nothing else."""
    why = first_broken(entry, at)
    if why is not _CHOSEN:
        return why
    ln_room = at.ln_room[entry.lane] if entry.resident else _with_load(entry, at)[2]
    if ln_room <= NO_ROOM:
        return _DEADLINE if at.min_z > NEVER_Z else _CHOSEN
    latencies = entry.ln_latency
    last = 0 if len(latencies) == 1 else floor_exit(entry.candidate.accuracy_frac, at.floor_frac)
    if ln_room < latencies[last] and at.min_z >= 0.0:
        return _DEADLINE
    estimate = at.estimates[entry.lane]
    variance = variance_at(estimate, at.now_ns) + estimate.noise * at.stretches[entry.lane] + entry.noise
    floor_z = (ln_room - latencies[last]) / sqrt(variance)
    return _DEADLINE if floor_z < at.min_z else _CHOSEN


def delay_ns(entry: Entry, at: Situation) -> int:
    """Return how long an entry's run has to wait: for its processor or its load, whichever is longer."""
    return at.lanes[entry.lane].wait_ns if entry.resident else _with_load(entry, at)[1]


def _with_load(entry: Entry, at: Situation) -> tuple[int, int, float]:
    """Return the load still to wait for, the wait for it or the lane, and ln of the time then left.

    A load that is overdue is expected to take as long again as it is late. A load spreads as the runs do, and has to
    be over in time as surely as the policy asks.
    """
    lane = at.lanes[entry.lane]
    wait_ns, cold_ns = lane.wait_ns, lane.cold_wait_ns
    load_ns = entry.load_ns if entry.ready_ns < 0 else abs(entry.ready_ns - at.now_ns)
    if load_ns > cold_ns:
        cold_ns = load_ns
    if cold_ns > wait_ns:
        mean = at.estimates[entry.lane].mean
        slow_ns = load_ns * exp(sqrt(entry.noise) * at.min_z) if at.min_z > 0.0 else 0.0
        left_ns = at.time_ns - (int(slow_ns) if slow_ns > cold_ns else cold_ns)
        return load_ns, cold_ns, ln_room_of(left_ns, mean + at.ln_batch)
    return load_ns, wait_ns, at.ln_room[entry.lane]


def _by_the_deadline(entry: Entry, ln_slack: float, sigma: float, floor_frac: float) -> tuple[float, float]:
    """Return the expected accuracy at the deadline (ALERT's staircase) and z of the first exit good enough."""
    accuracies, latencies = entry.candidate.accuracy_frac, entry.ln_latency
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


def first_broken(entry: Entry, at: Situation) -> Why:
    """Return the first constraint broken but for the deadline, which comes last."""
    if at.variant and entry.candidate.variant != at.variant:
        return Why.NOT_PINNED
    if entry.blocked is not None:
        return entry.blocked
    if entry.crowds and not at.variant:
        return Why.NO_MEMORY
    if entry.worst_uj * at.batch + entry.load_uj > at.spare_uj and not entry.spared:
        return Why.RESERVE
    if entry.worst_usd and entry.worst_usd * at.batch > at.spare_usd:
        return Why.MONEY
    if at.lanes[entry.lane].full:
        return Why.QUEUE_FULL
    if entry.top_accuracy < at.floor_frac:
        return Why.ACCURACY
    if at.max_energy_uj is not None and entry.energy_uj * at.batch > at.max_energy_uj:
        return Why.ENERGY
    return _CHOSEN


class Choice(Record, frozen=True):
    """The entry that serves, what it is worth, and the goals it is not expected to meet."""

    entry: Entry
    judged: Judged
    given_up: tuple[Goal, ...]


class Strategy(Protocol):
    """A rule that picks one entry of a table for a request. It must be deterministic.

    What it remembers from one request to the next it writes into ``state.notes``, numbers under names taken
    from the catalogue, and nowhere else: so a journal replays it and a checkpoint holds it. Notes are dropped
    when the strategy or the catalogue changes. Nothing else in ``live`` and ``state`` is its to change.

    The flags say what else it wants to be asked or told, so that a rule pays only for what it uses.
    """

    adapts: bool = False
    """Variants are loaded ahead, and staged runs stopped, by net value at today's prices."""
    again: bool = False
    """A request that waited is decided once more when its processor is free."""
    learns: bool = False
    """``ran`` is called after each stage of a request that is not a batch."""
    orders: bool = False
    """``order_ns`` says who goes first within a priority class, instead of the earliest deadline."""

    def choose(self, table: Table, at: Situation, live: Live, state: State, /) -> Choice | None:
        """Return the choice for ``live``, or ``None`` when the rule refuses it or no candidate can serve."""

    def wish(self, _table: Table, _at: Situation, _live: Live, _state: State, /) -> Entry | None:
        """Return what it would have taken had it been in memory; asked only of rules that do not adapt."""
        return None

    def ran(self, _live: Live, _profile_ns: int, _run_ns: int, _state: State, /) -> None:
        """Take note of how long a stage was expected to run by its profile, and did."""
        return

    def order_ns(self, _table: Table, live: Live, _state: State, /) -> int:
        """Return the request's place within its priority class, smallest first."""
        return live.deadline_ns


class NetValue(Strategy):
    """trimtab's own rule: the candidate worth most after paying for what it uses.

    When none meets every goal, goals are given up in the policy's order, and the candidate that comes
    nearest to the goal given up last is taken.
    """

    adapts = True

    def choose(
        self, table: Table, at: Situation, _live: Live | None = None, _state: State | None = None, /
    ) -> Choice | None:
        """Return the best entry that meets every goal, else the best with goals given up in order."""
        best = _worthiest(table, at) if table.prefer in BY_VALUE else _preferred(table, at)
        return _compromise(table, at) if best is None else best


def may_be_in_time(entry: Entry, at: Situation) -> bool:
    """Return false only for an entry whose first exit is likelier late than not, where that is too unsure."""
    return at.min_z < 0.0 or entry.ln_first <= at.ln_room[entry.lane]


def _worthiest(table: Table, at: Situation) -> Choice | None:
    """Return the entry of the highest net value that meets every goal; equals go by energy, latency, name.

    Skipped unjudged are only entries that cannot win: none may overdraw the battery's reserve unless it is spared,
    none is worth more than its ideal value less its load, none finishes before its lane is free, and one whose first exit is likelier late than not misses
    any confidence of one half or more.
    """
    best: Choice | None = None
    best_value = -inf
    floor, rooms, likely, pinned = at.floor_frac, at.ln_room, at.min_z >= 0.0, at.variant
    prices, least = at.time_prices, best_value
    spare_uj, batch = at.spare_uj, at.batch
    for entry in table.ranked:
        if entry.bound < best_value:
            break
        if entry.worst_uj * batch + entry.load_uj > spare_uj and not entry.spared:
            continue
        if prices is not None and entry.bound - prices[entry.lane] * entry.latency_ns < least:
            continue
        if entry.top_accuracy < floor or (likely and entry.ln_first > rooms[entry.lane]):
            continue
        if pinned and entry.candidate.variant != pinned:
            continue
        if best is not None and entry.bound == best_value and _loses_tie(entry, best, at):
            continue
        judged = judge(entry, at)
        if judged.why is not _CHOSEN or judged.value < best_value:
            continue
        found = Choice(entry, judged, ())
        if best is None or judged.value > best_value or _tie_key(found) < _tie_key(best):
            best, best_value = found, judged.value
            least = best_value - ROUNDING
    return best


def _loses_tie(entry: Entry, best: Choice, at: Situation) -> bool:
    """Return whether an entry that can only be worth the same as the best is behind it for certain."""
    if entry.energy_uj != best.entry.energy_uj:
        return entry.energy_uj > best.entry.energy_uj
    return _least_ns(entry, at) > best.judged.finish_ns


def _tie_key(choice: Choice) -> tuple[float, float, str]:
    """Return what decides between equal values, smallest first: energy, then latency, then name."""
    entry = choice.entry
    return (entry.energy_uj, choice.judged.finish_ns, entry.name)


def _preferred(table: Table, at: Situation) -> Choice | None:
    """Return the entry that a caller likes best who prefers energy or latency and that meets every goal.

    Skipped unjudged are only entries that cannot win; see ``_worthiest``.
    """
    prefer, best_name = table.prefer, ""
    best: Choice | None = None
    best_key: tuple[float, ...] = (inf,)
    for entry in table.ranked:
        if at.variant and entry.candidate.variant != at.variant:
            continue
        if entry.top_accuracy < at.floor_frac or not may_be_in_time(entry, at):
            continue
        if _least(prefer, entry, at) > best_key[0]:
            continue
        judged = judge(entry, at)
        if judged.why is not _CHOSEN:
            continue
        key = preference(prefer, entry, judged)
        if best is None or (key, entry.name) < (best_key, best_name):
            best, best_key, best_name = Choice(entry, judged, ()), key, entry.name
    return best


def _least(prefer: Prefer, entry: Entry, at: Situation) -> float:
    """Return a lower bound of the first part of an entry's preference key."""
    return entry.energy_uj if prefer is _ENERGY else _least_ns(entry, at)


def _least_ns(entry: Entry, at: Situation) -> float:
    """Return the time from now until an entry's answer if nothing has to be loaded for it."""
    factor = exp(at.estimates[entry.lane].mean)
    return at.lanes[entry.lane].wait_ns + entry.latency_ns * at.batch * factor


def preference(prefer: Prefer, entry: Entry, judged: Judged) -> tuple[float, ...]:
    """Return a sort key, smallest first: the caller's preference, then energy, then latency."""
    if prefer is _ENERGY:
        return (entry.energy_uj, -judged.value, judged.finish_ns)
    if prefer is _LATENCY:
        return (judged.finish_ns, entry.energy_uj, -judged.value)
    return (-judged.value, entry.energy_uj, judged.finish_ns)


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
    late = Goal.DEADLINE in at.give_up
    judged = [(entry, judge(entry, at)) for entry in table.ranked if late or may_be_in_time(entry, at)]
    possible = [(e, j, broken_goals(e, j, at)) for e, j in judged if j.why in NEGOTIABLE]
    dropped: set[Goal] = set()
    for goal in at.give_up:
        dropped.add(goal)
        fitting = [(e, j, b) for e, j, b in possible if dropped.issuperset(b)]
        if fitting:
            entry, nearest, broken = min(fitting, key=lambda item: _nearest(goal, item[0], item[1]))
            return Choice(entry, nearest, broken)
    return None


def _nearest(goal: Goal, entry: Entry, judged: Judged) -> tuple[float | str, ...]:
    """Return a sort key, smallest first: how near an entry comes to the goal that was given up last."""
    if goal is Goal.ENERGY:
        return (entry.energy_uj, -judged.value, entry.name)
    if goal is Goal.ACCURACY:
        return (-entry.top_accuracy, -judged.value, entry.energy_uj, entry.name)
    return (-judged.z, judged.finish_ns, entry.energy_uj, entry.name)
