"""What the requests of a task can be served with, as arrays: every candidate at every exit it may stop at.

The scheduler may cut a staged variant short, so each exit is an offer of its own. Under an exit rule with
shares ``s`` and accuracies ``a``, cut short at exit ``k`` at the latest, a share ``S = s[0] + ... + s[k]``
has left by itself and is as accurate as the rule, the rest is answered at ``k``:

    accuracy = S a[last] + (1 - S) a[k]

which is what ``ModelledRuntime`` draws. Energy is that of each stage times the share that reaches it;
latency is that of all stages up to ``k``, so an offer is in time only if its slowest sample is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.core.candidates import build_candidates
from trimtab.domain.decision import Candidate
from trimtab.domain.family import Family, Profile
from trimtab.domain.processor import Processor

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Offers:
    """A task's offers, one entry each, as profiled: a slow-down of 1 and a batch of 1.

    ``processor`` is the position in the processors they were built for. A server charges ``usd`` for each request
    and ``usd_of_time``, which grows with its slow-down.
    """

    candidates: tuple[Candidate, ...]
    exits: tuple[int, ...]
    processor: NDArray[np.intp]
    accuracy_frac: Array
    latency_ns: Array
    energy_uj: Array
    usd: Array
    usd_of_time: Array

    def __len__(self) -> int:
        return len(self.candidates)

    def chosen(self, keep: NDArray[np.bool_]) -> "Offers":
        """Return the offers for which ``keep`` holds."""
        places = np.flatnonzero(keep)
        return Offers(
            tuple(self.candidates[place] for place in places),
            tuple(self.exits[place] for place in places),
            self.processor[keep],
            self.accuracy_frac[keep],
            self.latency_ns[keep],
            self.energy_uj[keep],
            self.usd[keep],
            self.usd_of_time[keep],
        )

    def undominated(self) -> "Offers":
        """Return the offers that no other one on the same processor beats in accuracy, latency, energy and charge.

        A slow-down of the processor keeps that order, so whatever it is, the best offer is among them.
        """
        keep = np.ones(len(self), bool)
        for place in range(len(self)):
            beats = keep & (self.processor == self.processor[place])
            beats &= self.accuracy_frac >= self.accuracy_frac[place]
            beats &= self.latency_ns <= self.latency_ns[place]
            beats &= self.energy_uj <= self.energy_uj[place]
            beats &= (self.usd <= self.usd[place]) & (self.usd_of_time <= self.usd_of_time[place])
            beats[place] = False
            keep[place] = not beats.any()
        return self.chosen(keep)


def offers_of(
    families: Iterable[Family], profiles: Sequence[Profile], processors: Sequence[Processor]
) -> Offers:
    """Return the offers of one task's families; raise ``ValueError`` as ``build_candidates`` does."""
    candidates = [one for family in families for one in build_candidates(family, profiles, processors)]
    places = {processor.name: place for place, processor in enumerate(processors)}
    charges = {processor.name: processor.charge_usd for processor in processors}
    cuts = [(candidate, cut) for candidate in candidates for cut in range(len(candidate.latency_ns))]
    return Offers(
        tuple(candidate for candidate, _ in cuts),
        tuple(cut for _, cut in cuts),
        np.array([places[candidate.processor] for candidate, _ in cuts], np.intp),
        np.array([cut_accuracy(candidate, cut) for candidate, cut in cuts], float),
        np.array([candidate.latency_ns[cut] for candidate, cut in cuts], float),
        np.array([_cut_energy(candidate, cut) for candidate, cut in cuts], float),
        np.array([charges[candidate.processor](0.0) for candidate, _ in cuts], float),
        np.array(
            [_of_time(charges[candidate.processor], candidate.latency_ns[cut]) for candidate, cut in cuts],
            float,
        ),
    )


def cut_accuracy(candidate: Candidate, cut: int) -> float:
    """Return the expected accuracy (0..1) when nobody runs beyond exit ``cut``."""
    left = min(1.0, sum(candidate.share_frac[: cut + 1]))
    return left * candidate.accuracy_frac[-1] + (1.0 - left) * candidate.accuracy_frac[cut]


def _of_time(charge_usd: Callable[[float], float], latency_ns: int) -> float:
    """Return the part of a charge that is for the server's time."""
    return charge_usd(latency_ns) - charge_usd(0.0)


def _cut_energy(candidate: Candidate, cut: int) -> float:
    """Return the expected energy in microjoules when nobody runs beyond exit ``cut``."""
    stays = max(0.0, 1.0 - sum(candidate.share_frac[:cut]))
    before = sum(
        share * energy
        for share, energy in zip(candidate.share_frac[:cut], candidate.energy_uj[:cut], strict=True)
    )
    return before + stays * candidate.energy_uj[cut]
