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

    The same seed gives the same arrivals. Raises ``ValueError`` without kinds. Sample ``i`` goes with arrival ``i``.
    """
    if not kinds:
        raise ValueError("there has to be a kind of request")
    rng = random.Random(seed)  # noqa: S311  a simulation, not a secret
    makers = [numbering(kind) for kind in kinds]
    bits, at_ns = len(makers).bit_length(), start_ns
    for index in range(count):
        at_ns += round(rng.expovariate(rate_per_s) * NS_PER_S) or 1
        pick = rng.getrandbits(bits)  # what ``rng.choice`` does
        while pick >= len(makers):
            pick = rng.getrandbits(bits)
        yield Arrival(at_ns, makers[pick](f"r{index + 1}"), index)


def numbering(kind: Request) -> Callable[[str], Request]:
    """Return what makes requests like ``kind``, each with its own id: ``dataclasses.replace``, but quick."""
    rest = structs.astuple(kind)[1:]

    def numbered(request_id: str) -> Request:
        return Request(request_id, *rest)

    return numbered
