"""The simulator's driver: feeds the daemon's scheduler from an event heap and carries its commands out.

It makes no scheduling decision. What it does with each command, and when it reads the device's sensors, is
what the daemon's engine does; only the clock, the device and (as wanted) the runtime are simulated.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final

import msgspec

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.invariants import check
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import Holding
from trimtab.domain.decision import Decision
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_S
from trimtab.ports import LinkFailure, RuntimeFailure
from trimtab.strategies import strategy_named
from trimtab_sim.arrivals import Arrival
from trimtab_sim.battery import Device, Plugged
from trimtab_sim.kernel import Kernel, TimeTravelError
from trimtab_sim.record import Record
from trimtab_sim.report import RunReport, Served, Watcher
from trimtab_sim.runtime import Run, SimulatedRuntime

HEARTBEAT_NS: Final = 60 * NS_PER_S
"""The device's state is told at least so often, changed or not, as the daemon does."""
GIVEN, DONE, TIMER, ARRIVAL, SENSOR = range(5)
"""Which of several things that are due at the same nanosecond goes first."""


@dataclass(frozen=True, slots=True)
class World:
    """What there is to decide among: processors in tie-breaking order, families, and profiles by task."""

    processors: tuple[Processor, ...]
    families: tuple[Family, ...]
    profiles: Mapping[str, tuple[Profile, ...]]


@dataclass(frozen=True, slots=True)
class DriverSettings:
    """How the driver behaves; the sensor figures are those of the daemon.

    Sensors are read each ``sensor_ns`` while requests come, else each ``idle_ns``. ``dispatch_ns`` is what a
    run takes beyond itself (threads, the event loop). With ``checked`` all invariants hold after every event.
    """

    sensor_ns: int = NS_PER_S
    idle_ns: int = 10 * NS_PER_S
    idle_after_ns: int = 5 * NS_PER_S
    dispatch_ns: int = 0
    start_ns: int = NS_PER_S
    checked: bool = False


_all_but_the_time = attrgetter(*[one.name for one in fields(DeviceState) if one.name != "local_time_s"])


def _always(_now_ns: int) -> bool:
    return True


class _Flight(msgspec.Struct):
    arrival: Arrival
    decision: Decision | None = None


_Item = tuple[Callable[[Any], None], Any]
"""What is due: who takes it, and what."""


