"""Streams of requests: generators at their rates, files with what they tell, all in one order of time."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Prefer, Request
from trimtab_sim.arrivals import Arrival
from trimtab_sim.scenario.build import DEFAULTS
from trimtab_sim.scenario.model import Stream
from trimtab_sim.scenario.workload import Source, Span, merged
from trimtab_sim.traces import ArrivalTrace, Labels, Series, load_series
from trimtab_sim.traces.sessions import OBSERVED, distance, find_sessions

HOUR = Span(3600 * NS_PER_S, start_s=0, seed=3)
TASK = ("fashion",)
DISPLAY_LOG = Path(__file__).parents[3] / "simulator" / "traces" / "iphone13promax_display_44h.csv.gz"


def stream(kind: str, **figures: Any) -> Stream:
    return Stream("s", Request("", "fashion", app="camera"), kind, {**DEFAULTS.get(kind, {}), **figures})


def arrivals(one: Stream, span: Span = HOUR, tasks: tuple[str, ...] = TASK) -> list[Arrival]:
    return list(Source(one, tasks).arrivals(span))


def trace(*at_s: float, **more: Any) -> ArrivalTrace:
    return ArrivalTrace("t", np.array([round(at * NS_PER_S) for at in at_s]), **more)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (stream("regular", every="500ms"), 7199),
        (stream("poisson", rate_per_s=2), 7200),
        (stream("gamma", rate_per_s=2, cv=3), 7200),
        (stream("diurnal", rate_per_s=2, peak="00:30", swing=1), 14_400),
        (stream("bursts", rate_per_s=12, quiet_rate_per_s=0.5, busy="10s", quiet="50s"), 8700),
    ],
    ids=lambda value: value.kind if isinstance(value, Stream) else "",
)
def test_a_generator_keeps_its_rate_and_its_seed(one: Stream, expected: int) -> None:
    counts = [len(arrivals(one, replace(HOUR, seed=seed))) for seed in range(8)]
    tolerance = {"regular": 0.001, "poisson": 0.02, "diurnal": 0.02, "gamma": 0.06}.get(one.kind, 0.35)
    assert np.mean(counts) == pytest.approx(expected, rel=tolerance)
    found = arrivals(one)
    times = [arrival.at_ns for arrival in found]
    assert times == sorted(times)
    assert times[-1] < HOUR.duration_ns
    assert found == arrivals(one)
    assert one.kind == "regular" or found != arrivals(one, replace(HOUR, seed=4))


def test_sessions_are_those_of_the_display_log_stretched_to_given_means() -> None:
    begins_s, ends_s = find_sessions(load_series(DISPLAY_LOG).series)
    stretch = 2.0
    means = {
        "session": f"{(ends_s - begins_s).mean() * stretch:.3f}s",
        "pause": f"{(begins_s[1:] - ends_s[:-1]).mean() * stretch:.3f}s",
    }
    month = Span(30 * 24 * 3600 * NS_PER_S, start_s=0, seed=1)
    at_ns = [one.at_ns for one in arrivals(stream("sessions", rate_per_s=0.5, **means), month)]
    gap_s = 120 * stretch  # none between requests of a session is longer
    made = find_sessions(Series("made", np.array(at_ns), {}), gap_s)
    in_use = OBSERVED.length.mean_s / (OBSERVED.length.mean_s + OBSERVED.pause.mean_s)
    assert len(at_ns) == pytest.approx(0.5 * in_use * month.duration_ns / NS_PER_S, rel=0.2)
    assert at_ns == [one.at_ns for one in arrivals(stream("sessions", rate_per_s=0.5, **means), month)]
    pauses_s = (made[0][1:] - made[1][:-1]) / stretch
    kept = OBSERVED.pause.of_mean(pauses_s.mean())
    assert kept.least_s == pytest.approx(120, abs=12)
    assert distance(begins_s[1:] - ends_s[:-1], kept) < 0.11
    assert distance(pauses_s, kept) < 0.05
    assert kept.mean_s == pytest.approx(pauses_s.mean())
    assert OBSERVED.length.of_mean(60).mean_s == pytest.approx(60)


def test_the_rate_follows_the_hours() -> None:
    weights = [0.0] * 12 + [1.0] * 12
    day = Span(24 * 3600 * NS_PER_S, start_s=6 * 3600, seed=1)
    found = arrivals(stream("diurnal", rate_per_s=0.1, hours=weights), day)
    hours = Counter(int(6 + arrival.at_ns / NS_PER_S / 3600) % 24 for arrival in found)
    assert set(hours) == set(range(12, 24))
    assert len(found) == pytest.approx(8640, rel=0.05)


def test_long_scenarios_are_made_in_blocks_without_a_seam() -> None:
    one = stream("poisson", rate_per_s=400)
    found = arrivals(one, Span(1200 * NS_PER_S, 0, 1))  # two blocks and a half
    per_minute = Counter(arrival.at_ns // (60 * NS_PER_S) for arrival in found)
    assert all(abs(count / 24_000 - 1) < 0.04 for count in per_minute.values())


def test_a_stream_has_a_window_and_a_limit() -> None:
    one = replace(stream("regular", every="1s"), begin_ns=10 * NS_PER_S, until_ns=20 * NS_PER_S)
    assert [a.at_ns // NS_PER_S for a in arrivals(one)] == list(range(11, 20))
    assert [a.at_ns // NS_PER_S for a in arrivals(replace(one, limit=3))] == [11, 12, 13]


def test_requests_are_like_the_stream_and_numbered() -> None:
    first, second, *_ = arrivals(stream("regular", every="1s"))
    assert first.request == Request("s-1", "fashion", app="camera")
    assert (second.request.request_id, first.sample, second.sample) == ("s-2", 0, 1)


def test_samples_are_gone_through_or_drawn() -> None:
    one = replace(stream("regular", every="1s"), samples=3, limit=600)
    assert [a.sample for a in arrivals(one)][:4] == [0, 1, 2, 0]
    drawn = Counter(a.sample for a in arrivals(replace(one, random_samples=True)))
    assert set(drawn) == {0, 1, 2}
    assert min(drawn.values()) > 150


def test_tasks_are_drawn() -> None:
    found = arrivals(replace(stream("regular", every="1s"), limit=900), tasks=("a", "b", "c"))
    counts = Counter(arrival.request.task for arrival in found)
    assert set(counts) == {"a", "b", "c"}
    assert min(counts.values()) > 240


def test_a_file_is_replayed_at_its_times_faster_and_again() -> None:
    one, times = stream("file"), trace(5, 6, 9)
    assert [a.at_ns / NS_PER_S for a in Source(one, TASK, times).arrivals(HOUR)] == [5, 6, 9]
    fast = replace(one, speed=2.0, begin_ns=NS_PER_S)
    assert [a.at_ns / NS_PER_S for a in Source(fast, TASK, times).arrivals(HOUR)] == [3.5, 4, 5.5]
    again = replace(one, repeat=True, limit=7)
    assert [a.at_ns / NS_PER_S for a in Source(again, TASK, times).arrivals(HOUR)] == [0, 1, 4, 6, 7, 10, 12]
    assert list(Source(replace(one, repeat=True), TASK, trace()).arrivals(HOUR)) == []


def test_what_a_file_tells_wins_over_the_stream() -> None:
    columns = {
        "latency_budget_ns": np.array([5e6, np.nan]),
        "min_accuracy_frac": np.array([np.nan, 0.9]),
        "priority": np.array([1.0, np.nan]),
        "elapsed_ns": np.array([1e6, np.nan]),
        "sample": np.array([7.0, np.nan]),
    }
    labels = {
        "task": Labels(("", "digits"), np.array([1, 0], np.int32)),
        "prefer": Labels(("", "latency"), np.array([0, 1], np.int32)),
    }
    one = stream("file")
    one = replace(one, request=replace(one.request, latency_budget_ns=1, min_accuracy_frac=0.5))
    first, second = Source(one, TASK, trace(1, 2, columns=columns, labels=labels)).arrivals(HOUR)
    assert (first.request.task, second.request.task) == ("digits", "fashion")
    assert (first.request.latency_budget_ns, second.request.latency_budget_ns) == (4_000_000, 1)
    assert (first.request.min_accuracy_frac, second.request.min_accuracy_frac) == (0.5, 0.9)
    assert (first.request.priority, first.request.prefer, second.request.prefer) == (
        1,
        Prefer.VALUE,
        Prefer.LATENCY,
    )
    assert (first.sample, second.sample) == (7, 1)


def test_streams_are_merged_by_time_then_by_their_order() -> None:
    one = replace(stream("regular", every="2s"), name="one", limit=3)
    other = replace(stream("regular", every="1s"), name="other", limit=4)
    found = merged((Source(one, TASK), Source(other, TASK)), HOUR)
    assert [a.request.request_id for a in found] == [
        "other-1", "one-1", "other-2", "other-3", "one-2", "other-4", "one-3",
    ]  # fmt: skip
