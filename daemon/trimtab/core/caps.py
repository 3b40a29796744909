"""Limits on power: the policy's power budget and the headroom below its thermal limit, kept to by a price.

The requests expected in the next minute share what that minute may take, as those until the horizon share the battery:
the dual of that small linear program is the price of a joule here and now. It holds on a charger too, and no factor of the
policy makes it less. A price refuses nobody: where even the cheapest answers take more, they are what is served.
"""

from math import inf

from trimtab.core.heat import WINDOW_S, allowed_w
from trimtab.core.markets import Markets
from trimtab.core.prices import tilted_price
from trimtab.core.state import Caps, State
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J


def cap_price(state: State, markets: Markets, now_ns: int) -> float:
    """Return the price in utility per joule at which the next minute keeps to both limits; 0 without any."""
    budget_j = min(_power_budget_j(state, now_ns), _heat_budget_j(state))
    if budget_j == inf:
        return 0.0
    return tilted_price(state.caps, markets.clearing_for(WINDOW_S, budget_j, now_ns))


def _power_budget_j(state: State, now_ns: int) -> float:
    """Return what a bucket that fills at the policy's mean power holds, and takes in within the window."""
    budget_mw = state.policy.battery.power_budget_mw
    if budget_mw is None:
        return inf
    income_j = budget_mw / 1e3 * WINDOW_S
    _fill(state.caps, state.energy.total_uj, budget_mw / 1e3, now_ns)
    return max(0.0, state.caps.bucket_j + income_j)


def _fill(caps: Caps, total_uj: float, budget_w: float, now_ns: int) -> None:
    """Let the bucket take in the power budget and lose what was used; it holds what a minute brings."""
    elapsed_s = (now_ns - caps.bucket_ns) / NS_PER_S if caps.bucket_ns >= 0 else 0.0
    used_j = (total_uj - caps.bucket_uj) / UJ_PER_J if caps.bucket_ns >= 0 else 0.0
    caps.bucket_j = min(caps.bucket_j + budget_w * elapsed_s - used_j, budget_w * WINDOW_S)
    caps.bucket_ns, caps.bucket_uj = now_ns, total_uj


def _heat_budget_j(state: State) -> float:
    """Return what may be used in the window without getting warmer than the policy wants."""
    goal = state.policy.thermal
    power_w = None if goal is None else allowed_w(state.heat, goal.limit_c)
    return inf if power_w is None else power_w * WINDOW_S
