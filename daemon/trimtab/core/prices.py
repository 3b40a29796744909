"""The price of energy: what one more joule is worth, from the battery, its horizon and the demand.

The requests expected until the horizon and the energy left above the reserve make a fractional
multiple-choice knapsack: each task's candidates form a concave hull of accuracy over energy, the budget
buys hull segments from the steepest down, and the slope of the segment it runs out in is the LP's dual.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import exp, inf
from typing import NamedTuple

from trimtab.core.state import Caps, Demand, Energy, Flow, Live, Money, State
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, BelowReserve
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J

DEMAND_MEMORY_S = 30.0
MIN_AGE_S = 0.25
"""Arrivals are spread over at least so long: one request says little about a rate."""
DAY_S = 86_400
OVERRUN_KEPT = 0.98
REQUESTS_KEPT = 0.99
MAX_SURPRISE = 4.0
TILT = 5e-3
"""How far, relative to the dual, the price in use stays from it: more than chances of being on time differ."""


class Market(NamedTuple):
    """One task's demand until the horizon, and what serves it: a concave hull of (energy J, utility) points.

    ``segments`` are the hull's own, as ``segments_of`` returns them, where somebody has kept them.
    """

    requests: float
    hull: tuple[tuple[float, float], ...]
    segments: tuple[tuple[float, float], ...] | None = None


def note_arrival(demand: Demand, now_ns: int) -> None:
    """Count one arrival."""
    if demand.weight == 0.0:
        demand.first_ns = now_ns
    demand.weight = 1.0 + demand.weight * exp((demand.last_ns - now_ns) / NS_PER_S / DEMAND_MEMORY_S)
    demand.last_ns = now_ns


def rate_per_s(demand: Demand, now_ns: int) -> float:
    """Return the present arrival rate, corrected for the short time observed so far."""
    age_s = max(MIN_AGE_S, (now_ns - demand.first_ns) / NS_PER_S)
    weight = demand.weight * exp((demand.last_ns - now_ns) / NS_PER_S / DEMAND_MEMORY_S)
    return weight / (DEMAND_MEMORY_S * (1.0 - exp(-age_s / DEMAND_MEMORY_S)))


def note_reading(
    energy: Energy, drain: Flow, device: DeviceState, now_ns: int, *, was_charging: bool = False
) -> None:
    """Keep the battery's account, and learn the device's own drain from what was lost beyond what we used.

    A reading that has not changed extends the interval: gauges are coarse. One that fell has just passed a step:
    the charge is no higher and at most half a step lower, and our own account is moved no further than that. Time on the charger counts for nothing: each reading
    there starts a new interval, as does one that rose.
    """
    frac, capacity_j = device.battery_frac, device.battery_capacity_j
    charging = device.charging or was_charging
    if frac is None or capacity_j is None:
        return
    if frac == energy.reading_frac and not charging:
        below_j = frac * capacity_j - charge_j(energy, frac, capacity_j, now_ns)
        energy.ahead_j += max(0.0, below_j - energy.step_frac * capacity_j) if energy.step_frac else 0.0
        return
    ahead_j = 0.0
    if frac < energy.reading_frac and not charging:
        fell_frac = energy.reading_frac - frac
        energy.step_frac = min(energy.step_frac or 1.0, fell_frac)
        expected_j = charge_j(energy, energy.reading_frac, capacity_j, now_ns) - frac * capacity_j
        ahead_j = min(max(expected_j, -0.5 * energy.step_frac * capacity_j), 0.0)
        energy.doubt_j = max(abs(expected_j - ahead_j), 0.5 * energy.doubt_j)
        drain.fresh += fell_frac * capacity_j - energy.own_uj / UJ_PER_J
    energy.reading_frac, energy.since_ns, energy.own_uj, energy.ahead_j = frac, now_ns, 0.0, ahead_j


def charge_j(energy: Energy, told_frac: float, capacity_j: float, now_ns: int) -> float:
    """Return the joules in the battery by our own account since ``told_frac`` was first read."""
    drained_j = energy.background_mw / 1e3 * (now_ns - energy.since_ns) / NS_PER_S
    return told_frac * capacity_j + energy.ahead_j - energy.own_uj / UJ_PER_J - drained_j


def energy_left_j(energy: Energy, device: DeviceState, reserve_frac: float, now_ns: int) -> float | None:
    """Return joules above the reserve, less what was used since the last reading; ``None`` when unknown."""
    if device.battery_frac is None or device.battery_capacity_j is None:
        return None
    frac, capacity_j = device.battery_frac, device.battery_capacity_j
    return charge_j(energy, frac, capacity_j, now_ns) - reserve_frac * capacity_j


def spare_uj(energy: Energy, device: DeviceState, reserve_frac: float, now_ns: int) -> float:
    """Return microjoules that may still be promised before the reserve is touched; infinite when unknown.

    What requests in flight may use is taken off, what the device itself is expected to drain until the horizon,
    and by how much our account and what was set aside were too little of late. A battery of unknown capacity has nothing to spare once its
    charge is down to the reserve.
    """
    if device.charging or device.battery_frac is None:
        return inf
    left_j = energy_left_j(energy, device, reserve_frac, now_ns)
    if left_j is None:
        return 0.0 if device.battery_frac <= reserve_frac else inf
    return (left_j - energy.doubt_j - energy.kept_j) * UJ_PER_J - energy.committed_uj - energy.overrun_uj


def note_overrun(energy: Energy, live: Live) -> None:
    """Remember by how much requests exceed the most energy that was expected of them; forgotten over some 50."""
    over_uj = live.energy_uj - live.committed_uj
    energy.overrun_uj = max(over_uj, OVERRUN_KEPT * energy.overrun_uj)


def horizon_left_s(
    goal: BatteryGoal, device: DeviceState, device_at_ns: int, policy_since_ns: int, now_ns: int
) -> float | None:
    """Return seconds until the horizon; ``None`` without one or once a duration has passed."""
    if goal.last_for_ns is not None:
        left_ns = policy_since_ns + goal.last_for_ns - now_ns
        return left_ns / NS_PER_S if left_ns > 0 else None
    if goal.last_until_s is not None:
        local_s = device.local_time_s + (now_ns - device_at_ns) / NS_PER_S
        return (goal.last_until_s - local_s) % DAY_S
    return None


def rations(state: State) -> bool:
    """Return whether requests may be refused to save energy for others until a horizon, by the policy's word."""
    return has_horizon(state) and state.policy.battery.below_reserve is BelowReserve.REJECT


