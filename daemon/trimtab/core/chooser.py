"""From a request to a decision: build the situation, ask the strategy, write down what was predicted."""

from collections import Counter
from collections.abc import Callable
from math import inf, log

from trimtab.core.catalogue import Catalogue
from trimtab.core.congestion import time_prices
from trimtab.core.explain import grounds, verdicts
from trimtab.core.fairness import HEADROOM, above_share
from trimtab.core.links import lanes_with_places
from trimtab.core.markets import Markets
from trimtab.core.money import spare_usd
from trimtab.core.overload import goals_to_give_up
from trimtab.core.prices import spare_uj
from trimtab.core.queueing import lanes_of, rooms_of
from trimtab.core.residency import kept_bytes
from trimtab.core.selection import (
    Choice,
    Entry,
    Situation,
    Strategy,
    Table,
    reason,
)
from trimtab.core.state import Live, State
from trimtab.core.tables import TaskTable, Terms, rule_names, rules_for, terms_of
from trimtab.domain.decision import Candidate, Decision, Verdict, Why
from trimtab.domain.grounds import Grounds
from trimtab.domain.policy import Policy
from trimtab.domain.request import Prefer
from trimtab.domain.settings import settle

MAX_TABLES = 256
"""Tables kept at once: tasks times apps times preferences. All go when there would be more."""

_CHOSEN, _VALUE = Why.CHOSEN, Why.VALUE


