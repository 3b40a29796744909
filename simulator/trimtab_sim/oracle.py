"""The per-request oracle: the best choice for each request alone, with its realised slow-down known.

It is the Oracle of ALERT (Wan et al., USENIX ATC 2020): for every input the best configuration under
the conditions that input really met, on an empty processor, with everything in memory. It has no budget
beyond the request (``trimtab_sim.bound`` has), so it says what single choices lose, not what planning loses.

Two oracles, as ALERT has two objectives. *Most accurate*: the highest accuracy in time with an energy up to
the cap; among equals the least energy. *Least energy*: the least energy in time with an accuracy from the
floor up; among equals the highest accuracy. When nothing fits, goals are given up in ALERT's order: the cap,
then the floor; never the deadline. A request that nothing answers in time counts 0 accuracy and 0 energy.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.domain.quantities import UJ_PER_J

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Requests of one task, one row each: what each offer would really have taken, and what was asked.

    ``accuracy_frac`` is one figure per offer, or a row per request. ``latency_ns`` and ``energy_uj`` are the
    profile's times the slow-down that the request met. ``budget_ns`` is the time it had; ``floor_frac`` is 0
    and ``cap_uj`` infinite where nothing was asked.
    """

    accuracy_frac: Array
    latency_ns: Array
    energy_uj: Array
    budget_ns: Array
    floor_frac: Array
    cap_uj: Array

    @classmethod
    def of(
        cls,
        accuracy_frac: ArrayLike,
        latency_ns: ArrayLike,
        energy_uj: ArrayLike,
        budget_ns: ArrayLike,
        *,
        floor_frac: ArrayLike = 0.0,
        cap_uj: ArrayLike = inf,
    ) -> "Chunk":
        """Check and return a chunk; a goal may be one figure for all. Raises ``ValueError``."""
        latency = np.atleast_2d(np.asarray(latency_ns, float))
        rows = latency.shape[:1]
        try:
            chunk = cls(
                np.broadcast_to(np.asarray(accuracy_frac, float), latency.shape),
                latency,
                np.broadcast_to(np.asarray(energy_uj, float), latency.shape),
                np.broadcast_to(np.asarray(budget_ns, float), rows),
                np.broadcast_to(np.asarray(floor_frac, float), rows),
                np.broadcast_to(np.asarray(cap_uj, float), rows),
            )
        except ValueError as error:
            raise ValueError(f"figures do not fit latencies {latency.shape}: {error}") from None
        for name in cls.__slots__:
            if not (getattr(chunk, name) >= 0.0).all():
                raise ValueError(f"{name} has a negative or unknown figure")
        return chunk

    @property
    def in_time(self) -> Mask:
        """Return which offers meet the deadline on an empty processor."""
        return np.less_equal(self.latency_ns, self.budget_ns[:, None])


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """What an oracle chose, one entry per request; ``offer`` is -1 where nothing is in time."""

    offer: NDArray[np.intp]
    accuracy_frac: Array
    energy_uj: Array
    given_up: Mask

    @property
    def unservable(self) -> int:
        """Return how many requests nothing could answer in time."""
        return int((self.offer < 0).sum())


def most_accurate(chunk: Chunk) -> Choices:
    """Return each request's most accurate offer in time under its cap; the cap is given up where it must."""
    in_time = chunk.in_time
    allowed = in_time & (chunk.energy_uj <= chunk.cap_uj[:, None])
    return _choose(chunk, in_time, allowed, (-chunk.accuracy_frac, chunk.energy_uj))


def least_energy(chunk: Chunk) -> Choices:
    """Return each request's cheapest offer in time from its floor up.

    Where none reaches the floor, it is given up for the most accurate offer there is, as ALERT does.
    """
    in_time = chunk.in_time
    best = np.where(in_time, chunk.accuracy_frac, 0.0).max(axis=1, initial=0.0)
    reachable = np.minimum(chunk.floor_frac, best)
    allowed = in_time & (chunk.accuracy_frac >= reachable[:, None])
    chosen = _choose(chunk, in_time, allowed, (chunk.energy_uj, -chunk.accuracy_frac))
    short = (chosen.accuracy_frac < chunk.floor_frac) & (chosen.offer >= 0)
    return Choices(chosen.offer, chosen.accuracy_frac, chosen.energy_uj, short)


def _choose(chunk: Chunk, in_time: Mask, allowed: Mask, keys: tuple[Array, Array]) -> Choices:
    """Take, of what is allowed (else of what is in time), the least by two keys."""
    meets = np.asarray(allowed.any(axis=1))
    eligible = np.where(meets[:, None], allowed, in_time)
    served = np.flatnonzero(eligible.any(axis=1))
    offer = np.full(len(eligible), -1, np.intp)
    accuracy, energy = np.zeros(len(offer)), np.zeros(len(offer))
    if len(served):
        first = np.where(eligible, keys[0], inf)[served]
        second = np.where(first <= first.min(axis=1)[:, None], keys[1][served], inf)
        offer[served] = second.argmin(axis=1)
        at = (served, offer[served])
        accuracy[served], energy[served] = chunk.accuracy_frac[at], chunk.energy_uj[at]
    return Choices(offer, accuracy, energy, (offer >= 0) & ~meets)


@dataclass(slots=True)
class Oracle:
    """Both oracles' sums over chunks of requests; memory does not grow with their number.

    ``accuracy`` and ``accuracy_energy_uj`` are sums over the most accurate choices, ``energy_uj`` and
    ``energy_accuracy`` over the cheapest; the counts say for how many requests a goal was given up.
    """

    requests: int = 0
    unservable: int = 0
    cap_given_up: int = 0
    floor_given_up: int = 0
    accuracy: float = 0.0
    accuracy_energy_uj: float = 0.0
    energy_uj: float = 0.0
    energy_accuracy: float = 0.0

    def add(self, chunk: Chunk) -> None:
        """Take in a chunk of requests."""
        best, cheapest = most_accurate(chunk), least_energy(chunk)
        self.requests += len(chunk.budget_ns)
        self.unservable += best.unservable
        self.cap_given_up += int(best.given_up.sum())
        self.floor_given_up += int(cheapest.given_up.sum())
        self.accuracy += float(best.accuracy_frac.sum())
        self.accuracy_energy_uj += float(best.energy_uj.sum())
        self.energy_uj += float(cheapest.energy_uj.sum())
        self.energy_accuracy += float(cheapest.accuracy_frac.sum())

    @property
    def oracle_accuracy(self) -> float:
        """Return the mean accuracy (0..1) of the most accurate choices over all requests."""
        return self.accuracy / self.requests if self.requests else 0.0

    @property
    def oracle_energy_j(self) -> float:
        """Return the energy in joules of the cheapest choices."""
        return self.energy_uj / UJ_PER_J
