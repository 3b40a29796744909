"""What is summed up is what was kept, whether it is kept or not, and in memory that does not grow."""

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.domain.decision import Decision, Outcome
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab_sim import (
    Battery,
    DriverSettings,
    Histogram,
    JournalRecord,
    ModelledRuntime,
    RunReport,
    Served,
    SimulatedDriver,
    Watcher,
    World,
    poisson,
)

KINDS = (
    Request("", "tiny", latency_budget_ns=2 * NS_PER_MS),
    Request("", "tiny", latency_budget_ns=200 * NS_PER_MS, min_accuracy_frac=0.9),
    Request("", "tiny", variant="large", latency_budget_ns=5 * NS_PER_MS),
    Request("", "tiny", variant="nobody"),
)


class Notes(Watcher):
    """Writes down all it is told."""

    def __init__(self) -> None:
        self.ended: list[Served] = []
        self.decisions: list[tuple[int, Decision]] = []
        self.levels: list[tuple[int, float | None]] = []
        self.stages: list[tuple[object, ...]] = []
        self.loads: list[tuple[object, ...]] = []

    def served(self, one: Served) -> None:
        self.ended.append(one)

    def decided(self, now_ns: int, decision: Decision) -> None:
        self.decisions.append((now_ns, decision))

    def device(self, now_ns: int, state: DeviceState) -> None:
        self.levels.append((now_ns, state.battery_frac))

    def started(
        self,
        now_ns: int,
        request_id: str,
        *,
        task: str,
        variant: str,
        processor: str,
        stage: int,
        run_ns: int,
        energy_uj: float,
    ) -> None:
        self.stages.append((now_ns, request_id, task, variant, processor, stage, run_ns, energy_uj))

    def loaded(self, now_ns: int, task: str, variant: str, pool: str, load_ns: int) -> None:
        self.loads.append((now_ns, task, variant, pool, load_ns))


def drive(world: World, count: int = 3600, *, keep: bool) -> tuple[RunReport, Notes, JournalRecord]:
    """Run into an overload on a small battery: some are late, refused, dropped, or cut short."""
    record, notes = JournalRecord(), Notes()
    runtime = ModelledRuntime(world.families, world.profiles, seed=4)
    battery = Battery(30.0, 0.9, 50.0, start_ns=NS_PER_S)
    settings = DriverSettings(dispatch_ns=100_000)
    driver = SimulatedDriver(
        world,
        Policy("p", queue_limit=4),
        runtime,
        battery,
        settings,
        record=record.append,
        watch=notes,
        keep=keep,
    )
    return driver.run(poisson(4, 1500.0, count, KINDS, driver.start())), notes, record


def test_totals_are_those_of_what_was_kept(world: World) -> None:
    report, _, _ = drive(world, keep=True)
    totals, answers = report.totals, [one for one in report.served if one.answered]
    assert totals.outcomes == {o: sum(s.result.outcome is o for s in report.served) for o in Outcome}
    assert min(totals.outcomes[o] for o in (Outcome.DONE, Outcome.REJECTED, Outcome.EXPIRED)) > 0
    assert totals.ended == report.requests == len(report.served) == 3600
    assert totals.decisions == len(report.decisions)
    assert totals.on_time == sum(s.result.on_time for s in report.served) > 0
    assert totals.late == len(answers) - totals.on_time > 0
    assert totals.given_up == sum(bool(s.result.given_up) for s in answers) > 0
    assert totals.judged == len(answers)
    assert totals.correct == sum(bool(s.correct) for s in answers)
    assert totals.correct_on_time == sum(bool(s.correct) and s.result.on_time for s in answers)
    assert totals.by_variant() == Counter(s.result.variant for s in answers)
    for name in ("queue_ns", "load_ns", "run_ns"):
        assert getattr(totals, name) == sum(getattr(s.result, name) for s in report.served)
    assert totals.energy_uj == pytest.approx(sum(s.result.energy_uj for s in report.served))
    assert totals.latency_ns.total == len(answers)
    assert totals.latency_ns.mean == pytest.approx(sum(s.latency_ns for s in answers) / len(answers))
    assert report.battery_end_frac == report.battery[-1][1]