class SimulatedDriver:
    """Drives one scheduler through one simulated run."""

    def __init__(
        self,
        world: World,
        policy: Policy,
        runtime: SimulatedRuntime,
        device: Device | None = None,
        settings: DriverSettings | None = None,
        *,
        record: Record | None = None,
        watch: Watcher | None = None,
        keep: bool = True,
        reachable: Callable[[int], bool] = _always,
    ) -> None:
        """Wire the driver; ``record`` is told every event with its commands, as the daemon's journal is.

        ``watch`` is told what happens. Without ``keep`` the report holds totals only, in memory that does not
        grow with the run. ``reachable`` tells whether servers can be reached at a moment (ns); it is asked when the
        sensors are read.
        """
        self._world = world
        self._reachable = reachable
        self._links = {p.name: True for p in world.processors if p.is_remote}
        self._policy = policy
        self._runtime = runtime
        self._device = device or Plugged()
        self._settings = settings or DriverSettings()
        self._checked = self._settings.checked
        self._record = record
        self._watch = watch
        self._keep = keep
        self.kernel: Kernel[_Item] = Kernel(self._settings.start_ns)
        self.scheduler = Scheduler(strategy_named)
        self.report = RunReport(started_ns=self._settings.start_ns)
        self._processors = {p.name: p for p in world.processors}
        self._pools = {p.pool: p for p in reversed(world.processors)}
        self._flights: dict[str, _Flight] = {}
        self._arrivals: Iterator[Arrival] = iter(())
        self._due = 0
        self._loader_free_ns = 0
        self._timer = 0
        self._timer_due = False
        self._sense = 0
        self._carry_out: dict[type[cm.Command], Callable[[Any, int], None]] = {
            cm.RunStage: self._run_stage,
            cm.Decided: self._decided,
            cm.Finish: self._finish,
            cm.Load: self._load,
            cm.Evict: self._evict,
            cm.SetTimer: self._set_timer,
            cm.Drained: self._drained,
        }
        self._idle = False
        self._last_request_ns = 0
        self._read = DeviceState()
        self._condition: tuple[object, ...] = ()
        self._told_ns = 0

    # ---- a run ---------------------------------------------------------------------------------------

    def start(self) -> int:
        """Tell the scheduler what there is, let it load what it wants loaded, and return the time then."""
        world, now_ns = self._world, self.kernel.time_ns
        self._read = self._device.reading(now_ns)
        self._condition = _all_but_the_time(self._read)
        self._handle(ev.PolicyReplaced(self._policy), now_ns)
        self._handle(ev.ProcessorsFound(world.processors), now_ns)
        self._tell_device(now_ns)
        self._look_at_links(now_ns)
        for family in world.families:
            self._handle(ev.FamilyAdded(replace(family, profiles=None)), now_ns)
            self._handle(ev.ProfilesReplaced(family.task, tuple(world.profiles.get(family.task, ()))), now_ns)
        self._plan_reading(now_ns)
        while self._loading():
            take, item = self.kernel.step()
            take(item)
        return self.kernel.time_ns

    def run(
        self,
        arrivals: Iterable[Arrival],
        given: Iterable[tuple[int, ev.Event]] = (),
        until_ns: int | None = None,
    ) -> RunReport:
        """Let requests arrive, in order of time, and other events happen at their times; return the report.

        Ends when every request and load has, or at ``until_ns``. Starts first if ``start`` was not called.
        Raises ``TimeTravelError`` for an arrival or event before the time that ``start`` returned.
        """
        if not self.scheduler.state.processors:
            self.start()
        for at_ns, event in given:
            self._push(at_ns, self._happen, event, GIVEN)
        self._arrivals = iter(arrivals)
        self._next_arrival()
        if until_ns is None:
            step, flights = self.kernel.step, self._flights
            while self._due or (flights and self._timer_due):
                take, item = step()
                take(item)
        else:
            for take, item in self.kernel.run(until_ns):
                take(item)
        return self._finish_report()

    def _finish_report(self) -> RunReport:
        report, device = self.report, self._device
        report.ended_ns = self.kernel.time_ns
        report.unfinished = len(self._flights)
        self._read = device.reading(report.ended_ns)
        self._condition = _all_but_the_time(self._read)
        self._note_level(report.ended_ns)
        report.battery_empty_ns = getattr(device, "empty_ns", None)
        return report

    def _loading(self) -> bool:
        return any(r.holding is Holding.LOADING for r in self.scheduler.state.residences.values())

    def _push(self, at_ns: int, take: Callable[[Any], None], item: object, priority: int) -> None:
        """Let something happen that a run without an end waits for."""
        try:
            self.kernel.push(at_ns, (take, item), priority)
        except TimeTravelError:
            raise TimeTravelError(f"{item!r} is in the past of {self.kernel.time_ns} ns") from None
        self._due += 1

    def _next_arrival(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self._push(arrival.at_ns, self._arrive, arrival, ARRIVAL)

    # ---- the one place where events meet the scheduler -------------------------------------------------

    def _handle(self, event: ev.Event, now_ns: int) -> None:
        commands = self.scheduler.handle(event, now_ns)
        if self._record is not None:
            self._record(now_ns, event, commands)
        carry_out = self._carry_out
        for command in commands:
            carry_out[type(command)](command, now_ns)
        if self._checked:
            check(self.scheduler.state)

    def _happen(self, event: ev.Event) -> None:
        self._due -= 1
        self._handle(event, self.kernel.time_ns)

    def _finish_stage(self, event: ev.StageFinished) -> None:
        self._due -= 1
        now_ns = self.kernel.time_ns
        self._handle(event, now_ns)
        self.report.run_energy_uj += event.energy_uj
        self.report.cost_usd += event.cost_usd
        self._device.draw(event.energy_uj, now_ns)

    def _finish_load(self, event: ev.LoadFinished) -> None:
        self._due -= 1
        now_ns = self.kernel.time_ns
        self._handle(event, now_ns)
        self.report.load_energy_uj += event.energy_uj
        self._device.draw(event.energy_uj, now_ns)

    def _set_timer(self, command: cm.SetTimer, now_ns: int) -> None:
        self._timer += 1
        self._timer_due = True
        self.kernel.push(max(now_ns, command.at_ns), (self._fire, self._timer), TIMER)

    def _fire(self, timer: int) -> None:
        """Tell that a timer is over, unless another one has replaced it."""
        if timer == self._timer:
            self._timer_due = False
            self._handle(ev.TimerFired(), self.kernel.time_ns)

    def _drained(self, _command: cm.Drained, _now_ns: int) -> None:
        self.report.drained = True

    # ---- requests ------------------------------------------------------------------------------------

    def _arrive(self, arrival: Arrival) -> None:
        self._due -= 1
        now_ns = self._last_request_ns = self.kernel.time_ns
        self._next_arrival()
        if self._idle:
            self._idle = False
            self._read_at(now_ns)
        request = arrival.request
        self._flights[request.request_id] = _Flight(arrival)
        self._handle(ev.RequestArrived(request), now_ns)

    def _finish(self, command: cm.Finish, now_ns: int) -> None:
        result = command.result
        flight = self._flights.pop(result.request_id)
        arrival, decision = flight.arrival, flight.decision
        correct = self._runtime.judge(arrival, decision, result)
        one = Served(arrival, now_ns, decision, result, correct)
        self.report.note(one)
        if self._keep:
            self.report.served.append(one)
        if self._watch is not None:
            self._watch.served(one)

    def _decided(self, command: cm.Decided, now_ns: int) -> None:
        decision = command.decision
        self._flights[decision.request_id].decision = decision
        self.report.totals.decisions += 1
        if self._keep:
            self.report.decisions.append((now_ns, decision))
        if self._watch is not None:
            self._watch.decided(now_ns, decision)

    def _run_stage(self, command: cm.RunStage, now_ns: int) -> None:
        request_id, stage = command.request_id, command.stage
        flight = self._flights[request_id]
        assert flight.decision is not None
        run = Run(flight.arrival, flight.decision, self._processors[command.processor], stage)
        after_ns = now_ns + self._settings.dispatch_ns
        try:
            ran = self._runtime.run(run, now_ns)
        except RuntimeFailure as error:
            fault = self._fault_of(error, command.processor)
            self._push(after_ns, self._happen, ev.RunFailed(request_id, stage, str(error), fault), DONE)
            return
        event = ev.StageFinished(request_id, stage, ran.run_ns, ran.energy_uj, ran.confidence, ran.cost_usd)
        self._push(after_ns + ran.run_ns + ran.around_ns, self._finish_stage, event, DONE)
        if self._watch is not None:
            self._watch.started(
                now_ns,
                request_id,
                task=command.task,
                variant=command.variant,
                processor=command.processor,
                stage=stage,
                run_ns=ran.run_ns,
                energy_uj=ran.energy_uj,
            )

    # ---- loads and evictions: one after the other, as the daemon's loader thread does them -------------

    def _load(self, command: cm.Load, now_ns: int) -> None:
        begin_ns = max(now_ns, self._loader_free_ns)
        names = (command.task, command.variant, command.pool)
        try:
            loaded = self._runtime.load(command.task, command.variant, self._pools[command.pool], begin_ns)
        except RuntimeFailure as error:
            fault = self._fault_of(error, self._pools[command.pool].name)
            self._push(begin_ns, self._happen, ev.LoadFailed(*names, str(error), fault), DONE)
            return
        self.report.loads += 1
        self._loader_free_ns = begin_ns + loaded.load_ns
        if self._watch is not None:
            self._watch.loaded(begin_ns, *names, loaded.load_ns)
        event = ev.LoadFinished(*names, loaded.load_ns, loaded.resident_bytes, loaded.energy_uj)
        self._push(self._loader_free_ns, self._finish_load, event, DONE)

    def _evict(self, command: cm.Evict, now_ns: int) -> None:
        begin_ns = max(now_ns, self._loader_free_ns)
        taken_ns = self._runtime.evict(command.task, command.variant, command.pool, begin_ns)
        self.report.evictions += 1
        if self._watch is not None:
            self._watch.evicted(now_ns, command.task, command.variant, command.pool)
        self._loader_free_ns = begin_ns + taken_ns
        event = ev.EvictFinished(command.task, command.variant, command.pool)
        self._push(self._loader_free_ns, self._happen, event, DONE)

    # ---- the device: read at the daemon's rhythm ---------------------------------------------------------

    def _look_at_links(self, now_ns: int) -> None:
        """Tell which servers came into reach or went out of it since the scheduler was told."""
        for name, told in self._links.items():
            reachable = self._reachable(now_ns)
            if reachable != told:
                self._links[name] = reachable
                self._handle(ev.ConnectivityChanged(name, reachable), now_ns)

    def _fault_of(self, error: RuntimeFailure, processor: str) -> str:
        """Return whose fault a failure is; a server that failed is out of reach until it is told otherwise."""
        if not isinstance(error, LinkFailure):
            return "variant"
        self._links[processor] = False
        return "link"

    def _plan_reading(self, now_ns: int) -> None:
        settings = self._settings
        self._idle = now_ns - self._last_request_ns >= settings.idle_after_ns
        self._read_at(now_ns + (settings.idle_ns if self._idle else settings.sensor_ns))

    def _read_at(self, at_ns: int) -> None:
        """Read the sensors at ``at_ns`` instead of when it was planned."""
        self._sense += 1
        self.kernel.push(at_ns, (self._sensors_due, self._sense), SENSOR)

    def _sensors_due(self, reading: int) -> None:
        """Read the sensors, unless another reading was planned instead."""
        if reading != self._sense:
            return
        now_ns = self.kernel.time_ns
        self._read = device = self._device.reading(now_ns)
        condition = _all_but_the_time(device)
        told = now_ns - self._told_ns < HEARTBEAT_NS and not device.memory_pressure_frac
        if condition != self._condition or not told:
            self._condition = condition
            self._tell_device(now_ns)
        self._look_at_links(now_ns)
        self._plan_reading(now_ns)

    def _tell_device(self, now_ns: int) -> None:
        self._told_ns = now_ns
        self._note_level(now_ns)
        if self._watch is not None:
            self._watch.device(now_ns, self._read)
        self._handle(ev.DeviceChanged(self._read), now_ns)

    def _note_level(self, now_ns: int) -> None:
        level_frac = self._read.battery_frac
        if level_frac is not None:
            self.report.battery_end_frac = level_frac
            if self._keep:
                self.report.battery.append((now_ns, level_frac))
