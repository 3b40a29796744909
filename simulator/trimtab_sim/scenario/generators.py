"""Makes up arrivals for a stream, block after block, so that memory does not grow with the scenario."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import Any, Final

from trimtab.domain.quantities import NS_PER_S
from trimtab.policy.scalars import day_time_s, duration_ns, fraction
from trimtab_sim.scenario.model import Stream
from trimtab_sim.traces import ArrivalTrace, generate
from trimtab_sim.traces.sessions import OBSERVED, SessionModel

BLOCK_REQUESTS: Final = 200_000
"""About so many arrivals are made at once; each block has a seed of its own."""
BLOCK_CYCLES: Final = 1000
"""At least so many bursts or sessions lie in a block: at its end one is cut off."""
Day = float
"""Seconds after midnight."""


@dataclass(frozen=True, slots=True)
class Generator:
    """Makes a block: ``make(seed, duration_s, seconds after midnight)``; ``block_s`` is how long one lasts."""

    make: Callable[[int, float, Day], ArrivalTrace]
    block_s: float


def generated(stream: Stream, span_ns: int, start_s: int, seed: int) -> Iterator[int]:
    """Yield a generator's arrival times in ns since the scenario began, for ``span_ns`` of it."""
    if stream.kind == "regular":
        every_ns = duration_ns(stream.figures["every"])
        yield from range(stream.begin_ns + every_ns, span_ns, every_ns)
        return
    generator = KINDS[stream.kind](stream.figures)
    block_ns = round(generator.block_s * NS_PER_S)
    for block, begin_ns in enumerate(range(stream.begin_ns, span_ns, block_ns)):
        own_seed = _seed(f"{seed}/{stream.name}/{block}")
        length_s = min(block_ns, span_ns - begin_ns) / NS_PER_S
        of_day_s = (start_s + begin_ns / NS_PER_S) % 86_400
        trace = generator.make(own_seed, length_s, of_day_s)
        for at_ns in trace.at_ns.tolist():
            yield begin_ns + at_ns


def _seed(text: str) -> int:
    """Return 32 bits that depend on every character."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _poisson(figures: Mapping[str, Any]) -> Generator:
    rate = figures["rate_per_s"]
    return Generator(lambda seed, length_s, _: generate.poisson(seed, rate, length_s), BLOCK_REQUESTS / rate)


def _gamma(figures: Mapping[str, Any]) -> Generator:
    rate, cv = figures["rate_per_s"], figures["cv"]
    block_s = BLOCK_REQUESTS / rate
    return Generator(lambda seed, length_s, _: generate.gamma(seed, rate, cv, length_s), block_s)


def _diurnal(figures: Mapping[str, Any]) -> Generator:
    """Return Poisson arrivals at hourly rates: a cosine with its peak and swing, or the weights given."""
    peak_h, swing = day_time_s(figures["peak"]) / 3600, fraction(figures["swing"])
    weights = figures.get("hours") or [
        1 + swing * cos((hour + 0.5 - peak_h) * 2 * pi / 24) for hour in range(24)
    ]
    whole = sum(weights)
    rates = [figures["rate_per_s"] * 24 * weight / whole for weight in weights]

    def make(seed: int, length_s: float, of_day_s: Day) -> ArrivalTrace:
        return generate.diurnal(seed, rates, length_s, of_day_s / 3600)

    return Generator(make, BLOCK_REQUESTS / figures["rate_per_s"])


def _bursts(figures: Mapping[str, Any]) -> Generator:
    rates = (float(figures["quiet_rate_per_s"]), float(figures["rate_per_s"]))
    means = (duration_ns(figures["quiet"]) / NS_PER_S, duration_ns(figures["busy"]) / NS_PER_S)
    block_s = max(BLOCK_REQUESTS / rates[1], BLOCK_CYCLES * sum(means))
    return Generator(lambda seed, length_s, _: generate.bursts(seed, rates, means, length_s), block_s)


def _sessions(figures: Mapping[str, Any]) -> Generator:
    """Return the sessions observed on an iPhone, stretched until lengths and pauses have the means given."""
    rate = figures["rate_per_s"]
    session_s, pause_s = (duration_ns(figures[key]) / NS_PER_S for key in ("session", "pause"))
    model = SessionModel(OBSERVED.length.of_mean(session_s), OBSERVED.pause.of_mean(pause_s))
    block_s = max(BLOCK_REQUESTS / rate, BLOCK_CYCLES * (session_s + pause_s))
    return Generator(lambda seed, length_s, _: model.arrivals(seed, rate, length_s), block_s)


KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], Generator]]] = {
    "poisson": _poisson,
    "gamma": _gamma,
    "diurnal": _diurnal,
    "bursts": _bursts,
    "sessions": _sessions,
}
"""The generators a document can name, besides regular."""
