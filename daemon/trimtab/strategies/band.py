"""Band: Jeong et al., "Band: Coordinated Multi-DNN Inference on Heterogeneous Mobile Processors", MobiSys 2022.

A request names its model; Band places it. The expected latency of a model on a processor is a moving average of
what runs took (smoothing 0.1), begun at the profile. Three rules:

- ``shortest``: the processor where the request is expected to finish first, first come first served;
- ``slack``: the same placement, requests with the least slack (deadline - now - expected latency) first;
- ``heft``: the same placement, the request whose shortest latency is the largest first.

Under each a request that is expected past its deadline is dropped. ``RULE@VARIANT`` names the model of requests that
pin none; otherwise an app is taken to have settled for the fastest model that meets its accuracy floor or, if it has
none, the most accurate one that an idle device runs within its latency budget. Differs from the paper's setting: models are served whole, not cut into sub-graphs; a request gets a processor when it arrives and once more when that one is free, not from
a window over the whole queue, so that places in the queue are compared without waits for processors.
"""

from math import inf
from typing import Final

from trimtab.core.early_exit import floor_of
from trimtab.core.selection import Entry, Table
from trimtab.core.state import Live, State
from trimtab.strategies.picking import Ask, Pick, Picking

SMOOTHING = 0.1
RULES: Final = ("shortest", "slack", "heft")


class Band(Picking):
    """The shortest expected latency, in one of three orders."""

    learns = orders = True

    def __init__(self, rule: str, variant: str = "") -> None:
        """Serve by one of ``RULES``; requests that pin no variant get ``variant`` if one is given."""
        self.rule = rule
        self.variant = variant
        self.again = rule != "shortest"

    @classmethod
    def parse(cls, argument: str) -> "Band":
        """Read the rule's name and the variant, if one is given; raise ``ValueError``."""
        rule, _, variant = argument.partition("@")
        if rule not in RULES:
            raise ValueError(f"the rules are {', '.join(RULES)}")
        return cls(rule, variant)

    def model(self, entries: list[Entry], live: Live) -> list[Entry]:
        """Return the candidates of the model that a request is for."""
        named = live.request.variant or self.variant
        if named:
            return [e for e in entries if e.candidate.variant == named]
        if not entries:
            return []
        floor, budget_ns = floor_of(live), (live.deadline_ns - live.arrived_ns) / live.request.batch
        good = [e for e in entries if e.top_accuracy >= floor] if floor > 0.0 else []
        fitting = [e for e in entries if e.candidate.expected_latency_ns <= budget_ns]
        if good or not fitting:
            best = min(good or entries, key=lambda e: (e.latency_ns, e.name)).candidate
        else:
            best = min(fitting, key=lambda e: (-e.top_accuracy, e.latency_ns, e.name)).candidate
        return [
            e
            for e in entries
            if (e.candidate.variant, e.candidate.exit_rule) == (best.variant, best.exit_rule)
        ]

    def pick(self, ask: Ask) -> Pick | None:
        """Return where the model finishes first; ``None`` when that is past the deadline."""
        live, state, waits = ask.live, ask.state, dict(zip(ask.entries, ask.waits_ns, strict=True))
        model = self.model(ask.entries, live)
        ends = [(waits[e] + expected_ns(e, live, state) * ask.at.batch, e.name, e) for e in model]
        finish_ns, _, entry = min(ends, key=lambda end: end[:2], default=(inf, "", None))
        return None if entry is None or finish_ns > ask.at.time_ns else Pick(entry, False)

    def ran(self, live: Live, profile_ns: int, run_ns: int, state: State, /) -> None:
        """Smooth how much longer than its profile this variant takes on this processor."""
        assert live.candidate is not None
        key = f"{live.request.task}/{live.candidate.name}"
        before = state.notes.get(key, 1.0)
        state.notes[key] = SMOOTHING * run_ns / max(1, profile_ns) + (1.0 - SMOOTHING) * before

    def order_ns(self, table: Table, live: Live, state: State, /) -> int:
        """Return arrival, slack or negative latency: the smallest is first."""
        if self.rule == "shortest":
            return live.arrived_ns
        model = self.model([e for e in table.entries if e.blocked is None], live)
        shortest_ns = min([expected_ns(e, live, state) for e in model], default=0.0)
        work_ns = int(shortest_ns * live.request.batch)
        return live.deadline_ns - work_ns if self.rule == "slack" else -work_ns


def expected_ns(entry: Entry, live: Live, state: State) -> float:
    """Return the moving average of an entry's latency for one sample."""
    return entry.latency_ns * state.notes.get(f"{live.request.task}/{entry.name}", 1.0)
