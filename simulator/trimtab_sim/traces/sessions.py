"""Finds when a phone was in use, fits how long that lasts and how long the pauses are, and makes up more of it.

A session is a run of screen events with gaps of at most two minutes. Lengths and pauses are fitted by maximum
likelihood with three distributions; the one with the smallest Kolmogorov distance is taken.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from types import MappingProxyType
from typing import Final

import numpy as np

from trimtab_sim.traces.generate import within
from trimtab_sim.traces.series import ArrivalTrace, Floats, Series

GAP_S: Final = 120.0
"""Events further apart than this belong to two sessions."""
SHORTEST_S: Final = 1.0
"""A session of one event is taken as this long: the screen was on for a moment."""
FEWEST: Final = 8
MOST_SESSIONS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Fit:
    """A distribution of durations in seconds: its name, two parameters, and how far it is from the data.

    ``lognormal``: mean and standard deviation of the logarithm. ``weibull``: scale and shape. ``exponential``:
    mean, and 1. ``distance`` is Kolmogorov's, the largest difference of the cumulative shares, over ``count``
    durations; a sample of the distribution itself would stay below about ``1.36 / sqrt(count)`` 19 times in 20.
    """

    name: str
    first: float
    second: float
    distance: float
    count: int
    least_s: float = 0.0
    """Added to what is drawn: pauses are never shorter than the gap that ends a session."""

    def cdf(self, seconds: Floats) -> Floats:
        """Return the share of durations up to each of ``seconds``."""
        return _CDF[self.name](np.asarray(seconds, np.float64) - self.least_s, self.first, self.second)

    @property
    def mean_s(self) -> float:
        """Return the mean duration in seconds."""
        if self.name == "lognormal":
            return self.least_s + math.exp(self.first + self.second**2 / 2)
        return self.least_s + self.first * math.gamma(1 + 1 / self.second)

    def of_mean(self, mean_s: float) -> "Fit":
        """Return the same distribution with all durations stretched alike, so that this is their mean."""
        factor = mean_s / self.mean_s
        first = self.first + math.log(factor) if self.name == "lognormal" else self.first * factor
        return replace(self, first=first, least_s=self.least_s * factor)

    def draw(self, rng: np.random.RandomState, count: int) -> Floats:
        """Return ``count`` random durations in seconds."""
        if self.name == "lognormal":
            return self.least_s + np.exp(self.first + self.second * rng.standard_normal(count))
        return self.least_s + self.first * rng.standard_exponential(count) ** (1 / self.second)


@dataclass(frozen=True, slots=True)
class SessionModel:
    """How a phone is used: how long sessions last, and how long the pauses between them are."""

    length: Fit
    pause: Fit

    def sessions(self, seed: int, duration_s: float) -> tuple[Floats, Floats]:
        """Return begins and ends in seconds of made-up sessions, a pause first; the same for the same seed."""
        if not 0 < duration_s < 1e10:
            raise ValueError(f"a duration of {duration_s} s is not possible")
        rng = np.random.RandomState(seed)
        turns: list[Floats] = []
        filled_s, drawn = 0.0, 0
        while filled_s < duration_s:
            pauses = np.maximum(self.pause.draw(rng, 64), 1e-3)
            turns.append(np.stack((pauses, np.maximum(self.length.draw(rng, 64), 1e-3)), axis=1).ravel())
            filled_s += float(turns[-1].sum())
            drawn += 64
            if drawn > MOST_SESSIONS:
                raise ValueError(f"more than {MOST_SESSIONS} sessions in {duration_s} s")
        edges_s: Floats = np.round(np.cumsum(np.concatenate(turns)), 6).astype(np.float64)
        begins_s, ends_s = edges_s[0::2], np.minimum(edges_s[1::2], duration_s)
        return begins_s[begins_s < duration_s], ends_s[begins_s < duration_s]

    def arrivals(self, seed: int, rate_per_s: float, duration_s: float) -> ArrivalTrace:
        """Return requests at ``rate_per_s`` inside made-up sessions, none outside."""
        begins_s, ends_s = self.sessions(seed, duration_s)
        return within(seed + 1, begins_s, ends_s, rate_per_s)

    def screen(self, seed: int, duration_s: float) -> Series:
        """Return made-up use of a phone as a series of ``screen_on``."""
        return screen_series("sessions", *self.sessions(seed, duration_s))


OBSERVED: Final = SessionModel(
    length=Fit("weibull", 172.195, 0.637486, 0.0668, 154),
    pause=Fit("lognormal", 4.67968, 1.89823, 0.0703, 153, GAP_S),
)
"""Fitted to the 154 sessions in 44 h of one iPhone's display log (Mark Miller 2026, CC BY 4.0): one person."""


def screen_series(name: str, begins_s: Floats, ends_s: Floats) -> Series:
    """Return sessions as a series that is 1 while the screen is on."""
    at_ns = np.rint(np.stack((begins_s, ends_s), axis=1).ravel() * 1e6).astype(np.int64) * 1000
    screen = np.tile([1.0, 0.0], len(begins_s))
    if not len(at_ns) or at_ns[0] > 0:
        at_ns, screen = np.append([0], at_ns), np.append([0.0], screen)
    keep = np.append(np.diff(at_ns) > 0, True)  # where one session touches the next, it goes on
    return Series(name, at_ns[keep], {"screen_on": screen[keep]})


