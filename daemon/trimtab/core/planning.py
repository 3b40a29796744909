"""Plan what should be in memory: the offers of each task, from its tables, for the requests that come."""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from trimtab.core.chooser import Chooser
from trimtab.core.demand import Kinds, coming
from trimtab.core.holdings import Holdings
from trimtab.core.prices import has_horizon, horizon_left_s
from trimtab.core.queueing import rooms_of
from trimtab.core.residency import size_bytes
from trimtab.core.resident_set import STAY_S, Offer, Option, busy_share, options, resident_set
from trimtab.core.selection import DENIED, Situation, broken_goals, judge
from trimtab.core.state import Holding, Kind, State
from trimtab.core.tables import SWITCH_PRICE, TaskTable, energy_price_at
from trimtab.domain.decision import Why
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab.domain.request import Prefer

PLAN_NS, LONGEST_PLAN_NS = 5 * NS_PER_S, 40 * NS_PER_S
"""The plan is made again after so long while requests come, after twice as long each time it came out the same, and
at once when memory or the catalogue changed or requests of a new kind came."""
LEAST_RAISE = 0.0075
"""A load has to raise what a task's requests get on average by three quarters of a percent point of accuracy."""
SPACIOUS_RAISE, SPACIOUS_NS = 0.0005, 600 * NS_PER_S
"""By so much, where everything that is worth it has fitted for so long."""
PRICE_MEMORY_S = 600.0
"""Over so long, or all the time there was a price, the horizon's is averaged: it follows what is in memory, which must not follow it back and forth."""
HORIZON_PARTS = 20.0
"""Of a short horizon so small a part at most is waited for a plan, and for the price to be averaged."""
ROOMY_STAY_S = 3600.0
"""With a battery to last, so long a variant stays that displaces nobody: its load is spread over what comes meanwhile."""
OUT = (*DENIED, Why.UNHEALTHY)


class Serving(NamedTuple):
    """What a variant is worth to a kind of request, and the share of them that would find it busy."""

    worth: float
    busy: float

    @property
    def gain(self) -> float:
        """Return what it brings a request on average, when those that find it busy are lost."""
        return self.worth * (1.0 - self.busy)


NOTHING = Serving(0.0, 0.0)

_EVICTING = Holding.EVICTING


