"""How much slower than its profile a processor is now, how sure we are, and the same for energy.

Log-domain Kalman filter, one per processor: ln(measured / profile) = level + bias of the candidate + noise
(ALERT, ATC'20, in the log domain, with a level per processor instead of one for the device, and an observation
noise that is calibrated from residuals instead of fixed). Level and bias share each residual in proportion to
their variances. What does not fit is not averaged away: it may be a return to the regime before, an accident, or
a new regime; which of the last two is decided by the next run, and how far to believe in it until then by what
such residuals turned out to be so far (a mixture of both, its moments matched).
"""

from math import exp, log, sqrt

from trimtab.core.state import Bias, EnergyBias, EnergyRatio, Estimate
from trimtab.core.tails import note
from trimtab.domain.quantities import NS_PER_S

DRIFT_PER_S = 3e-4
"""Variance that one second without an observation adds: unused processors become uncertain."""
DRIFT_PER_NS = DRIFT_PER_S / NS_PER_S
MAX_VARIANCE = 0.25
WANDER = 0.05
"""Variance of the level's own steps from run to run, as a share of the noise."""
NOISE_GAIN = 0.05
NOISE_FAITH_RUNS = 5
"""So many runs the first noise counts for."""
MIN_NOISE = 1e-6
"""A tenth of a percent: what the clock tells apart. Not a floor that anybody feels."""
OUTLIER_SIGMAS = 4.0
ODDS_GAIN = 0.1
MIN_ODDS, MAX_ODDS = 0.1, 0.9
DRIFTING_SIGMAS = 1.5
DRIFTING_STREAK = 4
"""So many residuals in a row on one side, each beyond so many sigmas: the level is on its way, and follows at once."""
PROFILE_FAITH_RUNS = 5
"""After each so many runs on a processor the spread that profiles tell counts for half as much."""
UNKNOWN = Bias()
"""The latency bias of what has not run."""
MIN_BIAS_SHARE = 0.01
"""A bias never gets surer than this share of the noise, so that it goes on learning."""
QUIET, SETTLED, JUMP = range(3)
"""What a run was: as expected, the answer to a doubt, or a leap of the level."""
ENERGY_VARIANCE = 0.0025
"""First variance of a processor's level of energy: that a profile is off is the variant's own bias at first."""
ENERGY_GAIN = 0.05
ENERGY_KEPT = 1.0 - ENERGY_GAIN
MAX_ENERGY_STEP = 1.0
"""One run moves the learned energy by no more than this, in ln."""
MAX_ENERGY_FACTOR = 10.0


def variance_at(estimate: Estimate, now_ns: int) -> float:
    """Return the variance of the level, grown since the last observation."""
    idle_ns = now_ns - estimate.since_ns
    variance = estimate.variance + (DRIFT_PER_NS * idle_ns if idle_ns > 0 else 0.0)
    return variance if variance < MAX_VARIANCE else MAX_VARIANCE


def own_noise(estimate: Estimate, bias: Bias, latency_spread: float) -> float:
    """Return how unsure a candidate's latency is beyond its processor's level and noise (variance of ln).

    The spread that a profile tells counts until runs on its processor have told the noise.
    """
    beyond = profile_share(estimate) * (latency_spread**2 - estimate.noise)
    return bias.variance + (beyond if beyond > 0.0 else 0.0)


def profile_share(estimate: Estimate) -> float:
    """Return for how much the spread that profiles tell still counts on a processor (1 at first, then less)."""
    return float(0.5 ** (estimate.observations / PROFILE_FAITH_RUNS))


def slowdown(estimate: Estimate) -> float:
    """Return the median factor by which runs take longer (or more energy) than profiled."""
    return exp(estimate.mean)


def observe(estimate: Estimate, bias: Bias | EnergyBias, ln_ratio: float, now_ns: int) -> int:
    """Update level and bias with one run, of which ``ln_ratio`` is ln(measured / profile).

    Returns ``JUMP`` when the level leapt, ``SETTLED`` when the run before was in doubt and this one tells, else
    ``QUIET``.
    """
    level = ln_ratio - bias.mean
    variance = variance_at(estimate, now_ns) + WANDER * estimate.noise
    sigma = sqrt(variance + estimate.noise + bias.variance)
    residual = level - estimate.mean
    note(estimate.tail, residual / sigma)
    estimate.observations += 1
    estimate.updated_ns = estimate.since_ns = now_ns
    what = QUIET
    if estimate.doubt != 0.0:
        settle_doubt(estimate, level)
        what = SETTLED
    limit = OUTLIER_SIGMAS * sigma
    if -limit <= residual <= limit:
        if estimate.streak or not -sigma <= residual <= sigma:
            variance = _follow(estimate, residual, sigma, variance)
        _take(estimate, bias, residual, variance)
        return what
    if estimate.regimes and -limit <= level - estimate.other <= limit:
        estimate.mean, estimate.other, estimate.streak = estimate.other, estimate.mean, 0
        _take(estimate, bias, level - estimate.mean, estimate.noise)
    else:
        _doubt(estimate, residual)
    return JUMP