def find_sessions(series: Series, gap_s: float = GAP_S) -> tuple[Floats, Floats]:
    """Return begins and ends, in seconds from the series' start, of the times a phone was in use.

    With ``screen_on`` that is when it was 1; else every row is an event of the screen (the brightness log), and
    a run of events with gaps of at most ``gap_s`` is a session.
    """
    at_ns, screen = series.known("screen_on")
    if len(at_ns):
        edges = np.flatnonzero(np.diff(np.concatenate(([0.0], screen, [0.0]))))
        ends = np.append(at_ns, series.at_ns[-1])
        return at_ns[edges[0::2]] / 1e9, ends[edges[1::2]] / 1e9
    at_s = series.at_ns / 1e9
    breaks = np.flatnonzero(np.diff(at_s) > gap_s)
    begins = at_s[np.concatenate(([0], breaks + 1))] if len(at_s) else at_s
    ends = at_s[np.append(breaks, len(at_s) - 1)] if len(at_s) else at_s
    return begins, np.maximum(ends, begins + SHORTEST_S)


def fit_sessions(begins_s: Floats, ends_s: Floats, gap_s: float = GAP_S) -> SessionModel:
    """Fit a model to sessions in order; raise ``ValueError`` for fewer than eight.

    ``gap_s`` is the gap that ended a session, and so the shortest pause there can be (0 where ``screen_on``
    told); if shorter pauses are given, they have no least length.
    """
    if len(begins_s) < FEWEST:
        raise ValueError(f"{len(begins_s)} sessions are too few to fit, at least {FEWEST} are needed")
    pauses_s = begins_s[1:] - ends_s[:-1]
    least_s = gap_s if pauses_s.min() >= gap_s - SHORTEST_S else 0.0
    return SessionModel(best_fit(ends_s - begins_s), best_fit(pauses_s, least_s))


def best_fit(seconds: Floats, least_s: float = 0.0) -> Fit:
    """Return the distribution that is nearest to the durations, of those known."""
    return min(fits(seconds, least_s), key=lambda fit: fit.distance)


def fits(seconds: Floats, least_s: float = 0.0) -> tuple[Fit, ...]:
    """Return every known distribution fitted by maximum likelihood to durations above ``least_s``."""
    values = np.sort(np.maximum(np.asarray(seconds, np.float64) - least_s, 1e-3))
    found = []
    for name, fit in _FIT.items():
        first, second = fit(values)
        candidate = Fit(name, first, second, 0.0, len(values), least_s)
        found.append(replace(candidate, distance=distance(values + least_s, candidate)))
    return tuple(found)


def distance(seconds: Floats, fit: Fit) -> float:
    """Return Kolmogorov's distance of durations from a fit: the largest difference of cumulative shares."""
    values = np.sort(seconds)
    share = fit.cdf(values)
    steps = np.arange(len(values) + 1) / len(values)
    return float(max((steps[1:] - share).max(), (share - steps[:-1]).max()))


def split(
    begins_s: Floats, ends_s: Floats, share: float
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return the first ``share`` of the sessions, to fit on, and the rest, to judge by."""
    cut = round(len(begins_s) * share)
    return (begins_s[:cut], ends_s[:cut]), (begins_s[cut:], ends_s[cut:])


def _fit_lognormal(values: Floats) -> tuple[float, float]:
    logs = np.log(values)
    return float(logs.mean()), max(1e-6, float(logs.std()))


def _fit_weibull(values: Floats) -> tuple[float, float]:
    """Solve the likelihood equation for the shape by bisection; it falls steadily with the shape."""
    logs = np.log(values / values.max())

    def slope(shape: float) -> float:
        powers = np.exp(shape * logs)
        return 1 / shape + float(logs.mean()) - float((powers * logs).sum() / powers.sum())

    low, high = 0.02, 50.0
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    shape = math.sqrt(low * high)
    return float(values.max() * np.exp(shape * logs).mean() ** (1 / shape)), shape


def _cdf_lognormal(seconds: Floats, mean: float, deviation: float) -> Floats:
    normal = NormalDist(mean, deviation)
    return np.array([normal.cdf(math.log(x)) if x > 0 else 0.0 for x in seconds.tolist()])


def _cdf_weibull(seconds: Floats, scale: float, shape: float) -> Floats:
    return -np.expm1(-((np.maximum(seconds, 0.0) / scale) ** shape))


_FIT: Final[Mapping[str, Callable[[Floats], tuple[float, float]]]] = MappingProxyType({
    "lognormal": _fit_lognormal,
    "weibull": _fit_weibull,
    "exponential": lambda values: (float(values.mean()), 1.0),
})  # fmt: skip
_CDF: Final[Mapping[str, Callable[[Floats, float, float], Floats]]] = MappingProxyType({
    "lognormal": _cdf_lognormal,
    "weibull": _cdf_weibull,
    "exponential": _cdf_weibull,
})  # fmt: skip