class Planner:
    """Makes the plan and has it followed."""

    def __init__(self, state: State, chooser: Chooser, holdings: Holdings) -> None:
        """Plan for ``state``."""
        self._state = state
        self._chooser = chooser
        self._holdings = holdings
        self.kinds = Kinds(state)
        self.kinds.forget()
        self.due = True
        """Whether something changed that a plan is made for."""

    def forget(self) -> None:
        """Drop what is derived from the state."""
        self.kinds.forget()
        self.due = True

    def take_room(self, more_bytes: int, now_ns: int) -> None:
        """Take over a memory limit that changed: there is another plan at once if it rose or the plan no longer fits."""
        plan = self._state.plan
        plan.room_bytes += more_bytes
        if plan.room_bytes < 0:
            plan.tight_ns = now_ns
        self.due = self.due or more_bytes > 0 or plan.room_bytes < 0

    def plan_if_due(self, now_ns: int) -> None:
        """Make a plan if it is time, and follow the one there is."""
        plan, price_per_j = self._state.plan, self._state.energy.price_per_j
        elapsed_s = (now_ns - plan.priced_ns) / NS_PER_S if plan.priced_ns >= 0 else 0.0
        soon_s = self._soon_s(now_ns)
        plan.seen_s = (
            min(PRICE_MEMORY_S, soon_s, plan.seen_s + elapsed_s) if plan.energy_price_per_j > 0.0 else 0.0
        )
        gain = min(1.0, elapsed_s / plan.seen_s) if plan.seen_s > 0.0 else 1.0
        plan.energy_price_per_j += gain * (price_per_j - plan.energy_price_per_j)
        plan.priced_ns = now_ns
        if self.due or now_ns - plan.planned_ns >= min(plan.pause_ns, soon_s * NS_PER_S):
            self._plan(now_ns)
        self._holdings.follow_plan(now_ns)

    def _soon_s(self, now_ns: int) -> float:
        """Return what counts as soon: a part of the time that the battery has to last."""
        state = self._state
        goal = state.policy.battery
        left_s = horizon_left_s(goal, state.device, state.device_at_ns, state.policy_since_ns, now_ns)
        return inf if left_s is None else left_s / HORIZON_PARTS

    def _plan(self, now_ns: int) -> None:
        state, catalogue = self._state, self._chooser.catalogue
        self.due = False
        self.kinds.settle(now_ns)
        plan, before = state.plan, (state.plan.keys, state.plan.displaced, state.plan.room_bytes)
        plan.planned_ns = now_ns
        budget_bytes = state.memory_limit_bytes - sum(
            [size_bytes(state, key, home.resident_bytes) for key, home in catalogue.last_resorts.items()]
        )
        found = resident_set([self._options(task, now_ns) for task in self._tasks()], budget_bytes)
        plan.keys, plan.value, plan.price, plan.displaced = found
        if plan.price > 0.0:
            plan.tight_ns = now_ns
        homes = catalogue.homes
        plan.room_bytes = budget_bytes - sum(
            [size_bytes(state, key, homes[key].resident_bytes) for key in plan.keys]
        )
        same = plan.keys == before[0]
        plan.pause_ns = min(2 * plan.pause_ns, LONGEST_PLAN_NS) if same else PLAN_NS
        if (plan.keys, plan.displaced, plan.room_bytes) != before:
            self._chooser.forget_prices()

    def _tasks(self) -> list[str]:
        """Return the tasks that are asked for, in the order of their names; none where nobody adapts."""
        if not self._chooser.strategy.adapts:
            return []
        return sorted({kind.task for kind in self._state.kinds if kind.task in self._state.families})

    def _options(self, task: str, now_ns: int) -> tuple[Option, ...]:
        """Return what could be held of a task."""
        state, catalogue = self._state, self._chooser.catalogue
        kinds, rates = coming(state, task, now_ns)
        found: list[dict[str, Serving]] = [self._servings(kind, sum(rates), now_ns) for kind in kinds]
        price_per_uj = energy_price_at(state.plan.energy_price_per_j, state.policy.defaults) / UJ_PER_J
        weight, lasting = state.policy.defaults.weight, has_horizon(state)
        spacious = state.plan.tight_ns < 0 or now_ns - state.plan.tight_ns >= SPACIOUS_NS
        least_cost = weight * (SPACIOUS_RAISE if spacious else LEAST_RAISE) * sum(rates) * STAY_S
        offers, base = [], None
        missed_per_s = self._missed_per_s(found, rates)
        for key in dict.fromkeys([key for each in found for key in each]):
            home, here = catalogue.homes[key], key in catalogue.last_resorts
            in_memory = self._in_memory(key)
            roomy = lasting and home.resident_bytes <= state.plan.room_bytes
            switch_cost = weight * SWITCH_PRICE + price_per_uj * home.load_uj
            switch_cost *= STAY_S / ROOMY_STAY_S if roomy else 1.0
            if spacious:  # a quick load now and another one later: not where memory comes and goes
                switch_cost += missed_per_s * home.load_ns / NS_PER_S
            load_cost = 0.0 if in_memory else least_cost + switch_cost
            servings = [each.get(key, NOTHING) for each in found]
            offer = Offer(
                key,
                catalogue.groups[home.pool],
                size_bytes(state, key, home.resident_bytes),
                load_cost,
                tuple([one.worth for one in servings]),
                tuple([one.busy for one in servings]),
            )
            if here:
                base = offer
            else:
                offers.append(offer)
        return options(base, offers, rates)

    def _in_memory(self, key: str) -> bool:
        held = self._state.residences.get(key)
        staying = held is not None and held.holding is not _EVICTING and not held.doomed
        return staying or key in self._chooser.catalogue.last_resorts

    def _missed_per_s(self, found: list[dict[str, Serving]], rates: Sequence[float]) -> float:
        """Return the utility per second that requests go without while something is loaded for them."""
        missed = 0.0
        for each, rate in zip(found, rates, strict=True):
            best = max([one.worth for one in each.values()], default=0.0)
            here = max([one.worth for key, one in each.items() if self._in_memory(key)], default=0.0)
            missed += rate * (best - here)
        return missed

    def _servings(self, kind: Kind, rate: float, now_ns: int) -> dict[str, Serving]:
        """Return by residence what it is worth to a kind of request on an idle device, were it in memory.

        An answer that misses a goal counts for nothing: the last resort gives those.
        """
        table = self._chooser.table(kind.task, kind.app, kind.prefer, now_ns)
        at = self._prospect(kind, table, now_ns)
        judged = [
            (entry, judge(entry, at, ignore_load=True))
            for entry in table.all
            if entry.blocked not in OUT and (not kind.variant or entry.candidate.variant == kind.variant)
        ]
        mean_price = energy_price_at(self._state.plan.energy_price_per_j, table.settings)
        tilt, scale = (table.energy_price_per_j - mean_price) / UJ_PER_J, 0.0
        if kind.prefer is Prefer.ENERGY:
            scale = max([entry.energy_uj for entry, _ in judged], default=0.0)
        elif kind.prefer is Prefer.LATENCY:
            scale = max([one.finish_ns for _, one in judged], default=0.0)
        best: dict[str, Serving] = {}
        homes, servers = self._chooser.catalogue.homes, self._chooser.catalogue.servers
        for entry, one in judged:
            key, run_ns = entry.residence, max(1.0, one.finish_ns)
            worth = one.value + tilt * entry.energy_uj
            if scale > 0.0:
                worth = table.weight * (
                    1.0 - (entry.energy_uj if kind.prefer is Prefer.ENERGY else run_ns) / scale
                )
            if worth < 0.0 or broken_goals(entry, one, at):
                worth = 0.0
            count = servers[homes[key].pool]
            serving = Serving(
                worth, busy_share(rate * run_ns / NS_PER_S / count, run_ns, at.time_ns - run_ns, count)
            )
            if key not in best or serving.gain > best[key].gain:
                best[key] = serving
        return best

    def _prospect(self, kind: Kind, table: TaskTable, now_ns: int) -> Situation:
        """Return what a request of a kind faces on an idle device."""
        state, settings, catalogue = self._state, table.settings, self._chooser.catalogue
        time_ns = kind.budget_ns - int(state.overhead_ns)
        lanes, floor_frac = catalogue.sharing.idle, kind.min_accuracy_frac
        return Situation(
            now_ns,
            time_ns,
            settings.min_accuracy_frac if floor_frac is None else floor_frac,
            settings.max_energy_uj if kind.max_energy_uj is None else kind.max_energy_uj,
            table.min_z,
            lanes,
            catalogue.estimates,
            rooms_of(catalogue.estimates, lanes, time_ns, 0.0),
            table.stretches,
            kind.variant,
            table.weight,
            table.give_up,
        )
