"""Makes up arrivals: Poisson, gamma, by the hour of the day, in bursts, within sessions.

The same seed gives the same trace on every machine: chance comes from numpy's ``RandomState``, whose streams
are frozen for good (NEP 19), and gaps are rounded to the microsecond before they are added up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from trimtab_sim.traces.series import ARRIVAL_COLUMNS, ArrivalTrace, Floats, Labels, Times

HOURS: Final = 24
MOST_ARRIVALS: Final = 50_000_000
"""A generator that would make more raises ``ValueError``: the rate or the duration is a mistake."""


def poisson(seed: int, rate_per_s: float, duration_s: float) -> ArrivalTrace:
    """Return arrivals with exponential gaps: independent of each other, at a constant rate."""
    rng, need = _begin(seed, rate_per_s, duration_s)
    return _trace(
        "poisson", _cut(lambda count: rng.standard_exponential(count) / rate_per_s, duration_s, need)
    )


def gamma(seed: int, rate_per_s: float, cv: float, duration_s: float) -> ArrivalTrace:
    """Return arrivals with gamma gaps: ``cv`` below 1 is more regular than Poisson, above 1 more bursty.

    ``cv`` is the gaps' standard deviation over their mean, so the shape is ``1 / cv**2``.
    """
    rng, need = _begin(seed, rate_per_s, duration_s)
    if not 0.01 <= cv <= 100:
        raise ValueError(f"cv {cv}: expected 0.01 to 100")
    shape = cv**-2
    return _trace(
        "gamma", _cut(lambda count: rng.standard_gamma(shape, count) / (shape * rate_per_s), duration_s, need)
    )


def diurnal(
    seed: int, rates_per_s: Sequence[float], duration_s: float, start_hour: float = 0.0
) -> ArrivalTrace:
    """Return Poisson arrivals whose rate depends on the hour: 24 rates, beginning at ``start_hour``."""
    if len(rates_per_s) != HOURS or not all(0 <= rate < 1e6 for rate in rates_per_s):
        raise ValueError(f"{HOURS} rates per second are expected, none negative")
    if not 0 <= start_hour < HOURS:
        raise ValueError(f"start hour {start_hour}: expected 0 to {HOURS}")
    rng, _ = _begin(seed, max(max(rates_per_s), 1e-12), duration_s)
    first = np.floor(start_hour)
    edges = np.arange(first, start_hour + duration_s / 3600 + 2.0)
    rates = np.array(rates_per_s, np.float64)[edges[:-1].astype(np.int64) % HOURS]
    edges_s = np.clip((edges - start_hour) * 3600, 0.0, duration_s)
    return _trace("diurnal", _at_rates(rng, edges_s, rates))


def bursts(
    seed: int,
    rates_per_s: tuple[float, float],
    mean_s: tuple[float, float],
    duration_s: float,
) -> ArrivalTrace:
    """Return arrivals of a Markov-modulated Poisson process: quiet, burst, quiet, ...

    ``rates_per_s`` and ``mean_s`` are those of quiet times and of bursts; how long each lasts is exponential.
    """
    rng, _ = _begin(seed, max(*rates_per_s, 1e-12), duration_s)
    if min(rates_per_s) < 0 or not all(1e-3 <= mean <= 1e9 for mean in mean_s):
        raise ValueError(f"bursts of {mean_s} s at {rates_per_s} per second are not possible")
    lengths = _cut_lengths(rng, mean_s, duration_s)
    edges_s = np.concatenate(([0.0], np.minimum(np.cumsum(lengths), duration_s)))
    rates = np.array(rates_per_s, np.float64)[np.arange(len(lengths)) % 2]
    return _trace("bursts", _at_rates(rng, edges_s, rates))


def within(seed: int, begins_s: Floats, ends_s: Floats, rate_per_s: float) -> ArrivalTrace:
    """Return Poisson arrivals at ``rate_per_s`` inside the spans given, none outside (see ``sessions``)."""
    rng, _ = _begin(seed, rate_per_s, max(1e-9, float((ends_s - begins_s).sum())))
    edges_s = np.stack((begins_s, ends_s), axis=1).ravel()
    rates = np.tile([rate_per_s, 0.0], len(begins_s))[:-1]
    return _trace("sessions", _at_rates(rng, edges_s, rates))


def labelled(
    trace: ArrivalTrace, words: Mapping[str, str] | None = None, numbers: Mapping[str, float] | None = None
) -> ArrivalTrace:
    """Return a trace all of whose arrivals have these words (task, app) and numbers (latency_budget_ns, ...)."""
    labels = {name: Labels((word,), np.zeros(len(trace), np.int32)) for name, word in (words or {}).items()}
    columns = {name: np.full(len(trace), float(value)) for name, value in (numbers or {}).items()}
    return replace(trace, columns={**trace.columns, **columns}, labels={**trace.labels, **labels})


def merged(name: str, traces: Sequence[ArrivalTrace]) -> ArrivalTrace:
    """Return the arrivals of several traces in one, by time; at the same time in the order of the traces."""
    at_ns = np.concatenate([trace.at_ns for trace in traces])
    order = np.argsort(at_ns, kind="stable")
    columns = {
        column: np.concatenate([trace.columns.get(column, np.full(len(trace), np.nan)) for trace in traces])[
            order
        ]
        for column in ARRIVAL_COLUMNS
        if any(column in trace.columns for trace in traces)
    }
    names = dict.fromkeys(label for trace in traces for label in trace.labels)
    labels = {
        label: _joined([trace.labels.get(label) or _blank(trace) for trace in traces], order)
        for label in names
    }
    epochs = {trace.epoch_unix_ns for trace in traces}
    return ArrivalTrace(name, at_ns[order], columns, labels, epochs.pop() if len(epochs) == 1 else None)


def _blank(trace: ArrivalTrace) -> Labels:
    return Labels(("",), np.zeros(len(trace), np.int32))


def _joined(parts: Sequence[Labels], order: Times) -> Labels:
    known: dict[str, int] = {}
    codes = [
        np.array([known.setdefault(word, len(known)) for word in part.names], np.int32)[part.codes]
        for part in parts
    ]
    return Labels(tuple(known), np.concatenate(codes)[order])


def _begin(seed: int, rate_per_s: float, duration_s: float) -> tuple[np.random.RandomState, int]:
    """Return the source of chance, and about how many arrivals to expect."""
    if not (0 < rate_per_s < 1e9 and 0 < duration_s < 1e10):
        raise ValueError(f"{rate_per_s} arrivals per second for {duration_s} s are not possible")
    if rate_per_s * duration_s > MOST_ARRIVALS:
        raise ValueError(f"{rate_per_s * duration_s:.3g} arrivals are more than {MOST_ARRIVALS:.3g}")
    return np.random.RandomState(seed), round(rate_per_s * duration_s)


def _cut(draw: Callable[[int], Floats], duration_s: float, expected: int) -> Times:
    """Return times in microseconds below ``duration_s``, drawing gaps in seconds until they fill it."""
    end_us, parts, last_us = round(duration_s * 1e6), [], 0
    while last_us < end_us:
        gaps_us = np.clip(np.rint(draw(expected // 8 + 64) * 1e6), 0.0, end_us).astype(np.int64)
        parts.append(last_us + np.cumsum(gaps_us))
        last_us = int(parts[-1][-1])
    at_us = np.concatenate(parts)
    return at_us[at_us < end_us]


def _cut_lengths(rng: np.random.RandomState, mean_s: tuple[float, float], duration_s: float) -> Floats:
    """Return the lengths of quiet times and bursts in turn, until they fill ``duration_s``."""
    parts: list[Floats] = []
    filled_s = 0.0
    while filled_s < duration_s:
        parts.append(rng.standard_exponential(128) * np.tile(mean_s, 64))
        filled_s += float(parts[-1].sum())
    return np.concatenate(parts)


def _at_rates(rng: np.random.RandomState, edges_s: Floats, rates_per_s: Floats) -> Times:
    """Return Poisson times (us) at a rate that is constant between edges: unit-rate times, stretched.

    Time rescaling (Brown et al. 2002, Neural Computation 14): arrivals of a unit-rate process, mapped through
    the inverse of the integrated rate.
    """
    integral = np.concatenate(([0.0], np.cumsum(rates_per_s * np.diff(edges_s))))
    total = float(integral[-1])
    if total > MOST_ARRIVALS:
        raise ValueError(f"{total:.3g} arrivals are more than {MOST_ARRIVALS:.3g}")
    parts, reached = [np.empty(0)], 0.0
    while reached < total:
        parts.append(reached + np.cumsum(rng.standard_exponential(int(total) // 8 + 64)))
        reached = float(parts[-1][-1])
    unit = np.concatenate(parts)
    unit = unit[unit < total]
    piece = np.searchsorted(integral, unit, side="right") - 1
    at_s = edges_s[piece] + (unit - integral[piece]) / rates_per_s[piece]
    return np.rint(at_s * 1e6).astype(np.int64)


def _trace(name: str, at_us: Times) -> ArrivalTrace:
    return ArrivalTrace(name, at_us * 1000)
