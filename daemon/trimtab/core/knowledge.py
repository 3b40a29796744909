"""What runs and readings have taught, apart from the present: it outlives the daemon.

Moments in it count from when it was taken, so that a clock that starts anew means nothing to it. What belongs to
processors, tasks or profiles that are no longer there is left out when it is restored.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import isfinite
from zlib import crc32

from trimtab.core.coupling import tie_up
from trimtab.core.state import Bias, EnergyBias, EnergyRatio, Estimate, Forecast, State
from trimtab.core.tails import BINS

MAX_LN = 20.0
"""No level or bias is further off than this, in ln."""
MAX_SQUARE = 1e3
MAX_OVERHEAD_NS = 1e9
MAX_STREAMS = 64
HOURS = 24

Biases = dict[str, Bias] | dict[str, EnergyBias]


@dataclass(slots=True)
class Knowledge:
    """Estimates by processor, biases by candidate or residence, and what was asked and drained.

    ``profiles`` are checksums by task: a bias says how far off one certain profile is.
    """

    profiles: dict[str, int] = field(default_factory=dict)
    estimates: dict[str, Estimate] = field(default_factory=dict)
    latency_biases: dict[str, Bias] = field(default_factory=dict)
    energy_estimates: dict[str, Estimate] = field(default_factory=dict)
    energy_biases: dict[str, EnergyBias] = field(default_factory=dict)
    energy_ratio: EnergyRatio = field(default_factory=EnergyRatio)
    forecast: Forecast = field(default_factory=Forecast)
    overhead_ns: float = 200_000.0


def knowledge_of(state: State, now_ns: int) -> Knowledge:
    """Return a copy of all that was learned until now."""
    return Knowledge(
        profiles=_checksums(state),
        estimates=_moved(state.estimates, -now_ns),
        latency_biases=deepcopy(state.latency_biases),
        energy_estimates=_moved(state.energy_estimates, -now_ns),
        energy_biases=deepcopy(state.energy_biases),
        energy_ratio=deepcopy(state.energy_ratio),
        forecast=replace(deepcopy(state.forecast), at_ns=-1),
        overhead_ns=state.overhead_ns,
    )


def restore(state: State, known: Knowledge, age_ns: int, masks: dict[str, int], now_ns: int) -> None:
    """Take over what was known ``age_ns`` ago, as far as it is about what is here now (``masks``: ``tie_up``)."""
    for here, there in (
        (state.estimates, _moved(known.estimates, now_ns - age_ns)),
        (state.energy_estimates, _moved(known.energy_estimates, now_ns - age_ns)),
    ):
        here.update({name: there[name] for name in here if name in there})
        tie_up(here, masks)
    found = _checksums(state)
    tasks = [task for task, checksum in found.items() if known.profiles.get(task) == checksum]
    state.latency_biases = {k: b for k, b in deepcopy(known.latency_biases).items() if _of(k, tasks)}
    state.energy_biases = {k: b for k, b in deepcopy(known.energy_biases).items() if _of(k, tasks)}
    if tasks:
        state.energy_ratio = deepcopy(known.energy_ratio)
    state.forecast = replace(deepcopy(known.forecast), at_ns=-1, by_app=state.forecast.by_app)
    state.overhead_ns = known.overhead_ns


def faults(known: Knowledge) -> Iterator[str]:
    """Yield what cannot be true of knowledge, whoever wrote it down."""
    for what, estimates in (("latency", known.estimates), ("energy", known.energy_estimates)):
        for name, one in estimates.items():
            if not _sane(one):
                yield f"the {what} estimate of {name} is impossible"
    biases: tuple[Biases, ...] = (known.latency_biases, known.energy_biases)
    for some in biases:
        for name, bias in some.items():
            if not (_within(bias.mean) and 0.0 < bias.variance <= MAX_SQUARE):
                yield f"the bias of {name} is impossible"
    ratio, forecast = known.energy_ratio, known.forecast
    if not (isfinite(ratio.taken_uj + ratio.profiled_uj) and min(ratio.taken_uj, ratio.profiled_uj) >= 0.0):
        yield "the ratio of energies is impossible"
    if not 0.0 <= known.overhead_ns <= MAX_OVERHEAD_NS:
        yield "the overhead is impossible"
    flows = [forecast.drain, *[stream.flow for stream in forecast.streams.values()]]
    hours = [forecast.hours_s, *[flow.hours for flow in flows]]
    if len(flows) > MAX_STREAMS + 1 or any(len(one) not in (0, HOURS) for one in hours):
        yield "the forecast has too many streams or hours"


def _checksums(state: State) -> dict[str, int]:
    """Return a checksum of the profiles in use, by task."""
    return {task: crc32(repr(profiles).encode()) for task, profiles in state.profiles.items()}


def _of(key: str, tasks: list[str]) -> bool:
    """Return whether the key of a bias is of one of these tasks."""
    return any(key.startswith(f"{task}/") for task in tasks)


def _moved(estimates: dict[str, Estimate], by_ns: int) -> dict[str, Estimate]:
    """Return copies with all moments moved, and with nothing pending."""
    return {
        name: replace(
            deepcopy(one),
            updated_ns=one.updated_ns + by_ns,
            since_ns=one.since_ns + by_ns,
            vouched_ns=one.vouched_ns + by_ns,
            told_ns=one.told_ns + by_ns,
            told=one.mean,
            seen=one.mean,
            doubt=0.0,
            heard="",
            heard_move=0.0,
            heard_doubt=0.0,
        )
        for name, one in estimates.items()
    }


def _sane(one: Estimate) -> bool:
    """Return whether a filter could have come to this state."""
    tail = one.tail
    return (
        _within(one.mean)
        and _within(one.other)
        and 0.0 < one.variance <= MAX_SQUARE
        and 0.0 < one.noise <= MAX_SQUARE
        and 0.0 <= one.change_odds <= 1.0
        and one.observations >= 0
        and len(tail.counts) in (0, BINS)
        and tail.weight > 0.0
        and isfinite(tail.total)
        and all(0.0 <= count <= tail.total * (1.0 + 1e-6) for count in tail.counts)
        and all(tie.square > 0.0 and isfinite(tie.product / tie.square) for tie in one.ties.values())
    )


def _within(ln: float) -> bool:
    return -MAX_LN <= ln <= MAX_LN
