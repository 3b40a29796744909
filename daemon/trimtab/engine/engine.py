"""The driver: feeds events to the scheduler, carries out its commands, and holds what it must not know.

Tensors, sockets and files stay here; the scheduler sees names and numbers. Everything that touches the
scheduler runs on the event loop's thread. Runs and loads happen on worker threads which report back.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trimtab import __version__
from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.codec import CodecError, encode_value
from trimtab.core.knowledge import knowledge_of
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import Holding
from trimtab.domain.decision import Cause, Decision, Outcome, Result
from trimtab.domain.family import Profile
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request
from trimtab.engine.api import Answer, Call, PolicyText, Record, Statistics, Status
from trimtab.engine.execution import Execution
from trimtab.engine.records import Feed, Tally
from trimtab.engine.status import snapshot
from trimtab.engine.surroundings import BY_REQUEST, EngineSettings, Surroundings
from trimtab.ports import (
    Array,
    Clock,
    DeviceSensors,
    EnergyMeter,
    EstimateStore,
    History,
    Journal,
    Observer,
    PolicySource,
    Runtime,
    ServerRuntime,
    StoredFamily,
    Story,
)
from trimtab.strategies import strategy_named

__all__ = ["Engine", "EngineSettings", "Parts"]

log = logging.getLogger(__name__)

KEEP_NS = 300 * NS_PER_S
"""What was learned is written down at least so often while the device is read, and at the end."""


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
    estimates: EstimateStore | None = None
    observers: tuple[Observer, ...] = ()


@dataclass(slots=True)
class _Pending:
    """A call whose request is in flight: its tensors, who waits for it, and what is known so far."""

    call: Call
    answered: asyncio.Future[Answer]
    tensors: Mapping[str, Array]
    decision: Decision | None = None
    outputs: dict[str, Array] = field(default_factory=dict)
    ended: bool = False


def _servers_of(parts: Parts) -> dict[str, ServerRuntime]:
    """Return the runtimes that execute elsewhere, by processor."""
    runtimes = {p.name: parts.runtimes[p.runtime] for p in parts.processors if p.is_remote}
    return {name: runtime for name, runtime in runtimes.items() if isinstance(runtime, ServerRuntime)}


class Engine:
    """The asyncio driver of one scheduler; implements ``trimtab.engine.api.Inference``."""

    def __init__(self, parts: Parts, settings: EngineSettings | None = None) -> None:
        """Wire the engine on the running event loop; nothing runs before ``start``."""
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._scheduler = Scheduler(strategy_named)
        self._families = {stored.family.task: stored for stored in parts.families}
        self._execution = Execution(
            parts.processors, parts.runtimes, self._families, parts.meter, parts.clock, self._happened
        )
        self._surroundings = Surroundings(
            parts.sensors,
            parts.policies,
            parts.clock,
            settings or EngineSettings(),
            self._post,
            _servers_of(parts),
            lambda: self._scheduler.state.links,
        )
        self._pending: dict[str, _Pending] = {}
        self._inbox: deque[ev.Event] = deque()
        self._handling = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()
        self._loaded = asyncio.Event()
        self._feed = Feed()
        self._tally = Tally()
        self._count = 0
        self._started_ns = self._kept_ns = 0

    # ---- lifecycle ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the policy, tell the scheduler what there is, and wait until every task can be served.

        Raises ``PolicyError`` when the policy is invalid. Call ``close`` also when this failed.
        """
        parts = self._parts
        self._started_ns = parts.clock.now_ns()
        await self._surroundings.load_policy()
        self._execution.start()
        self._post(ev.ProcessorsFound(parts.processors))
        await self._surroundings.look_at_servers()
        await self._surroundings.read_device()
        for stored in parts.families:
            self._post(ev.FamilyAdded(replace(stored.family, profiles=None)))
            profiles = parts.profiles.get(stored.family.task, ())
            self._post(ev.ProfilesReplaced(stored.family.task, profiles))
        await self._restore_estimates()
        self._surroundings.watch()
        while any(r.holding is Holding.LOADING for r in self._scheduler.state.residences.values()):
            self._loaded.clear()
            await self._loaded.wait()

    async def _restore_estimates(self) -> None:
        """Let the scheduler begin with what was learned before."""
        store = self._parts.estimates
        kept = None if store is None else await asyncio.to_thread(store.load)
        if kept is not None:
            self._post(ev.EstimatesRestored(*kept))
        self._kept_ns = self._parts.clock.now_ns()

    def _keep_estimates(self, now_ns: int) -> Callable[[], None]:
        """Return what writes down, on any thread, what was learned until now; failing is no more than logged."""
        self._kept_ns = now_ns
        store, known = self._parts.estimates, knowledge_of(self._scheduler.state, now_ns)

        def save() -> None:
            try:
                if store is not None and any(one.observations for one in known.estimates.values()):
                    store.save(known)
            except (OSError, CodecError) as error:
                log.warning("what was learned cannot be kept: %s", error)

        return save

    async def drain(self) -> None:
        """Admit nothing new and wait until everything admitted has been answered."""
        self._post(ev.DrainStarted())
        await self._drained.wait()

    async def close(self) -> None:
        """Cancel what is in flight, stop threads, drop all variants, and close the journal.

        Call ``drain`` first to lose nothing.
        """
        if self._closed:
            return
        await self._surroundings.stop()
        for request_id in list(self._pending):
            self._happened(ev.RequestCancelled(request_id))
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._feed.close()
        await asyncio.to_thread(self._close_parts, self._keep_estimates(self._parts.clock.now_ns()))

    def _close_parts(self, save: Callable[[], None]) -> None:
        try:
            self._execution.close()
        finally:
            self._parts.journal.close()
            save()

    # ---- the one place where events meet the scheduler -----------------------------------------------

    def _post(self, event: ev.Event) -> None:
        """Hand an event to the scheduler and carry its commands out. Only ever on the loop's thread."""
        if self._closed:
            return
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
        if now_ns - self._kept_ns >= KEEP_NS and isinstance(event, ev.DeviceChanged):
            self._loop.run_in_executor(None, self._keep_estimates(now_ns))

    def _execute(self, command: cm.Command, now_ns: int) -> None:
        match command:
            case cm.RunStage():
                pending = self._pending.get(command.request_id)
                self._execution.run(command, {} if pending is None else pending.tensors)
            case cm.Decided():
                pending = self._pending.get(command.decision.request_id)
                if pending is not None:
                    pending.decision = command.decision
            case cm.Finish():
                self._answer(command.result, now_ns)
            case cm.Load():
                self._execution.load(command)
            case cm.Evict():
                self._execution.evict(command)
            case cm.SetTimer():
                self._set_timer(command.at_ns, now_ns)
            case cm.Drained():
                self._drained.set()
            case _:
                raise AssertionError(f"no way to carry out {command}")

    def _happened(self, event: ev.Event, outputs: Mapping[str, Array] | None = None) -> None:
        """Take what a thread or a timer reports; a bug in handling it fails its request, it must not hang."""
        request_id = getattr(event, "request_id", "")
        try:
            if isinstance(event, ev.StageFinished) and outputs is not None:
                self._keep_outputs(event, outputs)
            self._post(event)
        except Exception as error:
            log.exception("%s could not be handled", type(event).__name__)
            pending = self._pending.get(request_id)
            if pending is not None and not pending.answered.done():
                pending.ended = True
                pending.answered.set_exception(error)
        if isinstance(event, ev.LoadFinished | ev.LoadFailed):
            self._loaded.set()

    def _set_timer(self, at_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, at_ns - now_ns) / NS_PER_S
        self._timer = self._loop.call_later(delay_s, self._happened, ev.TimerFired())

    # ---- requests ------------------------------------------------------------------------------------

    async def infer(self, call: Call) -> Answer:
        """Serve one call. Cancelling the awaiting task cancels the request."""
        self._count += 1
        request_id = f"{self._parts.journal.session}-{self._count}"
        if self._closed:
            result = Result(request_id, Outcome.REJECTED, Cause.DRAINING, "the daemon has stopped")
            return Answer(result, None, {}, self._parts.meter.source.value)
        self._surroundings.stir()
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
            processor=call.processor,
            strict=call.strict,
        )
        pending = _Pending(call, self._loop.create_future(), call.tensors)
        self._pending[request_id] = pending
        try:
            self._post(ev.RequestArrived(request, call.elapsed_ns))
            return await pending.answered
        except asyncio.CancelledError:
            if not pending.ended:
                self._happened(ev.RequestCancelled(request_id))
            raise
        finally:
            del self._pending[request_id]

    def _keep_outputs(self, event: ev.StageFinished, outputs: Mapping[str, Array]) -> None:
        """Keep the logits of the exit just reached, and what the next stage may need."""
        pending = self._pending.get(event.request_id)
        if pending is None or pending.decision is None:
            return
        decision = pending.decision
        logits = self._execution.stage(decision.task, decision.variant, event.stage).logits
        name = self._families[decision.task].family.outputs[0].name
        pending.outputs = {name: outputs[logits]}
        if len(outputs) > 1:
            pending.tensors = {**pending.tensors, **outputs}

    def _answer(self, result: Result, now_ns: int) -> None:
        pending = self._pending.get(result.request_id)
        if pending is None:
            return
        pending.ended = True
        outputs = pending.outputs if result.outcome is Outcome.DONE else {}
        if not pending.answered.done():
            source = self._execution.energy_source(result.processor).value
            pending.answered.set_result(Answer(result, pending.decision, outputs, source))
        self._tally.count(pending.call.task, result, pending.call.batch, time.time_ns() // 1_000_000)
        if self._feed.listened_to:
            self._feed.publish(self._record(pending, result, now_ns))

    def _record(self, pending: _Pending, result: Result, now_ns: int) -> Record:
        state = self._scheduler.state
        return Record(
            at_ns=now_ns,
            task=pending.call.task,
            app=pending.call.app,
            decision=pending.decision,
            result=result,
            battery_frac=self._surroundings.device.battery_frac,
            memory_used_bytes=sum(r.resident_bytes for r in state.residences.values()),
            in_flight=len(state.live),
        )

    # ---- the device and the policy -------------------------------------------------------------------

    async def refresh(self, *, reload_policy: bool = False) -> None:
        """Read the sensors now and look for a new policy; ``reload_policy`` reads it changed or not."""
        await self._surroundings.refresh(reload_policy=reload_policy)

    def policy(self) -> PolicyText:
        """Return the policy in force."""
        return self._surroundings.policy

    async def validate_policy(self, yaml: str) -> Policy:
        """Parse and check without using it; raise ``PolicyError``."""
        return await self._surroundings.check(yaml)

    async def set_policy(self, yaml: str) -> Policy:
        """Put a policy in force until the next reload or restart; raise ``PolicyError`` and keep the old one."""
        policy = await self._surroundings.check(yaml)
        self._surroundings.use(PolicyText(policy, yaml, BY_REQUEST))
        return policy

    # ---- what transports look at -----------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Return whether requests for every task would be admitted now."""
        candidates = self._scheduler.chooser.candidates
        able = bool(self._families) and all(candidates.get(task) for task in self._families)
        return able and not self._scheduler.state.draining and not self._closed

    def families(self) -> dict[str, StoredFamily]:
        """Return the families by task."""
        return self._families

    def status(self) -> Status:
        """Return a snapshot."""
        now_ns = self._parts.clock.now_ns()
        return snapshot(
            self._scheduler.state,
            self._tally,
            version=__version__,
            session=self._parts.journal.session,
            uptime_ns=now_ns - self._started_ns,
            ready=self.ready,
            energy_meter=self._parts.meter.description,
            policy_reload_error=self._surroundings.reload_error,
            now_ns=now_ns,
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
