"""Build the table a task's requests are chosen from: everything that only the device's state decides."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from math import exp
from statistics import NormalDist

from trimtab.core.congestion import Worth, worth_of
from trimtab.core.estimator import UNKNOWN, energy_factor, energy_levels, profile_share, told_factor
from trimtab.core.learning import run_key
from trimtab.core.margins import stretches
from trimtab.core.residency import SETTLED_NS, used_bytes
from trimtab.core.selection import Entry, Table
from trimtab.core.state import Holding, Rest, State
from trimtab.domain.decision import Why
from trimtab.domain.device import local_moment_s
from trimtab.domain.policy import BelowReserve, Goal, Policy, Settings, WhenImpossible
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab.domain.request import Prefer
from trimtab.domain.settings import allows, matching_rules, settle

PREFERRED_ACCURACY_FACTOR = 4.0
"""How much more a point of accuracy is worth to a caller that prefers accuracy; the price still counts."""
SWITCH_PRICE = 0.02
"""Value that a load has to bring beyond the price of its energy: two points. Otherwise nothing is worth the change."""
STAY_S = SETTLED_NS / NS_PER_S
"""What is loaded for a request alone keeps what it displaced from coming back for so long."""
MAX_AGE_NS = 5 * NS_PER_S
"""A table is built anew after so long even if nothing was reported: time-of-day rules and rests pass by."""
BYTES_PER_MIB = 1 << 20

_EVICTING, _LOADING = Holding.EVICTING, Holding.LOADING


@lru_cache(maxsize=256)
def confidence_z(confidence: float) -> float:
    """Return how many standard deviations of slack a deadline confidence (0..1) asks for."""
    return NormalDist().inv_cdf(min(max(confidence, 1e-9), 1.0 - 1e-9))


def give_up_order(settings: Settings) -> tuple[Goal, ...]:
    """Return which goals may be given up, first one first; none where impossible is rejected."""
    return () if settings.when_impossible is WhenImpossible.REJECT else settings.give_up


def rules_for(state: State, task: str, app: str, now_ns: int) -> tuple[int, ...]:
    """Return the indices of the policy's rules that hold for an app's requests now."""
    if not state.policy.rules:
        return ()
    moment_s = local_moment_s(state.device, (now_ns - state.device_at_ns) / NS_PER_S)
    return matching_rules(state.policy, state.device, moment_s, task, app, state.held)


def settings_for(state: State, task: str, app: str, now_ns: int) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings in force for an app's requests and the rules that led to them."""
    rules = rules_for(state, task, app, now_ns)
    return settle(state.policy, task, rules), rule_names(state.policy, rules)


