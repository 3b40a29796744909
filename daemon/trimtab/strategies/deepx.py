"""DeepX: Lane et al., "DeepX: A Software Accelerator for Low-Power Deep Learning Inference on Mobile Devices", IPSN 2016.

Two parts, both at run time: layers are compressed to the lowest rank whose error stays under a bound, and the blocks
of the network are spread over processors so that energy is least while the deadline holds. With whole variants the
ranks are the task's variants and the error is what one loses in accuracy against the best of them; the spread is
the choice of one processor: the least energy among what is within the bound and in time, else the fastest within it.

Differs from the paper: no layer is factorised and no network split here, since a variant is the smallest thing that
can be placed; the error is measured on the test set, not estimated from the weights. The bound (0.05) is ours: the
paper's is per layer.
"""

from trimtab.strategies.picking import Ask, Pick, Picking, latency_ns

BOUND = 0.05
"""Accuracy that may be lost against the best variant."""


class Deepx(Picking):
    """The least energy under an error bound."""

    def __init__(self, bound: float = BOUND) -> None:
        """Bound the loss of accuracy (0..1)."""
        self.bound = bound

    @classmethod
    def parse(cls, argument: str) -> "Deepx":
        """Read the bound, if one is given; raise ``ValueError``."""
        bound = float(argument) if argument else BOUND
        if not 0.0 <= bound < 1.0:
            raise ValueError("an error bound is at least 0 and below 1")
        return cls(bound)

    def pick(self, ask: Ask) -> Pick:
        """Return the cheapest entry within bound and deadline, the soonest within the bound when none is in time."""
        best = max([e.top_accuracy for e in ask.table.entries])
        pairs = [
            pair for pair in ask.slacks() if pair[0].top_accuracy >= best - self.bound - 1e-12
        ] or ask.slacks()
        fitting = [e for e, slack_ns in pairs if latency_ns(e, ask.at) <= slack_ns]
        if fitting:
            return Pick(
                min(fitting, key=lambda e: (e.candidate.expected_energy_uj, e.latency_ns, e.name)), False
            )
        return Pick(
            min(pairs, key=lambda pair: (latency_ns(pair[0], ask.at) - pair[1], pair[0].name))[0], True
        )
