"""How much slower than its profile a processor is now, and how sure we are.

Log-domain Kalman filter, one per processor (ALERT, ATC'20, with two changes: a factor per processor
instead of one for the device, and an observation noise calibrated from residuals instead of fixed).
"""

from math import exp, log, sqrt

from trimtab.core.state import EnergyBias, EnergyRatio, Estimate
from trimtab.domain.quantities import NS_PER_S

DRIFT_PER_S = 1e-3
"""Variance that one second without an observation adds: unused processors become uncertain."""
DRIFT_PER_NS = DRIFT_PER_S / NS_PER_S
MAX_VARIANCE = 0.25
MIN_VARIANCE = 1e-5
NOISE_GAIN = 0.05
MIN_NOISE = 1e-4
ENERGY_GAIN = 0.05
ENERGY_KEPT = 1.0 - ENERGY_GAIN
FAITH_RUNS = 3
"""So many runs the first expectation counts for."""
MAX_ENERGY_STEP = 1.0
"""One run moves the learned energy by no more than this, in ln, before the gain."""
MAX_ENERGY_FACTOR = 10.0
OUTLIER_SIGMAS = 3.0
OPENING_STREAK = 3
"""So many outliers in a row on one side are a new regime, fewer are accidents."""


def variance_at(estimate: Estimate, now_ns: int) -> float:
    """Return the variance of the slow-down's mean, grown since the last observation."""
    idle_ns = now_ns - estimate.updated_ns
    variance = estimate.variance + (DRIFT_PER_NS * idle_ns if idle_ns > 0 else 0.0)
    return variance if variance < MAX_VARIANCE else MAX_VARIANCE


def slowdown(estimate: Estimate) -> float:
    """Return the median factor by which runs take longer than profiled."""
    return exp(estimate.mean)


def energy_factor(bias: EnergyBias | None, ratio: EnergyRatio) -> float:
    """Return the factor by which a variant's runs take more energy than profiled.

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


def observe_energy(
    biases: dict[str, EnergyBias], key: str, ratio: EnergyRatio, profile_uj: float, measured_uj: float
) -> None:
    """Learn from one run's energy, never from its latency: means over some twenty runs, accidents clipped."""
    if profile_uj <= 0.0 or measured_uj <= 0.0:
        return
    bias = biases.get(key)
    if bias is None:
        bias = biases[key] = EnergyBias(mean=log(energy_factor(None, ratio)))
    residual = log(measured_uj / profile_uj) - bias.mean
    if not -MAX_ENERGY_STEP <= residual <= MAX_ENERGY_STEP:
        residual = MAX_ENERGY_STEP if residual > 0.0 else -MAX_ENERGY_STEP
    gain = 1.0 / (bias.runs + FAITH_RUNS)
    bias.mean += (gain if gain > ENERGY_GAIN else ENERGY_GAIN) * residual
    bias.runs += 1
    most_uj = profile_uj * MAX_ENERGY_FACTOR
    ratio.taken_uj = ENERGY_KEPT * ratio.taken_uj + (measured_uj if measured_uj < most_uj else most_uj)
    ratio.profiled_uj = ENERGY_KEPT * ratio.profiled_uj + profile_uj


def observe(estimate: Estimate, profile_ns: int, measured_ns: int, now_ns: int) -> None:
    """Update the filter with one run. Accidents are clipped; a streak of them opens the filter."""
    ratio = (measured_ns if measured_ns > 1 else 1) / (profile_ns if profile_ns > 1 else 1)
    residual = log(ratio) - estimate.mean
    variance = variance_at(estimate, now_ns)
    limit = OUTLIER_SIGMAS * sqrt(variance + estimate.noise)
    if -limit <= residual <= limit:
        estimate.streak = 0
    else:
        side = 1 if residual > 0 else -1
        estimate.streak = estimate.streak + side if estimate.streak * side >= 0 else side
        if abs(estimate.streak) >= OPENING_STREAK:
            variance = MAX_VARIANCE
            estimate.streak = 0
        else:
            residual = side * limit
    gain = variance / (variance + estimate.noise)
    surprise = residual * residual * (1.0 - gain)
    if surprise < MIN_NOISE:
        surprise = MIN_NOISE
    estimate.mean += gain * residual
    estimate.variance = (1.0 - gain) * variance + MIN_VARIANCE
    estimate.noise += NOISE_GAIN * (surprise - estimate.noise)
    estimate.observations += 1
    estimate.updated_ns = now_ns
