"""Admit requests: choose who serves them, queue or reject them, choose again when that went wrong."""

from bisect import insort
from collections.abc import Callable

from trimtab.core import events as ev
from trimtab.core.chooser import Chooser
from trimtab.core.commands import Command, Decided, Finish
from trimtab.core.fairness import note_asked
from trimtab.core.forecast import note_request
from trimtab.core.holdings import Holdings
from trimtab.core.lateness import worth_left
from trimtab.core.lifecycle import ENDINGS, IllegalEventError, move
from trimtab.core.markets import is_too_dear
from trimtab.core.overload import TOO_LATE, missing_variant, overload
from trimtab.core.planning import Planner
from trimtab.core.prices import note_arrival
from trimtab.core.probing import probe
from trimtab.core.queueing import LATE_CLASS, class_of, late_count, leave_queue
from trimtab.core.selection import Choice, Situation
from trimtab.core.state import Demand, Holding, Live, Phase, State
from trimtab.core.tables import TaskTable
from trimtab.domain.decision import Cause, Outcome, Result, Verdict, Why
from trimtab.domain.grounds import Grounds
from trimtab.domain.policy import Goal
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request

MAX_ATTEMPTS = 3
"""So many times one request is decided before it is no longer decided again for lack of time."""
MAX_TRIES = 8
"""So many times one request is decided before it fails: each failure rests a variant in one pool only."""
OVERLOAD_PLAN_NS = NS_PER_S
"""In overload what should be in memory is planned again after so long: smaller variants may be missing."""
LATE_BUDGETS = 4
LATE_GRACE_NS = 250_000_000
"""A request whose deadline was given up is dropped once it is late by the larger of the two."""
TOO_DEAR = "the energy it would take is kept until the horizon for requests worth more"
STANDING = (
    Why.NOT_PINNED, Why.VARIANT_DENIED, Why.PROCESSOR_DENIED, Why.NOT_ASKED, Why.PRIVATE, Why.UNREACHABLE,
    Why.UNHEALTHY, Why.NO_MEMORY,
)  # fmt: skip
"""Reasons that hold whatever the load and the battery."""

Told = tuple[tuple[Verdict, ...], Grounds | None]
"""Every candidate's verdict, and what a decision stands on."""
UNTOLD: Told = ((), None)

_NEW, _QUEUED, _LOADING = Phase.NEW, Phase.QUEUED, Phase.LOADING
_DONE, _RESIDENT, _DEADLINE = Outcome.DONE, Holding.RESIDENT, Goal.DEADLINE


