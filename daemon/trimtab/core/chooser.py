"""From a request to a decision: build the situation, ask the strategy, write down what was predicted."""

from collections import Counter
from collections.abc import Callable
from math import inf, log

from trimtab.core.candidates import build_candidates
from trimtab.core.early_exit import floor_of, give_up_order
from trimtab.core.estimator import energy_factor
from trimtab.core.explain import verdicts
from trimtab.core.prices import (
    Clearing,
    Market,
    concave_hull,
    energy_left_j,
    energy_price,
    horizon_left_s,
    spare_uj,
)
from trimtab.core.queueing import class_of, resources, survey
from trimtab.core.selection import (
    Choice,
    Entry,
    Situation,
    Strategy,
    Table,
    finish_ns,
    judge,
    ln_room_of,
    may_be_in_time,
    preference,
)
from trimtab.core.state import Holding, Live, State
from trimtab.core.tables import (
    Terms,
    blank_entries,
    build_table,
    confidence_z,
    rate_of,
    rule_names,
    rules_for,
    terms_of,
)
from trimtab.domain.decision import Candidate, Decision, Verdict, Why
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import Policy, Settings
from trimtab.domain.quantities import UJ_PER_J
from trimtab.domain.request import Prefer
from trimtab.domain.settings import settle

MAX_TABLES = 256
"""Tables kept at once: tasks times apps times preferences. All go when there would be more."""


