"""Take in what the device is and what is wanted of it: processors, families, profiles, policy, sensors."""

from trimtab.core import events as ev
from trimtab.core.caps import cap_price
from trimtab.core.chooser import Chooser
from trimtab.core.coupling import tie_up
from trimtab.core.estimator import ENERGY_VARIANCE, MIN_NOISE
from trimtab.core.forecast import names_apps, pass_time
from trimtab.core.heat import note_temperature
from trimtab.core.holdings import Holdings
from trimtab.core.knowledge import faults, restore
from trimtab.core.lifecycle import IllegalEventError
from trimtab.core.links import note_link
from trimtab.core.memory_budget import note_memory
from trimtab.core.money import open_account, renew_account
from trimtab.core.planning import Planner
from trimtab.core.prices import horizon_left_s, note_reading, tilted_price
from trimtab.core.queueing import Sharing
from trimtab.core.state import Estimate, Link, State
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.settings import held_after

REPRICE_ARRIVALS = 128
REPRICE_NS, LONGEST_REPRICE_NS = NS_PER_S, 30 * NS_PER_S
HORIZON_PARTS = 1000
"""Prices are solved again after so many arrivals or so long, whichever comes first: after a thousandth of the time to
the horizon, but each second without one and where power or heat is limited.

The first arrivals tell most: until there were so many, prices are solved each time their number has doubled.
"""


