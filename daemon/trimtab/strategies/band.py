"""Band: Jeong et al., "Band: Coordinated Multi-DNN Inference on Heterogeneous Mobile Processors", MobiSys 2022.

A request names its model; Band places it. The expected latency of a model on a processor is a moving average of
what runs took (smoothing 0.1), begun at the profile. Three rules:

- ``shortest``: the processor where the request is expected to finish first, first come first served;
- ``slack``: the same placement, requests with the least slack (deadline - now - expected latency) first;
- ``heft``: the same placement, the request whose shortest latency is the largest first.

Under each a request that is expected past its deadline is dropped. Differs from the paper's setting: models are
served whole, not cut into sub-graphs; a request that pins no variant gets the task's most accurate one, since
Band has no others; a request gets a processor when it arrives and once more when that one is free, not from
a window over the whole queue, so that places in the queue are compared without waits for processors.
"""

from typing import Final

from trimtab.core.selection import Entry, Table
from trimtab.core.state import Live, State
from trimtab.strategies.picking import Ask, Pick, Picking

SMOOTHING = 0.1
RULES: Final = ("shortest", "slack", "heft")


def models_of(entries: list[Entry]) -> list[Entry]:
    """Return the entries of the most accurate model, in their order."""
    top = max([e.top_accuracy for e in entries], default=0.0)
    return [e for e in entries if e.top_accuracy == top]


class Band(Picking):
    """The shortest expected latency, in one of three orders."""

    learns = orders = True

    def __init__(self, rule: str) -> None:
        """Serve by one of ``RULES``."""
        self.rule = rule
        self.again = rule != "shortest"

    @classmethod
    def parse(cls, argument: str) -> "Band":
        """Read the rule's name; raise ``ValueError``."""
        if argument not in RULES:
            raise ValueError(f"the rules are {', '.join(RULES)}")
        return cls(argument)

    def pick(self, ask: Ask) -> Pick | None:
        """Return where the model finishes first; ``None`` when that is past the deadline."""
        state, batch, waits = ask.state, ask.at.batch, dict(zip(ask.entries, ask.waits_ns, strict=True))
        ends = [
            (waits[e] + expected_ns(e, ask.live, state) * batch, e.name, e) for e in models_of(ask.entries)
        ]
        finish_ns, _, entry = min(ends, key=lambda end: end[:2])
        return None if finish_ns > ask.at.time_ns else Pick(entry, False)

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
        pinned = live.request.variant
        models = models_of([e for e in table.open if not pinned or e.candidate.variant == pinned])
        shortest_ns = min([expected_ns(e, live, state) for e in models], default=0.0)
        work_ns = int(shortest_ns * live.request.batch)
        return live.deadline_ns - work_ns if self.rule == "slack" else -work_ns


def expected_ns(entry: Entry, live: Live, state: State) -> float:
    """Return the moving average of an entry's latency for one sample."""
    return entry.latency_ns * state.notes.get(f"{live.request.task}/{entry.name}", 1.0)
