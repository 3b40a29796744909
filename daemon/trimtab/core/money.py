"""Money for servers: its account, and the price of a dollar that a budget over a horizon implies.

Two budgets, of joules and of dollars, make a linear program with two prices. For a price of money the rest is
the program with energy alone, offers being worth their utility less what they cost: its value plus price times
budget is a convex, piecewise linear function of that price, whose slope is what is left of the budget. The dual
is where the slope changes sign. Intersecting the tangents at both ends of an interval that holds it finds it after
finitely many steps.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

from trimtab.core.prices import Clearing, concave_hull, segments_of
from trimtab.core.state import Money, State
from trimtab.domain.policy import MoneyGoal
from trimtab.domain.quantities import NS_PER_S

DAY_S = 86_400
NUSD_PER_USD = 1e9
STEPS = 40
"""Prices tried at most; a handful are enough."""
STRIDE = 1.05
"""How far from the last price the search for the next one begins."""
NEAR = 1e-9
"""The interval is narrow enough once it is so wide, relative to its upper end."""


class Offer(NamedTuple):
    """What one way to serve a request takes and brings."""

    energy_j: float
    utility: float
    usd: float


class Lot(NamedTuple):
    """Requests expected until the horizon that have the same offers."""

    requests: float
    offers: tuple[Offer, ...]


class Prices(NamedTuple):
    """The clearing of both budgets: ``money`` is the dual per dollar and the share of the time to be below it."""

    energy: Clearing
    money: Clearing


class _Point(NamedTuple):
    """The program's optimum at a price of money, what is then spent, and the clearing of energy."""

    price: float
    value: float
    spent_usd: float
    energy: Clearing


class _Program(NamedTuple):
    """Both budgets, and the lots: those that cost no money as segments, known once and for all."""

    budget_j: float
    budget_usd: float
    value: float
    segments: list[tuple[float, float, float]]
    charged: list[Lot]


# ---- the account -----------------------------------------------------------------------------------------


def spare_usd(state: State) -> float:
    """Return dollars that may still be promised; infinite without a budget."""
    goal, money = state.policy.money, state.money
    if goal is None:
        return inf
    return goal.budget_usd - money.spent_usd - money.committed_nusd / NUSD_PER_USD


def note_spending(money: Money, cost_usd: float) -> None:
    """Take what a server charged off the budget."""
    money.spent_usd += cost_usd
    money.total_usd += cost_usd


def open_account(money: Money, now_ns: int) -> None:
    """Begin with the whole budget of a goal that was not in force before."""
    money.spent_usd, money.since_ns, money.ends_ns = 0.0, now_ns, 0


def renew_account(state: State, now_ns: int) -> None:
    """Give a daily budget back once its time of day has passed, and tell when that is next."""
    goal, money = state.policy.money, state.money
    if goal is None or goal.last_until_s is None or state.device_at_ns == 0:
        return
    if 0 < money.ends_ns <= now_ns:
        money.spent_usd = 0.0
    local_s = state.device.local_time_s + (now_ns - state.device_at_ns) / NS_PER_S
    left_s = (goal.last_until_s - local_s) % DAY_S or DAY_S
    money.ends_ns = now_ns + int(left_s * NS_PER_S)


def money_left_s(goal: MoneyGoal, money: Money, now_ns: int) -> float | None:
    """Return seconds for which the budget has to last; ``None`` without a horizon or when it has passed."""
    if goal.last_for_ns is not None:
        left_ns = money.since_ns + goal.last_for_ns - now_ns
    else:
        left_ns = money.ends_ns - now_ns if goal.last_until_s is not None else 0
    return left_ns / NS_PER_S if left_ns > 0 else None


# ---- the price -------------------------------------------------------------------------------------------


def two_prices(lots: Sequence[Lot], budget_j: float, budget_usd: float, near: float = 0.0) -> Prices:
    """Return the prices at which the expected requests use up both budgets; ``near`` is the last price of money.

    Where not even the cheapest choice fits the budget of money, its price is more than any offer is worth.
    """
    program = _program(lots, budget_j, budget_usd)
    free = _at(program, 0.0)
    if free.spent_usd <= budget_usd:
        return Prices(free.energy, Clearing(0.0, 1.0))
    low, high = _interval(program, near, free)
    least = NEAR * high.price
    for _ in range(STEPS):
        if high.spent_usd > budget_usd or high.price - low.price <= least:
            break
        price = max(_crossing(low, high, budget_usd), low.price + least)
        if price >= high.price:
            break
        point = _at(program, price)
        if _is_tangent(point, low, budget_usd):
            return _cleared(low, high, point, budget_usd)
        low, high = (point, high) if point.spent_usd > budget_usd else (low, point)
    return _cleared(low, high, high, budget_usd)


