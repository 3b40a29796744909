"""What one run teaches: how slow its processor is now, what its profile got wrong, and what it took of the battery."""

from math import log

from trimtab.core.coupling import spread
from trimtab.core.estimator import observe, observe_energy
from trimtab.core.state import Bias, Live, State
from trimtab.domain.decision import Candidate

NEWS = 0.02
"""Tables are worked out again when a learned bias has moved by so much, in ln."""


def run_key(residence: str, processor: str) -> str:
    """Return the key of a candidate's latency bias: its residence and the processor it runs on."""
    return f"{residence}@{processor}"


def learn_latency(
    state: State, live: Live, candidate: Candidate, costs: tuple[int, int], now_ns: int
) -> bool:
    """Learn from the profiled and the measured time (ns) of a stage; return whether that is news to tables."""
    profile_ns, run_ns = costs
    name, key = candidate.processor, run_key(live.residence, candidate.processor)
    bias = state.latency_biases.get(key)
    if bias is None:
        bias = state.latency_biases[key] = Bias()
    ratio = (run_ns if run_ns > 1 else 1) / (profile_ns if profile_ns > 1 else 1)
    estimates = state.estimates
    mine = estimates[name]
    mean, updated_ns = mine.mean, mine.updated_ns
    what = observe(mine, bias, log(ratio), now_ns)
    spread(estimates, name, what, (mean, updated_ns))
    if -NEWS <= bias.mean - bias.told <= NEWS:
        return False
    bias.told = bias.mean
    return True


def learn_energy(
    state: State, live: Live, candidate: Candidate, costs: tuple[float, float], now_ns: int
) -> bool:
    """Learn from the profiled and the measured energy (uJ) of a stage; return whether that is news to tables."""
    name = candidate.processor
    estimates, ratio = state.energy_estimates, state.energy_ratio
    mine, biases = estimates[name], state.energy_biases
    mean, updated_ns = mine.mean, mine.updated_ns
    what = observe_energy(mine, biases, live.residence, ratio, costs, now_ns)
    if mine.updated_ns != now_ns:
        return False
    moved = spread(estimates, name, what, (mean, updated_ns))
    bias = biases[live.residence]
    if -NEWS <= bias.mean - bias.told <= NEWS:
        return moved
    bias.told = bias.mean
    return True
