"""The driver: feeds events to the scheduler, carries out its commands, and holds what it must not know.

Tensors, sockets and files stay here; the scheduler sees names and numbers. Everything that touches the
scheduler runs on the event loop's thread. Runs and loads happen on worker threads which report back.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from trimtab import __version__
from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.codec import encode_value
from trimtab.core.scheduler import Scheduler
from trimtab.domain.decision import Decision, Outcome
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Profile
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request
from trimtab.engine.api import Answer, Call, PolicyText, Record, Statistics, Status
from trimtab.engine.records import Feed, Tally
from trimtab.engine.status import snapshot
from trimtab.engine.workers import Worker
from trimtab.policy import PolicyError, load_policy
from trimtab.ports import (
    Array,
    Clock,
    DeviceSensors,
    EnergyMeter,
    History,
    Journal,
    Observer,
    PolicySource,
    Runtime,
    RuntimeFailure,
    Story,
    StoredFamily,
    Tensors,
)
from trimtab.strategies import strategy_named

log = logging.getLogger(__name__)

HEARTBEAT_NS = 60 * NS_PER_S
"""The device's state is told to the scheduler at least so often, changed or not: time-of-day rules need it."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine behaves. Sensors are read each ``sensor_s`` while requests come, else each ``idle_s``."""

    sensor_s: float = 1.0
    idle_s: float = 10.0
    idle_after_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the engine is wired to."""

    clock: Clock
    sensors: DeviceSensors
    meter: EnergyMeter
    runtimes: dict[str, Runtime]
    policies: PolicySource
    journal: Journal
    processors: tuple[Processor, ...]
    families: Sequence[StoredFamily]
    profiles: dict[str, tuple[Profile, ...]]
    history: History | None = None
    observers: tuple[Observer, ...] = ()


@dataclass(slots=True)
class _Pending:
    """A call whose request is in flight: its tensors, who waits for it, and what is known so far."""

    call: Call
    answered: asyncio.Future[Answer]
    tensors: dict[str, Array]
    decision: Decision | None = None
    stage_outputs: dict[str, Array] = field(default_factory=dict)


class Engine:
    """The asyncio driver of one scheduler; implements ``trimtab.engine.api.Inference``."""

    def __init__(self, parts: Parts, settings: EngineSettings | None = None) -> None:
        """Wire the engine; nothing runs before ``start``."""
        self._parts = parts
        self._settings = settings or EngineSettings()
        self._scheduler = Scheduler(strategy_named)
        self._families = {stored.family.task: stored for stored in parts.families}
        self._pending: dict[str, _Pending] = {}
        self._inbox: deque[ev.Event] = deque()
        self._handling = False
        self._workers: dict[str, Worker] = {}
        self._loader: Worker | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._drained = asyncio.Event()
        self._stirred = asyncio.Event()
        self._feed = Feed()
        self._tally = Tally()
        self._policy = PolicyText(Policy(name="default"), "", "")
        self._reload_error = ""
        self._device = DeviceState()
        self._device_told_ns = 0
        self._count = 0
        self._started_ns = 0
        self._last_request_ns = 0
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()

    # ---- lifecycle ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the policy, tell the scheduler what there is, and wait until every task can be served.

        Raises ``PolicyError`` when the policy is invalid: a daemon must not start under a wrong policy.
        """
        parts = self._parts
        self._started_ns = parts.clock.now_ns()
        policy = parts.policies.load()
        self._policy = PolicyText(policy, parts.policies.text, parts.policies.source)
        self._workers = {p.name: Worker(p.name, p.cores) for p in parts.processors}
        self._loader = Worker("loader")
        self._device = await asyncio.to_thread(parts.sensors.read)
        self._post(ev.PolicyReplaced(policy))
        self._post(ev.ProcessorsFound(parts.processors))
        self._tell_device()
        for stored in parts.families:
            self._post(ev.FamilyAdded(replace(stored.family, profiles=None)))
            profiles = parts.profiles.get(stored.family.task, ())
            self._post(ev.ProfilesReplaced(stored.family.task, profiles))
        self._tasks.append(asyncio.create_task(self._watch_device(), name="trimtab-sensors"))
        while self._scheduler.state.residences and not self._loads_settled():
            await asyncio.sleep(0.005)

    def _loads_settled(self) -> bool:
        return all(r.holding.value != "loading" for r in self._scheduler.state.residences.values())

    async def drain(self) -> None:
        """Admit nothing new and wait until everything admitted has been answered."""
        self._post(ev.DrainStarted())
        await self._drained.wait()

    async def close(self) -> None:
        """Stop threads, drop all variants, and close the journal. Call ``drain`` first to lose nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        for pending in list(self._pending.values()):
            pending.answered.cancel()
        self._feed.close()
        await asyncio.to_thread(self._close_parts)

    def _close_parts(self) -> None:
        for worker in self._workers.values():
            worker.stop()
        if self._loader is not None:
            self._loader.stop()
        for runtime in self._parts.runtimes.values():
            runtime.close()
        self._parts.journal.close()

    # ---- the one place where events meet the scheduler -----------------------------------------------

    def _post(self, event: ev.Event) -> None:
        """Hand an event to the scheduler and carry its commands out. Only ever on the loop's thread."""
        self._inbox.append(event)
        if self._handling:
            return
        self._handling = True
        try:
            while self._inbox:
                self._handle(self._inbox.popleft())
        finally:
            self._handling = False

    def _handle(self, event: ev.Event) -> None:
        parts, now_ns = self._parts, self._parts.clock.now_ns()
        commands = self._scheduler.handle(event, now_ns)
        parts.journal.append(now_ns, event, commands)
        for command in commands:
            self._execute(command, now_ns)
        for observer in parts.observers:
            observer.saw(now_ns, event, commands)
        if isinstance(event, ev.Checkpointed):
            parts.journal.checkpoint(now_ns, encode_value(self._scheduler.state))
        elif parts.journal.wants_checkpoint():
            self._inbox.append(ev.Checkpointed())

    def _execute(self, command: cm.Command, now_ns: int) -> None:
        match command:
            case cm.RunStage():
                self._run(command)
            case cm.Decided():
                self._pending[command.decision.request_id].decision = command.decision
            case cm.Finish():
                self._answer(command, now_ns)
            case cm.Load():
                self._load(command)
            case cm.Evict():
                self._evict(command)
            case cm.SetTimer():
                self._set_timer(command.at_ns, now_ns)
            case cm.Drained():
                self._drained.set()
            case _:
                raise AssertionError(f"no way to carry out {command}")

    def _post_from_thread(self, event: ev.Event) -> None:
        self._loop.call_soon_threadsafe(self._post, event)

    # ---- requests ------------------------------------------------------------------------------------

    async def infer(self, call: Call) -> Answer:
        """Serve one call. Cancelling the awaiting task cancels the request."""
        self._count += 1
        request_id = f"{self._parts.journal.session}-{self._count}"
        self._last_request_ns = self._parts.clock.now_ns()
        if not self._stirred.is_set():
            self._stirred.set()
        pending = _Pending(call, self._loop.create_future(), call.tensors)
        self._pending[request_id] = pending
        request = Request(
            request_id=request_id,
            task=call.task,
            app=call.app,
            latency_budget_ns=call.latency_budget_ns,
            min_accuracy_frac=call.min_accuracy_frac,
            max_energy_uj=call.max_energy_uj,
            priority=call.priority,
            prefer=call.prefer,
            variant=call.variant,
            batch=call.batch,
        )
        self._post(ev.RequestArrived(request, call.elapsed_ns))
        try:
            return await pending.answered
        except asyncio.CancelledError:
            if request_id in self._pending:
                self._post(ev.RequestCancelled(request_id))
            raise
        finally:
            self._pending.pop(request_id, None)

    def _answer(self, command: cm.Finish, now_ns: int) -> None:
        result = command.result
        pending = self._pending[result.request_id]
        outputs: dict[str, Array] = {}
        if result.outcome is Outcome.DONE:
            outputs = pending.stage_outputs
        answer = Answer(result, pending.decision, outputs, self._parts.meter.source.value)
        if not pending.answered.done():
            pending.answered.set_result(answer)
        self._tally.count(pending.call.task, result, pending.call.batch, int(time.time() * 1e3))
        if self._feed.listened_to:
            self._feed.publish(self._record(pending, command, now_ns))

    def _record(self, pending: _Pending, command: cm.Finish, now_ns: int) -> Record:
        state = self._scheduler.state
        return Record(
            at_ns=now_ns,
            app=pending.call.app,
            decision=pending.decision,
            result=command.result,
            battery_frac=self._device.battery_frac,
            memory_used_bytes=sum(r.resident_bytes for r in state.residences.values()),
            in_flight=len(state.live),
        )

    # ---- runs and loads on worker threads --------------------------------------------------------------

    def _run(self, command: cm.RunStage) -> None:
        pending = self._pending.get(command.request_id)
        tensors = {} if pending is None else pending.tensors
        processor = self._scheduler.state.processors[command.processor]
        self._workers[command.processor].submit(lambda: self._run_blocking(command, processor, tensors))

    def _run_blocking(self, command: cm.RunStage, processor: Processor, tensors: Tensors) -> None:
        """Run a stage and report it; on the processor's own thread."""
        runtime = self._parts.runtimes[processor.runtime]
        began_ns = time.perf_counter_ns()
        try:
            outputs = runtime.run(command.task, command.variant, processor, command.stage, tensors)
            run_ns = time.perf_counter_ns() - began_ns
            energy = self._parts.meter.run_energy(processor, run_ns)
            stage = self._families[command.task].family.variant(command.variant).stages[command.stage]
            confidence = confidence_of(outputs[stage.logits])
            event = ev.StageFinished(command.request_id, command.stage, run_ns, energy.energy_uj, confidence)
            self._loop.call_soon_threadsafe(self._stage_done, event, outputs, stage.logits)
        except RuntimeFailure as error:
            self._post_from_thread(ev.RunFailed(command.request_id, command.stage, str(error)))
        except Exception as error:  # a runtime must not take its processor's thread down with it
            text = f"{type(error).__name__}: {error}"
            self._post_from_thread(ev.RunFailed(command.request_id, command.stage, text))

    def _stage_done(self, event: ev.StageFinished, outputs: dict[str, Array], logits: str) -> None:
        pending = self._pending.get(event.request_id)
        if pending is not None:
            name = self._families[pending.call.task].family.outputs[0].name
            pending.stage_outputs = {name: outputs[logits]}
            if len(outputs) > 1:
                pending.tensors = {**pending.tensors, **outputs}
        self._post(event)

    def _load(self, command: cm.Load) -> None:
        assert self._loader is not None
        processor = next(p for p in self._parts.processors if p.pool == command.pool)
        self._loader.submit(lambda: self._load_blocking(command, processor))

    def _load_blocking(self, command: cm.Load, processor: Processor) -> None:
        stored = self._families[command.task]
        variant = stored.family.variant(command.variant)
        try:
            runtime = self._parts.runtimes[processor.runtime]
            loaded = runtime.load(command.task, variant, Path(stored.folder), processor)
            event: ev.Event = ev.LoadFinished(
                command.task, command.variant, command.pool, loaded.load_ns, loaded.resident_bytes
            )
        except Exception as error:
            event = ev.LoadFailed(command.task, command.variant, command.pool, str(error))
        self._post_from_thread(event)

    def _evict(self, command: cm.Evict) -> None:
        assert self._loader is not None
        processor = next(p for p in self._parts.processors if p.pool == command.pool)
        runtime = self._parts.runtimes[processor.runtime]

        def job() -> None:
            runtime.evict(command.task, command.variant, command.pool)
            self._post_from_thread(ev.EvictFinished(command.task, command.variant, command.pool))

        self._loader.submit(job)

    def _set_timer(self, at_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, at_ns - now_ns) / NS_PER_S
        self._timer = self._loop.call_later(delay_s, self._post, ev.TimerFired())

    # ---- the device and the policy -------------------------------------------------------------------

    async def _watch_device(self) -> None:
        """Read sensors and the policy file: often while requests come, rarely while the daemon is idle."""
        settings = self._settings
        while True:
            idle_ns = self._parts.clock.now_ns() - self._last_request_ns
            if idle_ns < settings.idle_after_s * NS_PER_S:
                await asyncio.sleep(settings.sensor_s)
            else:
                self._stirred.clear()
                try:
                    await asyncio.wait_for(self._stirred.wait(), settings.idle_s)
                except TimeoutError:
                    pass
            await self.refresh()

    async def refresh(self, *, reload_policy: bool = False) -> None:
        """Read the sensors now and look for a new policy; ``reload_policy`` reads it changed or not."""
        device = await asyncio.to_thread(self._parts.sensors.read)
        changed = replace(device, local_time_s=0) != replace(self._device, local_time_s=0)
        self._device = device
        if changed or self._parts.clock.now_ns() - self._device_told_ns >= HEARTBEAT_NS:
            self._tell_device()
        await self._poll_policy(force=reload_policy)

    def _tell_device(self) -> None:
        self._device_told_ns = self._parts.clock.now_ns()
        self._post(ev.DeviceChanged(self._device))

    async def _poll_policy(self, *, force: bool = False) -> None:
        source = self._parts.policies
        try:
            policy = await asyncio.to_thread(source.poll, force)
        except PolicyError as error:
            self._reload_error = str(error)
            log.error("the policy stays as it was: %s", error)
            return
        if policy is not None:
            self._use_policy(PolicyText(policy, source.text, source.source))

    def _use_policy(self, text: PolicyText) -> None:
        self._policy, self._reload_error = text, ""
        self._post(ev.PolicyReplaced(text.policy))

    # ---- what transports look at -----------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Return whether requests would be admitted now."""
        state = self._scheduler.state
        return bool(state.families) and not state.draining and self._loads_settled_once()

    def _loads_settled_once(self) -> bool:
        return all(self._scheduler.chooser.candidates.get(task) for task in self._families)

    def families(self) -> dict[str, StoredFamily]:
        """Return the families by task."""
        return self._families

    def profiles(self, task: str) -> tuple[Profile, ...]:
        """Return the profiles in force for a task."""
        return self._scheduler.state.profiles.get(task, ())

    def status(self) -> Status:
        """Return a snapshot."""
        return snapshot(
            self._scheduler.state,
            self._tally,
            version=__version__,
            session=self._parts.journal.session,
            uptime_ns=self._parts.clock.now_ns() - self._started_ns,
            ready=self.ready,
            energy_meter=self._parts.meter.description,
            policy_reload_error=self._reload_error,
            now_ns=self._parts.clock.now_ns(),
        )

    def statistics(self, task: str) -> dict[str, Statistics]:
        """Return counters by variant name."""
        return self._tally.of(task)

    def watch(self) -> AsyncIterator[Record]:
        """Yield each request that ends from now on; a slow reader loses the oldest records, not the newest."""
        return self._feed.read()

    async def explain(self, request_id: str) -> Story:
        """Return the story of a request; raise ``KeyError`` when the journal does not hold it."""
        history = self._parts.history
        if history is None:
            raise KeyError("this daemon keeps no journal")
        await asyncio.to_thread(self._parts.journal.flush)
        return await asyncio.to_thread(history.story, request_id)

    def policy(self) -> PolicyText:
        """Return the policy in force."""
        return self._policy

    async def validate_policy(self, yaml: str) -> Policy:
        """Parse and check without using it; raise ``PolicyError``."""
        return await asyncio.to_thread(load_policy, yaml, "<request>")

    async def set_policy(self, yaml: str) -> Policy:
        """Put a policy in force until the next reload or restart; raise ``PolicyError`` and keep the old one."""
        policy = await self.validate_policy(yaml)
        self._use_policy(PolicyText(policy, yaml, "<request>"))
        return policy


def confidence_of(logits: Array) -> float:
    """Return the max softmax of (N, C) logits; for a batch that of its least certain sample."""
    values = np.asarray(logits, dtype=np.float32).reshape(-1, logits.shape[-1])
    top = values.max(axis=1, keepdims=True)
    return float((1.0 / np.exp(values - top).sum(axis=1)).min())
