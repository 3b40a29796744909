"""The simulator's driver: feeds the daemon's scheduler from an event heap and carries its commands out.

It makes no scheduling decision. What it does with each command, and when it reads the device's sensors, is
what the daemon's engine does; only the clock, the device and (as wanted) the runtime are simulated.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

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
from trimtab.ports import RuntimeFailure
from trimtab.strategies import strategy_named
from trimtab_sim.arrivals import Arrival
from trimtab_sim.battery import Battery, Device, Plugged
from trimtab_sim.kernel import Kernel
from trimtab_sim.record import Record
from trimtab_sim.report import RunReport, Served
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


@dataclass(frozen=True, slots=True)
class _Timer:
    number: int


@dataclass(frozen=True, slots=True)
class _Sense:
    number: int


@dataclass(frozen=True, slots=True)
class _Loaded:
    event: ev.LoadFinished
    energy_uj: float


@dataclass(slots=True)
class _Flight:
    arrival: Arrival
    decision: Decision | None = None


_Item = ev.Event | Arrival | _Timer | _Sense | _Loaded


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
    ) -> None:
        """Wire the driver; ``record`` is told every event with its commands, as the daemon's journal is."""
        self._world = world
        self._policy = policy
        self._runtime = runtime
        self._device = device or Plugged()
        self._settings = settings or DriverSettings()
        self._record = record
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
        self._idle = False
        self._last_request_ns = 0
        self._read = DeviceState()
        self._told_ns = 0

    # ---- a run ---------------------------------------------------------------------------------------

    def start(self) -> int:
        """Tell the scheduler what there is, let it load what it wants loaded, and return the time then."""
        world, now_ns = self._world, self.kernel.now_ns()
        self._read = self._device.reading(now_ns)
        self._handle(ev.PolicyReplaced(self._policy))
        self._handle(ev.ProcessorsFound(world.processors))
        self._tell_device(now_ns)
        for family in world.families:
            self._handle(ev.FamilyAdded(replace(family, profiles=None)))
            self._handle(ev.ProfilesReplaced(family.task, tuple(world.profiles.get(family.task, ()))))
        self._plan_reading(now_ns)
        while self._loading():
            self._take(self.kernel.step())
        return self.kernel.now_ns()

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
            self._push(at_ns, event, GIVEN)
        self._arrivals = iter(arrivals)
        self._next_arrival()
        if until_ns is None:
            while self._due or (self._flights and self._timer_due):
                self._take(self.kernel.step())
        else:
            for item in self.kernel.run(until_ns):
                self._take(item)
        return self._finish_report()

    def _finish_report(self) -> RunReport:
        report, device = self.report, self._device
        report.ended_ns = self.kernel.now_ns()
        report.unfinished = len(self._flights)
        self._read = device.reading(report.ended_ns)
        self._note_level(report.ended_ns)
        if isinstance(device, Battery):
            report.battery_empty_ns = device.empty_ns
        return report

    def _loading(self) -> bool:
        return any(r.holding is Holding.LOADING for r in self.scheduler.state.residences.values())

    def _push(self, at_ns: int, item: _Item, priority: int) -> None:
        self.kernel.push(at_ns, item, priority)
        self._due += 1

    def _next_arrival(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self._push(arrival.at_ns, arrival, ARRIVAL)

    # ---- the one place where events meet the scheduler -------------------------------------------------

    def _take(self, item: _Item) -> None:
        if isinstance(item, _Sense):
            if item.number == self._sense:
                self._read_sensors()
            return
        if isinstance(item, _Timer):
            if item.number == self._timer:
                self._timer_due = False
                self._handle(ev.TimerFired())
            return
        self._due -= 1
        if isinstance(item, Arrival):
            self._arrive(item)
        elif isinstance(item, _Loaded):
            self._handle(item.event)
            self.report.load_energy_uj += item.energy_uj
            self._device.draw(item.energy_uj, self.kernel.now_ns())
        else:
            self._handle(item)

    def _handle(self, event: ev.Event) -> None:
        now_ns = self.kernel.now_ns()
        commands = self.scheduler.handle(event, now_ns)
        if self._record is not None:
            self._record(now_ns, event, commands)
        for command in commands:
            self._execute(command, now_ns)
        if isinstance(event, ev.StageFinished):
            self.report.run_energy_uj += event.energy_uj
            self._device.draw(event.energy_uj, now_ns)
        if self._settings.checked:
            check(self.scheduler.state)

    def _execute(self, command: cm.Command, now_ns: int) -> None:
        match command:
            case cm.RunStage():
                self._run_stage(command, now_ns)
            case cm.Decided():
                self._flights[command.decision.request_id].decision = command.decision
                self.report.decisions.append((now_ns, command.decision))
            case cm.Finish():
                self._finish(command, now_ns)
            case cm.Load():
                self._load(command, now_ns)
            case cm.Evict():
                self._evict(command, now_ns)
            case cm.SetTimer():
                self._timer += 1
                self._timer_due = True
                self.kernel.push(max(now_ns, command.at_ns), _Timer(self._timer), TIMER)
            case cm.Drained():
                self.report.drained = True
            case _:
                raise AssertionError(f"no way to carry out {command}")

    # ---- requests ------------------------------------------------------------------------------------

    def _arrive(self, arrival: Arrival) -> None:
        now_ns = self._last_request_ns = self.kernel.now_ns()
        self._next_arrival()
        if self._idle:
            self._idle = False
            self._read_at(now_ns)
        self._flights[arrival.request.request_id] = _Flight(arrival)
        self._handle(ev.RequestArrived(arrival.request))

    def _finish(self, command: cm.Finish, now_ns: int) -> None:
        result = command.result
        flight = self._flights.pop(result.request_id)
        correct = self._runtime.judge(flight.arrival, flight.decision, result)
        self.report.served.append(Served(flight.arrival, now_ns, flight.decision, result, correct))

    def _run_stage(self, command: cm.RunStage, now_ns: int) -> None:
        flight = self._flights[command.request_id]
        assert flight.decision is not None
        run = Run(flight.arrival, flight.decision, self._processors[command.processor], command.stage)
        after_ns = now_ns + self._settings.dispatch_ns
        event: ev.Event
        try:
            ran = self._runtime.run(run, now_ns)
        except RuntimeFailure as error:
            event = ev.RunFailed(command.request_id, command.stage, str(error))
        else:
            after_ns += ran.run_ns
            event = ev.StageFinished(
                command.request_id, command.stage, ran.run_ns, ran.energy_uj, ran.confidence
            )
        self._push(after_ns, event, DONE)

    # ---- loads and evictions: one after the other, as the daemon's loader thread does them -------------

    def _load(self, command: cm.Load, now_ns: int) -> None:
        begin_ns = max(now_ns, self._loader_free_ns)
        names = (command.task, command.variant, command.pool)
        try:
            loaded = self._runtime.load(command.task, command.variant, self._pools[command.pool], begin_ns)
        except RuntimeFailure as error:
            self._push(begin_ns, ev.LoadFailed(*names, str(error)), DONE)
            return
        self.report.loads += 1
        self._loader_free_ns = begin_ns + loaded.load_ns
        event = ev.LoadFinished(*names, loaded.load_ns, loaded.resident_bytes, loaded.energy_uj)
        self._push(self._loader_free_ns, _Loaded(event, loaded.energy_uj), DONE)

    def _evict(self, command: cm.Evict, now_ns: int) -> None:
        begin_ns = max(now_ns, self._loader_free_ns)
        taken_ns = self._runtime.evict(command.task, command.variant, command.pool, begin_ns)
        self.report.evictions += 1
        self._loader_free_ns = begin_ns + taken_ns
        self._push(self._loader_free_ns, ev.EvictFinished(command.task, command.variant, command.pool), DONE)

    # ---- the device: read at the daemon's rhythm ---------------------------------------------------------

    def _plan_reading(self, now_ns: int) -> None:
        settings = self._settings
        self._idle = now_ns - self._last_request_ns >= settings.idle_after_ns
        self._read_at(now_ns + (settings.idle_ns if self._idle else settings.sensor_ns))

    def _read_at(self, at_ns: int) -> None:
        """Read the sensors at ``at_ns`` instead of when it was planned."""
        self._sense += 1
        self.kernel.push(at_ns, _Sense(self._sense), SENSOR)

    def _read_sensors(self) -> None:
        now_ns, device = self.kernel.now_ns(), self._device.reading(self.kernel.now_ns())
        changed = replace(device, local_time_s=0) != replace(self._read, local_time_s=0)
        self._read = device
        if changed or now_ns - self._told_ns >= HEARTBEAT_NS:
            self._tell_device(now_ns)
        self._plan_reading(now_ns)

    def _tell_device(self, now_ns: int) -> None:
        self._told_ns = now_ns
        self._note_level(now_ns)
        self._handle(ev.DeviceChanged(self._read))

    def _note_level(self, now_ns: int) -> None:
        if self._read.battery_frac is not None:
            self.report.battery.append((now_ns, self._read.battery_frac))
