"""From a request to a decision: build the situation, ask the strategy, write down what was predicted."""

from collections import Counter
from collections.abc import Callable
from math import exp, log, sqrt

from trimtab.core.candidates import build_candidates
from trimtab.core.estimator import slowdown, variance_at
from trimtab.core.queueing import class_of, resources, survey
from trimtab.core.selection import Choice, Entry, Situation, Strategy, Table, judge, ln_room_of, verdicts
from trimtab.core.state import Live, State
from trimtab.core.tables import build_table, confidence_z
from trimtab.domain.decision import Candidate, Decision, Verdict, Why
from trimtab.domain.policy import Policy, WhenImpossible
from trimtab.domain.quantities import UJ_PER_J
from trimtab.domain.request import Prefer

MAX_TABLES = 256
"""Tables kept at once: apps times preferences. The oldest goes first."""


class Chooser:
    """Everything derived from the state that a decision needs, rebuilt only when the state changes."""

    def __init__(self, state: State, strategy_named: Callable[[str], Strategy]) -> None:
        """Serve ``state`` with the strategy its policy names."""
        self._state = state
        self._strategy_named = strategy_named
        self.strategy = strategy_named(state.policy.strategy)
        self._tables: dict[tuple[str, str, Prefer], Table] = {}
        self.candidates: dict[str, tuple[Candidate, ...]] = {}
        self.owned: dict[str, tuple[str, ...]] = {}
        self.resource_count = 0
        self.rebuild()

    def rebuild(self) -> None:
        """Derive processors' resources and all candidates again."""
        state = self._state
        self.owned = {name: resources(p) for name, p in state.processors.items()}
        self.resource_count = len({r: True for owned in self.owned.values() for r in owned})
        processors = tuple(state.processors.values())
        self.candidates = {
            task: build_candidates(family, state.profiles.get(task, ()), processors)
            for task, family in state.families.items()
        }
        self.forget()

    def forget(self) -> None:
        """Drop all tables: the device, residency, prices or policy changed."""
        self._tables.clear()

    def table(self, task: str, app: str, prefer: Prefer, now_ns: int) -> Table:
        """Return the table for a task, app and preference, building it when it is not there."""
        key = (task, app, prefer)
        table = self._tables.get(key)
        if table is None:
            if len(self._tables) >= MAX_TABLES:
                del self._tables[next(iter(self._tables))]
            table = build_table(self._state, self.candidates[task], task, app, prefer, now_ns)
            self._tables[key] = table
        return table

    def replace_policy(self, policy: Policy) -> None:
        """Take over a new policy's strategy; raise ``ValueError`` for an unknown one."""
        self.strategy = self._strategy_named(policy.strategy)
        self.forget()

    def situation(self, live: Live, weight: float, now_ns: int) -> Situation:
        """Return what a request faces now."""
        state, settings, request = self._state, live.settings, live.request
        rank = (class_of(request.priority), live.deadline_ns, live.seq)
        floor, limit_uj = request.min_accuracy_frac, request.max_energy_uj
        rejects = settings.when_impossible is WhenImpossible.REJECT
        time_ns = live.deadline_ns - now_ns - int(state.overhead_ns)
        ln_batch = log(request.batch)
        lanes = survey(state, self.owned, rank, now_ns)
        return Situation(
            now_ns=now_ns,
            time_ns=time_ns,
            floor_frac=settings.min_accuracy_frac if floor is None else floor,
            max_energy_uj=settings.max_energy_uj if limit_uj is None else limit_uj,
            min_z=confidence_z(settings.deadline_confidence),
            lanes=lanes,
            ln_room=tuple([ln_room_of(time_ns - x.wait_ns, x.mean + ln_batch) for x in lanes]),
            variant=request.variant,
            weight=weight,
            give_up=() if rejects else settings.give_up,
            batch=request.batch,
            ln_batch=ln_batch,
        )

    def decision(self, live: Live, table: Table, at: Situation, choice: Choice) -> Decision:
        """Return the record of a choice."""
        candidate, judged = choice.entry.candidate, choice.judged
        lane = at.lanes[choice.entry.lane]
        latency_ns = judged.delay_ns + int(
            candidate.expected_latency_ns * at.batch * exp(lane.mean) + self._state.overhead_ns
        )
        rival, why = self._rival(table, at, choice)
        return Decision(
            request_id=live.request.request_id,
            task=live.request.task,
            variant=candidate.variant,
            processor=candidate.processor,
            exit_rule=candidate.exit_rule,
            value=judged.value,
            accuracy_frac=choice.entry.top_accuracy,
            on_time_prob=judged.on_time_prob,
            wait_ns=lane.wait_ns,
            load_ns=judged.load_ns,
            latency_ns=latency_ns,
            energy_uj=candidate.expected_energy_uj * at.batch,
            finish_ns=at.now_ns + latency_ns,
            budget_ns=live.deadline_ns - live.arrived_ns,
            energy_price_per_j=table.energy_price_per_j,
            given_up=choice.given_up,
            policy=live.policy,
            rules=live.rules,
            instead_of=rival,
            instead_why=why,
        )

    def _rival(self, table: Table, at: Situation, choice: Choice) -> tuple[str, Why | None]:
        rival = table.most_accurate
        if rival is None or rival.candidate.variant == choice.entry.candidate.variant:
            return "", None
        why = judge(rival, at).why
        return rival.candidate.name, Why.VALUE if why is Why.CHOSEN else why

    def count_reasons(self, table: Table, at: Situation) -> Counter[Why]:
        """Return how many candidates fail for which reason."""
        return Counter(judge(entry, at).why for entry in table.entries)

    def explain(self, table: Table, at: Situation, choice: Choice | None) -> tuple[Verdict, ...]:
        """Return every candidate's verdict."""
        return tuple(verdicts(table, at, choice))

    def wish(self, table: Table, at: Situation, choice: Choice | None) -> Entry | None:
        """Return the variant that should be loaded for requests to come: it would win were it resident."""
        worth = choice.judged.value if choice is not None and not choice.given_up else float("-inf")
        for entry in table.cold:
            if entry.ideal - entry.load_cost <= worth:
                return None
            if entry.load_at_ns == 0 and judge(entry, at, ignore_load=True).why is Why.CHOSEN:
                return entry
        return None

    def still_in_time(self, live: Live, now_ns: int) -> bool:
        """Return whether a queued request about to start is still sure enough to be on time."""
        candidate = live.candidate
        if candidate is None:
            return False
        slack_ns = live.deadline_ns - now_ns - int(self._state.overhead_ns)
        return self._z(candidate, candidate.latency_ns[0] * live.request.batch, slack_ns, now_ns) >= confidence_z(
            live.settings.deadline_confidence
        )

    def goes_on(self, live: Live, stage: int, confidence: float, now_ns: int) -> bool:
        """Return whether a staged variant runs its next stage.

        It stops when confident enough, when the next stage would likely miss the deadline, or when it costs
        more than the accuracy it is expected to add (unless the floor asks for it).
        """
        candidate = live.candidate
        if candidate is None or stage + 1 >= len(candidate.latency_ns) or confidence >= candidate.threshold:
            return False
        step_ns = (candidate.latency_ns[stage + 1] - candidate.latency_ns[stage]) * live.request.batch
        slack_ns = live.deadline_ns - now_ns - int(self._state.overhead_ns)
        if self._z(candidate, step_ns, slack_ns, now_ns) < confidence_z(live.settings.deadline_confidence):
            return False
        request = live.request
        floor = request.min_accuracy_frac
        floor = live.settings.min_accuracy_frac if floor is None else floor
        if candidate.accuracy_frac[stage] < floor:
            return True
        return self._worth_going_on(live, candidate, stage, now_ns)

    def _worth_going_on(self, live: Live, candidate: Candidate, stage: int, now_ns: int) -> bool:
        """Compare the accuracy all later exits add for those still in, with the energy of the next stage."""
        still_in = max(1e-9, 1.0 - sum(candidate.share_frac[: stage + 1]))
        gain = (candidate.accuracy_frac[-1] - candidate.accuracy_frac[stage]) / still_in
        step_uj = candidate.energy_uj[stage + 1] - candidate.energy_uj[stage]
        table = self.table(live.request.task, live.request.app, live.request.prefer, now_ns)
        return table.weight * gain >= table.energy_price_per_j * step_uj / UJ_PER_J

    def _z(self, candidate: Candidate, latency_ns: int, slack_ns: int, now_ns: int) -> float:
        if slack_ns <= 0:
            return -9.0
        estimate = self._state.estimates[candidate.processor]
        noise = max(estimate.noise, candidate.latency_spread**2)
        sigma = sqrt(variance_at(estimate, now_ns) + noise)
        return (log(slack_ns) - log(max(1, latency_ns)) - estimate.mean) / sigma

    def run_ns(self, candidate: Candidate, stage: int, batch: int) -> int:
        """Return the expected duration of one stage with the present slow-down and overhead."""
        before = candidate.latency_ns[stage - 1] if stage else 0
        factor = slowdown(self._state.estimates[candidate.processor])
        return int((candidate.latency_ns[stage] - before) * batch * factor + self._state.overhead_ns)
