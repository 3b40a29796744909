"""Heat: how warm our own power makes the device, learned from its readings, and what power keeps it below a limit.

With one resistance and one capacity, temperature follows our power averaged over the cooling constant tau:

    T = base + rise * P        dP/dt = (power - P) / tau

``base`` (surroundings, other apps, what is slow to warm up) and ``rise`` (degrees per watt) come from a Kalman filter with
two states, one for each tau of a short list; the one that predicts readings best is believed. To stay below a limit for
the next ``WINDOW_S`` seconds, the mean power until then may be

    (P_limit - P exp(-W / tau)) / (1 - exp(-W / tau))        P_limit = (limit - margin - base) / rise
"""

from math import exp, sqrt

from trimtab.core.state import Heat, Warmth
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J

WINDOW_S = 60.0
TAUS_S = (20.0, 60.0, 180.0, 600.0)
RISE_C_PER_W = 5.0
"""Degrees per watt before anything is known; phones reach 3 to 15."""
LEAST_RISE = 0.5
BASE_VARIANCE, RISE_VARIANCE = 25.0, 16.0
BASE_DRIFT, RISE_DRIFT = 0.02, 0.002
"""Variance that a second adds: the device as a whole warms up within minutes, its build does not change."""
NOISE = 0.1
"""Variance of a reading; sensors tell half degrees."""
STEP_C = 0.5
ERROR_GAIN = 0.02
MAX_GAP_S = 300.0


def note_temperature(heat: Heat, temperature_c: float, total_uj: float, now_ns: int) -> None:
    """Learn from one reading of the hottest sensor and the energy we used until now."""
    elapsed_s = (now_ns - heat.at_ns) / NS_PER_S
    used_j = (total_uj - heat.total_uj) / UJ_PER_J
    first = not heat.fits or not 0.0 <= elapsed_s <= MAX_GAP_S
    heat.at_ns, heat.total_uj, heat.temperature_c = now_ns, total_uj, temperature_c
    if first:
        rises = [one.rise for one in heat.fits] or [RISE_C_PER_W] * len(TAUS_S)
        heat.fits = [
            Warmth(tau_s, temperature_c, rise, BASE_VARIANCE, RISE_VARIANCE)
            for tau_s, rise in zip(TAUS_S, rises, strict=True)
        ]
    elif elapsed_s > 0.0:
        for one in heat.fits:
            _update(one, temperature_c, used_j / elapsed_s, elapsed_s)


def _update(one: Warmth, temperature_c: float, power_w: float, elapsed_s: float) -> None:
    one.power_w += (power_w - one.power_w) * (1.0 - exp(-elapsed_s / one.tau_s))
    one.base_variance = min(one.base_variance + BASE_DRIFT * elapsed_s, BASE_VARIANCE)
    one.rise_variance = min(one.rise_variance + RISE_DRIFT * elapsed_s, RISE_VARIANCE)
    x = one.power_w
    base_gain, rise_gain = one.base_variance + one.covariance * x, one.covariance + one.rise_variance * x
    variance = base_gain + rise_gain * x + NOISE
    off = temperature_c - one.base - one.rise * x
    one.error += ERROR_GAIN * (off * off - one.error)
    one.base += base_gain / variance * off
    one.rise = max(LEAST_RISE, one.rise + rise_gain / variance * off)
    one.base_variance -= base_gain * base_gain / variance
    one.rise_variance -= rise_gain * rise_gain / variance
    one.covariance -= base_gain * rise_gain / variance


def best_fit(heat: Heat) -> Warmth:
    """Return the fit that predicted readings best; raise ``ValueError`` before the first reading."""
    return min(heat.fits, key=lambda one: (one.error, one.tau_s))


def allowed_w(heat: Heat, limit_c: float) -> float | None:
    """Return the mean power that the next ``WINDOW_S`` seconds may take; ``None`` before the first reading."""
    if not heat.fits:
        return None
    one = best_fit(heat)
    margin_c = STEP_C + sqrt(one.error)
    most_w = (limit_c - margin_c - one.base) / one.rise
    kept = exp(-WINDOW_S / one.tau_s)
    return max(0.0, (most_w - one.power_w * kept) / (1.0 - kept))
