"""Early-exit variants run stage by stage; between two stages this says whether to go on."""

from math import exp, log, sqrt

from trimtab.core.estimator import UNKNOWN, energy_factor, own_noise, variance_at
from trimtab.core.events import StageFinished
from trimtab.core.lateness import soft_gain
from trimtab.core.learning import run_key
from trimtab.core.margins import stretches
from trimtab.core.selection import NEVER_Z, floor_exit
from trimtab.core.state import Live, State
from trimtab.core.tables import confidence_z, energy_price_in, give_up_order
from trimtab.domain.decision import Candidate
from trimtab.domain.policy import Goal
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J


def floor_of(live: Live) -> float:
    """Return the accuracy floor of a request: its own, else its settings'."""
    floor = live.request.min_accuracy_frac
    return live.settings.min_accuracy_frac if floor is None else floor


def still_in_time(state: State, live: Live, now_ns: int) -> bool:
    """Return whether a queued request would, started now, still be sure enough to be on time."""
    candidate = live.candidate
    assert candidate is not None
    exit_index = floor_exit(candidate.accuracy_frac, floor_of(live))
    return _in_time(state, live, candidate, candidate.latency_ns[exit_index], now_ns)


def goes_on(
    state: State,
    live: Live,
    event: StageFinished,
    now_ns: int,
    *,
    adapts: bool = True,
    time_price: float = 0.0,
) -> bool:
    """Return whether a staged variant runs its next stage after the one that finished.

    It stops when confident enough, when the next stage would likely miss the deadline (unless the policy
    rather gives up the deadline than the accuracy floor), or when no later exit is worth its energy and
    time (unless the floor asks for it); ``time_price`` is what others lose per ns of the profile's latency.
    Under a strategy that does not adapt, the exit rule alone decides.
    """
    candidate, stage = live.candidate, event.stage
    assert candidate is not None
    if leaves_by_itself(candidate, stage, event.confidence):
        return False
    if not adapts:
        return True
    short = candidate.accuracy_frac[stage] < floor_of(live)
    step_ns = candidate.latency_ns[stage + 1] - candidate.latency_ns[stage]
    if not _in_time(state, live, candidate, step_ns, now_ns):
        return short and _rather_late(give_up_order(live.settings))
    late_ns = now_ns - live.deadline_ns
    return short or _worth_going_on(state, live, candidate, stage, time_price=time_price, late_ns=late_ns)


def leaves_by_itself(candidate: Candidate, stage: int, confidence: float) -> bool:
    """Return whether a request leaves at this exit under the exit rule alone."""
    return stage + 1 >= len(candidate.latency_ns) or confidence >= candidate.threshold


def _rather_late(order: tuple[Goal, ...]) -> bool:
    """Return whether the deadline is given up before the accuracy floor."""
    if Goal.DEADLINE not in order:
        return False
    return Goal.ACCURACY not in order or order.index(Goal.DEADLINE) < order.index(Goal.ACCURACY)


def _worth_going_on(
    state: State, live: Live, candidate: Candidate, stage: int, *, time_price: float, late_ns: int
) -> bool:
    """Return whether some later exit adds more, for those still in, than its energy and time cost today.

    The accuracies are over all samples, but only those still in differ between two exits.
    """
    settings = live.settings
    still_in = max(1e-9, 1.0 - sum(candidate.share_frac[: stage + 1]))
    price_per_uj = energy_price_in(state, settings) / UJ_PER_J
    price_per_uj *= energy_factor(state.energy_biases.get(live.residence), state.energy_ratio)
    price_per_uj *= exp(state.energy_estimates[candidate.processor].mean)
    price_per_ns = settings.latency_price_per_s / NS_PER_S
    price_per_ns += time_price
    after = settings.after_deadline
    factor = exp(state.estimates[candidate.processor].mean) * live.request.batch
    for later in range(stage + 1, len(candidate.latency_ns)):
        gain = (candidate.accuracy_frac[later] - candidate.accuracy_frac[stage]) / still_in
        if after.until_ns:
            gain = soft_gain(candidate, after, stage, later, late_ns, factor) / still_in
        cost = price_per_uj * (candidate.energy_uj[later] - candidate.energy_uj[stage])
        cost += price_per_ns * (candidate.latency_ns[later] - candidate.latency_ns[stage])
        if settings.weight * gain >= cost and gain > 0.0:
            return True
    return False


def _in_time(state: State, live: Live, candidate: Candidate, latency_ns: int, now_ns: int) -> bool:
    end_ns = live.deadline_ns + live.settings.after_deadline.until_ns
    slack_ns = end_ns - now_ns - int(state.overhead_ns)
    z, min_z = NEVER_Z, confidence_z(live.settings.deadline_confidence)
    if slack_ns > 0:
        estimate = state.estimates[candidate.processor]
        bias = state.latency_biases.get(run_key(live.residence, candidate.processor), UNKNOWN)
        lane = list(state.estimates).index(candidate.processor)
        stretch = stretches(state, live.settings.deadline_confidence, min_z)[lane]
        own = own_noise(estimate, bias, candidate.latency_spread)
        sigma = sqrt(variance_at(estimate, now_ns) + estimate.noise * stretch + own)
        ln_ratio = log(slack_ns) - log(max(1, latency_ns * live.request.batch))
        z = (ln_ratio - estimate.mean - bias.mean) / sigma
    return z >= min_z
