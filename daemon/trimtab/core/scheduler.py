"""The scheduler: ``handle(event, now_ns) -> commands``. Theory of operation.

Everything the scheduler knows came in as an event; everything it wants done goes out as a command. It holds
no clock, does no I/O and uses no chance, so the same events give the same commands in the daemon, in the
simulator and in a replay of a journal.

A request that arrives is decided at once (``Chooser``), put into the queue (``queueing``) and started when
its processor is free. It is decided again only when its slack has shrunk so far that the choice would be
late, or when what it counted on failed. Variants are loaded for a request, or ahead of requests when one
would win if only it were resident (``Holdings``). After each event ``_settle`` starts what can start.
"""

from bisect import insort
from collections.abc import Callable

from trimtab.core import events as ev
from trimtab.core.chooser import Chooser
from trimtab.core.commands import Command, Decided, Drained, Finish, RunStage, SetTimer
from trimtab.core.estimator import observe
from trimtab.core.holdings import Holdings
from trimtab.core.lifecycle import IllegalEventError, move
from trimtab.core.prices import energy_left_j, note_arrival, note_reading
from trimtab.core.queueing import LATE_CLASS, class_of, late_count, next_dispatchable
from trimtab.core.residency import memory_limit
from trimtab.core.selection import Choice, Situation, Strategy, Table
from trimtab.core.state import (
    Demand,
    Estimate,
    Holding,
    Live,
    Occupation,
    Phase,
    State,
    residence_key,
)
from trimtab.core.tables import solve_energy_price
from trimtab.domain.decision import Cause, Outcome, Result, Verdict, Why
from trimtab.domain.policy import BelowReserve, Goal
from trimtab.domain.quantities import NS_PER_S

MAX_ATTEMPTS = 3
"""So many times one request is decided before it fails."""
REPRICE_ARRIVALS = 128
REPRICE_NS = NS_PER_S
LATE_BUDGETS = 4
LATE_GRACE_NS = 250_000_000
"""A request whose deadline was given up is dropped once it is late by the larger of the two."""
STANDING = (Why.NOT_PINNED, Why.VARIANT_DENIED, Why.PROCESSOR_DENIED, Why.UNHEALTHY, Why.NO_MEMORY)
"""Reasons that hold whatever the load."""
OVERHEAD_GAIN = 0.05
MAX_OVERHEAD_NS = 20_000_000


