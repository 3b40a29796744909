"""The markets that the horizon's energy is shared between: what is expected of each stream, and what may serve it."""

from collections.abc import Callable, Iterator
from math import exp, inf, log2, nan

from trimtab.core.catalogue import Catalogue
from trimtab.core.estimator import energy_factor, energy_levels, told_factor
from trimtab.core.forecast import expected, expected_drain_j, hours_ahead, local_s
from trimtab.core.links import safe_share
from trimtab.core.money import Lot, Offer, Prices, money_left_s, spare_usd, two_prices
from trimtab.core.prices import (
    Clearing,
    Market,
    concave_hull,
    energy_left_j,
    energy_price,
    horizon_left_s,
    segments_of,
    surprise,
)
from trimtab.core.residency import kept_bytes, size_bytes
from trimtab.core.selection import Choice, Situation
from trimtab.core.state import Holding, State
from trimtab.core.tables import Terms, rules_for
from trimtab.domain.policy import BelowReserve
from trimtab.domain.quantities import UJ_PER_J

MAX_HULLS = 256
FREE = Clearing(0.0, 1.0)
"""Energy without a price."""
NEVER_ROUNDED = (nan, 0.0)
NOWHERE = Offer(0.0, 0.0, 0.0)
"""What refusing takes and brings: an offer as good as any where the policy rejects below the reserve."""

Offering = tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]
"""A concave hull of (energy J, utility) and its segments."""
Factors = tuple[tuple[str, float, bool], ...]
"""By residence that is or fits in memory: by how much its runs exceed the profile's energy, whether it is there."""
_Key = tuple[str, tuple[int, ...], float, float, Factors, tuple[float, ...]]
"""Task, rules, floor, twice log2 of the requests that share a load, factors, and levels of energy by processor."""
_Places = tuple[tuple[Offer, ...], tuple[Offer, ...]]
"""What serving a request here, and on a server, can cost and bring."""

_EVICTING = Holding.EVICTING


