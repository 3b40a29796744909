"""What rules that plan for all tasks at once plan with: who asks how often for what, and what could serve it."""

from collections.abc import Iterable
from typing import NamedTuple

from trimtab.core.candidates import build_candidates
from trimtab.core.prices import rate_per_s
from trimtab.core.queueing import resources
from trimtab.core.state import Live, State
from trimtab.domain.quantities import NS_PER_S


class Offer(NamedTuple):
    """One way to serve a task's requests: seconds and joules for each."""

    task: str
    name: str
    variant: str
    processor: str
    takes: tuple[str, ...]
    latency_s: float
    energy_j: float
    accuracy_frac: float


class Stream(NamedTuple):
    """What is asked of a task: requests per second, the latency budget (s) and accuracy floor asked for last."""

    task: str
    rate_per_s: float
    budget_s: float
    floor_frac: float


def note_goals(notes: dict[str, float], live: Live, floor_frac: float) -> None:
    """Remember the goals of a task's latest request."""
    task = live.request.task
    notes[f"budget {task}"] = (live.deadline_ns - live.arrived_ns) / NS_PER_S
    notes[f"floor {task}"] = floor_frac


def streams(state: State, now_ns: int) -> list[Stream]:
    """Return the tasks that have been asked for under this strategy, by name."""
    notes = state.notes
    known = sorted(task for task in state.demand if f"budget {task}" in notes)
    return [
        Stream(task, rate_per_s(state.demand[task], now_ns), notes[f"budget {task}"], notes[f"floor {task}"])
        for task in known
    ]


def offers(state: State, task: str) -> list[Offer]:
    """Return every candidate of a task by its profile."""
    processors = tuple(state.processors.values())
    takes = {p.name: resources(p) for p in processors}
    found = build_candidates(state.families[task], state.profiles.get(task, ()), processors)
    return [
        Offer(
            task,
            one.name,
            one.variant,
            one.processor,
            takes[one.processor],
            one.expected_latency_ns / NS_PER_S,
            one.expected_energy_uj / 1e6,
            max(one.accuracy_frac),
        )
        for one in found
    ]


def forget(notes: dict[str, float], prefixes: Iterable[str]) -> None:
    """Drop the notes that begin with one of these words."""
    begins = tuple(prefixes)
    for key in [key for key in notes if key.startswith(begins)]:
        del notes[key]
