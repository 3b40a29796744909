"""Build the table a task's requests are chosen from: everything that only the device's state decides."""

from functools import lru_cache
from statistics import NormalDist

from trimtab.core.prices import Market, energy_left_j, energy_price, horizon_left_s, rate_per_s
from trimtab.core.residency import could_ever_fit, used_bytes
from trimtab.core.selection import Entry, Table, rank_entries
from trimtab.core.state import Holding, State, residence_key
from trimtab.domain.decision import Candidate, Why
from trimtab.domain.policy import Settings
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab.domain.request import Prefer
from trimtab.domain.settings import allows, resolve

PREFERRED_ACCURACY_FACTOR = 4.0
"""How much more a point of accuracy is worth to a caller that prefers accuracy; the price still counts."""
STAY_S = 60.0
"""Expected stay of a variant in memory, over which its load is written off."""
BYTES_PER_MIB = 1 << 20


@lru_cache(maxsize=256)
def confidence_z(confidence: float) -> float:
    """Return how many standard deviations of slack a deadline confidence (0..1) asks for."""
    return NormalDist().inv_cdf(min(max(confidence, 1e-9), 1.0 - 1e-9))


def local_time_s(state: State, now_ns: int) -> int:
    """Return seconds after local midnight, carried on from the last device reading."""
    return int(state.device.local_time_s + (now_ns - state.device_at_ns) / NS_PER_S) % 86_400


def settings_for(state: State, task: str, app: str, now_ns: int) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings in force for an app's requests and the rules that led to them."""
    return resolve(state.policy, state.device, local_time_s(state, now_ns), task, app)


def build_table(
    state: State,
    candidates: tuple[Candidate, ...],
    task: str,
    app: str,
    prefer: Prefer,
    now_ns: int,
) -> Table:
    """Return the ranked entries of a task for one app and preference in the present device state."""
    settings, rules = settings_for(state, task, app, now_ns)
    price = max(settings.energy_price_per_j, state.energy.price_per_j) * settings.energy_price_factor
    weight = settings.weight * (PREFERRED_ACCURACY_FACTOR if prefer is Prefer.ACCURACY else 1.0)
    lanes = {name: index for index, name in enumerate(state.processors)}
    entries = [
        _entry(state, candidate, lanes, task, settings, price, weight, now_ns) for candidate in candidates
    ]
    _hold_the_reserve(state, entries, now_ns)
    ranked = rank_entries(entries)
    open_ = tuple(e for e in ranked if e.blocked is None)
    cold = tuple(e for e in open_ if not e.resident)
    wanted = [e for e in ranked if e.blocked not in (Why.VARIANT_DENIED, Why.PROCESSOR_DENIED)]
    most_accurate = max(wanted, key=lambda e: (e.top_accuracy, e.ideal), default=None)
    return Table(settings, rules, ranked, open_, cold, most_accurate, price, weight, prefer)


def _entry(
    state: State,
    candidate: Candidate,
    lanes: dict[str, int],
    task: str,
    settings: Settings,
    price: float,
    weight: float,
    now_ns: int,
) -> Entry:
    pool = state.processors[candidate.processor].pool
    key = residence_key(task, candidate.variant, pool)
    entry = Entry(candidate, lanes[candidate.processor], key)
    residence = state.residences.get(key)
    if residence is None or residence.holding is not Holding.RESIDENT:
        entry.resident = False
        entry.load_ns = candidate.load_ns
        if residence is not None and residence.holding is Holding.LOADING:
            entry.load_at_ns, entry.load_ns = now_ns, max(0, residence.ready_ns - now_ns)
        else:
            uses = max(1.0, _rate(state, task, now_ns) * STAY_S)
            entry.load_cost = price * candidate.load_energy_uj / UJ_PER_J / uses
    entry.cost = (
        price * candidate.expected_energy_uj / UJ_PER_J
        + _memory_price(state, settings) * candidate.resident_bytes / BYTES_PER_MIB
        + settings.latency_price_per_s * candidate.expected_latency_ns / NS_PER_S
    )
    entry.ideal = weight * entry.top_accuracy - entry.cost
    entry.blocked, entry.detail = _block(state, entry, settings, key, now_ns)
    return entry