def rule_names(policy: Policy, rules: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the rules at these indices."""
    return tuple([policy.rules[index].name for index in rules])


def energy_price_in(state: State, settings: Settings) -> float:
    """Return the price of energy under these settings: the higher of policy's and horizon's, times factor.

    It is never less than what keeps to the limits on power and heat.
    """
    return max(energy_price_at(state.energy.price_per_j, settings), state.caps.price_per_j)


def energy_price_at(horizon_price_per_j: float, settings: Settings) -> float:
    """Return what a horizon's price of energy is under these settings."""
    return max(settings.energy_price_per_j, horizon_price_per_j) * settings.energy_price_factor


def money_price_in(state: State, settings: Settings) -> float:
    """Return the price of a dollar under these settings: the higher of policy's and budget's."""
    return max(settings.money_price_per_usd, state.money.price_per_usd)


@dataclass(frozen=True, slots=True)
class Terms:
    """Settings as they bear on one task's candidates: those, and what they deny (by candidate name)."""

    settings: Settings
    rules: tuple[str, ...]
    denied: dict[str, Why]


def terms_of(
    settings: Settings, rules: tuple[str, ...], blanks: Iterable[Entry], processor: str = ""
) -> Terms:
    """Return the terms of settings for these candidates, where only ``processor`` was asked for if anything."""
    denied: dict[str, Why] = {}
    for entry in blanks:
        if not allows(settings.variants, entry.candidate.variant):
            denied[entry.name] = Why.VARIANT_DENIED
        elif not allows(settings.processors, entry.candidate.processor):
            denied[entry.name] = Why.PROCESSOR_DENIED
        elif processor and not fnmatchcase(entry.candidate.processor, processor):
            denied[entry.name] = Why.NOT_ASKED
        elif entry.candidate.remote and not settings.allow_remote:
            denied[entry.name] = Why.PRIVATE
    return Terms(settings, rules, denied)


class TaskTable(Table):
    """The table of a task under given terms, which keeps its entries when state or prices change.

    ``renew`` takes in the device's state, ``reprice`` only prices and learned energies. ``states`` and
    ``prices`` are its keeper's counts of changes when it was last renewed; ``marred`` means that more than
    prices may be out of date when it is stale: entries were blocked since, or variants rest that will wake.
    """

    __slots__ = (
        "_denied",
        "_own",
        "_profiled",
        "_worst_uj",
        "give_up",
        "load_uj",
        "marred",
        "min_z",
        "missing",
        "prices",
        "ration_price_per_j",
        "states",
        "stretches",
        "worst_uj",
        "worths",
    )  # fmt: skip

    def __init__(self, terms: Terms, blanks: tuple[Entry, ...], prefer: Prefer) -> None:
        """Hold entries of its own; nothing in it is true before ``renew``."""
        settings = terms.settings
        weight = settings.weight * (PREFERRED_ACCURACY_FACTOR if prefer is Prefer.ACCURACY else 1.0)
        super().__init__(settings, terms.rules, [e.copy() for e in blanks], 0.0, weight, prefer=prefer)
        price_per_ns = settings.latency_price_per_s / NS_PER_S
        self.min_z = confidence_z(settings.deadline_confidence)
        self.give_up = give_up_order(settings)
        self._denied = terms.denied
        self._own = [
            (
                e,
                e.residence,
                e.energy_uj,
                e.worst_uj,
                weight * e.top_accuracy,
                price_per_ns * e.latency_ns,
                e.candidate.cost_usd,
            )
            for e in self._all
        ]
        self._profiled = [
            (e, run_key(e.residence, e.candidate.processor), e.ln_latency, e.candidate.latency_spread)
            for e in self._all
        ]
        self.stretches: list[float] = []
        """By processor: what its noise is multiplied with, so that ``min_z`` is the confidence asked for."""
        self._worst_uj = max([e.worst_uj for e in blanks], default=0.0)
        self.worst_uj = self.load_uj = 0.0
        """No run and no load in here takes more."""
        self.ration_price_per_j = 0.0
        """What a joule is worth to others until the horizon, where the policy rather rejects than overdraws."""
        self.missing: dict[float, str] = {}
        """By accuracy floor, what should be loaded when too much is asked; worked out when somebody asks."""
        self.worths = tuple(self._worths())
        """What time on each processor is worth to this task at least and at most."""
        self.states = self.prices = -1
        self.marred = False

    def _worths(self) -> Iterator[Worth]:
        """Yield for each processor what time is worth there, by the candidates that fit into the budget."""
        budget_ns = self.settings.latency_budget_ns
        allowed = [e for e in self._all if e.name not in self._denied and e.latency_ns <= budget_ns]
        for lane in range(1 + max([e.lane for e in self._all], default=-1)):
            offers = [(float(e.latency_ns), self.weight * e.top_accuracy) for e in allowed if e.lane == lane]
            yield worth_of(offers)

    def renew(self, state: State, now_ns: int, spare_bytes: int) -> None:
        """Take in residency, health, memory and prices; ``spare_bytes`` is what another variant may hold."""
        self.marred = bool(state.rests)
        self.missing.clear()
        self.spare_cheapest = state.policy.battery.below_reserve is BelowReserve.CHEAPEST
        price_per_byte = memory_price_in(state, self.settings) / BYTES_PER_MIB
        backlog_ns = _backlog_ns(state, now_ns)
        for entry in self._all:
            entry.clear()
            _note_residence(state, entry, spare_bytes, backlog_ns)
            if state.rests:
                _note_health(state, entry, now_ns)
            if entry.candidate.remote and not state.links[entry.candidate.processor].reachable:
                entry.blocked, entry.detail = Why.UNREACHABLE, ""
            if entry.name in self._denied:
                entry.blocked, entry.detail = self._denied[entry.name], ""
            entry.bytes_cost = price_per_byte * entry.resident_bytes
        self.load_uj = max([e.load_uj for e in self._all], default=0.0)
        self.ration_price_per_j = 0.0
        self.sift()
        self.reprice(state, now_ns)

    def block(self, entries: Iterable[Entry], why: Why, detail: str) -> None:
        """Take entries out until the table is renewed."""
        super().block(entries, why, detail)
        self.marred = True

    def reprice(self, state: State, now_ns: int) -> None:
        """Take in prices, and what runs have taught about energy, and rank the entries again."""
        self.stale_at_ns = _stale_at_ns(state, now_ns)
        price = self.energy_price_per_j = energy_price_in(state, self.settings)
        if not self.spare_cheapest:
            self.ration_price_per_j = state.energy.price_per_j * self.settings.energy_price_factor
        price_per_uj, biases, plan = price / UJ_PER_J, state.energy_biases, state.plan
        price_per_usd = self.money_price_per_usd = money_price_in(state, self.settings)
        most, levels = 0.0, energy_levels(state.energy_estimates)
        usual = told_factor(energy_factor(None, state.energy_ratio))
        self._relearn(state)
        for entry, residence, energy_uj, worst_uj, worth, time_cost, usd in self._own:
            bias = biases.get(residence)
            factor = (usual if bias is None else told_factor(exp(bias.mean))) * levels[entry.lane]
            if factor > most:
                most = factor
            entry.energy_uj = energy_uj = energy_uj * factor
            entry.worst_uj = worst_uj * factor
            cost = price_per_uj * energy_uj + entry.bytes_cost + time_cost
            if usd:
                cost += price_per_usd * usd
            entry.cost = cost
            entry.ideal = entry.bound = ideal = worth - cost
            entry.crowds = False
            if not entry.resident:
                load_cost = 0.0
                if entry.ready_ns < 0 and residence not in plan.keys:
                    load_cost = SWITCH_PRICE + price_per_uj * entry.load_uj
                    if entry.resident_bytes > plan.room_bytes:
                        load_cost += plan.displaced * entry.resident_bytes * STAY_S
                        entry.crowds = load_cost >= worth
                entry.load_cost = load_cost
                entry.bound = ideal - load_cost
        self.worst_uj = self._worst_uj * most
        self.rank()

    def _relearn(self, state: State) -> None:
        """Take in what runs have taught about latencies: biases, how sure they are, and how heavy the tails."""
        estimates, biases = list(state.estimates.values()), state.latency_biases
        self.stretches = stretches(state, self.settings.deadline_confidence, self.min_z)
        told = [(profile_share(estimate), estimate.noise) for estimate in estimates]
        for entry, key, ln_latency, spread in self._profiled:
            bias = biases.get(key, UNKNOWN)
            share, noise = told[entry.lane]
            beyond = share * (spread * spread - noise)
            entry.noise = bias.variance + beyond if beyond > 0.0 else bias.variance
            if bias.mean != entry.bias:
                entry.bias = bias.mean
                entry.ln_latency = tuple([one + bias.mean for one in ln_latency])
                entry.ln_first = entry.ln_latency[0]


def _stale_at_ns(state: State, now_ns: int) -> int:
    """Return when a table built now stops being true without an event: a rest ends, or it is too old."""
    ends = [rest.until_ns for rest in state.rests.values() if rest.until_ns > now_ns]
    return min([now_ns + MAX_AGE_NS, *ends])


def _backlog_ns(state: State, now_ns: int) -> int:
    """Return how long the loads under way still take: one begins after the other."""
    ready = [r.ready_ns for r in state.residences.values() if r.holding is _LOADING]
    return max(0, max(ready, default=0) - now_ns)


def _note_residence(state: State, entry: Entry, spare_bytes: int, backlog_ns: int) -> None:
    """Fill in what memory says about an entry: its load, and whether there is room for it."""
    candidate, key = entry.candidate, entry.residence
    residence = state.residences.get(key)
    entry.resident_bytes = state.sizes.get(key, candidate.resident_bytes)
    if residence is None:
        entry.resident, entry.load_uj = False, candidate.load_energy_uj
        entry.load_ns = backlog_ns + candidate.load_ns
        if entry.resident_bytes > spare_bytes:
            detail = _sizes(entry.resident_bytes, state.memory_limit_bytes, spare_bytes)
            entry.blocked, entry.detail = Why.NO_MEMORY, detail
    elif residence.doomed or residence.holding is _EVICTING:
        entry.resident, entry.load_ns = False, candidate.load_ns
        entry.blocked, entry.detail = Why.NO_MEMORY, "it is leaving memory"
    elif residence.holding is _LOADING:
        entry.resident, entry.ready_ns = False, residence.ready_ns


def _note_health(state: State, entry: Entry, now_ns: int) -> None:
    """Block an entry whose variant, or whose processor, failed and is resting."""
    for key in (entry.candidate.processor, entry.residence):
        rest = state.rests.get(key)
        if rest is not None and rest.until_ns > now_ns:
            entry.blocked, entry.detail = Why.UNHEALTHY, _failures(rest)


def _sizes(needed_bytes: int, limit_bytes: int, spare_bytes: int) -> str:
    needed, limit, kept = (x / BYTES_PER_MIB for x in (needed_bytes, limit_bytes, limit_bytes - spare_bytes))
    return f"needs {needed:.1f} of {limit:.1f} MiB, of which last resorts take {kept:.1f}"


def _failures(rest: Rest) -> str:
    return f"{rest.failures} failure{'' if rest.failures == 1 else 's'} in a row"


def memory_price_in(state: State, settings: Settings) -> float:
    """Return utility per MiB: the policy's price, in proportion to how full the memory budget is."""
    if settings.memory_price_per_mib == 0.0:
        return 0.0
    limit = state.memory_limit_bytes
    return settings.memory_price_per_mib * min(1.0, used_bytes(state) / limit if limit else 1.0)