class Conditions:
    """Everything that decisions are made under, and the energy price that follows from it."""

    def __init__(self, state: State, chooser: Chooser, holdings: Holdings, planner: Planner) -> None:
        """Work on ``state``; the others are told what their tables, limits and plans lost."""
        self._state = state
        self._chooser = chooser
        self._holdings = holdings
        self._planner = planner

    def on_processors(self, event: ev.ProcessorsFound, now_ns: int) -> None:
        """Take over the device's processors; only before anything is loaded."""
        state = self._state
        names = [p.name for p in event.processors]
        if state.live or state.residences:
            raise IllegalEventError(event, "processors cannot change while variants are loaded")
        if not names or len({*names}) != len(names):
            raise IllegalEventError(event, "a device has at least one processor, each with its own name")
        state.processors = {p.name: p for p in event.processors}
        state.estimates = {name: state.estimates.get(name, Estimate()) for name in names}
        state.margins.clear()
        remote = [p.name for p in event.processors if p.is_remote]
        state.links = {name: state.links.get(name, Link(since_ns=now_ns)) for name in remote}
        energies = state.energy_estimates
        state.energy_estimates = {
            name: energies.get(name, Estimate(variance=ENERGY_VARIANCE)) for name in names
        }
        masks = Sharing(state.processors.values()).masks
        tie_up(state.estimates, masks)
        tie_up(state.energy_estimates, masks)
        self._catalogue_changed(now_ns)

    def on_family(self, event: ev.FamilyAdded, now_ns: int) -> None:
        """Serve a task from now on."""
        family = event.family
        names = [variant.name for variant in family.variants]
        if family.last_resort not in names:
            raise IllegalEventError(
                event, f"the last resort {family.last_resort!r} is no variant of the family"
            )
        try:
            self._chooser.catalogue.candidates_of(family, self._state.profiles.get(family.task, ()))
        except ValueError as error:
            raise IllegalEventError(event, f"profiles and family do not match: {error}") from error
        self._state.families[family.task] = family
        self._catalogue_changed(now_ns)

    def on_profiles(self, event: ev.ProfilesReplaced, now_ns: int) -> None:
        """Take over what a task's variants cost on this device."""
        family = self._state.families.get(event.task)
        if family is None:
            raise IllegalEventError(event, f"there is no family for task {event.task!r}")
        try:
            self._chooser.catalogue.candidates_of(family, event.profiles)
        except ValueError as error:
            raise IllegalEventError(event, f"profiles and family do not match: {error}") from error
        self._state.profiles[event.task] = event.profiles
        self._catalogue_changed(now_ns)

    def _catalogue_changed(self, now_ns: int) -> None:
        self._chooser.renew_catalogue()
        self._state.notes.clear()
        self._planner.due = True
        self._expect_noise()
        self.reprice(now_ns)
        self._holdings.load_last_resorts(now_ns)

    def _expect_noise(self) -> None:
        """Until a processor ran, its runs are expected to vary as much as its profiles tell on average."""
        squares: dict[str, list[float]] = {}
        for candidates in self._chooser.candidates.values():
            for one in candidates:
                squares.setdefault(one.processor, []).append(one.latency_spread**2)
        for name, found in squares.items():
            for estimate in (self._state.estimates[name], self._state.energy_estimates[name]):
                if estimate.observations == 0:
                    estimate.noise = max(MIN_NOISE, sum(found) / len(found))

    def on_restored(self, event: ev.EstimatesRestored, now_ns: int) -> None:
        """Take over what was learned before the daemon was started again; only before anything is asked."""
        state = self._state
        wrong = next(faults(event.knowledge), "")
        if state.arrivals or wrong or event.age_ns < 0:
            raise IllegalEventError(event, wrong or "estimates are restored before the first request")
        restore(state, event.knowledge, event.age_ns, self._chooser.catalogue.sharing.masks, now_ns)
        self._catalogue_changed(now_ns)

    def on_policy(self, event: ev.PolicyReplaced, now_ns: int) -> None:
        """Put a policy in force."""
        try:
            self._chooser.use_strategy(event.policy)
        except ValueError as error:
            raise IllegalEventError(event, str(error)) from error
        if event.policy.strategy != self._state.policy.strategy:
            self._state.notes.clear()
        if event.policy.money != self._state.policy.money:
            open_account(self._state.money, now_ns)
        self._state.policy, self._state.policy_since_ns = event.policy, now_ns
        self._state.forecast.by_app = names_apps(event.policy)
        self._state.held = held_after(event.policy, self._state.device, ())
        self._chooser.forget_policy()
        self._planner.due = True
        self._holdings.load_last_resorts(now_ns)
        self.reprice(now_ns)

    def on_device(self, event: ev.DeviceChanged, now_ns: int) -> None:
        """Take over a reading of the sensors."""
        state = self._state
        note_reading(
            state.energy, state.forecast.drain, event.device, now_ns, was_charging=state.device.charging
        )
        if event.device.temperature_mc is not None and state.policy.thermal is not None:
            note_temperature(state.heat, event.device.temperature_mc / 1000, state.energy.total_uj, now_ns)
        state.device, state.device_at_ns = event.device, now_ns
        state.held = held_after(state.policy, event.device, state.held)
        note_memory(state, now_ns)
        self._chooser.forget()
        self._holdings.load_last_resorts(now_ns)
        self.reprice(now_ns)

    def on_connectivity(self, event: ev.ConnectivityChanged, now_ns: int) -> None:
        """Take over whether a server can be reached."""
        link = self._state.links.get(event.processor)
        if link is None:
            raise IllegalEventError(event, f"no server is called {event.processor!r}")
        note_link(link, event.reachable, event.round_trip_ns, now_ns)
        self._chooser.forget()
        self.reprice(now_ns)

    def reprice_if_due(self, now_ns: int) -> None:
        """Solve for the energy price once enough requests came or enough time went by."""
        energy = self._state.energy
        fresh = self._state.arrivals - energy.priced_arrivals
        if (
            fresh >= REPRICE_ARRIVALS
            or fresh >= max(1, energy.priced_arrivals)
            or now_ns - energy.priced_ns >= energy.pause_ns
        ):
            self.reprice(now_ns)

    def _pause_ns(self, now_ns: int) -> int:
        """Return how long the prices may stand."""
        state = self._state
        goal, limited = state.policy.battery, state.policy.thermal is not None
        if limited or goal.power_budget_mw is not None:
            return REPRICE_NS
        left_s = horizon_left_s(goal, state.device, state.device_at_ns, state.policy_since_ns, now_ns)
        pause_ns = 0 if left_s is None else int(left_s * NS_PER_S / HORIZON_PARTS)
        return min(max(REPRICE_NS, pause_ns), LONGEST_REPRICE_NS)

    def reprice(self, now_ns: int) -> None:
        """Solve for the energy price, and plan memory if it is time; tables are dropped only when a price moved."""
        renew_account(self._state, now_ns)
        energy = self._state.energy
        pass_time(self._state, now_ns)
        money, found = self._state.money, self._chooser.markets.clearing(now_ns)
        prices = tilted_price(energy, found.energy), tilted_price(money, found.money)
        caps, cap = self._state.caps, cap_price(self._state, self._chooser.markets, now_ns)
        energy.priced_ns, energy.priced_arrivals = now_ns, self._state.arrivals
        energy.pause_ns = self._pause_ns(now_ns)
        if (*prices, cap) != (energy.price_per_j, money.price_per_usd, caps.price_per_j):
            energy.price_per_j, money.price_per_usd = prices
            caps.price_per_j = cap
            self._chooser.forget_prices()
        before_bytes = self._state.memory_limit_bytes
        if self._holdings.limit_memory(now_ns):
            self._planner.take_room(self._state.memory_limit_bytes - before_bytes, now_ns)
            self._chooser.forget()
        self._planner.plan_if_due(now_ns)
