"""INFaaS: Romero et al., "INFaaS: Automated Model-less Inference Serving", USENIX ATC 2021.

First the five answers given last for the task, newest first: the first that is accurate enough, fast enough by its
profile, in memory and not black-listed serves. Else a scan from the least accurate one that meets the floor upwards,
over at most as many candidates as 15 % of the latency budget allows at 0.6 ms each, three at least: of those in
memory the one with the least slack, else the one with the shortest load and run, which is punished by 1 s so
that it never beats one in memory. Budgets above 100 ms keep off accelerators. A candidate is black-listed
while its run took 2.5 times its profile (until one takes less than 1.5 times) or 0.8 s of work waits for it.

Differs from the paper's setting: one device instead of a fleet, so that replicas of a variant are its processors
of one pool (the one with the shortest wait serves) and autoscaling is left out; accuracies form one bin; latencies
are not averaged over a monitor's second; a task with nothing but accelerators uses them whatever the budget.
"""

from trimtab.core.selection import Entry, Situation, Table
from trimtab.core.state import Live, State
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.strategies.picking import Ask, Pick, Picking, latency_ns

RECENT = 5
SCAN_SHARE = 0.15
LOOKUP_NS = 600_000
LEAST_SCANNED = 3
LOOSE_NS = 100 * NS_PER_MS
COLD_NS = NS_PER_S
SLOW, RECOVERED = 2.5, 1.5
MOST_WAIT_NS = 8 * NS_PER_S // 10


class Infaas(Picking):
    """The answer given lately while it fits, else a bounded scan."""

    learns = True

    def pick(self, ask: Ask) -> Pick | None:
        """Return what serves and remember it; ``None`` when no candidate meets floor and budget."""
        at, live = ask.at, ask.live
        budget_ns = live.deadline_ns - live.arrived_ns
        fitting = [
            (e, wait_ns)
            for e, wait_ns in zip(ask.entries, ask.waits_ns, strict=True)
            if e.top_accuracy >= at.floor_frac and latency_ns(e, at) <= budget_ns
        ]
        if budget_ns > LOOSE_NS:
            fitting = [pair for pair in fitting if _is_cpu(pair[0], ask.state)] or fitting
        found = self._recent(fitting, ask) or self._scan(fitting, ask, budget_ns)
        if found is None:
            return None
        entry, wait_ns = found
        _remember(entry, live.request.task, ask.state)
        return Pick(entry, wait_ns + latency_ns(entry, at) > at.time_ns)

    def _recent(self, fitting: list[tuple[Entry, int]], ask: Ask) -> tuple[Entry, int] | None:
        """Return the answer given last that may serve again, on its least busy processor."""
        turns = ask.state.notes
        known = [
            (-turns[key], e.name, e) for e, _ in fitting if (key := _key(ask.live.request.task, e)) in turns
        ]
        for _, _, entry in sorted(known, key=lambda one: one[:2]):
            if entry.resident and (free := _replicas(entry, fitting, ask)):
                return min(free, key=lambda pair: (pair[1], pair[0].name))
        return None

    def _scan(self, fitting: list[tuple[Entry, int]], ask: Ask, budget_ns: int) -> tuple[Entry, int] | None:
        """Return the best of the first candidates in order of accuracy."""
        most = max(LEAST_SCANNED, int(SCAN_SHARE * budget_ns / LOOKUP_NS))
        ordered = sorted(fitting, key=lambda pair: (pair[0].top_accuracy, pair[0].name))[:most]
        running = [pair for pair in ordered if pair[0].resident and not _black_listed(*pair, ask)]
        if running:
            entry, _ = min(running, key=lambda pair: (-pair[0].latency_ns, pair[0].name))
            return min(_replicas(entry, fitting, ask), key=lambda pair: (pair[1], pair[0].name))
        return min(ordered, key=lambda pair: (_total_ns(pair[0], ask.at), pair[0].name), default=None)

    def wish(self, _table: Table, _at: Situation, _live: Live, _state: State, /) -> Entry | None:
        """Wish for nothing: what is not in memory is loaded when nothing in memory will do."""
        return None

    def ran(self, live: Live, profile_ns: int, run_ns: int, state: State, /) -> None:
        """Black-list a candidate that is slow, and forgive it when it is not."""
        assert live.candidate is not None
        key = f"slow {live.request.task}/{live.candidate.name}"
        if run_ns > SLOW * profile_ns:
            state.notes[key] = 1.0
        elif run_ns < RECOVERED * profile_ns:
            state.notes.pop(key, None)


def _key(task: str, entry: Entry) -> str:
    return f"turn {task}/{entry.name}"


def _is_cpu(entry: Entry, state: State) -> bool:
    return state.processors[entry.candidate.processor].kind == "cpu"


def _black_listed(entry: Entry, wait_ns: int, ask: Ask) -> bool:
    return wait_ns > MOST_WAIT_NS or f"slow {ask.live.request.task}/{entry.name}" in ask.state.notes


def _replicas(entry: Entry, fitting: list[tuple[Entry, int]], ask: Ask) -> list[tuple[Entry, int]]:
    """Return the same variant and exit rule on processors that share its memory and may serve."""
    same = entry.residence, entry.candidate.exit_rule
    return [
        pair
        for pair in fitting
        if (pair[0].residence, pair[0].candidate.exit_rule) == same and not _black_listed(*pair, ask)
    ]


def _total_ns(entry: Entry, at: Situation) -> int:
    """Return run time, and for what is not in memory its load and the punishment."""
    return latency_ns(entry, at) + (0 if entry.resident else COLD_NS + entry.candidate.load_ns)


def _remember(entry: Entry, task: str, state: State) -> None:
    """Put an answer in front of the last five of its task."""
    notes, prefix = state.notes, f"turn {task}/"
    notes[_key(task, entry)] = float(state.arrivals)
    turns = sorted([(turn, key) for key, turn in notes.items() if key.startswith(prefix)])
    for _, key in turns[:-RECENT]:
        del notes[key]