def _program(lots: Sequence[Lot], budget_j: float, budget_usd: float) -> _Program:
    value, segments, charged = 0.0, list[tuple[float, float, float]](), list[Lot]()
    for lot in lots:
        if any(offer.usd > 0.0 for offer in lot.offers):
            charged.append(lot)
            continue
        hull = concave_hull((offer.energy_j, offer.utility) for offer in lot.offers)
        if hull:
            budget_j -= lot.requests * hull[0][0]
            value += lot.requests * hull[0][1]
            segments += [(slope, lot.requests * width_j, 0.0) for slope, width_j in segments_of(hull)]
    segments.sort(reverse=True)
    return _Program(budget_j, budget_usd, value, segments, charged)


def _interval(program: _Program, near: float, free: _Point) -> tuple[_Point, _Point]:
    """Return points on both sides of the dual, begun where it was last."""
    worths = [o.utility / o.usd for lot in program.charged for o in lot.offers if o.usd > 0.0]
    prohibitive = 2.0 * max(worths, default=0.0) + 1.0
    low, price, budget_usd = free, near if near > 0.0 else prohibitive, program.budget_usd
    while True:
        point = _at(program, min(price, prohibitive))
        if point.spent_usd <= budget_usd or point.price >= prohibitive:
            break
        low, price = point, price * STRIDE if price < 2.0 * near else prohibitive
    if low is free and near > 0.0:
        below = _at(program, point.price / STRIDE)
        return (below, point) if below.spent_usd > budget_usd else (free, below)
    return low, point


def _crossing(low: _Point, high: _Point, budget_usd: float) -> float:
    """Return where the tangents at both points meet."""
    low_slope, high_slope = budget_usd - low.spent_usd, budget_usd - high.spent_usd
    rise = high.value - low.value + low_slope * low.price - high_slope * high.price
    return rise / (low_slope - high_slope)


def _is_tangent(point: _Point, low: _Point, budget_usd: float) -> bool:
    """Return whether a point lies on the tangent at a lower one: then nothing lies below where tangents met."""
    floor = low.value + (budget_usd - low.spent_usd) * (point.price - low.price)
    return point.value <= floor + 1e-12 * abs(floor)


def _cleared(low: _Point, high: _Point, at: _Point, budget_usd: float) -> Prices:
    """Return the prices at the dual, where spending falls from that of ``low`` to that of ``high``."""
    step_usd = low.spent_usd - high.spent_usd
    share = (budget_usd - high.spent_usd) / step_usd if step_usd > 0.0 else 0.0
    return Prices(at.energy, Clearing(at.price, min(1.0, max(0.0, share))))


def _at(program: _Program, price: float) -> _Point:
    """Solve the program with energy alone, money being charged for at ``price``."""
    budget_j, spent_usd, segments = program.budget_j, 0.0, program.segments.copy()
    value = program.value + price * program.budget_usd
    for requests, offers in program.charged:
        usd = {}
        for energy_j, utility, cost in sorted(offers, key=_dearest_first):
            usd[energy_j, utility - price * cost] = cost
        hull = concave_hull(usd)
        budget_j -= requests * hull[0][0]
        value += requests * hull[0][1]
        spent_usd += requests * usd[hull[0]]
        for before, after in pairwise(hull):
            width_j = after[0] - before[0]
            slope = (after[1] - before[1]) / width_j
            segments.append((slope, requests * width_j, requests * (usd[after] - usd[before])))
    segments.sort(reverse=True)
    if budget_j < 0.0:
        steepest = segments[0][0] if segments else 0.0
        return _Point(price, value + steepest * budget_j, spent_usd, Clearing(steepest, 0.0))
    energy = Clearing(0.0, 1.0)
    for slope, width_j, usd_more in segments:
        if budget_j < width_j:
            share = budget_j / width_j
            energy = Clearing(slope, share)
            value += slope * budget_j
            spent_usd += share * usd_more
            break
        budget_j -= width_j
        value += slope * width_j
        spent_usd += usd_more
    return _Point(price, value, spent_usd, energy)


def _dearest_first(offer: Offer) -> float:
    return -offer.usd
