"""The scheduler: ``handle(event, now_ns) -> commands``. Theory of operation.

Everything the scheduler knows came in as an event; everything it wants done goes out as a command. It holds
no clock, does no I/O and uses no chance, so the same events give the same commands in the daemon, in the
simulator and in a replay of a journal.

``Conditions`` takes in what the device is and wants. A request that arrives is decided at once
(``Admission``, asking the ``Chooser``), put into the queue and started when its processor is free
(``Runs``). It is decided again only when its slack has shrunk so far that the choice would be late, or when
what it counted on failed. Variants are loaded for a request, or ahead of requests when one would win if
only it were resident (``Holdings``). After each event ``_settle`` starts what can start.

Each handler checks its event before it changes anything.
"""

from collections.abc import Callable

from trimtab.core import events as ev
from trimtab.core.admission import MAX_ATTEMPTS, Admission
from trimtab.core.chooser import Chooser
from trimtab.core.commands import Command, Drained, SetTimer
from trimtab.core.conditions import Conditions
from trimtab.core.early_exit import still_in_time
from trimtab.core.holdings import Holdings
from trimtab.core.lifecycle import IllegalEventError
from trimtab.core.planning import Planner
from trimtab.core.queueing import LATE_CLASS, leave_queue, next_dispatchable
from trimtab.core.residency import resting
from trimtab.core.runs import Runs
from trimtab.core.selection import Strategy
from trimtab.core.state import Live, Phase, State
from trimtab.domain.decision import Cause, Outcome

_WAITING = (Phase.QUEUED, Phase.LOADING)


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
        self._out: list[Command] = []
        emit = self._out.append
        self._holdings = Holdings(self.state, self.chooser.catalogue, emit, self.chooser.forget)
        self._planner = Planner(self.state, self.chooser, self._holdings)
        self._conditions = Conditions(self.state, self.chooser, self._holdings, self._planner)
        self._admission = Admission(self.state, self.chooser, self._holdings, self._planner, emit, explain)
        self._runs = Runs(self.state, self.chooser, self._holdings, self._admission, emit)
        self._handlers: dict[type[ev.Event], Callable[..., None]] = {
            ev.ProcessorsFound: self._conditions.on_processors,
            ev.FamilyAdded: self._conditions.on_family,
            ev.ProfilesReplaced: self._conditions.on_profiles,
            ev.PolicyReplaced: self._conditions.on_policy,
            ev.EstimatesRestored: self._conditions.on_restored,
            ev.DeviceChanged: self._conditions.on_device,
            ev.ConnectivityChanged: self._conditions.on_connectivity,
            ev.RequestArrived: self._on_arrival,
            ev.RequestCancelled: self._on_cancelled,
            ev.LoadFinished: self._runs.on_loaded,
            ev.LoadFailed: self._runs.on_load_failed,
            ev.EvictFinished: self._runs.on_evicted,
            ev.StageFinished: self._runs.on_stage,
            ev.RunFailed: self._runs.on_run_failed,
            ev.TimerFired: self._on_timer,
            ev.DrainStarted: self._on_drain,
            ev.Checkpointed: self._on_checkpoint,
        }

    def handle(self, event: ev.Event, now_ns: int) -> list[Command]:
        """Take one event at ``now_ns`` and return what is to be done, in order.

        Raises ``IllegalEventError``, with the state unchanged, for an event that cannot happen now.
        """
        handler = self._handlers.get(type(event))
        if handler is None:
            raise IllegalEventError(event, "there is no handler for it")
        out = self._out
        out.clear()
        handler(event, now_ns)
        self._settle(now_ns)
        return out.copy()

    # ---- requests come and go ----------------------------------------------------------------------

    def _on_arrival(self, event: ev.RequestArrived, now_ns: int) -> None:
        if self._admission.receive(event, now_ns):
            self._conditions.reprice_if_due(now_ns)
            self._admission.arrive(event, now_ns)

    def _on_cancelled(self, event: ev.RequestCancelled, now_ns: int) -> None:
        """Forget a request whose caller left; one that has just ended is no error, callers race."""
        live = self.state.live.get(event.request_id)
        if live is None or live.phase is Phase.ABANDONED:
            return
        if live.phase is Phase.RUNNING:
            self._admission.answer_abandoned(live, now_ns)
        else:
            self._admission.end_waiting(live, Outcome.CANCELLED, Cause.CALLER, "cancelled", now_ns)

    # ---- after each event --------------------------------------------------------------------------

    def _settle(self, now_ns: int) -> None:
        """Start what can start, ask to be woken for the next expiry, and tell when a drain is over."""
        state, admission, sharing = self.state, self._admission, self.chooser.catalogue.sharing
        if (ready := admission.ready) is not None:
            admission.ready = None
            self._runs.start(ready, now_ns)
        while state.queue and (live := next_dispatchable(state, sharing)) is not None:
            if live.expires_ns <= now_ns:
                reason = "expired before it could start"
                admission.end_waiting(live, Outcome.EXPIRED, Cause.DEADLINE, reason, now_ns)
            elif self._should_decide_again(live, now_ns):
                admission.withdraw(live, now_ns)
                admission.decide(live, now_ns)
            else:
                leave_queue(state, live)
                self._runs.start(live, now_ns)
        if self._holdings.loose:
            self._holdings.shed()
        if admission.queued or (state.queue and state.timer_ns is None):
            self._set_timer()
        if state.draining and not state.drained and not state.live:
            state.drained = True
            self._out.append(Drained())

    def _should_decide_again(self, live: Live, now_ns: int) -> bool:
        """Return whether a request about to start has lost what its decision was based on."""
        if live.queued_ns == now_ns or live.attempts >= MAX_ATTEMPTS:
            return False
        if self.chooser.strategy.again:
            return True
        if self.state.rests and live.candidate is not None:
            for key in (live.residence, live.candidate.processor):
                if resting(self.state, key, now_ns):
                    return True
        return live.rank[0] != LATE_CLASS and not still_in_time(self.state, live, now_ns)

    # ---- time and the end --------------------------------------------------------------------------

    def _on_timer(self, _event: ev.TimerFired, now_ns: int) -> None:
        self.state.timer_ns = None
        for entry in list(self.state.queue):
            live = self.state.live[entry[3]]
            if live.expires_ns <= now_ns:
                reason = "expired in the queue"
                self._admission.end_waiting(live, Outcome.EXPIRED, Cause.DEADLINE, reason, now_ns)
        self._holdings.load_last_resorts(now_ns)

    def _set_timer(self) -> None:
        """Ask for the earliest expiry of the queue, unless an earlier wake-up is already due.

        While one is due, only a request that came into the queue since can need an earlier one.
        """
        state, queued = self.state, self._admission.queued
        if not state.queue:
            queued.clear()
            return
        if state.timer_ns is None:
            due = [state.live[entry[3]].expires_ns for entry in state.queue]
        else:
            lives = state.live
            due = [
                live.expires_ns
                for live in queued
                if live.phase in _WAITING and lives.get(live.request.request_id) is live
            ]
        queued.clear()
        earliest_ns = min(due, default=None)
        if earliest_ns is not None and (state.timer_ns is None or earliest_ns < state.timer_ns):
            state.timer_ns = earliest_ns
            self._out.append(SetTimer(earliest_ns))

    def _on_drain(self, _event: ev.DrainStarted, _now_ns: int) -> None:
        self.state.draining = True

    def _on_checkpoint(self, _event: ev.Checkpointed, _now_ns: int) -> None:
        self.chooser.forget()
        self._holdings.forget()
        self._planner.forget()
