"""What a run is measured with: around the device, the runtime and the scheduler, without changing them."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import Any, Final

from trimtab.core import events as ev
from trimtab.core.commands import Command
from trimtab.core.scheduler import Scheduler
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import MoneyGoal
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab.ports import LinkFailure
from trimtab.strategies import strategy_named
from trimtab_sim.arrivals import Arrival
from trimtab_sim.battery import DAY_S
from trimtab_sim.report import Served, Watcher
from trimtab_sim.runtime import Loading, ModelledRuntime, Run, Running
from trimtab_sim.scenario.surroundings import Condition
from trimtab_sim.totals import Histogram

LOOK_FRAC: Final = 0.02
"""The true charge is asked for only within this of the reserve: asking lets a phone's time pass."""


class MeteredDevice:
    """A device that counts what runs and loads take out of it below the reserve."""

    def __init__(self, device: Any, reserve_frac: float) -> None:
        """Meter ``device``, of which ``reserve_frac`` is to be left."""
        self._device = device
        self.state = DeviceState()
        """What the sensors told last."""
        self._read_ns = 0
        self._since_uj = 0.0
        self.reserve_frac = reserve_frac
        self.capacity_uj: float | None = None
        self.charged = False
        """Whether the battery was ever on a charger."""
        self.overdraft_uj = 0.0
        """Energy taken although the charge was at the reserve, on battery."""

    @property
    def empty_ns(self) -> int | None:
        """Return when the battery first ran out; ``None`` while it has not."""
        found: int | None = getattr(self._device, "empty_ns", None)
        return found

    @property
    def shut_down_ns(self) -> int | None:
        """Return when the device got too hot and switched off; ``None`` while it has not."""
        found: int | None = getattr(self._device, "shut_down_ns", None)
        return found

    def is_off(self, now_ns: int) -> bool:
        """Return whether the device is off at ``now_ns``, as far as is known: empty, or too hot."""
        empty_ns, shut_down_ns = self.empty_ns, self.shut_down_ns
        if shut_down_ns is not None and shut_down_ns <= now_ns:
            return True
        if self.state.battery_frac == 0.0:
            return True
        return empty_ns is not None and self._read_ns <= empty_ns <= now_ns

    def reading(self, now_ns: int) -> DeviceState:
        """Return what the sensors tell."""
        state: DeviceState = self._device.reading(now_ns)
        self.state, self._read_ns, self._since_uj = state, now_ns, 0.0
        self.charged |= state.charging
        if state.battery_capacity_j is not None:
            self.capacity_uj = state.battery_capacity_j * UJ_PER_J
        return state

    def level_frac(self, now_ns: int) -> float:
        """Return the true state of charge."""
        level_frac: float = self._device.level_frac(now_ns)
        return level_frac

    def draw(self, energy_uj: float, now_ns: int) -> None:
        """Take energy out, and count the part that the reserve had to give."""
        self._since_uj += energy_uj
        if self.capacity_uj is not None and self._may_be_low(self.capacity_uj) and not self.state.charging:
            above_uj = max(0.0, self.level_frac(now_ns) - self.reserve_frac) * self.capacity_uj
            self.overdraft_uj += max(0.0, energy_uj - above_uj)
        self._device.draw(energy_uj, now_ns)

    def _may_be_low(self, capacity_uj: float) -> bool:
        """Return whether the charge may be near the reserve; only then it is worth looking exactly."""
        told_frac = self.state.battery_frac or 0.0
        return (told_frac - self.reserve_frac - LOOK_FRAC) * capacity_uj < self._since_uj


