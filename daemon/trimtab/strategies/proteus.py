"""Proteus: Ahmad et al., "Proteus: A High-Throughput Inference-Serving System with Accuracy Scaling", ASPLOS 2024.

Every 10 s an assignment: each processor hosts one variant, and each task's demand is split over the processors that
host one of its variants, so that accuracy over all requests is the highest while 1.05 times the demand fits. Does it
not fit, the factor is lowered by 0.05 down to 0.2, and what is beyond it goes unserved. In between requests follow the
shares, and one that cannot finish by its deadline is dropped. Variants slower than the latency budget are out.

Differs from the paper: one search node at a time instead of a MILP solver: depth first over processors, exact up to a
limit of nodes (the published configuration stops at a gap of 50 %); batches of one, so that throughput is one over
latency and no request waits for others; demand is the arrival rate the scheduler forecasts with; a factor below 1
lowers every task's demand alike; processors that share cores are not used together; where there are more tasks than
processors, each processor counts as several slower ones. Until what is assigned is
in memory, the fastest variant that is serves.
"""

from typing import NamedTuple

from trimtab.core.selection import Choice, Entry, Situation, Table
from trimtab.core.state import Live, State
from trimtab.domain.quantities import NS_PER_S
from trimtab.strategies.picking import Ask, Pick, Picking, latency_ns
from trimtab.strategies.workload import Offer, Stream, forget, note_goals, offers, streams

PERIOD_S = 10.0
FIRST_FACTOR, STEP, LEAST_FACTOR = 1.05, 0.05, 0.2
MAX_NODES = 1_000
MAX_OFFERS = 6
"""Variants looked at per task and processor: those on the front of accuracy over throughput, evenly spread."""
SOLVED = "solved"


class Route(NamedTuple):
    """An offer that is hosted, and its share of its task's demand."""

    offer: Offer
    share: float


def split(stream: Stream, hosted: list[Offer], factor: float) -> tuple[float, list[Route]] | None:
    """Return a task's mean accuracy with its demand on the most accurate first; ``None`` where it does not fit."""
    left_per_s = need_per_s = max(1e-9, factor * stream.rate_per_s)
    routes = []
    for offer in sorted(hosted, key=lambda o: (-o.accuracy_frac, o.latency_s, o.name)):
        part = min(left_per_s, 1.0 / offer.latency_s)
        routes.append(Route(offer, part / need_per_s))
        left_per_s -= part
    if left_per_s > 1e-9 * need_per_s:
        return None
    used = [route for route in routes if route.share > 0.0]
    return sum([route.share * route.offer.accuracy_frac for route in used]), used


def plan(wanted: list[tuple[Stream, list[Offer]]]) -> list[Route]:
    """Return who hosts what and serves which share; empty when nothing fits even a fifth of the demand."""
    wanted, factor = _sliced(wanted), FIRST_FACTOR
    while factor >= LEAST_FACTOR - 1e-9:
        search = _Search(wanted, factor)
        search.go(0, 0, ())
        if search.routes:
            return search.routes
        factor -= STEP
    return []


