"""Build the table a task's requests are chosen from: everything that only the device's state decides."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from trimtab.core.estimator import energy_factor
from trimtab.core.prices import rate_per_s
from trimtab.core.residency import kept_bytes, size_bytes, used_bytes
from trimtab.core.selection import Entry, Table
from trimtab.core.state import Holding, Rest, State, residence_key
from trimtab.domain.decision import Candidate, Why
from trimtab.domain.policy import BelowReserve, Policy, Settings
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab.domain.request import Prefer
from trimtab.domain.settings import allows, matching_rules, settle

PREFERRED_ACCURACY_FACTOR = 4.0
"""How much more a point of accuracy is worth to a caller that prefers accuracy; the price still counts."""
MAX_AGE_NS = 5 * NS_PER_S
"""A table is built anew after so long even if nothing was reported: time-of-day rules and rests pass by."""
BYTES_PER_MIB = 1 << 20
DAY_S = 86_400


@lru_cache(maxsize=256)
def confidence_z(confidence: float) -> float:
    """Return how many standard deviations of slack a deadline confidence (0..1) asks for."""
    return NormalDist().inv_cdf(min(max(confidence, 1e-9), 1.0 - 1e-9))


def local_time_s(state: State, now_ns: int) -> int:
    """Return seconds after local midnight, carried on from the last device reading."""
    return int(state.device.local_time_s + (now_ns - state.device_at_ns) / NS_PER_S) % DAY_S


def rules_for(state: State, task: str, app: str, now_ns: int) -> tuple[int, ...]:
    """Return the indices of the policy's rules that hold for an app's requests now."""
    return matching_rules(state.policy, state.device, local_time_s(state, now_ns), task, app)


def settings_for(state: State, task: str, app: str, now_ns: int) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings in force for an app's requests and the rules that led to them."""
    rules = rules_for(state, task, app, now_ns)
    return settle(state.policy, task, rules), rule_names(state.policy, rules)