class Admission:
    """Every way into the queue, and every way out of the scheduler."""

    def __init__(
        self,
        state: State,
        chooser: Chooser,
        holdings: Holdings,
        planner: Planner,
        emit: Callable[[Command], None],
        explain: bool,
    ) -> None:
        """Work on ``state``; with ``explain`` decisions carry every candidate's verdict."""
        self._state = state
        self._chooser = chooser
        self._holdings = holdings
        self._planner = planner
        self._emit = emit
        self._explain = explain
        self.queued: list[Live] = []
        """Requests put into the queue since somebody last looked after their expiry."""
        self.ready: Live | None = None
        """A request that just came and can start at once: nobody waits, and its processor is free."""

    # ---- in ----------------------------------------------------------------------------------------

    def receive(self, event: ev.RequestArrived, now_ns: int) -> bool:
        """Count a request as demand, or refuse it; raise ``IllegalEventError`` for one that no caller may send."""
        request, state = event.request, self._state
        if request.request_id in state.live:
            raise IllegalEventError(event, "this id is in flight", state.live[request.request_id])
        if request.batch < 1:
            raise IllegalEventError(event, f"a batch has at least one sample, not {request.batch}")
        refusal = self._refusal(request)
        if refusal is not None:
            self._emit(Finish(refusal))
            return False
        state.arrivals += 1
        demand = state.demand.get(request.task)
        if demand is None:
            demand = state.demand[request.task] = Demand()
        note_arrival(demand, now_ns)
        note_request(state.forecast, request)
        return True

    def _refusal(self, request: Request) -> Result | None:
        """Return why a request is refused before anything is decided, if it is."""
        state, task = self._state, request.task
        family = state.families.get(task)
        if state.draining:
            cause, reason = Cause.DRAINING, "draining: no new requests are admitted"
        elif family is None:
            known = ", ".join(state.families) or "none"
            cause, reason = Cause.UNKNOWN_TASK, f"unknown task {task!r}; known: {known}"
        elif not self._chooser.catalogue.candidates[task]:
            cause, reason = Cause.NOT_READY, f"task {task!r} has no profiles yet"
        elif request.variant and all(v.name != request.variant for v in family.variants):
            known = ", ".join(v.name for v in family.variants)
            cause, reason = Cause.UNKNOWN_VARIANT, f"unknown variant {request.variant!r}; known: {known}"
        else:
            return None
        return Result(request.request_id, Outcome.REJECTED, cause, reason)

    def arrive(self, event: ev.RequestArrived, now_ns: int) -> None:
        """Decide a request that just came in."""
        request, state = event.request, self._state
        table = self._chooser.table(request.task, request.app, request.prefer, now_ns, request.processor)
        budget_ns = request.latency_budget_ns
        budget_ns = table.settings.latency_budget_ns if budget_ns is None else budget_ns
        deadline_ns = now_ns + budget_ns - event.elapsed_ns
        live = Live(
            request, state.arrivals, _NEW, now_ns, deadline_ns, table.settings, table.rules, state.policy.name
        )
        live.queued_ns = now_ns
        note_asked(state, request.app, table.settings.weight, now_ns)
        self._decide_with(table, live, now_ns)
        if self._planner.kinds.count(request, table.rules, budget_ns, now_ns):
            self._planner.due = True
            self._planner.plan_if_due(now_ns)

    # ---- deciding ----------------------------------------------------------------------------------

    def decide(self, live: Live, now_ns: int) -> None:
        """Choose for a request that holds no candidate, then queue or reject it."""
        live.candidate, live.given_up = None, ()
        self._decide_with(self._chooser.table_for(live, now_ns, live.request.processor), live, now_ns)

    def _decide_with(self, table: TaskTable, live: Live, now_ns: int) -> None:
        live.attempts += 1
        chooser, holdings, state = self._chooser, self._holdings, self._state
        strategy = chooser.strategy
        order_ns = strategy.order_ns(table, live, state) if strategy.orders else live.deadline_ns
        live.rank = (class_of(live.request.priority), order_ns, live.seq)
        at = chooser.situation(live, table, now_ns)
        choice = strategy.choose(table, at, live, state)
        if live.request.processor and not live.request.strict and (choice is None or choice.given_up):
            table, at, choice = self._anywhere(live, table, at, choice, now_ns)
        if (
            choice is not None
            and strategy.adapts
            and is_too_dear(choice, at, table.ration_price_per_j, table.money_price_per_usd)
        ):
            self._end(live, Outcome.REJECTED, Cause.RESERVE, TOO_DEAR, now_ns)
            return
        probed = None
        if (
            state.arrivals >= state.probe_due
            and choice is not None
            and strategy.adapts
            and not choice.given_up
        ):
            probed = probe(state, table, at, choice)
            choice = choice if probed is None else probed
        if choice is not None and not holdings.claim(live, choice.entry, now_ns):
            choice = self._choose_with_room(live, table, at, choice, now_ns)
        if choice is None:
            self._reject_for(live, table, at, now_ns)
        elif _DEADLINE in choice.given_up and late_count(state) >= state.policy.queue_limit:
            holdings.release(live, now_ns)
            self._end(live, Outcome.REJECTED, Cause.OVERLOAD, TOO_LATE, now_ns)
        else:
            self._queue(live, choice, now_ns)
            decision = live.decision = chooser.decision(live, table, at, choice, probe=choice is probed)
            told = chooser.explain(table, at, choice) if self._explain else UNTOLD
            self._emit(Decided(decision, *told))
        if not strategy.adapts and table.cold and holdings.moving == 0:
            entry = chooser.asked_for(table, at, live)
            if entry is not None:
                holdings.load_ahead(entry.residence, now_ns)

    def _anywhere(
        self, live: Live, table: TaskTable, at: Situation, there: Choice | None, now_ns: int
    ) -> tuple[TaskTable, Situation, Choice | None]:
        """Choose among all processors where the one asked for cannot meet every goal."""
        every = self._chooser.table_for(live, now_ns)
        found_at = self._chooser.situation(live, every, now_ns)
        found = self._chooser.strategy.choose(every, found_at, live, self._state)
        if there is not None and (found is None or found.given_up):
            return table, at, there
        return every, found_at, found

    def _choose_with_room(
        self, live: Live, table: TaskTable, at: Situation, without: Choice, now_ns: int
    ) -> Choice | None:
        """Ask the strategy again, until its choice can also be held in memory; there was no room for one."""
        choice: Choice | None = without
        while choice is not None:
            needed = choice.entry.resident_bytes
            absent = [e for e in table.cold if e.resident_bytes >= needed]
            table.block(absent, Why.NO_MEMORY, "what is in memory is in use")
            choice = self._chooser.strategy.choose(table, at, live, self._state)
            if choice is not None and self._holdings.claim(live, choice.entry, now_ns):
                break
        return choice

    def _reject_for(self, live: Live, table: TaskTable, at: Situation, now_ns: int) -> None:
        """Reject a request that no candidate can serve, telling how many fail for which reason.

        One that was being served fails with the error that ended the attempt before.
        """
        if live.error:
            self._end(live, Outcome.FAILED, Cause.VARIANT, live.error, now_ns)
            return
        told = self._chooser.explain(table, at, None) if self._explain else UNTOLD
        if self._chooser.strategy.adapts and (why := overload(table, at)):
            self._state.plan.pause_ns = min(self._state.plan.pause_ns, OVERLOAD_PLAN_NS)
            if self._holdings.moving == 0 and (key := missing_variant(table, at)):
                self._holdings.load_ahead(key, now_ns)
            self._end(live, Outcome.REJECTED, Cause.OVERLOAD, why, now_ns, told)
            return
        counts = self._chooser.count_reasons(table, at)
        passing = [why for why in counts if why not in STANDING]
        if passing == [Why.RESERVE]:
            self._end(live, Outcome.REJECTED, Cause.RESERVE, Cause.RESERVE.value, now_ns, told)
            return
        if passing == [Why.MONEY]:
            self._end(live, Outcome.REJECTED, Cause.MONEY, Cause.MONEY.value, now_ns, told)
            return
        full = Why.QUEUE_FULL in passing and set(passing) <= {Why.QUEUE_FULL, Why.RESERVE}
        cause = Cause.OVERLOAD if full else Cause.GOALS
        fixed = counts.pop(Why.CHOSEN, 0)
        reasons = [f"{count} {why.value}" for why, count in counts.most_common()]
        reasons += [f"{fixed} not used by this strategy"] if fixed else []
        self._end(live, Outcome.REJECTED, cause, f"{cause.value}: {', '.join(reasons)}", now_ns, told)

    # ---- the queue ---------------------------------------------------------------------------------

    def _queue(self, live: Live, choice: Choice, now_ns: int) -> None:
        state = self._state
        request, candidate, deadline_ns = live.request, choice.entry.candidate, live.deadline_ns
        live.candidate, live.given_up = candidate, choice.given_up
        live.queued_ns, live.expires_ns = now_ns, deadline_ns + live.settings.after_deadline.until_ns
        if _DEADLINE in choice.given_up:
            live.rank = (LATE_CLASS, deadline_ns, live.seq)
            live.expires_ns += max(LATE_BUDGETS * (deadline_ns - live.arrived_ns), LATE_GRACE_NS)
        resident = state.residences[live.residence].holding is _RESIDENT
        move(live, _QUEUED if resident else _LOADING)
        state.live[request.request_id] = live
        alone = resident and live.attempts == 1 and not state.queue and live.expires_ns > now_ns
        sharing = self._chooser.catalogue.sharing
        name = candidate.processor
        if (
            alone
            and (not state.running or sharing.is_free(name, state.running))
            and sharing.has_place(name, state.away)
        ):
            self.ready = live
        else:
            insort(state.queue, (*live.rank, request.request_id))
            self.queued.append(live)

    def withdraw(self, live: Live, now_ns: int) -> None:
        """Take a request out of the queue and end its claims, so that it can be decided again."""
        leave_queue(self._state, live)
        self._holdings.release(live, now_ns)

    def decide_again(self, live: Live, error: str, now_ns: int) -> None:
        """Decide a request anew after its variant failed; the failed one rests, so another is found."""
        if live.attempts < MAX_TRIES:
            live.error = error
            self.decide(live, now_ns)
            live.error = ""
        else:
            self._end(live, Outcome.FAILED, Cause.VARIANT, error, now_ns)

    # ---- out ---------------------------------------------------------------------------------------

    def end_waiting(self, live: Live, outcome: Outcome, cause: Cause, reason: str, now_ns: int) -> None:
        """End a request that is waiting in the queue."""
        result = _result(live, outcome, cause, reason, now_ns)
        self.withdraw(live, now_ns)
        self._drop(live)
        self._emit(Finish(result))

    def end_run(
        self, live: Live, outcome: Outcome, cause: Cause, reason: str, now_ns: int, confidence: float = 0.0
    ) -> None:
        """End a request whose run is over."""
        result = _result(live, outcome, cause, reason, now_ns, confidence)
        self._holdings.release(live, now_ns)
        del self._state.live[live.request.request_id]
        self._emit(Finish(result))

    def answer_abandoned(self, live: Live, now_ns: int) -> None:
        """Tell that a running request is cancelled; its processor stays busy until the run ends."""
        self._emit(Finish(_result(live, Outcome.CANCELLED, Cause.CALLER, "cancelled", now_ns)))
        move(live, Phase.ABANDONED)

    def forget(self, live: Live, now_ns: int) -> None:
        """Drop a request that was answered and whose run is over."""
        self._holdings.release(live, now_ns)
        self._drop(live)

    def _end(
        self,
        live: Live,
        outcome: Outcome,
        cause: Cause,
        reason: str,
        now_ns: int,
        told: Told = UNTOLD,
    ) -> None:
        """End a request that holds nothing."""
        self._drop(live)
        self._emit(Finish(_result(live, outcome, cause, reason, now_ns), *told))

    def _drop(self, live: Live) -> None:
        self._state.live.pop(live.request.request_id, None)


def _result(
    live: Live, outcome: Outcome, cause: Cause, reason: str, now_ns: int, confidence: float = 0.0
) -> Result:
    """Return how a request ends; raise ``AssertionError`` for an outcome its phase does not allow."""
    assert outcome in ENDINGS[live.phase], f"{live.phase.value} cannot end as {outcome.value}"
    candidate, done = live.candidate, outcome is _DONE
    queue_ns = (live.started_ns or now_ns) - live.arrived_ns - live.load_ns
    late_ns = now_ns - live.deadline_ns
    return Result(
        live.request.request_id,
        outcome,
        cause,
        reason,
        "" if candidate is None else candidate.variant,
        "" if candidate is None else candidate.processor,
        live.stage if done else -1,
        confidence,
        queue_ns if queue_ns > 0 else 0,
        live.load_ns,
        live.run_ns,
        live.energy_uj,
        done and late_ns <= 0,
        live.given_up,
        live.cost_usd,
        worth_left(live.settings.after_deadline, late_ns) if done and late_ns > 0 else 0.0,
    )