def _sliced(wanted: list[tuple[Stream, list[Offer]]]) -> list[tuple[Stream, list[Offer]]]:
    """Return offers on slices of processors, so that there is one for each task; each is that much slower."""
    units = {one for _, found in wanted for offer in found for one in offer.takes}
    count = max(1, -(-len(wanted) // max(1, len(units))))
    if count == 1:
        return wanted
    return [
        (stream, [_slice(offer, index, count) for offer in found for index in range(count)])
        for stream, found in wanted
    ]


def _slice(offer: Offer, index: int, count: int) -> Offer:
    takes = tuple([f"{one}#{index}" for one in offer.takes])
    name = f"{offer.processor}#{index}"
    return offer._replace(processor=name, takes=takes, latency_s=offer.latency_s * count)


class _Search:
    """Depth first over processors, most accurate offers first, for ``factor`` times the demand.

    A branch ends where some task can no longer be served, or more tasks are not yet served than processors are
    left. Processors that are alike and overlap with no other are filled in one order only.
    """

    def __init__(self, wanted: list[tuple[Stream, list[Offer]]], factor: float) -> None:
        self._demand = {stream.task: stream for stream, _ in wanted}
        self._factor = factor
        self._need = {task: factor * stream.rate_per_s for task, stream in self._demand.items()}
        found = sorted([offer for _, some in wanted for offer in some], key=lambda o: (-o.accuracy_frac, o.latency_s, o.task, o.name))  # fmt: skip
        self._names = sorted({offer.processor for offer in found})
        self._choices = {name: [o for o in found if o.processor == name] for name in self._names}
        self._alike = [self._looks(index) for index in range(len(self._names))]
        self._later = [
            {task: sum([self._most(name, task) for name in self._names[index:]]) for task in self._demand}
            for index in range(len(self._names) + 1)
        ]
        best = [s.rate_per_s * max([o.accuracy_frac for o in some], default=0.0) for s, some in wanted]
        self._highest = sum(best) * (1.0 - 1e-9)
        self._taken: set[str] = set()
        self._nodes, self._worth = 0, -1.0
        self.routes: list[Route] = []

    def _most(self, name: str, task: str) -> float:
        return max([1.0 / o.latency_s for o in self._choices[name] if o.task == task], default=0.0)

    def _looks(self, index: int) -> bool:
        """Return whether a processor is just like the one before it, and neither shares a core with another."""
        one, before = self._names[index], self._names[index - 1]
        if index == 0 or [o[2:3] + o[5:] for o in self._choices[one]] != [
            o[2:3] + o[5:] for o in self._choices[before]
        ]:
            return False
        mine = {unit for name in (one, before) for o in self._choices[name] for unit in o.takes}
        others = {
            unit
            for name in self._names
            if name not in (one, before)
            for o in self._choices[name]
            for unit in o.takes
        }
        return mine.isdisjoint(others)

    def go(self, index: int, first: int, hosted: tuple[Offer, ...]) -> None:
        """Fill processors from ``index`` on; ``first`` is the first choice tried where it is like the one before."""
        self._nodes += 1
        if self._nodes > MAX_NODES or self._worth >= self._highest:
            return
        short = 0
        for task, need in self._need.items():
            can = sum([1.0 / o.latency_s for o in hosted if o.task == task])
            if can + self._later[index][task] < need:
                return
            short += can < need
        left = len(self._names) - index
        if short > left:
            return
        if left == 0:
            self._judge(hosted)
            return
        choices = self._choices[self._names[index]]
        for place in range(first if self._alike[index] else 0, len(choices)):
            offer = choices[place]
            if self._taken.isdisjoint(offer.takes):
                self._taken.update(offer.takes)
                self.go(index + 1, place, (*hosted, offer))
                self._taken.difference_update(offer.takes)
        self.go(index + 1, len(choices), hosted)

    def _judge(self, hosted: tuple[Offer, ...]) -> None:
        """Keep an assignment that serves everybody and is more accurate than the best so far."""
        worth, routes = 0.0, list[Route]()
        for task, stream in self._demand.items():
            part = split(stream, [o for o in hosted if o.task == task], self._factor)
            if part is None:
                return
            worth += stream.rate_per_s * part[0]
            routes += part[1]
        if worth > self._worth:
            self._worth, self.routes = worth, routes


def front(found: list[Offer], budget_s: float) -> list[Offer]:
    """Return, per processor, what is fast enough and neither slower nor less accurate than another: a few of it."""
    kept: list[Offer] = []
    for name in sorted({o.processor for o in found}):
        mine = sorted([o for o in found if o.processor == name and 0.0 < o.latency_s < budget_s], key=lambda o: (o.latency_s, -o.accuracy_frac, o.name))  # fmt: skip
        rising: list[Offer] = []
        for offer in mine:
            if not rising or offer.accuracy_frac > rising[-1].accuracy_frac:
                rising.append(offer)
        last = len(rising) - 1
        places = sorted({round(last * i / (MAX_OFFERS - 1)) for i in range(MAX_OFFERS)}) if last >= MAX_OFFERS else range(last + 1)  # fmt: skip
        kept += [rising[place] for place in places]
    return kept


class Proteus(Picking):
    """A periodic assignment of variants to processors for the demand, and shares in between."""

    def choose(self, table: Table, at: Situation, live: Live, state: State, /) -> Choice | None:
        """Assign anew when the period is over or the task is new, then pick and count."""
        notes, task = state.notes, live.request.task
        if live.attempts == 1:
            new = f"budget {task}" not in notes
            note_goals(notes, live, at.floor_frac)
            if new or at.now_ns / NS_PER_S - notes.get(SOLVED, -PERIOD_S) >= PERIOD_S:
                self.solve(state, at.now_ns)
        choice = super().choose(table, at, live, state)
        if choice is not None and f"share {task}/{choice.entry.name}" in notes:
            key = f"sent {task}/{choice.entry.name}"
            notes[key] = notes.get(key, 0.0) + 1.0
        return choice

    def solve(self, state: State, now_ns: int) -> None:
        """Note each hosted candidate's share of its task's demand."""
        forget(state.notes, ["share ", "sent "])
        state.notes[SOLVED] = now_ns / NS_PER_S
        for offer, share in plan(
            [(s, front(offers(state, s.task), s.budget_s)) for s in streams(state, now_ns)]
        ):
            key = f"share {offer.task}/{offer.name}"
            state.notes[key] = state.notes.get(key, 0.0) + share

    def pick(self, ask: Ask) -> Pick | None:
        """Return the hosted entry furthest behind its share; ``None`` when what serves would be late."""
        task, notes, at = ask.live.request.task, ask.state.notes, ask.at
        ready = [
            pair for pair in ask.slacks() if pair[0].resident and f"share {task}/{pair[0].name}" in notes
        ]
        if ready:
            entry, slack_ns = min(ready, key=lambda pair: (_turn(task, pair[0].name, notes), pair[0].name))
        else:
            entry, slack_ns = min(ask.slacks(), key=lambda pair: (latency_ns(pair[0], at) - pair[1], pair[0].name))  # fmt: skip
        return None if latency_ns(entry, at) > slack_ns else Pick(entry, False)

    def wish(self, table: Table, _at: Situation, live: Live, state: State, /) -> Entry | None:
        """Return what is hosted and not in memory, the largest share first."""
        task, notes = live.request.task, state.notes
        cold = [e for e in table.cold if f"share {task}/{e.name}" in notes]
        return min(cold, key=lambda e: (-notes[f"share {task}/{e.name}"], e.name), default=None)


def _turn(task: str, name: str, notes: dict[str, float]) -> float:
    """Return how much of its share an entry has served once it serves the next one: the least is next."""
    return (notes.get(f"sent {task}/{name}", 0.0) + 1.0) / notes[f"share {task}/{name}"]