def rule_names(policy: Policy, rules: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the rules at these indices."""
    return tuple([policy.rules[index].name for index in rules])


def energy_price_in(state: State, settings: Settings) -> float:
    """Return the price of energy under these settings: the higher of policy's and horizon's, times factor."""
    return max(settings.energy_price_per_j, state.energy.price_per_j) * settings.energy_price_factor


def rate_of(state: State, task: str, now_ns: int) -> float:
    """Return a task's present arrivals per second."""
    demand = state.demand.get(task)
    return 0.0 if demand is None else rate_per_s(demand, now_ns)


def blank_entries(state: State, task: str, candidates: Iterable[Candidate]) -> tuple[Entry, ...]:
    """Return what tables of a task are made from, in the order that breaks ties: energy, latency, name."""
    lanes = {name: index for index, name in enumerate(state.processors)}
    blanks = []
    for candidate in candidates:
        pool = state.processors[candidate.processor].pool
        key = residence_key(task, candidate.variant, pool)
        blanks.append(Entry(candidate, lanes[candidate.processor], key))
    return tuple(sorted(blanks, key=lambda e: (e.energy_uj, e.latency_ns, e.name)))


@dataclass(frozen=True, slots=True)
class Terms:
    """Settings as they bear on one task's candidates: those, and what they deny (by candidate name)."""

    settings: Settings
    rules: tuple[str, ...]
    denied: dict[str, Why]


def terms_of(settings: Settings, rules: tuple[str, ...], blanks: Iterable[Entry]) -> Terms:
    """Return the terms of settings for these candidates."""
    denied: dict[str, Why] = {}
    for entry in blanks:
        if not allows(settings.variants, entry.candidate.variant):
            denied[entry.name] = Why.VARIANT_DENIED
        elif not allows(settings.processors, entry.candidate.processor):
            denied[entry.name] = Why.PROCESSOR_DENIED
    return Terms(settings, rules, denied)


def build_table(state: State, blanks: tuple[Entry, ...], terms: Terms, prefer: Prefer, now_ns: int) -> Table:
    """Return the ranked entries of a task under these terms in the present device state."""
    settings = terms.settings
    price = energy_price_in(state, settings)
    weight = settings.weight * (PREFERRED_ACCURACY_FACTOR if prefer is Prefer.ACCURACY else 1.0)
    price_per_uj, price_per_ns = price / UJ_PER_J, settings.latency_price_per_s / NS_PER_S
    price_per_byte = _memory_price(state, settings) / BYTES_PER_MIB
    spare_bytes, entries = state.memory_limit_bytes - kept_bytes(state), []
    for blank in blanks:
        entry = blank.fresh()
        factor = energy_factor(state.energy_biases.get(entry.residence), state.energy_ratio)
        entry.energy_uj *= factor
        entry.worst_uj *= factor
        _note_residence(state, entry, spare_bytes, now_ns)
        entry.load_price = price_per_uj * entry.load_uj
        entry.load_cost = max(0.0, entry.load_price - state.wishes.get(entry.residence, 0.0))
        entry.cost = (
            price_per_uj * entry.energy_uj
            + price_per_byte * entry.resident_bytes
            + price_per_ns * entry.latency_ns
        )
        entry.ideal = weight * entry.top_accuracy - entry.cost
        if entry.name in terms.denied:
            entry.blocked, entry.detail = terms.denied[entry.name], ""
        entries.append(entry)
    entries.sort(key=_ideal, reverse=True)
    return Table(
        settings=settings,
        rules=terms.rules,
        entries=tuple(entries),
        energy_price_per_j=price,
        weight=weight,
        prefer=prefer,
        stale_at_ns=_stale_at_ns(state, now_ns),
        spare_cheapest=state.policy.battery.below_reserve is BelowReserve.CHEAPEST,
    )


def _ideal(entry: Entry) -> float:
    return entry.ideal


def _stale_at_ns(state: State, now_ns: int) -> int:
    """Return when a table built now stops being true without an event: a rest ends, or it is too old."""
    ends = [rest.until_ns for rest in state.rests.values() if rest.until_ns > now_ns]
    return min([now_ns + MAX_AGE_NS, *ends])


def _note_residence(state: State, entry: Entry, spare_bytes: int, now_ns: int) -> None:
    """Fill in what memory and health say about an entry: its load, and whether they block it."""
    candidate, residence = entry.candidate, state.residences.get(entry.residence)
    entry.resident_bytes = size_bytes(state, entry.residence, candidate.resident_bytes)
    rest = state.rests.get(entry.residence)
    if residence is None:
        entry.resident, entry.load_ns, entry.load_uj = False, candidate.load_ns, candidate.load_energy_uj
        if entry.resident_bytes > spare_bytes:
            detail = _sizes(entry.resident_bytes, state.memory_limit_bytes)
            entry.blocked, entry.detail = Why.NO_MEMORY, detail
    elif residence.holding is Holding.EVICTING:
        entry.resident, entry.load_ns = False, candidate.load_ns
        entry.blocked, entry.detail = Why.NO_MEMORY, "it is leaving memory"
    elif residence.holding is Holding.LOADING:
        entry.resident, entry.ready_ns = False, residence.ready_ns
    if rest is not None and rest.until_ns > now_ns:
        entry.blocked, entry.detail = Why.UNHEALTHY, _failures(rest)


def _sizes(needed: int, limit: int) -> str:
    return f"needs {needed / BYTES_PER_MIB:.1f} of {limit / BYTES_PER_MIB:.1f} MiB"


def _failures(rest: Rest) -> str:
    return f"{rest.failures} failure{'' if rest.failures == 1 else 's'} in a row"


def _memory_price(state: State, settings: Settings) -> float:
    """Return utility per MiB: the policy's price, in proportion to how full the memory budget is."""
    if settings.memory_price_per_mib == 0.0:
        return 0.0
    limit = state.memory_limit_bytes
    return settings.memory_price_per_mib * min(1.0, used_bytes(state) / limit if limit else 1.0)
