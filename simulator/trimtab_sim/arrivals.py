"""Requests as they come in: what is asked when, and on which sample."""

import random
from collections.abc import Callable, Iterator, Sequence

from msgspec import structs

from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.record import Record
from trimtab.domain.request import Request


class Arrival(Record, frozen=True):
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
    makers = [numbering(kind) for kind in kinds]
    gap_s, choice, at_ns = rng.expovariate, rng.choice, start_ns
    for index in range(count):
        at_ns += round(gap_s(rate_per_s) * NS_PER_S) or 1
        yield Arrival(at_ns, choice(makers)(f"r{index + 1}"), index)


def numbering(kind: Request) -> Callable[[str], Request]:
    """Return what makes requests like ``kind``, each with its own id: ``dataclasses.replace``, but quick."""
    rest = structs.astuple(kind)[1:]

    def numbered(request_id: str) -> Request:
        return Request(request_id, *rest)

    return numbered
