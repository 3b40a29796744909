"""Run a scenario: each policy and strategy on each seed, all of them on the same requests.

The daemon's own scheduler decides (``SimulatedDriver``); this module gives it the scenario's world, watches
what comes of it, and keeps figures of simulated time apart from those of the clock on the wall, so that the
same seed gives the same summary, byte for byte.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from typing import Any, Final

from trimtab.domain.decision import Decision
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab_sim.arrivals import Arrival
from trimtab_sim.driver import DriverSettings, SimulatedDriver
from trimtab_sim.report import RunReport, Served, Watcher
from trimtab_sim.results.meters import MeasuringRuntime, MeteredDevice, MoneyMeter, TimedScheduler
from trimtab_sim.results.summary import Row, Summary
from trimtab_sim.results.trial import Observer, RunResult, Trial, WallClock
from trimtab_sim.scenario.prepare import Prepared
from trimtab_sim.yardstick import Yardstick

START_NS: Final = NS_PER_S
"""When a scenario begins on the driver's clock."""
NEWS_EVERY: Final = 256
NEWS_STEPS: Final = 200
"""Progress is told each time so many requests have come or such a part of the time has passed."""
DISTANCE: Final = (
    "lp_bound_accuracy", "oracle_accuracy", "oracle_energy_j", "late_avoidable_frac", "lp_bound_share", "oracle_share",
    "lp_budget_j", "lp_budget_usd",
)  # fmt: skip
"""Figures that come from the oracle and the linear program."""


@dataclass(frozen=True, slots=True)
class News:
    """How far a run is: simulated time passed and its whole, and requests so far."""

    trial: Trial
    at_ns: int
    duration_ns: int
    requests: int


class Stop:
    """Asks running simulations to end cleanly with what they have."""

    def __init__(self) -> None:
        """Start without being asked."""
        self.asked = False

    def ask(self) -> None:
        """Let the present run end and no further one begin."""
        self.asked = True


def trials(policies: Iterable[Policy], strategies: Sequence[str], seeds: Iterable[int]) -> list[Trial]:
    """Return every run: each policy with its own strategy, or with each of ``strategies``, on each seed."""
    kinds = [
        replace(policy, strategy=strategy or policy.strategy)
        for policy, strategy in product(policies, strategies or ("",))
    ]
    return [Trial(policy, seed) for policy, seed in product(kinds, seeds)]


def simulate(
    prepared: Prepared,
    runs: Iterable[Trial],
    observers: Callable[[Trial], Sequence[Observer]] = lambda _trial: (),
    tell: Callable[[News], None] = lambda _news: None,
    stop: Stop | None = None,
    *,
    bounds: bool = True,
) -> list[RunResult]:
    """Run each trial and return what each came to; those after an interruption are left out.

    ``observers`` makes those that watch a trial. ``tell`` is told from time to time how far a run is. Without
    ``bounds`` the oracle and the linear program are left out, which is faster.
    """
    stop = stop or Stop()
    results = []
    for trial in runs:
        if stop.asked:
            break
        results.append(_Run(prepared, trial, observers(trial), tell, stop, bounds=bounds).result())
    return results