class Scheduler:
    """The one scheduler that daemon, simulator and replay share."""

    def __init__(
        self,
        strategy_named: Callable[[str], Strategy],
        state: State | None = None,
        *,
        explain: bool = False,
    ) -> None:
        """Start empty, or from a state read back from a journal.

        With ``explain`` each decision carries every candidate's verdict; the choices are the same.
        """
        self.state = State() if state is None else state
        self.chooser = Chooser(self.state, strategy_named)
        self._explain = explain
        self._out: list[Command] = []
        self._holdings = Holdings(self.state, self._emit)
        self._handlers: dict[type[ev.Event], Callable[..., None]] = {
            ev.ProcessorsFound: self._on_processors,
            ev.FamilyAdded: self._on_family,
            ev.ProfilesReplaced: self._on_profiles,
            ev.PolicyReplaced: self._on_policy,
            ev.DeviceChanged: self._on_device,
            ev.RequestArrived: self._on_arrival,
            ev.RequestCancelled: self._on_cancelled,
            ev.LoadFinished: self._on_loaded,
            ev.LoadFailed: self._on_load_failed,
            ev.EvictFinished: self._on_evicted,
            ev.StageFinished: self._on_stage,
            ev.RunFailed: self._on_run_failed,
            ev.TimerFired: self._on_timer,
            ev.DrainStarted: self._on_drain,
            ev.Checkpointed: self._on_checkpoint,
        }

    def handle(self, event: ev.Event, now_ns: int) -> list[Command]:
        """Take one event at ``now_ns`` and return what is to be done, in order.

        Raises ``IllegalEventError``, with the state unchanged, for an event that cannot happen now.
        """
        self._out = []
        self._handlers[type(event)](event, now_ns)
        self._settle(now_ns)
        return self._out

    def _emit(self, command: Command) -> None:
        self._out.append(command)

    # ---- what the device is and wants --------------------------------------------------------------

    def _on_processors(self, event: ev.ProcessorsFound, _now_ns: int) -> None:
        state = self.state
        if state.live or state.residences:
            raise IllegalEventError(event, "processors cannot change while variants are loaded")
        if not event.processors:
            raise IllegalEventError(event, "a device has at least one processor")
        state.processors = {p.name: p for p in event.processors}
        state.estimates = {name: state.estimates.get(name, Estimate()) for name in state.processors}
        self.chooser.rebuild()

    def _on_family(self, event: ev.FamilyAdded, now_ns: int) -> None:
        self.state.families[event.family.task] = event.family
        self._catalogue_changed(now_ns)

    def _on_profiles(self, event: ev.ProfilesReplaced, now_ns: int) -> None:
        if event.task not in self.state.families:
            raise IllegalEventError(event, f"there is no family for task {event.task!r}")
        self.state.profiles[event.task] = event.profiles
        self._catalogue_changed(now_ns)

    def _catalogue_changed(self, now_ns: int) -> None:
        self.chooser.rebuild()
        self._reprice(now_ns)
        self._holdings.load_last_resorts(now_ns)

    def _on_policy(self, event: ev.PolicyReplaced, now_ns: int) -> None:
        try:
            self.chooser.replace_policy(event.policy)
        except ValueError as error:
            raise IllegalEventError(event, str(error)) from error
        self.state.policy, self.state.policy_since_ns = event.policy, now_ns
        self._limits_changed(now_ns)

    def _on_device(self, event: ev.DeviceChanged, now_ns: int) -> None:
        note_reading(self.state.energy, event.device, now_ns)
        self.state.device, self.state.device_at_ns = event.device, now_ns
        self._limits_changed(now_ns)

    def _limits_changed(self, now_ns: int) -> None:
        self.state.memory_limit_bytes = memory_limit(self.state)
        self._holdings.shed()
        self._reprice(now_ns)
        self.chooser.forget()

    def _reprice(self, now_ns: int) -> None:
        energy = self.state.energy
        price = solve_energy_price(self.state, self.chooser.candidates, now_ns)
        energy.priced_ns, energy.priced_arrivals = now_ns, self.state.arrivals
        if price != energy.price_per_j:
            energy.price_per_j = price
            self.chooser.forget()

    # ---- requests come and go ----------------------------------------------------------------------

    def _on_arrival(self, event: ev.RequestArrived, now_ns: int) -> None:
        request, state = event.request, self.state
        if request.request_id in state.live:
            raise IllegalEventError(event, "this id is in flight", state.live[request.request_id])
        refusal = self._refuse_unseen(event)
        if refusal is not None:
            self._emit(Finish(refusal))
            return
        self._count_arrival(request.task, now_ns)
        table = self.chooser.table(request.task, request.app, request.prefer, now_ns)
        budget_ns = request.latency_budget_ns
        budget_ns = table.settings.latency_budget_ns if budget_ns is None else budget_ns
        live = Live(
            request=request,
            seq=state.arrivals,
            phase=Phase.NEW,
            arrived_ns=now_ns,
            deadline_ns=now_ns + budget_ns - event.elapsed_ns,
            settings=table.settings,
            rules=table.rules,
            policy=state.policy.name,
            queued_ns=now_ns,
        )
        self._decide(live, now_ns)

    def _refuse_unseen(self, event: ev.RequestArrived) -> Result | None:
        """Return why a request is refused before anything is decided, if it is."""
        request, state = event.request, self.state
        if state.draining:
            cause, reason = Cause.DRAINING, "draining: no new requests are admitted"
        elif request.task not in state.families:
            known = ", ".join(state.families) or "none"
            cause, reason = Cause.UNKNOWN_TASK, f"unknown task {request.task!r}; known: {known}"
        elif not self.chooser.candidates[request.task]:
            cause, reason = Cause.NOT_READY, f"task {request.task!r} has no profiles yet"
        elif request.variant and request.variant not in [
            v.name for v in state.families[request.task].variants
        ]:
            known = ", ".join(v.name for v in state.families[request.task].variants)
            cause, reason = Cause.UNKNOWN_VARIANT, f"unknown variant {request.variant!r}; known: {known}"
        else:
            return None
        return Result(request.request_id, Outcome.REJECTED, cause, reason)

    def _count_arrival(self, task: str, now_ns: int) -> None:
        state, energy = self.state, self.state.energy
        state.arrivals += 1
        note_arrival(state.demand.setdefault(task, Demand()), now_ns)
        due = state.arrivals - energy.priced_arrivals >= REPRICE_ARRIVALS
        if due or now_ns - energy.priced_ns >= REPRICE_NS:
            self._reprice(now_ns)

    def _on_cancelled(self, event: ev.RequestCancelled, now_ns: int) -> None:
        """Forget a request whose caller left; one that has just ended is no error, callers race."""
        live = self.state.live.get(event.request_id)
        if live is None or live.phase is Phase.ABANDONED:
            return
        if live.phase is Phase.RUNNING:
            move(live, Phase.ABANDONED)
            self._emit(Finish(self._result(live, Outcome.CANCELLED, Cause.CALLER, "cancelled", now_ns)))
        else:
            self._end(live, Outcome.CANCELLED, Cause.CALLER, "cancelled", now_ns)

    # ---- deciding ----------------------------------------------------------------------------------

    def _decide(self, live: Live, now_ns: int) -> None:
        """Choose for a request that holds no candidate, then queue or reject it."""
        request = live.request
        live.attempts += 1
        table = self.chooser.table(request.task, request.app, request.prefer, now_ns)
        at = self.chooser.situation(live, table.weight, now_ns)
        if self._at_reserve(now_ns):
            self._reject(live, Cause.RESERVE, Cause.RESERVE.value, (), now_ns)
            return
        choice = self._choose_with_room(live, table, at, now_ns)
        if choice is None:
            self._reject_for(live, table, at, now_ns)
        elif Goal.DEADLINE in choice.given_up and late_count(self.state) >= self.state.policy.queue_limit:
            self._holdings.release(live, now_ns)
            self._reject(live, Cause.OVERLOAD, "overload: too many late requests wait", (), now_ns)
        else:
            self._queue(live, choice, now_ns)
            self._record(live, table, at, choice)
        if table.cold:
            wish = self.chooser.wish(table, at, choice)
            if wish is not None:
                self._holdings.fulfil(request.task, wish, now_ns)

    def _choose_with_room(self, live: Live, table: Table, at: Situation, now_ns: int) -> Choice | None:
        """Ask the strategy until its choice can also be held in memory."""
        choice = self.chooser.strategy.choose(table, at)
        while choice is not None and not self._holdings.claim(live, choice.entry, now_ns):
            choice.entry.blocked, choice.entry.detail = Why.NO_MEMORY, "what is in memory is in use"
            self.chooser.forget()
            choice = self.chooser.strategy.choose(table, at)
        if choice is not None and not choice.entry.resident:
            self.chooser.forget()
        return choice

    def _at_reserve(self, now_ns: int) -> bool:
        goal, device = self.state.policy.battery, self.state.device
        if goal.below_reserve is not BelowReserve.REJECT or device.charging or device.battery_frac is None:
            return False
        left_j = energy_left_j(self.state.energy, device, goal.reserve_frac, now_ns)
        return device.battery_frac <= goal.reserve_frac if left_j is None else left_j <= 0.0

    def _record(self, live: Live, table: Table, at: Situation, choice: Choice) -> None:
        live.given_up = choice.given_up
        live.decision = self.chooser.decision(live, table, at, choice)
        told: tuple[Verdict, ...] = self.chooser.explain(table, at, choice) if self._explain else ()
        self._emit(Decided(live.decision, told))

    def _reject_for(self, live: Live, table: Table, at: Situation, now_ns: int) -> None:
        """Reject a request that no candidate can serve, telling how many fail for which reason."""
        counts = self.chooser.count_reasons(table, at)
        full = counts[Why.QUEUE_FULL] > 0 and set(counts) <= {Why.QUEUE_FULL, *STANDING}
        cause = Cause.OVERLOAD if full else Cause.GOALS
        told = self.chooser.explain(table, at, None) if self._explain else ()
        reasons = ", ".join(f"{count} {why.value}" for why, count in counts.most_common())
        self._reject(live, cause, f"{cause.value}: {reasons}", told, now_ns)

    def _reject(
        self, live: Live, cause: Cause, reason: str, told: tuple[Verdict, ...], now_ns: int
    ) -> None:
        result = self._result(live, Outcome.REJECTED, cause, reason, now_ns)
        self.state.live.pop(live.request.request_id, None)
        self._emit(Finish(result, told))

    def _queue(self, live: Live, choice: Choice, now_ns: int) -> None:
        residence = self.state.residences[live.residence]
        late = Goal.DEADLINE in choice.given_up
        live.candidate = choice.entry.candidate
        live.rank = (LATE_CLASS if late else class_of(live.request.priority), live.deadline_ns, live.seq)
        live.queued_ns = now_ns
        budget_ns = live.deadline_ns - live.arrived_ns
        live.expires_ns = live.deadline_ns + (max(LATE_BUDGETS * budget_ns, LATE_GRACE_NS) if late else 0)
        move(live, Phase.QUEUED if residence.holding is Holding.RESIDENT else Phase.LOADING)
        self.state.live[live.request.request_id] = live
        insort(self.state.queue, (*live.rank, live.request.request_id))

    def _leave_queue(self, live: Live, now_ns: int) -> None:
        entry = (*live.rank, live.request.request_id)
        self.state.queue.remove(entry)
        self._holdings.release(live, now_ns)
        live.candidate = None

    # ---- running -----------------------------------------------------------------------------------

    def _settle(self, now_ns: int) -> None:
        """Start what can start, ask to be woken for the next expiry, and tell when a drain is over."""
        state, chooser = self.state, self.chooser
        while (live := next_dispatchable(state, chooser.owned, chooser.resource_count)) is not None:
            if live.expires_ns <= now_ns:
                self._end(live, Outcome.EXPIRED, Cause.DEADLINE, "expired before it could start", now_ns)
            elif self._should_redecide(live, now_ns):
                self._leave_queue(live, now_ns)
                self._decide(live, now_ns)
            else:
                self._start(live, now_ns)
        self._set_timer()
        if state.draining and not state.drained and not state.live:
            state.drained = True
            self._emit(Drained())

    def _should_redecide(self, live: Live, now_ns: int) -> bool:
        late = live.rank[0] == LATE_CLASS
        return not late and live.attempts < MAX_ATTEMPTS and not self.chooser.still_in_time(live, now_ns)

    def _start(self, live: Live, now_ns: int) -> None:
        """Give a request its processor. It keeps its residence until its last stage has run."""
        assert live.candidate is not None
        self.state.queue.remove((*live.rank, live.request.request_id))
        move(live, Phase.RUNNING)
        self._holdings.used(live, now_ns)
        self._run(live, 0, now_ns)

    def _run(self, live: Live, stage: int, now_ns: int) -> None:
        assert live.candidate is not None
        if stage == 0:
            live.started_ns = now_ns
        live.stage, live.dispatched_ns = stage, now_ns
        candidate, request = live.candidate, live.request
        end_ns = now_ns + self.chooser.run_ns(candidate, stage, request.batch)
        self.state.running[candidate.processor] = Occupation(request.request_id, now_ns, end_ns)
        self._emit(RunStage(request.request_id, request.task, candidate.variant, candidate.processor, stage))

    def _running(self, event: ev.StageFinished | ev.RunFailed) -> Live:
        """Return the request an event of a run is about; raise when it is not running that stage."""
        live = self.state.live.get(event.request_id)
        if live is None or live.phase not in (Phase.RUNNING, Phase.ABANDONED) or live.stage != event.stage:
            raise IllegalEventError(event, "no such stage is running", live)
        return live

    def _on_stage(self, event: ev.StageFinished, now_ns: int) -> None:
        live = self._running(event)
        candidate = live.candidate
        assert candidate is not None
        self._learn(live, event, now_ns)
        live.run_ns += event.run_ns
        live.energy_uj += event.energy_uj
        del self.state.running[candidate.processor]
        if live.phase is Phase.ABANDONED:
            self._forget(live, now_ns)
        elif self.chooser.goes_on(live, event.stage, event.confidence, now_ns):
            self._run(live, event.stage + 1, now_ns)
        else:
            self._finish(live, event.confidence, now_ns)

    def _learn(self, live: Live, event: ev.StageFinished, now_ns: int) -> None:
        """Update slow-down, own overhead and the battery's account from one run."""
        state, candidate = self.state, live.candidate
        assert candidate is not None
        before = candidate.latency_ns[event.stage - 1] if event.stage else 0
        profile_ns = candidate.latency_ns[event.stage] - before
        if live.request.batch == 1:
            observe(state.estimates[candidate.processor], profile_ns, event.run_ns, now_ns)
        around = min(MAX_OVERHEAD_NS, max(0, now_ns - live.dispatched_ns - event.run_ns))
        state.overhead_ns += OVERHEAD_GAIN * (around - state.overhead_ns)
        self._spend(event.energy_uj)

    def _spend(self, energy_uj: float) -> None:
        self.state.energy.own_uj += energy_uj
        self.state.energy.total_uj += energy_uj

    def _finish(self, live: Live, confidence: float, now_ns: int) -> None:
        result = self._result(live, Outcome.DONE, Cause.NONE, "", now_ns, confidence)
        self._forget(live, now_ns)
        self._emit(Finish(result))

    def _end(self, live: Live, outcome: Outcome, cause: Cause, reason: str, now_ns: int) -> None:
        """End a request that is waiting in the queue."""
        result = self._result(live, outcome, cause, reason, now_ns)
        self._leave_queue(live, now_ns)
        self._forget(live, now_ns)
        self._emit(Finish(result))

    def _forget(self, live: Live, now_ns: int) -> None:
        if live.residence:
            self._holdings.release(live, now_ns)
        del self.state.live[live.request.request_id]

    def _result(
        self, live: Live, outcome: Outcome, cause: Cause, reason: str, now_ns: int, confidence: float = 0.0
    ) -> Result:
        candidate = live.candidate
        done = outcome is Outcome.DONE
        began_ns = live.started_ns or now_ns
        return Result(
            request_id=live.request.request_id,
            outcome=outcome,
            cause=cause,
            reason=reason,
            variant="" if candidate is None else candidate.variant,
            processor="" if candidate is None else candidate.processor,
            exit_index=live.stage if done else -1,
            confidence=confidence,
            queue_ns=max(0, began_ns - live.arrived_ns - live.load_ns),
            load_ns=live.load_ns,
            run_ns=live.run_ns,
            energy_uj=live.energy_uj,
            on_time=done and now_ns <= live.deadline_ns,
            given_up=live.given_up,
        )

    # ---- memory and failures -----------------------------------------------------------------------

    def _held(self, event: ev.LoadFinished | ev.LoadFailed | ev.EvictFinished, holding: Holding) -> str:
        key = residence_key(event.task, event.variant, event.pool)
        residence = self.state.residences.get(key)
        if residence is None or residence.holding is not holding:
            raise IllegalEventError(event, f"{key} is not {holding.value}")
        return key

    def _on_loaded(self, event: ev.LoadFinished, now_ns: int) -> None:
        key = self._held(event, Holding.LOADING)
        self._spend(self._load_energy_uj(event))
        for live in self._waiting_for(key):
            move(live, Phase.QUEUED)
            live.load_ns += min(event.load_ns, now_ns - live.queued_ns)
        self._holdings.loaded(key, event.resident_bytes, now_ns)
        self.chooser.forget()

    def _load_energy_uj(self, event: ev.LoadFinished) -> float:
        for candidate in self.chooser.candidates.get(event.task, ()):
            pool = self.state.processors[candidate.processor].pool
            if candidate.variant == event.variant and pool == event.pool:
                return candidate.load_energy_uj
        return 0.0

    def _waiting_for(self, key: str) -> list[Live]:
        return [x for x in self.state.live.values() if x.residence == key and x.phase is Phase.LOADING]

    def _on_load_failed(self, event: ev.LoadFailed, now_ns: int) -> None:
        key = self._held(event, Holding.LOADING)
        self._holdings.failed(key, now_ns)
        waiting = self._waiting_for(key)
        for live in waiting:
            self._leave_queue(live, now_ns)
        del self.state.residences[key]
        self.chooser.forget()
        for live in waiting:
            self._try_again(live, Cause.VARIANT, event.error, now_ns)

    def _on_evicted(self, event: ev.EvictFinished, now_ns: int) -> None:
        key = self._held(event, Holding.EVICTING)
        del self.state.residences[key]
        self._holdings.load_last_resorts(now_ns)
        self.chooser.forget()

    def _on_run_failed(self, event: ev.RunFailed, now_ns: int) -> None:
        live = self._running(event)
        assert live.candidate is not None
        del self.state.running[live.candidate.processor]
        if event.fault == "variant":
            self._holdings.failed(live.residence, now_ns)
            self.chooser.forget()
        if live.phase is Phase.ABANDONED:
            self._forget(live, now_ns)
        elif event.fault == "variant":
            self._holdings.release(live, now_ns)
            self._try_again(live, Cause.VARIANT, event.error, now_ns)
        else:
            result = self._result(live, Outcome.FAILED, Cause.INPUT, event.error, now_ns)
            self._forget(live, now_ns)
            self._emit(Finish(result))

    def _try_again(self, live: Live, cause: Cause, error: str, now_ns: int) -> None:
        """Decide a request anew after its variant failed; the failed one rests, so another is found."""
        if live.attempts < MAX_ATTEMPTS:
            live.candidate = None
            self._decide(live, now_ns)
            return
        result = self._result(live, Outcome.FAILED, cause, error, now_ns)
        self._forget(live, now_ns)
        self._emit(Finish(result))

    # ---- time and the end --------------------------------------------------------------------------

    def _on_timer(self, _event: ev.TimerFired, now_ns: int) -> None:
        self.state.timer_ns = None
        for entry in list(self.state.queue):
            live = self.state.live[entry[3]]
            if live.expires_ns <= now_ns:
                self._end(live, Outcome.EXPIRED, Cause.DEADLINE, "expired in the queue", now_ns)

    def _set_timer(self) -> None:
        """Ask for the earliest expiry of the queue, unless an earlier wake-up is already due."""
        state = self.state
        if not state.queue:
            return
        earliest_ns = min(state.live[entry[3]].expires_ns for entry in state.queue)
        if state.timer_ns is None or earliest_ns < state.timer_ns:
            state.timer_ns = earliest_ns
            self._emit(SetTimer(earliest_ns))

    def _on_drain(self, _event: ev.DrainStarted, _now_ns: int) -> None:
        self.state.draining = True

    def _on_checkpoint(self, _event: ev.Checkpointed, _now_ns: int) -> None:
        self.chooser.forget()