class Chooser:
    """Everything derived from the state that a decision needs, rebuilt only when the state changes."""

    def __init__(self, state: State, strategy_named: Callable[[str], Strategy]) -> None:
        """Serve ``state`` with the strategy its policy names."""
        self._state = state
        self._strategy_named = strategy_named
        self.strategy = strategy_named(state.policy.strategy)
        self.candidates: dict[str, tuple[Candidate, ...]] = {}
        self.owned: dict[str, tuple[str, ...]] = {}
        self.resource_count = 0
        self._blanks: dict[str, tuple[Entry, ...]] = {}
        self._terms: dict[tuple[str, tuple[int, ...]], Terms] = {}
        self._hulls: dict[
            tuple[str, tuple[int, ...], tuple[float, ...]], tuple[tuple[float, float], ...]
        ] = {}
        self._shared: dict[tuple[str, tuple[int, ...], Prefer], Table] = {}
        self._tables: dict[tuple[str, str, Prefer], Table] = {}
        self.rebuild()

    # ---- what is derived, and when it is dropped ---------------------------------------------------

    def rebuild(self) -> None:
        """Derive processors' resources and all candidates again."""
        state = self._state
        self.owned = {name: resources(p) for name, p in state.processors.items()}
        self.resource_count = len({r: True for owned in self.owned.values() for r in owned})
        self.candidates = {
            task: self.candidates_of(family, state.profiles.get(task, ()))
            for task, family in state.families.items()
        }
        self._blanks = {task: blank_entries(state, task, found) for task, found in self.candidates.items()}
        self.forget_policy()

    def candidates_of(self, family: Family, profiles: tuple[Profile, ...]) -> tuple[Candidate, ...]:
        """Return a family's candidates on this device; raise ``ValueError`` where figures do not match."""
        return build_candidates(family, profiles, tuple(self._state.processors.values()))

    def use_strategy(self, policy: Policy) -> None:
        """Take over the strategy a policy names; raise ``ValueError`` for an unknown one."""
        self.strategy = self._strategy_named(policy.strategy)

    def forget_policy(self) -> None:
        """Drop what the policy or the catalogue decides: settings, demand curves and all tables."""
        self._terms.clear()
        self._hulls.clear()
        self.forget()

    def forget(self) -> None:
        """Drop all tables: the device, residency or prices changed."""
        self._shared.clear()
        self._tables.clear()

    # ---- tables ------------------------------------------------------------------------------------

    def table(self, task: str, app: str, prefer: Prefer, now_ns: int) -> Table:
        """Return the table for a task, app and preference; apps to which the same rules apply share one."""
        table = self._tables.get((task, app, prefer))
        if table is None or now_ns >= table.stale_at_ns:
            table = self._shared_table(task, rules_for(self._state, task, app, now_ns), prefer, now_ns)
            if len(self._tables) >= MAX_TABLES:
                self._tables.clear()
            self._tables[task, app, prefer] = table
        return table

    def table_for(self, live: Live, now_ns: int) -> Table:
        """Return the table for a request under the settings it was admitted with."""
        request = live.request
        table = self.table(request.task, request.app, request.prefer, now_ns)
        if live.settings is table.settings or live.settings == table.settings:
            return table
        blanks = self._blanks[request.task]
        terms = terms_of(live.settings, live.rules, blanks)
        return build_table(self._state, blanks, terms, request.prefer, now_ns)

    def _shared_table(self, task: str, rules: tuple[int, ...], prefer: Prefer, now_ns: int) -> Table:
        table = self._shared.get((task, rules, prefer))
        if table is None or now_ns >= table.stale_at_ns:
            terms = self._terms_under(task, rules)
            table = build_table(self._state, self._blanks[task], terms, prefer, now_ns)
            if len(self._shared) >= MAX_TABLES:
                self._shared.clear()
            self._shared[task, rules, prefer] = table
        return table

    def _terms_under(self, task: str, rules: tuple[int, ...]) -> Terms:
        terms = self._terms.get((task, rules))
        if terms is None:
            policy = self._state.policy
            settings = settle(policy, task, rules)
            terms = terms_of(settings, rule_names(policy, rules), self._blanks[task])
            if len(self._terms) >= MAX_TABLES:
                self._terms.clear()
            self._terms[task, rules] = terms
        return terms

    # ---- the horizon's price of energy -------------------------------------------------------------

    def solve_energy_price(self, now_ns: int) -> Clearing:
        """Return the horizon's price of energy in utility per joule; 0 when charging or without a horizon."""
        state = self._state
        goal = state.policy.battery
        left_s = horizon_left_s(goal, state.device, state.device_at_ns, state.policy_since_ns, now_ns)
        left_j = energy_left_j(state.energy, state.device, goal.reserve_frac, now_ns)
        if state.device.charging or left_j is None or left_s is None:
            return Clearing(0.0, 1.0)
        budget_j = left_j - state.energy.background_mw / 1e3 * left_s
        markets = [
            Market(
                rate_of(state, task, now_ns) * left_s, self._hull(task, rules_for(state, task, "", now_ns))
            )
            for task in state.demand
        ]
        return energy_price(markets, budget_j)

    def _hull(self, task: str, rules: tuple[int, ...]) -> tuple[tuple[float, float], ...]:
        """Return what serving a task's requests can cost and bring under these rules.

        Only variants in memory count: the price is of what there is, and what else would pay at that price is
        loaded by its own account.
        """
        factors = tuple([self._factor(entry) for entry in self._blanks[task]])
        hull = self._hulls.get((task, rules, factors))
        if hull is None:
            hull = self._hull_of(task, rules, factors)
            if len(self._hulls) >= MAX_TABLES:
                self._hulls.clear()
            self._hulls[task, rules, factors] = hull
        return hull

    def _factor(self, entry: Entry) -> float:
        """Return by how much an entry's energy exceeds its profile, 0 when its variant is not in memory."""
        state = self._state
        residence = state.residences.get(entry.residence)
        if residence is None or residence.holding is Holding.EVICTING:
            return 0.0
        return round(energy_factor(state.energy_biases.get(entry.residence), state.energy_ratio), 2)

    def _hull_of(
        self, task: str, rules: tuple[int, ...], factors: tuple[float, ...]
    ) -> tuple[tuple[float, float], ...]:
        terms = self._terms_under(task, rules)
        there = zip(self._blanks[task], factors, strict=True)
        allowed = [(e, factor) for e, factor in there if factor > 0.0 and e.name not in terms.denied]
        return concave_hull(_offers(allowed, terms.settings))

    # ---- decisions ---------------------------------------------------------------------------------

    def situation(self, live: Live, table: Table, now_ns: int) -> Situation:
        """Return what a request faces now."""
        state, settings, request = self._state, live.settings, live.request
        rank = (class_of(request.priority), live.deadline_ns, live.seq)
        limit_uj = request.max_energy_uj
        time_ns = live.deadline_ns - now_ns - int(state.overhead_ns)
        ln_batch = 0.0 if request.batch == 1 else log(request.batch)
        lanes = survey(state, self.owned, rank, now_ns)
        return Situation(
            now_ns=now_ns,
            time_ns=time_ns,
            floor_frac=floor_of(live),
            max_energy_uj=settings.max_energy_uj if limit_uj is None else limit_uj,
            min_z=confidence_z(settings.deadline_confidence),
            lanes=lanes,
            ln_room=tuple([ln_room_of(time_ns - lane.wait_ns, lane.mean + ln_batch) for lane in lanes]),
            variant=request.variant,
            weight=table.weight,
            give_up=give_up_order(live),
            batch=request.batch,
            ln_batch=ln_batch,
            spare_uj=spare_uj(state.energy, state.device, state.policy.battery.reserve_frac, now_ns),
        )

    def decision(self, live: Live, table: Table, at: Situation, choice: Choice) -> Decision:
        """Return the record of a choice."""
        entry, judged = choice.entry, choice.judged
        candidate = entry.candidate
        latency_ns = int(finish_ns(entry, judged, at) + self._state.overhead_ns)
        rival, why = self._rival(table, at, choice)
        return Decision(
            request_id=live.request.request_id,
            task=live.request.task,
            variant=candidate.variant,
            processor=candidate.processor,
            exit_rule=candidate.exit_rule,
            value=judged.value,
            accuracy_frac=entry.top_accuracy,
            on_time_prob=judged.on_time_prob,
            wait_ns=at.lanes[entry.lane].wait_ns,
            load_ns=judged.load_ns,
            latency_ns=latency_ns,
            energy_uj=entry.energy_uj * at.batch,
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
        return rival.name, Why.VALUE if why is Why.CHOSEN else why

    def count_reasons(self, table: Table, at: Situation) -> Counter[Why]:
        """Return how many candidates fail for which reason."""
        return Counter([judge(entry, at).why for entry in table.entries])

    def explain(self, table: Table, at: Situation, choice: Choice | None) -> tuple[Verdict, ...]:
        """Return every candidate's verdict."""
        return tuple(verdicts(table, at, choice))

    def wish(self, table: Table, at: Situation, choice: Choice | None) -> tuple[Entry, float] | None:
        """Return what would have won had it been resident, and the value the request missed without it.

        Its load must leave the battery's reserve alone. What is missed has no bound when the choice gave a
        goal up, or when the caller prefers something else than value.
        """
        to_beat: tuple[float, ...] = (inf,)
        by_value = table.prefer in (Prefer.VALUE, Prefer.ACCURACY)
        if choice is not None and not choice.given_up:
            to_beat = preference(table.prefer, choice.entry, choice.judged, at)
        for entry in table.cold:
            if by_value and -entry.ideal >= to_beat[0]:
                return None
            if at.variant and entry.candidate.variant != at.variant:
                continue
            hopeless = entry.top_accuracy < at.floor_frac or not may_be_in_time(entry, at)
            if hopeless or entry.worst_uj * at.batch + entry.load_uj > at.spare_uj:
                continue
            judged = judge(entry, at, ignore_load=True)
            if judged.why is Why.CHOSEN and preference(table.prefer, entry, judged, at) < to_beat:
                return entry, judged.value + to_beat[0] if by_value else inf
        return None


def _offers(entries: list[tuple[Entry, float]], settings: Settings) -> list[tuple[float, float]]:
    """Return (energy J, utility) of what meets the accuracy floor; of everything when nothing does."""
    good = [pair for pair in entries if pair[0].top_accuracy >= settings.min_accuracy_frac] or entries
    return [(f * e.energy_uj / UJ_PER_J, settings.weight * e.top_accuracy) for e, f in good]