class _Run:
    """One trial from beginning to end."""

    def __init__(
        self,
        prepared: Prepared,
        trial: Trial,
        observers: Sequence[Observer],
        tell: Callable[[News], None],
        stop: Stop,
        *,
        bounds: bool,
    ) -> None:
        self._prepared, self._trial = prepared, trial
        self._observers, self._tell, self._stop = observers, tell, stop
        world = prepared.world
        condition = prepared.condition(trial.seed, START_NS, lambda: self._runtime.resident_bytes)
        self._meter = MeteredDevice(condition.device, trial.policy.battery.reserve_frac)
        self._runtime = MeasuringRuntime(world.families, world.profiles, trial.seed, condition)
        self._scheduler = TimedScheduler()
        self._summary = Summary(world.families)
        self._money = MoneyMeter(trial.policy.money)
        self._yardstick: Yardstick | None = None
        if bounds:
            expected = self._summary.expected
            self._yardstick = Yardstick(
                world, trial.policy, expected, condition.slowdown, reachable=condition.reachable
            )
        yardsticks = [] if self._yardstick is None else [self._yardstick]
        off_by = self._meter.is_off if prepared.off_when_empty else _never
        self._fan = _Fan((self._summary, self._money, *yardsticks, *observers), off_by)
        self._driver = SimulatedDriver(
            world,
            trial.policy,
            self._runtime,
            self._meter,
            DriverSettings(start_ns=START_NS),
            watch=self._fan,
            keep=False,
            reachable=condition.reachable or _always,
        )
        self._driver.scheduler = self._scheduler
        self._came = 0
        self._step_ns = max(NS_PER_S, prepared.duration_ns // NEWS_STEPS)
        self._news_ns = self._step_ns

    def result(self) -> RunResult:
        """Run and return what it came to."""
        began_s = time.perf_counter()
        for observer in self._observers:
            observer.begins(self._trial, START_NS, lambda: self._runtime.resident_bytes)
        ready_ns = self._driver.start()
        report = self._driver.run(self._arrivals(ready_ns))
        report = self._quiet(report, ready_ns)
        self._fan.device(report.ended_ns, self._meter.state)
        stopped = self._stop.asked
        wall_s = time.perf_counter() - began_s
        result = RunResult(self._trial, self._figures(report), self._clock(wall_s), stopped)
        for observer in self._observers:
            observer.ends(result)
        return result

    def _arrivals(self, ready_ns: int) -> Iterator[Arrival]:
        """Yield the scenario's requests while the device is on; the rest is lost."""
        for arrival in self._prepared.arrivals(self._trial.seed):
            if self._came % NEWS_EVERY == 0 or arrival.at_ns >= self._news_ns:
                self._inform(arrival.at_ns)
            if self._stop.asked:
                return
            self._came += 1
            moved = Arrival(ready_ns + arrival.at_ns, arrival.request, arrival.sample)
            if self._fan.is_off(moved.at_ns) and not self._is_on_again(moved.at_ns):
                self._fan.lost(moved)
            else:
                yield moved

    def _is_on_again(self, at_ns: int) -> bool:
        """Return whether a device that was off is on at ``at_ns``; nothing runs meanwhile, so look ahead."""
        self._meter.reading(at_ns)
        return not self._fan.is_off(at_ns)

    def _quiet(self, report: RunReport, ready_ns: int) -> RunReport:
        """Let time pass from the last request to the scenario's end."""
        kernel, end_ns = self._driver.kernel, ready_ns + self._prepared.duration_ns
        while kernel.now_ns() < end_ns and not self._stop.asked:
            self._inform(kernel.now_ns() - ready_ns)
            report = self._driver.run((), until_ns=min(end_ns, kernel.now_ns() + self._step_ns))
        return report

    def _inform(self, at_ns: int) -> None:
        self._news_ns = at_ns + self._step_ns
        self._tell(News(self._trial, at_ns, self._prepared.duration_ns, self._came))

    def _figures(self, report: RunReport) -> Row:
        figures = self._summary.rows(report)
        figures["overdraft_j"] = self._meter.overdraft_uj / UJ_PER_J
        figures["overdraft_usd"] = self._money.overdraft_usd
        figures["memory_peak_bytes"] = self._runtime.peak_bytes
        hot_ns = self._meter.shut_down_ns
        figures["shut_down_s"] = None if hot_ns is None else (hot_ns - START_NS) / NS_PER_S
        return figures | self._distance(report, figures["accuracy_mean"])

    def _distance(self, report: RunReport, accuracy_mean: float) -> Row:
        """Return how far from the best possible the run stayed; nothing known without bounds or requests."""
        if self._yardstick is None or not self._came:
            return dict.fromkeys(DISTANCE)
        budget_uj = self._budget_uj(report)
        budget_usd = self._money.budget_usd(report.ended_ns)
        found = self._yardstick.distance(budget_uj, budget_usd)
        return {
            "lp_bound_accuracy": found.lp_bound_accuracy,
            "oracle_accuracy": found.oracle_accuracy,
            "oracle_energy_j": found.oracle_energy_j,
            "late_avoidable_frac": found.late_avoidable_frac,
            "lp_bound_share": accuracy_mean / found.lp_bound_accuracy if found.lp_bound_accuracy else None,
            "oracle_share": accuracy_mean / found.oracle_accuracy if found.oracle_accuracy else None,
            "lp_budget_j": None if budget_uj == inf else budget_uj / UJ_PER_J,
            "lp_budget_usd": None if budget_usd == inf else budget_usd,
        }

    def _budget_uj(self, report: RunReport) -> float:
        """Return what runs and loads might have taken until the end without touching the reserve.

        It is what a device that serves nothing would have left, so that it is the same for every policy; when
        that one would run out as well, it is what this run took and left. On a charger there is no limit.
        """
        meter = self._meter
        if meter.capacity_uj is None or meter.charged:
            return inf
        idle = MeteredDevice(self._prepared.condition(self._trial.seed, START_NS).device, meter.reserve_frac)
        left_frac = idle.level_frac(report.ended_ns)
        if left_frac > 0.0:
            return max(0.0, left_frac - meter.reserve_frac) * meter.capacity_uj
        own_uj = report.run_energy_uj + report.load_energy_uj
        left_frac = meter.level_frac(report.ended_ns)
        return max(0.0, own_uj + (left_frac - meter.reserve_frac) * meter.capacity_uj)

    def _clock(self, wall_s: float) -> WallClock:
        quantile = self._scheduler.decision_ns.quantile
        return WallClock(quantile(0.50) / 1e3, quantile(0.99) / 1e3, self._came / wall_s, wall_s)


def _never(_now_ns: int) -> bool:
    return False


def _always(_now_ns: int) -> bool:
    return True


class _Fan(Watcher):
    """Tells several watchers; what ends when the device is off is lost."""

    def __init__(
        self, watchers: Sequence[Summary | MoneyMeter | Yardstick | Observer], is_off: Callable[[int], bool]
    ) -> None:
        self._watchers = watchers
        self.is_off = is_off

    def lost(self, arrival: Arrival) -> None:
        for watcher in self._watchers:
            watcher.lost(arrival)

    def served(self, one: Served) -> None:
        if self.is_off(one.finished_ns):
            self.lost(one.arrival)
            return
        for watcher in self._watchers:
            watcher.served(one)

    def decided(self, now_ns: int, decision: Decision) -> None:
        for watcher in self._watchers:
            watcher.decided(now_ns, decision)

    def device(self, now_ns: int, state: DeviceState) -> None:
        for watcher in self._watchers:
            watcher.device(now_ns, state)

    def started(self, now_ns: int, request_id: str, **what: Any) -> None:
        for watcher in self._watchers:
            watcher.started(now_ns, request_id, **what)

    def loaded(self, now_ns: int, task: str, variant: str, pool: str, load_ns: int) -> None:
        for watcher in self._watchers:
            watcher.loaded(now_ns, task, variant, pool, load_ns)

    def evicted(self, now_ns: int, task: str, variant: str, pool: str) -> None:
        for watcher in self._watchers:
            watcher.evicted(now_ns, task, variant, pool)
