"""The markets that the horizon's energy is shared between: what is expected of each stream, and what may serve it."""

from collections.abc import Callable, Iterator
from math import exp, nan

from trimtab.core.catalogue import Catalogue
from trimtab.core.estimator import energy_factor, energy_levels, told_factor
from trimtab.core.forecast import expected, expected_drain_j, hours_ahead, local_s
from trimtab.core.prices import (
    Clearing,
    Market,
    concave_hull,
    energy_left_j,
    energy_price,
    horizon_left_s,
    segments_of,
)
from trimtab.core.selection import Choice, Entry, Situation
from trimtab.core.state import Holding, State
from trimtab.core.tables import Terms, rules_for
from trimtab.domain.policy import BelowReserve
from trimtab.domain.quantities import UJ_PER_J

MAX_HULLS = 256
FREE = Clearing(0.0, 1.0)
"""Energy without a price."""
NEVER_ROUNDED = (nan, 0.0)
NO_ANSWER = (0.0, 0.0)
"""What refusing takes and brings: an offer as good as any where the policy rejects below the reserve."""

Offering = tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]
"""A concave hull of (energy J, utility) and its segments."""
_Key = tuple[str, tuple[int, ...], float, tuple[tuple[str, float], ...], tuple[float, ...]]
"""Task, rules, floor, factors of energy by residence, and levels of energy by processor."""

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
        self._rounded: dict[str, tuple[float, float]] = {}

    def forget(self) -> None:
        """Drop what the policy or the catalogue decides."""
        self._hulls.clear()
        self._rounded.clear()

    def clearing(self, now_ns: int) -> Clearing:
        """Return the horizon's price of energy in utility per joule; 0 when charging or without a horizon.

        What the device itself will drain until the horizon is set aside.
        """
        state = self._state
        energy, goal = state.energy, state.policy.battery
        energy.kept_j = 0.0
        left_s = horizon_left_s(goal, state.device, state.device_at_ns, state.policy_since_ns, now_ns)
        if left_s is None or state.device.charging:
            return FREE
        left_j = energy_left_j(energy, state.device, goal.reserve_frac, now_ns)
        if left_j is None:
            return FREE
        ahead = hours_ahead(local_s(state, now_ns), left_s)
        energy.kept_j = expected_drain_j(state.forecast, ahead, left_s)
        return energy_price(list(self._markets(ahead, left_s, now_ns)), left_j - energy.kept_j)

    def _markets(self, ahead: tuple[float, ...], left_s: float, now_ns: int) -> Iterator[Market]:
        state = self._state
        forecast = state.forecast
        for stream in forecast.streams.values():
            if stream.task in self._catalogue.blanks:
                requests = expected(forecast, stream.flow, ahead, left_s)
                rules = rules_for(state, stream.task, stream.app, now_ns)
                yield Market(requests, *self.offering(stream.task, rules, stream.floor_frac))

    def offering(self, task: str, rules: tuple[int, ...], floor_frac: float = -1.0) -> Offering:
        """Return what serving a task's requests can cost and bring under these rules.

        Only variants in memory count: the price is of what there is, and what else would pay at that price is
        loaded by its own account.
        """
        factors, levels = self._factors(task), energy_levels(self._state.energy_estimates)
        key = (task, rules, floor_frac, factors, levels)
        found = self._hulls.get(key)
        if found is None:
            if len(self._hulls) >= MAX_HULLS:
                self._hulls.clear()
            found = self._hulls[key] = self._offering(key)
        return found

    def _factors(self, task: str) -> tuple[tuple[str, float], ...]:
        """Return by how much each variant of a task in memory exceeds its profile's energy, to two digits."""
        state, usual, found = self._state, -1.0, []
        for key, residence in state.residences.items():
            if residence.task != task or residence.holding is _EVICTING:
                continue
            bias = state.energy_biases.get(key)
            if bias is not None:
                mean, factor = self._rounded.get(key, NEVER_ROUNDED)
                if mean != bias.mean:
                    factor = told_factor(exp(bias.mean))
                    self._rounded[key] = bias.mean, factor
            else:
                if usual < 0.0:
                    usual = told_factor(energy_factor(None, state.energy_ratio))
                factor = usual
            if factor > 0.0:
                found.append((key, factor))
        return tuple(found)

    def _offering(self, key: _Key) -> Offering:
        task, rules, floor_frac, found, levels = key
        factors = dict(found)
        terms = self._terms_under(task, rules)
        settings = terms.settings
        blanks = [e for e in self._catalogue.blanks[task] if e.residence in factors]
        allowed = [(e, factors[e.residence] * levels[e.lane]) for e in blanks if e.name not in terms.denied]
        offers = _offers(
            allowed, settings.weight, floor_frac if floor_frac >= 0.0 else settings.min_accuracy_frac
        )
        if self._state.policy.battery.below_reserve is BelowReserve.REJECT:
            offers.append(NO_ANSWER)
        hull = concave_hull(offers)
        return hull, segments_of(hull)


def _offers(
    entries: list[tuple[Entry, float]], weight: float, floor_frac: float
) -> list[tuple[float, float]]:
    """Return (energy J, utility) of what meets the accuracy floor; of everything when nothing does."""
    good = [pair for pair in entries if pair[0].top_accuracy >= floor_frac] or entries
    return [(f * e.energy_uj / UJ_PER_J, weight * e.top_accuracy) for e, f in good]


def is_too_dear(choice: Choice, at: Situation, price_per_j: float) -> bool:
    """Return whether no answer is worth more than the best one: its energy is worth more to others."""
    if price_per_j <= 0.0:
        return False
    energy_j = choice.entry.energy_uj * at.batch / UJ_PER_J
    return at.weight * choice.judged.accuracy_frac < price_per_j * energy_j
