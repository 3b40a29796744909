"""Run requests stage by stage, learn from what was measured, and cope with what fails."""

from collections.abc import Callable
from math import exp

from trimtab.core import events as ev
from trimtab.core.admission import Admission
from trimtab.core.chooser import Chooser
from trimtab.core.commands import Command, RunStage
from trimtab.core.early_exit import floor_of, goes_on, leaves_by_itself
from trimtab.core.fairness import note_used
from trimtab.core.holdings import Holdings
from trimtab.core.learning import learn_energy, learn_latency
from trimtab.core.lifecycle import IllegalEventError, move
from trimtab.core.links import note_link
from trimtab.core.money import note_spending
from trimtab.core.prices import note_answer, note_overrun
from trimtab.core.state import Holding, Live, Occupation, Phase, State, residence_key
from trimtab.domain.decision import Candidate, Cause, Outcome
from trimtab.domain.policy import Goal

OVERHEAD_GAIN = 0.05
MAX_OVERHEAD_NS = 20_000_000
FAULTS = ("request", "variant", "link")
GOAL_ORDER = tuple(Goal)

_RUNNING, _ABANDONED = Phase.RUNNING, Phase.ABANDONED
_DONE, _NO_CAUSE = Outcome.DONE, Cause.NONE


class Runs:
    """What processors and pools report, from the first stage of a request to its last."""

    def __init__(
        self,
        state: State,
        chooser: Chooser,
        holdings: Holdings,
        admission: Admission,
        emit: Callable[[Command], None],
    ) -> None:
        """Work on ``state`` and send commands to ``emit``."""
        self._state = state
        self._chooser = chooser
        self._holdings = holdings
        self._admission = admission
        self._emit = emit

    # ---- stages ------------------------------------------------------------------------------------

    def start(self, live: Live, now_ns: int) -> None:
        """Give a request its processor. It keeps its residence until its last stage has run."""
        move(live, _RUNNING)
        residence = self._state.residences[live.residence]
        residence.uses += 1
        residence.last_used_ns = live.started_ns = now_ns
        self._run(live, 0, now_ns)

    def _run(self, live: Live, stage: int, now_ns: int) -> None:
        state, candidate, request = self._state, live.candidate, live.request
        assert candidate is not None
        request_id, processor = request.request_id, candidate.processor
        live.stage, live.dispatched_ns = stage, now_ns
        factor = exp(state.estimates[processor].mean) * request.batch
        end_ns = now_ns + int(_stage_costs(candidate, stage)[0] * factor + state.overhead_ns)
        if self._chooser.catalogue.sharing.masks[processor]:
            state.running[processor] = Occupation(request_id, now_ns, end_ns)
        else:
            state.away[request_id] = Occupation(request_id, now_ns, end_ns, processor)
        budget_ns = (
            live.deadline_ns + live.settings.after_deadline.until_ns - now_ns if candidate.remote else 0
        )
        self._emit(RunStage(request_id, request.task, candidate.variant, processor, stage, budget_ns))

    def _vacate(self, live: Live, candidate: Candidate) -> None:
        """Note that a run is over: its processor, or its place on a server, is free again."""
        if self._state.away.pop(live.request.request_id, None) is None:
            del self._state.running[candidate.processor]

    def on_stage(self, event: ev.StageFinished, now_ns: int) -> None:
        """Take a stage's result: run the next one, or answer."""
        state, live = self._state, self._running(event)
        candidate = live.candidate
        assert candidate is not None
        self._learn(live, candidate, event, now_ns)
        live.run_ns += event.run_ns
        if not candidate.remote:
            note_used(state, live.request.app, event.run_ns, now_ns)
        live.energy_uj += event.energy_uj
        live.cost_usd += event.cost_usd
        self._vacate(live, candidate)
        if state.rests:
            self._holdings.worked(live.residence, now_ns)
            self._holdings.worked(candidate.processor, now_ns)
        if live.phase is _ABANDONED:
            self._admission.forget(live, now_ns)
            return
        if event.stage + 1 < len(candidate.latency_ns):
            if self._goes_on(live, event, now_ns):
                self._run(live, event.stage + 1, now_ns)
                return
            _note_shortfall(live, candidate, event)
        note_overrun(state.energy, live)
        if live.decision is not None and not candidate.remote:
            note_answer(state.energy, live.decision.energy_uj, live.energy_uj)
        self._admission.end_run(live, _DONE, _NO_CAUSE, "", now_ns, event.confidence)

    def _goes_on(self, live: Live, event: ev.StageFinished, now_ns: int) -> bool:
        """Return whether the next stage runs, at today's prices if the strategy heeds them."""
        adapts = self._chooser.strategy.adapts
        price = self._chooser.time_price(live, now_ns) if adapts else 0.0
        return goes_on(self._state, live, event, now_ns, adapts=adapts, time_price=price)

    def _running(self, event: ev.StageFinished | ev.RunFailed) -> Live:
        """Return the request an event of a run is about; raise when it is not running that stage."""
        live = self._state.live.get(event.request_id)
        known = live is not None and (live.phase is _RUNNING or live.phase is _ABANDONED)
        if live is None or not known or live.stage != event.stage:
            raise IllegalEventError(event, "no such stage is running", live)
        return live

    def _learn(self, live: Live, candidate: Candidate, event: ev.StageFinished, now_ns: int) -> None:
        """Update slow-down, own overhead and the battery's account from one run.

        A batch tells nothing about the slow-down: that it takes proportionally long is an assumption.
        """
        state = self._state
        if live.request.batch == 1:
            profile_ns, profile_uj = _stage_costs(candidate, event.stage)
            news = learn_latency(state, live, candidate, (profile_ns, event.run_ns), now_ns)
            if learn_energy(state, live, candidate, (profile_uj, event.energy_uj), now_ns) or news:
                self._chooser.forget_prices()
            strategy = self._chooser.strategy
            if strategy.learns:
                strategy.ran(live, profile_ns, event.run_ns, state)
        around_ns = now_ns - live.dispatched_ns - event.run_ns
        if not 0 <= around_ns <= MAX_OVERHEAD_NS:
            around_ns = 0 if around_ns < 0 else MAX_OVERHEAD_NS
        state.overhead_ns += OVERHEAD_GAIN * (around_ns - state.overhead_ns)
        state.energy.own_uj += event.energy_uj
        state.energy.total_uj += event.energy_uj
        if event.cost_usd:
            note_spending(state.money, event.cost_usd)

    def on_run_failed(self, event: ev.RunFailed, now_ns: int) -> None:
        """Answer a request that cannot be processed, or let its variant rest and find another."""
        live = self._running(event)
        if event.fault not in FAULTS:
            raise IllegalEventError(event, f"a fault is one of {', '.join(FAULTS)}", live)
        candidate = live.candidate
        assert candidate is not None
        if event.fault == "link" and not candidate.remote:
            raise IllegalEventError(event, f"{candidate.processor} is no server", live)
        self._vacate(live, candidate)
        if event.fault == "variant":
            self._holdings.failed(live.residence, now_ns)
            self._holdings.failed_on(candidate.processor, now_ns)
        elif event.fault == "link":
            self._lost(candidate.processor, now_ns)
        if live.phase is Phase.ABANDONED:
            self._admission.forget(live, now_ns)
        elif event.fault != "request":
            self._holdings.release(live, now_ns)
            self._admission.decide_again(live, event.error, now_ns)
        else:
            self._admission.end_run(live, Outcome.FAILED, Cause.INPUT, event.error, now_ns)

    def _lost(self, processor: str, now_ns: int) -> None:
        """Use a server no more until it is told to be in reach again."""
        note_link(self._state.links[processor], reachable=False, round_trip_ns=0, now_ns=now_ns)
        self._chooser.forget()

    # ---- loads and evictions -----------------------------------------------------------------------

    def on_loaded(self, event: ev.LoadFinished, now_ns: int) -> None:
        """Let those that waited for a variant run."""
        key = self._held(event, Holding.LOADING)
        self._state.energy.own_uj += event.energy_uj
        self._state.energy.total_uj += event.energy_uj
        for live in self._waiting_for(key):
            move(live, Phase.QUEUED)
            live.load_ns += min(event.load_ns, now_ns - live.queued_ns)
        self._holdings.loaded(key, event.resident_bytes, now_ns)
        self._holdings.follow_plan(now_ns)

    def on_load_failed(self, event: ev.LoadFailed, now_ns: int) -> None:
        """Let a variant rest and find another for those that waited for it."""
        key = self._held(event, Holding.LOADING)
        servers = [p.name for p in self._state.processors.values() if p.is_remote and p.pool == event.pool]
        if event.fault == "link" and servers:
            self._lost(servers[0], now_ns)
        else:
            self._holdings.failed(key, now_ns)
        waiting = self._waiting_for(key)
        for live in waiting:
            self._admission.withdraw(live, now_ns)
        self._holdings.gone(key)
        for live in waiting:
            self._admission.decide_again(live, event.error, now_ns)

    def on_evicted(self, event: ev.EvictFinished, now_ns: int) -> None:
        """Note that memory was given back."""
        self._holdings.gone(self._held(event, Holding.EVICTING))
        self._holdings.load_last_resorts(now_ns)
        self._holdings.follow_plan(now_ns)

    def _held(self, event: ev.LoadFinished | ev.LoadFailed | ev.EvictFinished, holding: Holding) -> str:
        key = residence_key(event.task, event.variant, event.pool)
        residence = self._state.residences.get(key)
        if residence is None or residence.holding is not holding:
            raise IllegalEventError(event, f"{key} is not {holding.value}")
        return key

    def _waiting_for(self, key: str) -> list[Live]:
        return [x for x in self._state.live.values() if x.residence == key and x.phase is Phase.LOADING]


def _stage_costs(candidate: Candidate, stage: int) -> tuple[int, float]:
    """Return latency (ns) and energy (uJ) of one stage alone."""
    latency_ns, energy_uj = candidate.latency_ns, candidate.energy_uj
    if stage == 0:
        return latency_ns[0], energy_uj[0]
    return latency_ns[stage] - latency_ns[stage - 1], energy_uj[stage] - energy_uj[stage - 1]


def _note_shortfall(live: Live, candidate: Candidate, event: ev.StageFinished) -> None:
    """Say that the accuracy floor was given up when a run was stopped at an exit below it."""
    stopped = not leaves_by_itself(candidate, event.stage, event.confidence)
    if stopped and candidate.accuracy_frac[event.stage] < floor_of(live):
        given_up = {*live.given_up, Goal.ACCURACY}
        live.given_up = tuple([goal for goal in GOAL_ORDER if goal in given_up])
