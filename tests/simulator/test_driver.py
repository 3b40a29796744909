import pytest

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.codec import CodecError
from trimtab.core.replay import replay, steps
from trimtab.core.scheduler import Scheduler
from trimtab.domain.decision import Outcome
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab.ports import RuntimeFailure
from trimtab.strategies import strategy_named
from trimtab_sim import (
    Arrival,
    Battery,
    DriverSettings,
    JournalRecord,
    ModelledRuntime,
    RunReport,
    SimulatedDriver,
    TimeTravelError,
    World,
    poisson,
    read_items,
)
from trimtab_sim.runtime import Loading, Run, Running

KINDS = (Request("", "tiny", latency_budget_ns=5 * NS_PER_MS), Request("", "tiny", min_accuracy_frac=0.9))
CHECKED = DriverSettings(checked=True)


class Failing(ModelledRuntime):
    """Fails to run ``large`` and to load ``staged``."""

    def run(self, run: Run, now_ns: int) -> Running:
        if run.decision.variant == "large":
            raise RuntimeFailure("broken")
        return super().run(run, now_ns)

    def load(self, task: str, variant: str, processor: Processor, now_ns: int) -> Loading:
        if variant == "staged":
            raise RuntimeFailure("gone")
        return super().load(task, variant, processor, now_ns)


def drive(world: World, count: int = 400, rate_per_s: float = 200.0) -> tuple[RunReport, JournalRecord]:
    record = JournalRecord()
    runtime = ModelledRuntime(world.families, world.profiles, seed=4)
    battery = Battery(5.0, 0.9, 50.0, start_ns=NS_PER_S)
    driver = SimulatedDriver(world, Policy("p"), runtime, battery, CHECKED, record=record.append)
    return driver.run(poisson(4, rate_per_s, count, KINDS, driver.start())), record


def test_every_request_is_accounted_for(world: World) -> None:
    report, record = drive(world)
    assert report.requests == len(report.served) == 400
    assert sum(report.outcomes().values()) == 400
    assert report.unfinished == 0
    assert sum(report.share().values()) == pytest.approx(1.0)
    runs = [item.energy_uj for _, item in record.items if isinstance(item, ev.StageFinished)]
    assert report.run_energy_uj == pytest.approx(sum(runs))
    assert report.loads == sum(isinstance(item, cm.Load) for _, item in record.items)
    assert all(one.latency_ns >= one.result.run_ns for one in report.served if one.answered)
    assert report.accuracy is not None
    assert report.accuracy_all is not None
    assert report.accuracy_all <= report.accuracy


def test_the_battery_pays_for_all_of_it(world: World) -> None:
    report, _ = drive(world)
    seconds = (report.ended_ns - report.started_ns) / NS_PER_S
    spent_j = report.energy_j + 0.050 * seconds
    assert report.battery[0] == (NS_PER_S, 0.9)
    assert report.battery_end_frac == pytest.approx(0.9 - spent_j / 5.0, abs=0.0011)
    assert report.battery_empty_ns is None


def test_a_run_replays_and_its_bytes_come_back(world: World) -> None:
    _, record = drive(world)
    data = record.to_bytes()
    assert list(read_items(data)) == record.items
    assert list(replay(Scheduler(strategy_named), steps(record.items))) == []
    with pytest.raises(CodecError, match="line 2"):
        list(read_items(b"1 TimerFired {}\n2 Nonsense {}\n"))


def test_failures_of_the_runtime_become_events(world: World) -> None:
    record = JournalRecord()
    runtime = Failing(world.families, world.profiles)
    driver = SimulatedDriver(world, Policy("p"), runtime, settings=CHECKED, record=record.append)
    report = driver.run(poisson(1, 100.0, 100, KINDS, driver.start()))
    seen = {type(item) for _, item in record.items}
    assert {ev.RunFailed, ev.LoadFailed} <= seen
    assert set(report.share()) == {"small"}
    assert report.requests == 100


def test_dispatch_takes_its_time(world: World) -> None:
    latencies = []
    for dispatch_ns in (0, NS_PER_MS):
        runtime = ModelledRuntime(world.families, world.profiles)
        driver = SimulatedDriver(
            world, Policy("p"), runtime, settings=DriverSettings(dispatch_ns=dispatch_ns)
        )
        request = Request("one", "tiny", variant="small", latency_budget_ns=NS_PER_S)
        (served,) = driver.run([Arrival(driver.start() + 1, request)]).served
        latencies.append(served.latency_ns)
    assert latencies[1] - latencies[0] == NS_PER_MS


def test_an_end_leaves_requests_unfinished(world: World) -> None:
    runtime = ModelledRuntime(world.families, world.profiles)
    driver = SimulatedDriver(world, Policy("p"), runtime, settings=CHECKED)
    start_ns = driver.start()
    report = driver.run(
        [Arrival(start_ns + 10, Request("one", "tiny", variant="large"))], until_ns=start_ns + NS_PER_MS
    )
    assert (report.requests, report.unfinished, report.served) == (1, 1, [])
    assert report.ended_ns == start_ns + NS_PER_MS


def test_given_events_happen_at_their_times(world: World) -> None:
    runtime = ModelledRuntime(world.families, world.profiles)
    driver = SimulatedDriver(world, Policy("p"), runtime, settings=CHECKED)
    at_ns = driver.start() + 10
    arrivals = [
        Arrival(at_ns, Request("gone", "tiny", variant="large")),
        Arrival(at_ns + 5000, Request("late", "tiny")),
    ]
    given = [(at_ns + 1000, ev.RequestCancelled("gone")), (at_ns + 2000, ev.DrainStarted())]
    report = driver.run(arrivals, given)
    assert [one.result.outcome for one in report.served] == [Outcome.CANCELLED, Outcome.REJECTED]
    assert report.drained


def test_the_device_is_told_when_it_changes_and_once_a_minute(world: World) -> None:
    record = JournalRecord()
    runtime = ModelledRuntime(world.families, world.profiles)
    battery = Battery(1.5)  # the load alone stays within a step of what is told, load and run do not
    driver = SimulatedDriver(world, Policy("p"), runtime, battery, CHECKED, record=record.append)
    arrivals = [Arrival(driver.start() + 100 * NS_PER_S, Request("one", "tiny", variant="small"))]
    driver.run(arrivals, until_ns=300 * NS_PER_S)
    told = [at_ns // NS_PER_S for at_ns, item in record.items if isinstance(item, ev.DeviceChanged)]
    assert told == [1, 65, 102, 166, 226, 286]


def test_arrivals_must_come_in_order_of_time(world: World) -> None:
    driver = SimulatedDriver(world, Policy("p"), ModelledRuntime(world.families, world.profiles))
    now_ns = driver.start()
    with pytest.raises(TimeTravelError):
        driver.run([Arrival(now_ns + 9, Request("a", "tiny")), Arrival(now_ns + 8, Request("b", "tiny"))])