def _take(estimate: Estimate, bias: Bias | EnergyBias, residual: float, variance: float) -> None:
    """Let level and bias have their shares of a residual that fits."""
    noise = estimate.noise
    whole = variance + noise + bias.variance
    gain, bias_gain = variance / whole, bias.variance / whole
    estimate.mean += gain * residual
    estimate.variance = (1.0 - gain) * variance
    bias.mean += bias_gain * residual
    left, least = (1.0 - bias_gain) * bias.variance, MIN_BIAS_SHARE * noise
    bias.variance = left if left > least else least
    surprise = residual * residual * (1.0 - gain) * (1.0 - bias_gain)
    _calibrate(estimate, surprise)


def _calibrate(estimate: Estimate, surprise: float) -> None:
    """Move the noise towards what one residual says of it."""
    gain = 1.0 / (estimate.observations + NOISE_FAITH_RUNS)
    noise = estimate.noise + (gain if gain > NOISE_GAIN else NOISE_GAIN) * (surprise - estimate.noise)
    estimate.noise = noise if noise > MIN_NOISE else MIN_NOISE


def _follow(estimate: Estimate, residual: float, sigma: float, variance: float) -> float:
    """Return the variance, opened if the level has been running away to one side."""
    side = 1 if residual > 0.0 else -1
    if abs(residual) <= DRIFTING_SIGMAS * sigma:
        estimate.streak = 0
    elif estimate.streak * side < 0:
        estimate.streak = side
    else:
        estimate.streak += side
        if abs(estimate.streak) >= DRIFTING_STREAK:
            estimate.streak = 0
            return max(variance, residual * residual)
    return variance


def _doubt(estimate: Estimate, residual: float) -> None:
    """Believe in a new regime as far as such residuals turned out to be one; the next run will tell."""
    odds = estimate.change_odds
    estimate.before, estimate.doubt, estimate.streak = estimate.mean, residual, 0
    estimate.mean += odds * residual
    estimate.variance = odds * (1.0 - odds) * residual * residual + estimate.noise
    _calibrate(estimate, (1.0 - odds) * OUTLIER_SIGMAS * OUTLIER_SIGMAS * estimate.noise)


def settle_doubt(estimate: Estimate, level: float) -> float:
    """Learn from what was seen next whether it was a new regime; then the one before is worth remembering.

    Returns the level that was right: the one before, or the new one.
    """
    after = estimate.before + estimate.doubt
    changed = abs(level - after) < abs(level - estimate.before)
    odds = estimate.change_odds + ODDS_GAIN * ((1.0 if changed else 0.0) - estimate.change_odds)
    estimate.change_odds = min(max(odds, MIN_ODDS), MAX_ODDS)
    if changed:
        estimate.other = estimate.before
        estimate.regimes += 1
    estimate.doubt = 0.0
    return after if changed else estimate.before


def energy_factor(bias: EnergyBias | None, ratio: EnergyRatio) -> float:
    """Return the factor by which a variant's runs take more energy than profiled, on a processor as usual.

    What never ran is expected to be as far off as everything that did, by energy and not by count, so that a
    fixed cost of waking up, which weighs on small variants only, is not expected of large ones.
    """
    if bias is not None:
        return exp(bias.mean)
    return ratio.taken_uj / ratio.profiled_uj if ratio.profiled_uj > 0.0 else 1.0


def told_factor(factor: float) -> float:
    """Return a factor of energy as prices and tables both use it: two digits, so that each run changes neither.

    Had they different ones, a price at which two candidates are worth the same would not tell them apart.
    """
    return round(factor, 2)


def energy_levels(estimates: dict[str, Estimate]) -> tuple[float, ...]:
    """Return by how much each processor exceeds the usual energy now, as far as it has been told, to two digits."""
    return tuple([round(exp(estimate.told), 2) for estimate in estimates.values()])


def observe_energy(
    estimate: Estimate,
    biases: dict[str, EnergyBias],
    key: str,
    ratio: EnergyRatio,
    costs: tuple[float, float],
    now_ns: int,
) -> int:
    """Learn from one run's profiled and measured energy (uJ), never from its latency; accidents are clipped.

    Returns what the run was, as ``observe`` does.
    """
    profile_uj, measured_uj = costs
    if profile_uj <= 0.0 or measured_uj <= 0.0:
        return QUIET
    bias = biases.get(key)
    if bias is None:
        bias = biases[key] = EnergyBias(mean=log(energy_factor(None, ratio)))
    residual = log(measured_uj / profile_uj) - bias.mean - estimate.mean
    if not -MAX_ENERGY_STEP <= residual <= MAX_ENERGY_STEP:
        residual = MAX_ENERGY_STEP if residual > 0.0 else -MAX_ENERGY_STEP
    what = observe(estimate, bias, residual + bias.mean + estimate.mean, now_ns)
    bias.runs += 1
    usual_uj, most_uj = measured_uj * exp(-estimate.mean), profile_uj * MAX_ENERGY_FACTOR
    ratio.taken_uj = ENERGY_KEPT * ratio.taken_uj + (usual_uj if usual_uj < most_uj else most_uj)
    ratio.profiled_uj = ENERGY_KEPT * ratio.profiled_uj + profile_uj
    return what