class Chooser:
    """Everything derived from the state that a decision needs, renewed only when the state changes.

    Tables are kept and renewed in place: ``_states`` counts the changes of the device's state, ``_prices``
    those and the changes of the energy price, and a table tells the counts it was last renewed at.
    """

    def __init__(self, state: State, strategy_named: Callable[[str], Strategy]) -> None:
        """Serve ``state`` with the strategy its policy names."""
        self._state = state
        self._strategy_named = strategy_named
        self.strategy = strategy_named(state.policy.strategy)
        self.catalogue = Catalogue(state)
        self._states = self._prices = 0
        self._terms: dict[tuple[str, tuple[int, ...]], Terms] = {}
        self.markets = Markets(state, self.catalogue, self._terms_under)
        self._shared: dict[tuple[str, tuple[int, ...], Prefer, str], TaskTable] = {}
        self._tables: dict[tuple[str, str, Prefer, str], tuple[TaskTable, int]] = {}

    @property
    def candidates(self) -> dict[str, tuple[Candidate, ...]]:
        """Return all candidates by task."""
        return self.catalogue.candidates

    # ---- what is derived, and when it is dropped ---------------------------------------------------

    def renew_catalogue(self) -> None:
        """Derive all candidates again, and with them everything else."""
        self.catalogue.renew()
        self.forget_policy()

    def use_strategy(self, policy: Policy) -> None:
        """Take over the strategy a policy names; raise ``ValueError`` for an unknown one."""
        self.strategy = self._strategy_named(policy.strategy)

    def forget_policy(self) -> None:
        """Drop what the policy or the catalogue decides: settings, demand curves and all tables."""
        self._terms.clear()
        self.markets.forget()
        self._shared.clear()
        self.forget()

    def forget(self) -> None:
        """Use no table before it is renewed: the device or residency changed."""
        self._states += 1
        self.forget_prices()

    def forget_prices(self) -> None:
        """Use no table before prices in it are renewed."""
        self._prices += 1
        self._tables.clear()

    # ---- tables ------------------------------------------------------------------------------------

    def table(self, task: str, app: str, prefer: Prefer, now_ns: int, processor: str = "") -> TaskTable:
        """Return the table for a task, app, preference and processor asked for.

        Apps to which the same rules apply share one.
        """
        found = self._tables.get((task, app, prefer, processor))
        if found is not None and now_ns < found[1]:
            return found[0]
        rules = rules_for(self._state, task, app, now_ns)
        table = self._shared_table(task, rules, prefer, now_ns, processor)
        if len(self._tables) >= MAX_TABLES:
            self._tables.clear()
        self._tables[task, app, prefer, processor] = table, table.stale_at_ns
        return table

    def table_for(self, live: Live, now_ns: int, processor: str = "") -> TaskTable:
        """Return the table for a request under the settings it was admitted with."""
        request = live.request
        table = self.table(request.task, request.app, request.prefer, now_ns, processor)
        if live.settings is table.settings or live.settings == table.settings:
            return table
        blanks = self.catalogue.blanks[request.task]
        own = TaskTable(terms_of(live.settings, live.rules, blanks, processor), blanks, request.prefer)
        own.renew(self._state, now_ns, self._spare_bytes())
        return own

    def _shared_table(
        self, task: str, rules: tuple[int, ...], prefer: Prefer, now_ns: int, processor: str
    ) -> TaskTable:
        table = self._shared.get((task, rules, prefer, processor))
        if table is None:
            terms, blanks = self._terms_under(task, rules), self.catalogue.blanks[task]
            if processor:
                terms = terms_of(terms.settings, terms.rules, blanks, processor)
            table = TaskTable(terms, blanks, prefer)
            if len(self._shared) >= MAX_TABLES:
                self._shared.clear()
            self._shared[task, rules, prefer, processor] = table
        if table.prices != self._prices or now_ns >= table.stale_at_ns:
            if table.states != self._states or table.marred:
                table.renew(self._state, now_ns, self._spare_bytes())
            else:
                table.reprice(self._state, now_ns)
            table.states, table.prices = self._states, self._prices
        return table

    def _spare_bytes(self) -> int:
        """Return what a variant not in memory may hold at most: the last resorts stay."""
        return self._state.memory_limit_bytes - kept_bytes(self._state, self.catalogue.last_resorts)

    def _terms_under(self, task: str, rules: tuple[int, ...]) -> Terms:
        terms = self._terms.get((task, rules))
        if terms is None:
            policy = self._state.policy
            settings = settle(policy, task, rules)
            terms = terms_of(settings, rule_names(policy, rules), self.catalogue.blanks[task])
            if len(self._terms) >= MAX_TABLES:
                self._terms.clear()
            self._terms[task, rules] = terms
        return terms

    # ---- decisions ---------------------------------------------------------------------------------

    def situation(self, live: Live, table: TaskTable, now_ns: int) -> Situation:
        """Return what a request faces now."""
        state, settings, request = self._state, live.settings, live.request
        batch, floor_frac, limit_uj = request.batch, request.min_accuracy_frac, request.max_energy_uj
        after = settings.after_deadline
        time_ns = live.deadline_ns + after.until_ns - now_ns - int(state.overhead_ns)
        ln_batch = 0.0 if batch == 1 else log(batch)
        left_uj = spare_uj(state.energy, state.device, state.policy.battery.reserve_frac, now_ns)
        if left_uj < table.worst_uj * batch + table.load_uj:
            table.spare()
        catalogue = self.catalogue
        estimates, lanes = catalogue.estimates, catalogue.sharing.idle
        if state.running or state.queue:
            lanes = lanes_of(state, catalogue.sharing, live, now_ns)
        if state.away and catalogue.sharing.limits:
            lanes = lanes_with_places(state, catalogue.sharing, lanes, now_ns)
        prices, kept_ns = None, 0
        if state.queue and time_ns > 0 and self.strategy.adapts:
            if above_share(state, request.app, now_ns):
                kept_ns = int(HEADROOM * time_ns)
            prices = time_prices(state, catalogue.sharing, lanes, table.worths, time_ns, now_ns)
            if prices is not None and batch != 1:
                prices = [price * batch for price in prices]
        return Situation(
            now_ns,
            time_ns,
            settings.min_accuracy_frac if floor_frac is None else floor_frac,
            settings.max_energy_uj if limit_uj is None else limit_uj,
            table.min_z,
            lanes,
            estimates,
            rooms_of(estimates, lanes, time_ns, ln_batch, kept_ns),
            table.stretches,
            request.variant,
            table.weight,
            goals_to_give_up(state, table.give_up),
            batch,
            ln_batch,
            left_uj,
            spare_usd(state) if catalogue.charged else inf,
            prices,
            after if after.until_ns else None,
        )

    def time_price(self, live: Live, now_ns: int) -> float:
        """Return what others lose per ns of its profile that a running request keeps its processor."""
        state, sharing, time_ns = self._state, self.catalogue.sharing, live.deadline_ns - now_ns
        if not state.queue or time_ns <= 0 or live.candidate is None:
            return 0.0
        lanes, worths = lanes_of(state, sharing, live, now_ns), self.table_for(live, now_ns).worths
        prices = time_prices(state, sharing, lanes, worths, time_ns, now_ns)
        if prices is None:
            return 0.0
        return live.request.batch * prices[list(sharing.owned).index(live.candidate.processor)]

    def decision(
        self, live: Live, table: Table, at: Situation, choice: Choice, *, probe: bool = False
    ) -> Decision:
        """Return the record of a choice."""
        request, entry, judged = live.request, choice.entry, choice.judged
        candidate = entry.candidate
        latency_ns = int(judged.finish_ns + self._state.overhead_ns)
        rival, why = table.most_accurate, None
        if rival is not None and rival.candidate.variant == candidate.variant:
            rival = None
        if rival is not None and (why := reason(rival, at)) is _CHOSEN:
            why = _VALUE
        return Decision(
            request.request_id,
            request.task,
            candidate.variant,
            candidate.processor,
            candidate.exit_rule,
            judged.value,
            entry.top_accuracy,
            judged.on_time_prob,
            at.lanes[entry.lane].wait_ns,
            judged.load_ns,
            latency_ns,
            entry.energy_uj * at.batch,
            at.now_ns + latency_ns,
            live.deadline_ns - live.arrived_ns,
            table.energy_price_per_j,
            choice.given_up,
            live.policy,
            live.rules,
            "" if rival is None else rival.name,
            why,
            candidate.cost_usd * at.batch,
            table.money_price_per_usd if candidate.cost_usd else 0.0,
            probe,
        )

    def count_reasons(self, table: Table, at: Situation) -> Counter[Why]:
        """Return how many candidates fail for which reason."""
        return Counter([reason(entry, at) for entry in table.entries])

    def explain(
        self, table: Table, at: Situation, choice: Choice | None
    ) -> tuple[tuple[Verdict, ...], Grounds]:
        """Return every candidate's verdict, and what the decision stands on."""
        return tuple(verdicts(table, at, choice)), grounds(self._state, table, at)

    def asked_for(self, table: Table, at: Situation, live: Live) -> Entry | None:
        """Return what a strategy that goes by other things than value wants in memory, at no matter what price."""
        entry = self.strategy.wish(table, at, live, self._state)
        return None if entry is None or entry.worst_uj * at.batch + entry.load_uj > at.spare_uj else entry
