"""Sums a trace up: a row per column with what it ranges over, and how it goes over time as a row of bars."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from trimtab_sim.traces.series import COLUMNS, ArrivalTrace, Floats, Series, Times

BARS: Final = "▁▂▃▄▅▆▇█"
NOTHING: Final = " "
WIDTH: Final = 40


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """One column: values known, smallest, mean over time, largest, last, and its course in 40 parts."""

    column: str
    unit: str
    known: int
    low: float
    mean: float
    high: float
    last: float
    course: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ArrivalSummary:
    """A list of arrivals: how many, how fast, how bursty (``gap_cv``), and the rate's course in 40 parts."""

    count: int
    duration_s: float
    rate_per_s: float
    gap_cv: float
    gap_s_p50: float
    gap_s_p99: float
    busiest_minute: int
    course_per_s: tuple[float, ...]
    words: dict[str, dict[str, int]]


def summarise_series(series: Series) -> tuple[ColumnSummary, ...]:
    """Return a summary per column; the mean weighs each value by how long it holds."""
    return tuple(_column(series, name) for name in series.columns)


def summarise_arrivals(trace: ArrivalTrace) -> ArrivalSummary:
    """Return how many requests arrive and how."""
    gaps_s = np.diff(trace.at_ns) / 1e9
    duration_s = trace.duration_ns / 1e9
    mean_s = float(gaps_s.mean()) if len(gaps_s) else 0.0
    minutes = (trace.at_ns - trace.at_ns[0]) // (60 * 10**9) if len(trace) else trace.at_ns
    edges = np.linspace(0, max(1, trace.duration_ns), WIDTH + 1)
    course = np.histogram(trace.at_ns - trace.at_ns[:1], edges)[0] / max(1e-9, duration_s / WIDTH)
    words = {name: _counts(labels.names, labels.codes) for name, labels in trace.labels.items()}
    return ArrivalSummary(
        count=len(trace),
        duration_s=duration_s,
        rate_per_s=len(gaps_s) / duration_s if duration_s else 0.0,
        gap_cv=float(gaps_s.std() / mean_s) if mean_s else 0.0,
        gap_s_p50=_percentile(gaps_s, 50),
        gap_s_p99=_percentile(gaps_s, 99),
        busiest_minute=int(np.unique(minutes, return_counts=True)[1].max(initial=0)),
        course_per_s=tuple(course.tolist()),
        words=words,
    )


def sparkline(course: tuple[float, ...]) -> str:
    """Return a row of bars, lowest value to highest; a blank where nothing is known."""
    known = [value for value in course if value == value]
    if not known:
        return NOTHING * len(course)
    low, high = min(known), max(known)
    step = (high - low) / len(BARS)
    return "".join(
        NOTHING if value != value else BARS[min(len(BARS) - 1, int((value - low) / step)) if step > 0 else 0]
        for value in course
    )


def _column(series: Series, name: str) -> ColumnSummary:
    at_ns, values = series.known(name)
    unit = COLUMNS[name].unit if name in COLUMNS else "raw"
    if not len(values):
        nan = float("nan")
        return ColumnSummary(name, unit, 0, nan, nan, nan, nan, (nan,) * WIDTH)
    end_ns = int(series.at_ns[-1])
    edges = np.linspace(int(series.at_ns[0]), max(end_ns, int(series.at_ns[0]) + 1), WIDTH + 1)
    course = _means(at_ns, values, edges)
    whole = _means(at_ns, values, np.array([at_ns[0], max(end_ns, int(at_ns[0]) + 1)], np.float64))
    return ColumnSummary(
        name, unit, len(values), float(values.min()), float(whole[0]), float(values.max()), float(values[-1]),
        tuple(course.tolist()),
    )  # fmt: skip


def _means(at_ns: Times, values: Floats, edges: Floats) -> Floats:
    """Return the mean over time between edges, each value holding until the next; NaN before the first."""
    held = np.concatenate(([0.0], np.cumsum(values[:-1] * np.diff(at_ns).astype(np.float64))))

    def integral(moment: Floats) -> Floats:
        place = np.maximum(np.searchsorted(at_ns, moment, side="right") - 1, 0)
        return held[place] + values[place] * np.maximum(moment - at_ns[place], 0.0)

    begins = np.maximum(edges[:-1], float(at_ns[0]))
    lengths = edges[1:] - begins
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > 0, (integral(edges[1:]) - integral(begins)) / lengths, np.nan)


def _percentile(values: Floats, share: float) -> float:
    return float(np.percentile(values, share)) if len(values) else 0.0


def _counts(names: tuple[str, ...], codes: np.ndarray[tuple[int], np.dtype[np.int32]]) -> dict[str, int]:
    """Return how often the ten most frequent words occur."""
    counts = np.bincount(codes, minlength=len(names))
    return {names[i]: int(counts[i]) for i in np.argsort(-counts, kind="stable")[:10].tolist() if counts[i]}