def test_what_is_not_kept_is_still_counted(world: World) -> None:
    kept, _, journal = drive(world, keep=True)
    report, _, same = drive(world, keep=False)
    assert same.to_bytes() == journal.to_bytes()
    assert (report.served, report.decisions, report.battery) == ([], [], [])
    assert report.totals == kept.totals
    for name in ("requests", "on_time_frac", "accuracy", "accuracy_all", "energy_j", "battery_end_frac"):
        assert getattr(report, name) == getattr(kept, name)
    assert (report.share(), report.outcomes()) == (kept.share(), kept.outcomes())


def test_a_watcher_is_told_everything(world: World) -> None:
    report, notes, record = drive(world, keep=True)
    assert notes.ended == report.served
    assert notes.decisions == report.decisions
    assert notes.levels == report.battery[: len(notes.levels)]
    told = [event for _, event in record.items if isinstance(event, ev.DeviceChanged)]
    assert len(notes.levels) == len(told) > 2
    begun = [(at_ns, c) for at_ns, c in record.items if isinstance(c, cm.RunStage)]
    assert [stage[:6] for stage in notes.stages] == [
        (at_ns, c.request_id, c.task, c.variant, c.processor, c.stage) for at_ns, c in begun
    ]
    runs = {(e.request_id, e.stage): e for _, e in record.items if isinstance(e, ev.StageFinished)}
    for _, request_id, _, _, _, stage, run_ns, energy_uj in notes.stages:
        ended = runs[str(request_id), int(str(stage))]
        assert (ended.run_ns, ended.energy_uj) == (run_ns, energy_uj)
    loads = [e for _, e in record.items if isinstance(e, ev.LoadFinished)]
    assert sorted(load[1:] for load in notes.loads) == sorted(
        (e.task, e.variant, e.pool, e.load_ns) for e in loads
    )


def test_memory_does_not_grow_with_the_trace(world: World) -> None:
    def peak_bytes(count: int) -> int:
        runtime = ModelledRuntime(world.families, world.profiles, seed=4)
        battery = Battery(50.0, 0.9, 50.0, start_ns=NS_PER_S)
        driver = SimulatedDriver(world, Policy("p", queue_limit=4), runtime, battery, keep=False)
        tracemalloc.start()
        try:
            driver.run(poisson(4, 300.0, count, KINDS, driver.start()))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(100)
    short, long = peak_bytes(2100), peak_bytes(5600)
    assert long < short + 14_000, "less than four bytes for each request more"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=60), st.floats(0.0, 1.0))
def test_quantiles_are_near(values: list[int], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    rank = max(0, min(len(values) - 1, -int(-share * len(values) // 1) - 1))
    exact = sorted(values)[rank]
    near = [sorted(values)[max(0, rank - 1)], exact, sorted(values)[min(len(values) - 1, rank + 1)]]
    found = histogram.quantile(share)
    assert any(abs(found - one) <= one / 128 + 0.5 for one in near)
    assert (histogram.total, histogram.sum) == (len(values), sum(values))
    assert histogram.mean == pytest.approx(sum(values) / len(values))
    assert len(histogram.counts) <= len(set(values))


def test_histograms_add_up_and_an_empty_one_says_nothing() -> None:
    one, other, both = Histogram(), Histogram(), Histogram()
    for value in (1, 5, 900, 10**9):
        one.add(value)
        both.add(value)
    for value in (5, 10**6 + 1):
        other.add(value)
        both.add(value)
    one.merge([other, Histogram()])
    assert one == both
    assert (Histogram().mean, Histogram().quantile(0.5), Histogram().total) == (0.0, 0.0, 0)
    assert both.quantile(0.0) == 1.0
    assert max(both.counts) <= 10**9