def note_answer(energy: Energy, told_uj: float, taken_uj: float) -> None:
    """Compare what an answered request took with what its decision told, over some hundred requests."""
    energy.told_uj = REQUESTS_KEPT * energy.told_uj + told_uj
    energy.taken_uj = REQUESTS_KEPT * energy.taken_uj + taken_uj


def surprise(energy: Energy) -> float:
    """Return by how much requests take more than their decisions tell: a median is not a mean."""
    if energy.told_uj <= 0.0:
        return 1.0
    return min(max(energy.taken_uj / energy.told_uj, 1.0), MAX_SURPRISE)


def has_horizon(state: State) -> bool:
    """Return whether a battery of known energy has to last until some time."""
    goal, device = state.policy.battery, state.device
    timed = goal.last_for_ns is not None or goal.last_until_s is not None
    known = device.battery_frac is not None and device.battery_capacity_j is not None
    return timed and known and not device.charging


class Clearing(NamedTuple):
    """The LP's dual (utility per joule), and which part of the segment it is the slope of can be bought."""

    price_per_j: float
    share: float


def energy_price(markets: Sequence[Market], budget_j: float) -> Clearing:
    """Return the price at which the expected requests use up ``budget_j``, and the share served above it.

    Zero when the budget buys the best for everyone; the steepest slope when it cannot buy even the cheapest.
    """
    segments: list[tuple[float, float]] = []
    for requests, hull, known in markets:
        if hull:
            budget_j -= requests * hull[0][0]
            wide = segments_of(hull) if known is None else known
            segments += [(slope, requests * width_j) for slope, width_j in wide]
    segments.sort(reverse=True)
    if not segments:
        return Clearing(0.0, 1.0)
    if budget_j < 0.0:
        return Clearing(segments[0][0], 0.0)
    for slope, cost_j in segments:
        if budget_j < cost_j:
            return Clearing(slope, budget_j / cost_j)
        budget_j -= cost_j
    return Clearing(0.0, 1.0)


def segments_of(hull: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return slope (utility per joule) and width (J) between each two neighbours of a hull."""
    return tuple([((u1 - u0) / (e1 - e0), e1 - e0) for (e0, u0), (e1, u1) in pairwise(hull)])


def tilted_price(account: Energy | Money | Caps, clearing: Clearing) -> float:
    """Return the price to use until the next solution: a touch above or below the dual, in turns.

    At the dual itself two neighbours of the hull are worth the same, and the LP's optimum serves a share of
    the requests with the dearer one. Error diffusion over successive solutions gives it that share of time.
    """
    if clearing.price_per_j <= 0.0:
        return clearing.price_per_j
    account.price_credit += clearing.share
    if account.price_credit < 1.0:
        return clearing.price_per_j * (1.0 + TILT)
    account.price_credit -= 1.0
    return clearing.price_per_j * (1.0 - TILT)


def concave_hull(offers: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the upper concave hull of (energy, utility) points from the cheapest to the most useful."""
    hull: list[tuple[float, float]] = []
    for energy, utility in sorted(offers, key=lambda offer: (offer[0], -offer[1])):
        if hull and utility <= hull[-1][1]:
            continue
        while len(hull) >= 2 and _bends_up(hull[-2], hull[-1], (energy, utility)):
            hull.pop()
        hull.append((energy, utility))
    return tuple(hull)


def _bends_up(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - b[0]) <= (c[1] - b[1]) * (b[0] - a[0])