class MoneyMeter(Watcher):
    """Counts what servers charged, for each day by itself where the budget is a day's."""

    def __init__(self, goal: MoneyGoal | None) -> None:
        """Meter against a goal; without one there is no overdraft."""
        self._goal = goal
        self._read_ns = self._local_s = 0
        self._spent_usd: dict[int, float] = {}

    def device(self, now_ns: int, state: DeviceState) -> None:
        """Note the time of day."""
        if not self._read_ns:
            self._read_ns, self._local_s = now_ns, state.local_time_s

    def served(self, one: Served) -> None:
        """Count what a request cost."""
        day = self._day(one.finished_ns)
        self._spent_usd[day] = self._spent_usd.get(day, 0.0) + one.result.cost_usd

    def lost(self, arrival: Arrival) -> None:
        """Take a request that the device was off for: it costs nothing."""

    def _day(self, now_ns: int) -> int:
        if self._goal is None or self._goal.last_until_s is None:
            return 0
        passed_s = self._local_s - self._goal.last_until_s + (now_ns - self._read_ns) / NS_PER_S
        return int(passed_s // DAY_S)

    @property
    def overdraft_usd(self) -> float:
        """Return what was charged beyond the budget."""
        if self._goal is None:
            return 0.0
        return sum(max(0.0, spent - self._goal.budget_usd) for spent in self._spent_usd.values())

    def budget_usd(self, ended_ns: int) -> float:
        """Return the budgets of all days until the end together; infinite without one."""
        if self._goal is None:
            return inf
        return self._goal.budget_usd * (self._day(ended_ns) - self._day(self._read_ns) + 1)


class MeasuringRuntime(ModelledRuntime):
    """The modelled runtime in a scenario's conditions, which also knows what is in memory."""

    def __init__(
        self,
        families: Iterable[Family],
        profiles: Mapping[str, Iterable[Profile]],
        seed: int,
        condition: Condition,
    ) -> None:
        """Model these families on what is as slow, at as much power and as reachable as ``condition`` says."""
        super().__init__(families, profiles, seed, condition.slowdown)
        self._condition = condition
        self._held: dict[tuple[str, str, str], int] = {}
        self.resident_bytes = 0
        self.peak_bytes = 0

    def load(self, task: str, variant: str, processor: Processor, now_ns: int) -> Loading:
        """Load, and count what it holds; raise ``LinkFailure`` out of reach."""
        self._check_link(processor, now_ns)
        loading = super().load(task, variant, processor, now_ns)
        self._held[task, variant, processor.pool] = loading.resident_bytes
        self._count()
        return loading

    def evict(self, task: str, variant: str, pool: str, now_ns: int) -> int:
        """Evict, and count what is left."""
        self._held.pop((task, variant, pool), None)
        self._count()
        return super().evict(task, variant, pool, now_ns)

    def run(self, run: Run, now_ns: int) -> Running:
        """Run a stage; at a lower clock it takes longer at less power. Raises ``LinkFailure`` out of reach."""
        condition, processor = self._condition, run.processor
        self._check_link(processor, now_ns)
        running = super().run(run, now_ns)
        if condition.power_factor is None:
            return running
        factor = condition.power_factor(processor.name, now_ns)
        return running if factor == 1.0 else replace(running, energy_uj=running.energy_uj * factor)

    def _check_link(self, processor: Processor, now_ns: int) -> None:
        reachable = self._condition.reachable
        if processor.is_remote and reachable and not reachable(now_ns):
            raise LinkFailure("the server cannot be reached")

    def _count(self) -> None:
        self.resident_bytes = sum(self._held.values())
        self.peak_bytes = max(self.peak_bytes, self.resident_bytes)


class TimedScheduler(Scheduler):
    """The daemon's scheduler with a clock beside it: how long each request takes to decide."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__(strategy_named)
        self.decision_ns = Histogram()

    def handle(self, event: ev.Event, now_ns: int) -> list[Command]:
        """Take one event, and time it when it is a request."""
        if type(event) is not ev.RequestArrived:
            return super().handle(event, now_ns)
        began_ns = time.perf_counter_ns()
        commands = super().handle(event, now_ns)
        self.decision_ns.add(time.perf_counter_ns() - began_ns)
        return commands
