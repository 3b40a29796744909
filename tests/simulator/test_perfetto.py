"""The trace of a run obeys the Trace Event Format and shows what happened."""

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_MS
from trimtab.domain.request import Request
from trimtab_sim import Arrival, Battery, ModelledRuntime, RunReport, SimulatedDriver, World, poisson
from trimtab_sim.results.perfetto import DEVICE, LOADER, PROCESSORS, REQUESTS, TraceWriter
from trimtab_sim.results.trial import Trial

KINDS = (Request("", "tiny", latency_budget_ns=5 * NS_PER_MS), Request("", "tiny", min_accuracy_frac=0.9))
PHASES = {
    "X": {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"},
    "i": {"name", "cat", "ph", "ts", "s", "pid", "tid", "args"},
    "C": {"name", "ph", "ts", "pid", "args"},
    "M": {"name", "ph", "pid", "args"},
}
"""Fields by phase, after "Trace Event Format", sections "Complete", "Instant", "Counter" and "Metadata Events"."""
METADATA = {
    "process_name": ("name", str),
    "thread_name": ("name", str),
    "process_sort_index": ("sort_index", int),
    "thread_sort_index": ("sort_index", int),
}


def traced(world: World, path: Path, count: int = 300, rate_per_s: float = 700.0) -> RunReport:
    with TraceWriter(path, world.processors) as writer:
        runtime = ModelledRuntime(world.families, world.profiles, seed=6)
        driver = SimulatedDriver(world, Policy("p"), runtime, Battery(40.0, 1.0, 100.0), watch=writer)
        start_ns = driver.start()
        writer.begins(Trial(Policy("p"), 6), start_ns, lambda: 0)
        report = driver.run(poisson(6, rate_per_s, count, KINDS, start_ns))
        writer.lost(Arrival(report.ended_ns, Request("gone", "tiny")))
    return report


def events_in(path: Path) -> list[dict[str, Any]]:
    trace = json.loads(gzip.decompress(path.read_bytes()))
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    events: list[dict[str, Any]] = trace["traceEvents"]
    return events


def checked(event: dict[str, Any]) -> None:
    """Fail unless an event has what its phase needs, nothing else, and values of the right kinds."""
    phase = event["ph"]
    assert PHASES[phase] <= set(event) <= PHASES[phase] | {"tid"}, event
    assert type(event["pid"]) is int
    assert type(event.get("tid", 0)) is int
    assert isinstance(event["name"], str)
    assert event["name"]
    assert isinstance(event["args"], dict)
    if phase == "M":
        key, kind = METADATA[event["name"]]
        assert type(event["args"][key]) is kind
        return
    assert type(event["ts"]) in (int, float)
    assert event["ts"] >= 0
    if phase == "X":
        assert type(event["dur"]) in (int, float)
        assert event["dur"] >= 0
    if phase == "C":
        assert event["args"]
        assert all(type(value) in (int, float) for value in event["args"].values())
    if phase == "i":
        assert event["s"] in ("g", "p", "t")


def no_number(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def test_every_event_obeys_the_format(world: World, tmp_path: Path) -> None:
    """No phase needs an id here: there are no flow (s, t, f), async (b, n, e) or object events."""
    path = tmp_path / "trace.json.gz"
    traced(world, path)
    json.loads(gzip.decompress(path.read_bytes()), parse_constant=no_number)
    events = events_in(path)
    assert {event["ph"] for event in events} == set(PHASES)
    for event in events:
        checked(event)
    tracks = {(event["pid"], event.get("tid")) for event in events if event["ph"] in "Xi"}
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert tracks <= named
    times = [event["ts"] for event in events if event["ph"] != "M"]
    assert times == sorted(times)


def test_a_run_without_requests_has_a_trace(world: World, tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    with TraceWriter(path, world.processors):
        pass
    events = events_in(path)
    assert {event["ph"] for event in events} == {"M"}
    for event in events:
        checked(event)


def test_loads_that_wait_for_each_other_are_written_in_their_turn(world: World, tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    with TraceWriter(path, world.processors) as writer:
        writer.loaded(5_000_000, "tiny", "large", "cpu", 1_000)
        writer.loaded(9_000_000, "tiny", "small", "cpu", 1_000)
        writer.device(7_000_000, DeviceState(cpu_load_frac=0.5))
    shown = [event["name"] for event in events_in(path) if event["ph"] != "M"]
    assert shown == ["load tiny/large", "cpu load", "load tiny/small"]


def test_slices_of_one_track_never_overlap(world: World, tmp_path: Path) -> None:
    """Complete events of one thread must nest; these are one after the other."""
    path = tmp_path / "trace.json.gz"
    traced(world, path)
    tracks: dict[int, list[tuple[float, float]]] = {}
    for event in events_in(path):
        if event["ph"] == "X":
            assert event["pid"] == PROCESSORS
            tracks.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))
    assert len(tracks) > 2
    for slices in tracks.values():
        for (_, end), (begin, _) in pairwise(sorted(slices)):
            assert end <= begin + 1e-6


def test_trace_shows_what_happened(world: World, tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    report = traced(world, path, rate_per_s=4000.0)
    events = events_in(path)
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert list(names.values()) == ["loads", "missed requests", *(one.name for one in world.processors)]
    titles = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert titles == ["processors", "device", "processors: p, seed 6"]
    runs = [event for event in events if event.get("cat") == "run"]
    answered = [one for one in report.served if one.answered]
    assert {event["args"]["request"] for event in runs} >= {one.result.request_id for one in answered}
    for one in answered:
        mine = [event for event in runs if event["args"]["request"] == one.result.request_id]
        assert sum(event["dur"] for event in mine) == pytest.approx(one.result.run_ns / 1e3)
        assert {names[event["tid"]] for event in mine} == {one.result.processor}
        assert mine[0]["name"] == f"tiny/{one.result.variant}"
        assert one.decision is not None
        assert mine[-1]["args"]["reason"] == one.decision.summary
        deadline_us = (one.arrival.at_ns + one.decision.budget_ns) / 1e3
        assert mine[0]["args"]["deadline_us"] == pytest.approx(deadline_us)
    loads = [event for event in events if event.get("cat") == "load"]
    assert len(loads) == report.loads
    assert {event["tid"] for event in loads} == {LOADER}
    missed = [event for event in events if event.get("cat") == "missed"]
    assert len(missed) == sum(not one.result.on_time for one in report.served) + 1 > 1
    assert {event["tid"] for event in missed} == {REQUESTS}
    assert missed[-1]["name"] == "device off"


def counter(events: list[dict[str, Any]], name: str) -> list[float]:
    mine = [event for event in events if event["ph"] == "C" and event["name"] == name]
    assert {event["pid"] for event in mine} == {DEVICE}
    return [value for event in mine for value in event["args"].values()]


def test_queue_fills_and_empties(world: World, tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    traced(world, path)
    queue = counter(events_in(path), "queue")
    assert min(queue) == 0
    assert max(queue) > 2
    assert queue[-1] == 0
    assert all(one != other for one, other in pairwise(queue))


def test_battery_is_what_the_scheduler_was_told(world: World, tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    report = traced(world, path, rate_per_s=60.0)
    levels = [100 * level for _, level in report.battery[:-1]]
    assert len(levels) > 3
    assert counter(events_in(path), "battery") == pytest.approx(levels)


def test_device_is_told_as_far_as_it_is_known(world: World, tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    with TraceWriter(path, world.processors) as writer:
        writer.device(1_000, DeviceState())
        writer.device(
            2_000, DeviceState(temperature_mc=41_500, memory_available_bytes=1 << 30, cpu_load_frac=0.25)
        )
    events = events_in(path)
    assert counter(events, "temperature") == [41.5]
    assert counter(events, "memory available") == [1 << 30]
    assert counter(events, "cpu load") == [25.0]


def test_same_run_same_bytes_and_plain_text_where_asked(world: World, tmp_path: Path) -> None:
    first, again, plain = tmp_path / "a.json.gz", tmp_path / "b.json.gz", tmp_path / "c.json"
    for path in (first, again, plain):
        traced(world, path, count=80)
    assert first.read_bytes() == again.read_bytes()
    assert gzip.decompress(first.read_bytes()) == plain.read_bytes()


def test_writer_holds_only_what_is_in_flight(world: World, tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "trace.json.gz", world.processors) as writer:
        driver = SimulatedDriver(
            world, Policy("p"), ModelledRuntime(world.families, world.profiles), watch=writer, keep=False
        )
        driver.run(poisson(1, 200.0, 500, KINDS, driver.start()))
        assert not writer._flights
        assert writer._waiting == 0
    writer.close()
