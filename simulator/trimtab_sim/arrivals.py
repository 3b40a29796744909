"""Requests as they come in: what is asked when, and on which sample."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request at a moment; ``sample`` is the row of the labelled samples it is about."""

    at_ns: int
    request: Request
    sample: int = 0


def poisson(
    seed: int, rate_per_s: float, count: int, kinds: Sequence[Request], start_ns: int = 0
) -> Iterator[Arrival]:
    """Yield ``count`` arrivals with exponential gaps, each of a random kind, numbered ``r1``, ``r2``, ...

    The same seed gives the same arrivals. Sample ``i`` goes with arrival ``i``.
    """
    rng = random.Random(seed)  # noqa: S311  a simulation, not a secret
    at_ns = start_ns
    for index in range(count):
        at_ns += max(1, round(rng.expovariate(rate_per_s) * NS_PER_S))
        request = replace(rng.choice(kinds), request_id=f"r{index + 1}")
        yield Arrival(at_ns, request, index)
