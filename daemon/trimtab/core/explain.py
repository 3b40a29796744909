"""Say of every candidate why it won or lost. Runs only where it was asked for; choices do not depend on it."""

from collections.abc import Iterator
from math import isfinite, sqrt

from trimtab.core.estimator import slowdown, variance_at
from trimtab.core.selection import Choice, Entry, Judged, Situation, Table, judge
from trimtab.core.state import State
from trimtab.core.tables import memory_price_in, money_price_in
from trimtab.domain.decision import Verdict, Why
from trimtab.domain.grounds import Grounds, Outlook, Part, Price
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab.domain.request import Prefer

UNEXPLAINED = "other"
ROUNDING = 1e-9


def grounds(state: State, table: Table, at: Situation) -> Grounds:
    """Return what a decision in this situation stands on."""
    return Grounds(
        time_ns=at.time_ns,
        overhead_ns=int(state.overhead_ns),
        floor_frac=at.floor_frac,
        confidence=table.settings.deadline_confidence,
        weight=at.weight,
        max_energy_uj=at.max_energy_uj,
        spare_uj=at.spare_uj if isfinite(at.spare_uj) else None,
        prices=tuple(_prices(state, table, at)),
        processors=tuple(_outlooks(state, at)),
    )


def _prices(state: State, table: Table, at: Situation) -> Iterator[Price]:
    """Yield every price in force, also where it is zero; those of processors only while requests wait."""
    settings, energy = table.settings, state.energy.price_per_j
    source = "horizon" if energy > settings.energy_price_per_j else "policy"
    factor = settings.energy_price_factor
    told = source if factor == 1.0 else f"{source} x {factor:g}"
    yield Price("energy", table.energy_price_per_j, "J", told)
    yield Price("memory", memory_price_in(state, settings), "MiB", "policy x share in use")
    if state.links:
        budget = state.money.price_per_usd > settings.money_price_per_usd
        yield Price("money", money_price_in(state, settings), "$", "budget" if budget else "policy")
    yield Price("latency", settings.latency_price_per_s, "s", "policy")
    for (name, estimate), price in zip(state.estimates.items(), at.time_prices or (), strict=False):
        per_s = price / (at.batch * slowdown(estimate)) * NS_PER_S
        yield Price(f"time on {name}", per_s, "s", "requests that wait")


def _outlooks(state: State, at: Situation) -> Iterator[Outlook]:
    """Yield what was expected of each processor."""
    for (name, estimate), lane, stretch in zip(state.estimates.items(), at.lanes, at.stretches, strict=True):
        sigma = sqrt(variance_at(estimate, at.now_ns) + estimate.noise * stretch)
        waits = (lane.wait_ns, lane.cold_wait_ns, lane.full)
        yield Outlook(name, slowdown(estimate), sigma, estimate.observations, *waits)


def verdicts(table: Table, at: Situation, choice: Choice | None) -> Iterator[Verdict]:
    """Yield every candidate's verdict in this situation, most promising first."""
    for entry in table.entries:
        judged = judge(entry, at)
        why = judged.why
        if choice is not None and entry is choice.entry:
            why = Why.CHOSEN
        elif why is Why.CHOSEN:
            tied = choice is not None and judged.value == choice.judged.value
            why = Why.TIE if tied else Why.VALUE
        yield Verdict(
            candidate=entry.name,
            why=why,
            value=judged.value,
            accuracy_frac=entry.top_accuracy,
            on_time_prob=judged.on_time_prob,
            wait_ns=at.lanes[entry.lane].wait_ns,
            load_ns=judged.load_ns,
            latency_ns=entry.latency_ns * at.batch,
            energy_uj=entry.energy_uj * at.batch,
            detail=_detail(entry, judged, why, table, at, choice),
            parts=tuple(_parts(entry, judged, table, at)),
        )


def _parts(entry: Entry, judged: Judged, table: Table, at: Situation) -> Iterator[Part]:
    """Yield what a net value is the sum of; what is not accounted for here is told as such."""
    parts = {
        "accuracy": at.weight * judged.accuracy_frac,
        "energy": -table.energy_price_per_j * entry.energy_uj / UJ_PER_J,
        "memory": -entry.bytes_cost,
        "latency": -table.settings.latency_price_per_s * entry.latency_ns / NS_PER_S,
        "load": -entry.load_cost,
    }
    if entry.candidate.cost_usd:
        price = table.money_price_per_usd
        parts["money"] = -price * entry.candidate.cost_usd
    if at.time_prices is not None:
        parts["processor"] = -at.time_prices[entry.lane] * entry.latency_ns
    left = judged.value - sum(parts.values())
    if abs(left) > ROUNDING:
        parts[UNEXPLAINED] = left
    yield from (Part(name, utility) for name, utility in parts.items())


def _detail(
    entry: Entry, judged: Judged, why: Why, table: Table, at: Situation, choice: Choice | None
) -> str:
    """Return the figures behind a verdict, or what decided where the net value did not."""
    if why is Why.ACCURACY:
        return f"{entry.top_accuracy:.2%} < {at.floor_frac:.2%}"
    if why is Why.ENERGY and at.max_energy_uj is not None:
        return f"{entry.energy_uj * at.batch / 1e3:.3g} > {at.max_energy_uj / 1e3:.3g} mJ"
    if why is Why.RESERVE:
        return f"{max(0.0, at.spare_uj) / UJ_PER_J:.3g} J left above the reserve"
    if why is Why.NO_MEMORY and entry.crowds and not entry.detail:
        return "what would leave for it is worth more"
    if why is Why.MONEY:
        return f"may cost ${entry.worst_usd * at.batch:.3g} of the ${max(0.0, at.spare_usd):.3g} left"
    if why is Why.DEADLINE:
        return f"{judged.on_time_prob:.2%} < {table.settings.deadline_confidence:.2%} sure"
    if why is Why.VALUE and (choice is None or judged.value > choice.judged.value):
        by_caller = table.prefer in (Prefer.ENERGY, Prefer.LATENCY)
        return f"the caller prefers {table.prefer.value}" if by_caller else "the strategy does not use it"
    return entry.detail
