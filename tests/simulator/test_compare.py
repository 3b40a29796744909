import time
from dataclasses import replace

import pytest

from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab_sim import (
    Arrival,
    Battery,
    DriverSettings,
    ModelledRuntime,
    SimulatedDriver,
    StrategyRow,
    World,
    compare,
    poisson,
)
from trimtab_sim.runtime import SimulatedRuntime

KINDS = (Request("", "tiny", latency_budget_ns=6 * NS_PER_MS), Request("", "tiny", min_accuracy_frac=0.9))


class Closing(ModelledRuntime):
    """Counts how often it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def rows_of(world: World, rate_per_s: float) -> tuple[dict[str, StrategyRow], list[Closing]]:
    made: list[Closing] = []

    def runtime() -> SimulatedRuntime:
        made.append(Closing(world.families, world.profiles, seed=2))
        return made[-1]

    rows = compare(
        ["value", "largest", "smallest", "static:staged@cpu:0"],
        list(poisson(2, rate_per_s, 600, KINDS)),
        world,
        Policy("p"),
        runtime,
        device=lambda start_ns: Battery(20.0, 1.0, 100.0, start_ns=start_ns),
        settings=DriverSettings(checked=True),
    )
    return rows, made


def test_every_strategy_meets_the_same_requests(world: World) -> None:
    rows, made = rows_of(world, rate_per_s=100.0)
    assert [row.requests for row in rows.values()] == [600] * 4
    assert [runtime.closed for runtime in made] == [1] * 4
    assert set(rows["largest"].share) == {"large"}
    assert set(rows["smallest"].share) == {"small"}
    assert set(rows["static:staged@cpu:0"].share) == {"staged"}
    largest, smallest = rows["largest"], rows["smallest"]
    assert largest.energy_j > smallest.energy_j
    assert largest.accuracy == pytest.approx(0.95, abs=0.03)
    assert smallest.accuracy == pytest.approx(0.85, abs=0.03)
    assert largest.battery_end_frac is not None
    assert smallest.battery_end_frac is not None
    assert largest.battery_end_frac < smallest.battery_end_frac


def test_accuracy_over_all_counts_refused_and_late_ones_as_wrong(world: World) -> None:
    rows, _ = rows_of(world, rate_per_s=2000.0)
    row = rows["largest"]
    assert row.rejected + row.expired > 100
    assert row.accuracy is not None
    assert row.accuracy_all is not None
    assert row.accuracy_all < row.on_time_frac < 0.9 < row.accuracy


def test_rows_are_reproducible(world: World) -> None:
    assert rows_of(world, rate_per_s=300.0)[0] == rows_of(world, rate_per_s=300.0)[0]


def test_a_runtime_is_closed_when_the_run_fails(world: World) -> None:
    runtime = Closing(world.families, world.profiles)
    twice = [Arrival(0, Request("same", "tiny")), Arrival(0, Request("same", "tiny"))]
    with pytest.raises(Exception, match="in flight"):
        compare(["value"], twice, world, Policy("p"), lambda: runtime)
    assert runtime.closed == 1


def test_a_day_of_sparse_requests_takes_seconds(world: World) -> None:
    kinds = [replace(KINDS[0], latency_budget_ns=NS_PER_S)]
    runtime = ModelledRuntime(world.families, world.profiles)
    driver = SimulatedDriver(world, Policy("p"), runtime, Battery(40_000.0, 1.0, 300.0))
    began = time.perf_counter()
    report = driver.run(poisson(1, 0.1, 8640, kinds, driver.start()))
    assert report.on_time_frac > 0.99
    assert (report.ended_ns - report.started_ns) / NS_PER_S == pytest.approx(86_400, rel=0.05)
    assert time.perf_counter() - began < 20.0