class Markets:
    """Demand curves, kept until the policy, the catalogue or the energies learned change."""

    def __init__(
        self,
        state: State,
        catalogue: Catalogue,
        terms_under: Callable[[str, tuple[int, ...]], Terms],
    ) -> None:
        """Work out what ``state`` implies; ``terms_under`` gives the terms of a task under rules."""
        self._state = state
        self._catalogue = catalogue
        self._terms_under = terms_under
        self._hulls: dict[_Key, Offering] = {}
        self._places: dict[_Key, _Places] = {}
        self._rounded: dict[str, tuple[float, float]] = {}
        self._sizes: dict[str, tuple[tuple[str, int], ...]] = {}

    def forget(self) -> None:
        """Drop what the policy or the catalogue decides."""
        self._hulls.clear()
        self._places.clear()
        self._rounded.clear()
        self._sizes.clear()

    def clearing(self, now_ns: int) -> Prices:
        """Return the prices of energy and of money, per joule and per dollar; 0 where no horizon gives one.

        Energy is free on a charger. What the device itself will drain until the horizon is set aside.
        """
        energy_s, budget_j = self._energy_budget(now_ns)
        if self._catalogue.remote:
            return self._with_servers(energy_s, budget_j, now_ns)
        if energy_s is None:
            return Prices(FREE, FREE)
        ahead = hours_ahead(local_s(self._state, now_ns), energy_s)
        return Prices(energy_price(list(self._markets(ahead, energy_s, now_ns)), budget_j), FREE)

    def clearing_for(self, window_s: float, budget_j: float, now_ns: int) -> Clearing:
        """Return the price of energy at which what is expected in a window takes no more than ``budget_j``."""
        ahead = hours_ahead(local_s(self._state, now_ns), window_s)
        return energy_price(list(self._markets(ahead, window_s, now_ns)), budget_j)

    def _energy_budget(self, now_ns: int) -> tuple[float | None, float]:
        """Return seconds until the horizon and joules until then; ``None`` and no limit without one."""
        state = self._state
        energy, goal = state.energy, state.policy.battery
        energy.kept_j = 0.0
        left_s = horizon_left_s(goal, state.device, state.device_at_ns, state.policy_since_ns, now_ns)
        if left_s is None or state.device.charging:
            return None, inf
        left_j = energy_left_j(energy, state.device, goal.reserve_frac, now_ns)
        if left_j is None:
            return None, inf
        ahead = hours_ahead(local_s(state, now_ns), left_s)
        energy.kept_j = expected_drain_j(state.forecast, ahead, left_s)
        return left_s, (left_j - energy.kept_j) / surprise(energy)

    def _with_servers(self, energy_s: float | None, budget_j: float, now_ns: int) -> Prices:
        """Return both prices where servers may answer, for as long as they are expected to be in reach.

        Of two horizons that of the battery counts, and the money is scaled to it by the demand until then.
        """
        state, money = self._state, self._state.money
        goal = state.policy.money
        money_s = None if goal is None else money_left_s(goal, money, now_ns)
        left_s = money_s if energy_s is None else energy_s
        if left_s is None:
            return Prices(FREE, FREE)
        budget_usd, at_s = inf if money_s is None else spare_usd(state), local_s(state, now_ns)
        ahead = hours_ahead(at_s, left_s)
        if money_s is not None and left_s != money_s:
            longer = self._demand(hours_ahead(at_s, money_s), money_s)
            budget_usd *= self._demand(ahead, left_s) / longer if longer > 0.0 else 1.0
        share = max(safe_share(link, now_ns, left_s) for link in state.links.values())
        lots = list(self._lots(share, ahead, left_s, now_ns))
        return two_prices(lots, budget_j, budget_usd, money.price_per_usd)

    def _demand(self, ahead: tuple[float, ...], left_s: float) -> float:
        forecast = self._state.forecast
        return sum([expected(forecast, one.flow, ahead, left_s) for one in forecast.streams.values()])

    def _lots(self, share: float, ahead: tuple[float, ...], left_s: float, now_ns: int) -> Iterator[Lot]:
        """Yield what is expected of each stream: a share of its requests finds a server in reach."""
        state = self._state
        for stream in state.forecast.streams.values():
            if stream.task in self._catalogue.blanks:
                requests = expected(state.forecast, stream.flow, ahead, left_s)
                rules = rules_for(state, stream.task, stream.app, now_ns)
                near, far = self._near_and_far(self._key(stream.task, rules, stream.floor_frac, requests))
                if far:
                    yield Lot(requests * share, (*near, *far, NOWHERE))
                    requests *= 1.0 - share
                yield Lot(requests, near)

    def _near_and_far(self, key: _Key) -> _Places:
        """Return what serving a request here, and on a server, can cost and bring."""
        found = self._places.get(key)
        if found is None:
            if len(self._places) >= MAX_HULLS:
                self._places.clear()
            offers = self._offers(key)
            near = [offer for remote, offer in offers if not remote]
            found = self._places[key] = tuple(near), tuple([offer for remote, offer in offers if remote])
        return found

    def _markets(self, ahead: tuple[float, ...], left_s: float, now_ns: int) -> Iterator[Market]:
        state = self._state
        forecast = state.forecast
        for stream in forecast.streams.values():
            if stream.task in self._catalogue.blanks:
                requests = expected(forecast, stream.flow, ahead, left_s)
                rules = rules_for(state, stream.task, stream.app, now_ns)
                yield Market(requests, *self.offering(stream.task, rules, stream.floor_frac, requests))

    def offering(
        self, task: str, rules: tuple[int, ...], floor_frac: float = -1.0, requests: float = inf
    ) -> Offering:
        """Return what serving a task's requests can cost and bring under these rules.

        What is not in memory pays for its load, spread over the requests expected (rounded to a factor of 1.4).
        """
        key = self._key(task, rules, floor_frac, requests)
        found = self._hulls.get(key)
        if found is None:
            if len(self._hulls) >= MAX_HULLS:
                self._hulls.clear()
            hull = concave_hull((offer.energy_j, offer.utility) for _, offer in self._offers(key))
            found = self._hulls[key] = hull, segments_of(hull)
        return found

    def _key(self, task: str, rules: tuple[int, ...], floor_frac: float, requests: float) -> _Key:
        sharing = inf if requests == inf else round(2.0 * log2(max(1.0, requests)))
        levels = energy_levels(self._state.energy_estimates)
        return task, rules, floor_frac, sharing, self._factors(task), levels

    def _factors(self, task: str) -> Factors:
        """Return what is known of each variant of a task in each pool, factors to two digits."""
        state = self._state
        usual, found = told_factor(energy_factor(None, state.energy_ratio)), []
        room_bytes = state.memory_limit_bytes - kept_bytes(state, self._catalogue.last_resorts)
        for key, profile_bytes in self._sizes[task] if task in self._sizes else self._sizes_of(task):
            residence, bias = state.residences.get(key), state.energy_biases.get(key)
            here = residence is not None and residence.holding is not _EVICTING
            if not here and size_bytes(state, key, profile_bytes) > room_bytes:
                continue
            factor = usual
            if bias is not None:
                mean, factor = self._rounded.get(key, NEVER_ROUNDED)
                if mean != bias.mean:
                    factor = told_factor(exp(bias.mean))
                    self._rounded[key] = bias.mean, factor
            if factor > 0.0:
                found.append((key, factor, here))
        return tuple(found)

    def _sizes_of(self, task: str) -> tuple[tuple[str, int], ...]:
        blanks = self._catalogue.blanks[task]
        found = self._sizes[task] = tuple({e.residence: e.candidate.resident_bytes for e in blanks}.items())
        return found

    def _offers(self, key: _Key) -> list[tuple[bool, Offer]]:
        """Return what may serve, and whether that is on a server."""
        task, rules, floor_frac, sharing, factors, levels = key
        terms, sharers = self._terms_under(task, rules), 2.0 ** (sharing / 2.0)
        settings, known = terms.settings, {key: (factor, here) for key, factor, here in factors}
        floor_frac = floor_frac if floor_frac >= 0.0 else settings.min_accuracy_frac
        blanks = self._catalogue.blanks[task]
        allowed = [e for e in blanks if e.residence in known and e.name not in terms.denied]
        good = [e for e in allowed if e.top_accuracy >= floor_frac] or allowed
        offers = list[tuple[bool, Offer]]()
        for entry in good:
            factor, here = known[entry.residence]
            load_uj = 0.0 if here else entry.candidate.load_energy_uj / sharers
            energy_j = (factor * levels[entry.lane] * entry.energy_uj + load_uj) / UJ_PER_J
            candidate = entry.candidate
            offer = Offer(energy_j, settings.weight * entry.top_accuracy, candidate.cost_usd)
            offers.append((candidate.remote, offer))
        if self._state.policy.battery.below_reserve is BelowReserve.REJECT:
            offers.append((False, NOWHERE))
        return offers


def is_too_dear(choice: Choice, at: Situation, price_per_j: float, price_per_usd: float) -> bool:
    """Return whether no answer is worth more than the best one: its energy or money is worth more to others.

    It counts as surely on time, as in the program that the prices come from.
    """
    if price_per_j <= 0.0:
        return False
    entry = choice.entry
    paid = price_per_j * entry.energy_uj / UJ_PER_J + price_per_usd * entry.candidate.cost_usd
    return at.weight * entry.top_accuracy < paid * at.batch
