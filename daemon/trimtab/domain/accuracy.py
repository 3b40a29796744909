"""How sure an accuracy measured on a number of samples is."""

from math import sqrt

Z_95 = 1.959963984540054
"""Standard deviations that hold 95 % of a normal distribution."""


def wilson_interval(accuracy_frac: float, samples: int, z: float = Z_95) -> tuple[float, float]:
    """Return the score interval (low, high) of a share of ``samples``; (0, 1) without samples.

    (p + z^2/2n -+ z sqrt(p(1 - p)/n + z^2/4n^2)) / (1 + z^2/n): Wilson, Journal of the American Statistical
    Association 22 (1927). Unlike p -+ z sqrt(p(1 - p)/n) it holds near 0 and 1 and for few samples.
    """
    if samples <= 0:
        return 0.0, 1.0
    square = z * z / samples
    centre = accuracy_frac + square / 2
    half = z * sqrt(accuracy_frac * (1 - accuracy_frac) / samples + square / (4 * samples))
    return max(0.0, (centre - half) / (1 + square)), min(1.0, (centre + half) / (1 + square))


def within_noise(one_frac: float, other_frac: float, samples: int, z: float = Z_95) -> bool:
    """Return whether two accuracies differ by less than chance explains at 95 %.

    The two are taken as independent. On the same test samples they go up and down together, so this calls
    some differences noise that a paired test would not.
    """
    if samples <= 0:
        return True
    variance = (one_frac * (1 - one_frac) + other_frac * (1 - other_frac)) / samples
    return abs(one_frac - other_frac) <= z * sqrt(variance)