def _block(
    state: State, entry: Entry, settings: Settings, key: str, now_ns: int
) -> tuple[Why | None, str]:
    candidate = entry.candidate
    if not allows(settings.variants, candidate.variant):
        return Why.VARIANT_DENIED, ""
    if not allows(settings.processors, candidate.processor):
        return Why.PROCESSOR_DENIED, ""
    rest = state.rests.get(key)
    if rest is not None and rest.until_ns > now_ns:
        return Why.UNHEALTHY, f"{rest.failures} failures"
    residence = state.residences.get(key)
    if residence is not None and residence.holding is Holding.EVICTING:
        return Why.NO_MEMORY, "it is leaving memory"
    if not could_ever_fit(state, key, candidate.resident_bytes):
        needed, limit = candidate.resident_bytes / BYTES_PER_MIB, state.memory_limit_bytes / BYTES_PER_MIB
        return Why.NO_MEMORY, f"needs {needed:.1f} MiB of {limit:.1f} MiB"
    return None, ""


def _rate(state: State, task: str, now_ns: int) -> float:
    demand = state.demand.get(task)
    return 0.0 if demand is None else rate_per_s(demand, now_ns)


def _memory_price(state: State, settings: Settings) -> float:
    """Return utility per MiB: the policy's price, in proportion to how full the memory budget is."""
    if settings.memory_price_per_mib == 0.0:
        return 0.0
    limit = state.memory_limit_bytes
    return settings.memory_price_per_mib * min(1.0, used_bytes(state) / limit if limit else 1.0)


def _hold_the_reserve(state: State, entries: list[Entry], now_ns: int) -> None:
    """Block what would overdraw the reserve; the cheapest candidates that can run at all stay open."""
    if state.device.charging:
        return
    left_j = energy_left_j(state.energy, state.device, state.policy.battery.reserve_frac, now_ns)
    if left_j is None:
        frac, reserve = state.device.battery_frac, state.policy.battery.reserve_frac
        left_j = 0.0 if frac is not None and frac <= reserve else None
    if left_j is None:
        return
    able = [e for e in entries if e.blocked is None]
    if not able:
        return
    cheapest_uj = min(e.candidate.expected_energy_uj for e in able)
    for entry in able:
        energy_uj = entry.candidate.expected_energy_uj
        if energy_uj > cheapest_uj and energy_uj > left_j * UJ_PER_J:
            entry.blocked, entry.detail = Why.RESERVE, f"{max(0.0, left_j):.3g} J left above the reserve"


def solve_energy_price(
    state: State, candidates: dict[str, tuple[Candidate, ...]], now_ns: int
) -> float:
    """Return the horizon's price of energy in utility per joule; 0 when charging or without a horizon."""
    goal = state.policy.battery
    left_j = energy_left_j(state.energy, state.device, goal.reserve_frac, now_ns)
    left_s = horizon_left_s(goal, state.device, state.device_at_ns, state.policy_since_ns, now_ns)
    if state.device.charging or left_j is None or left_s is None:
        return 0.0
    budget_j = left_j - state.energy.background_mw / 1e3 * left_s
    markets = []
    for task in state.demand:
        settings, _ = settings_for(state, task, "", now_ns)
        offers = tuple(
            (c.expected_energy_uj / UJ_PER_J, settings.weight * max(c.accuracy_frac))
            for c in candidates.get(task, ())
            if allows(settings.variants, c.variant) and allows(settings.processors, c.processor)
        )
        markets.append(Market(_rate(state, task, now_ns) * left_s, offers))
    return energy_price(markets, budget_j)
