"""LEO: Georgiev et al., "LEO: Scheduling Sensor Inference Algorithms across Heterogeneous Mobile Processors [...]".

MobiCom 2016. Every second, and when what is asked for changes, the tasks asked for are assigned to processors together: one
unit each, so that the energy of the coming window is least, each meets its deadline and no processor gets more
work than the window is long. A server counts as a processor where there is one.

Differs from the paper: it never changes an app's accuracy, so a task is served by its most accurate variant, or by
any that meets its accuracy floor where it has one; pipelines are whole, not cut into stages for a DSP, and nothing is
merged into batches; the search is exact up to a limit of nodes where the paper's is heuristic. Where no assignment
keeps every processor within the window, the overload is made least first. A request whose processor cannot
serve it goes where it finishes first among those that would do.
"""

from typing import NamedTuple

from trimtab.core.selection import Choice, Situation, Table
from trimtab.core.state import Live, State
from trimtab.domain.quantities import NS_PER_S
from trimtab.strategies.picking import Ask, Pick, Picking, latency_ns
from trimtab.strategies.workload import Offer, Stream, forget, note_goals, offers, streams

WINDOW_S = 1.0
MAX_NODES = 20_000
SOLVED = "solved"


class Plan(NamedTuple):
    """An assignment's overload (s of work beyond the window), its energy (J), and an offer per task."""

    overload_s: float
    energy_j: float
    chosen: tuple[Offer, ...]


def assign(wanted: list[tuple[Stream, list[Offer]]]) -> Plan | None:
    """Return the assignment of the least overload, then energy; ``None`` when a task has no offer.

    Depth-first over tasks, most work first, cheapest offer first; cut where energy alone is already too much.
    """
    tasks = sorted(wanted, key=lambda one: (-one[0].rate_per_s * min([o.latency_s for o in one[1]], default=0.0), one[0].task))  # fmt: skip
    if any(not found for _, found in tasks):
        return None
    least_j = [stream.rate_per_s * min(o.energy_j for o in found) for stream, found in tasks]
    rest_j = [sum(least_j[index:]) * WINDOW_S for index in range(len(tasks) + 1)]
    best, nodes = Plan(float("inf"), float("inf"), ()), 0
    load_s: dict[str, float] = {}

    def search(index: int, overload_s: float, energy_j: float, chosen: tuple[Offer, ...]) -> None:
        nonlocal best, nodes
        nodes += 1
        if (overload_s, energy_j + rest_j[index]) >= best[:2] or nodes > MAX_NODES:
            return
        if index == len(tasks):
            best = Plan(overload_s, energy_j, chosen)
            return
        stream, found = tasks[index]
        for offer in sorted(found, key=lambda o: (o.energy_j, o.latency_s, o.name)):
            work_s = stream.rate_per_s * offer.latency_s * WINDOW_S
            over_s = 0.0
            for one in offer.takes:
                before = load_s.get(one, 0.0)
                over_s += max(0.0, before + work_s - WINDOW_S) - max(0.0, before - WINDOW_S)
                load_s[one] = before + work_s
            used_j = energy_j + stream.rate_per_s * offer.energy_j * WINDOW_S
            search(index + 1, overload_s + over_s, used_j, (*chosen, offer))
            for one in offer.takes:
                load_s[one] -= work_s

    search(0, 0.0, 0.0, ())
    return best if best.chosen else None


def suitable(found: list[Offer], stream: Stream) -> list[Offer]:
    """Return what may serve a task: accurate enough and, where anything is, fast enough; cheapest per processor."""
    best = max([o.accuracy_frac for o in found], default=0.0)
    floor = min(stream.floor_frac, best) if stream.floor_frac > 0.0 else best
    good = [o for o in found if o.accuracy_frac >= floor]
    timely = [o for o in good if o.latency_s <= stream.budget_s] or good
    ranked = sorted(timely, key=lambda o: (o.energy_j, o.latency_s, o.name))
    return list({o.processor: o for o in reversed(ranked)}.values())


class Leo(Picking):
    """A joint assignment of tasks to processors, once a second."""

    def choose(self, table: Table, at: Situation, live: Live, state: State, /) -> Choice | None:
        """Assign anew when the window is over or the task is new, then pick."""
        notes, task = state.notes, live.request.task
        if live.attempts == 1:
            new = f"budget {task}" not in notes
            note_goals(notes, live, at.floor_frac)
            if new or at.now_ns / NS_PER_S - notes.get(SOLVED, -WINDOW_S) >= WINDOW_S:
                self.solve(state, at.now_ns)
        return super().choose(table, at, live, state)

    def solve(self, state: State, now_ns: int) -> None:
        """Note which candidate serves which task in the coming window."""
        forget(state.notes, ["serves "])
        state.notes[SOLVED] = now_ns / NS_PER_S
        plan = assign([(s, suitable(offers(state, s.task), s)) for s in streams(state, now_ns)])
        for offer in plan.chosen if plan is not None else ():
            state.notes[f"serves {offer.task}/{offer.name}"] = 1.0

    def pick(self, ask: Ask) -> Pick:
        """Return the assigned entry, or what finishes first among the equally accurate."""
        task, pairs = ask.live.request.task, ask.slacks()
        for entry, slack_ns in pairs:
            if f"serves {task}/{entry.name}" in ask.state.notes and latency_ns(entry, ask.at) <= slack_ns:
                return Pick(entry, False)
        floor = ask.at.floor_frac or max([e.top_accuracy for e, _ in pairs])
        good = [pair for pair in pairs if pair[0].top_accuracy >= floor] or pairs
        entry, slack_ns = min(good, key=lambda pair: (latency_ns(pair[0], ask.at) - pair[1], pair[0].name))
        return Pick(entry, latency_ns(entry, ask.at) > slack_ns)
