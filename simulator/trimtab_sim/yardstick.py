"""How far a run stayed from the best possible: measured while it runs, in memory that does not grow.

For every request it is noted what each candidate would really have taken: the profile's figures times the
contention of its processor when the request was decided, times the request's own *luck*, which is what its
run took beyond that. A request's luck holds for all its candidates (ALERT's one slow-down per input); one
that never ran has none. From this follow the limit of the linear program (``trimtab_sim.bound``), the
per-request oracles (``trimtab_sim.oracle``) and the avoidable lateness (``trimtab_sim.late``).

What a request really got, if in time, is always among its offers: no run beats its own limit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Final, NamedTuple

import numpy as np

from trimtab.domain.decision import Decision
from trimtab.domain.device import DeviceState, local_moment_s
from trimtab.domain.policy import Goal, Held, Policy, Settings
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab.domain.request import Request
from trimtab.domain.settings import held_after, matching_rules, settle
from trimtab_sim.arrivals import Arrival
from trimtab_sim.bound import HorizonBound, TwoBudgetBound
from trimtab_sim.driver import World
from trimtab_sim.late import Job, Lateness, Suspect, is_late
from trimtab_sim.offers import Offers, offers_of
from trimtab_sim.oracle import Chunk, Oracle
from trimtab_sim.report import Served, Watcher
from trimtab_sim.runtime import Contention

ROWS: Final = 2048
"""Requests of a kind that are looked at together."""
Expected = Callable[[Served], float | None]
"""The accuracy measured for the exit an answer left at; ``None`` without an answer."""
Kind = tuple[str, str]
"""What a request may be served with: its task, and its pinned variant or nothing."""


@dataclass(frozen=True, slots=True)
class Distance:
    """A run beside the best possible; accuracies are means over all requests, a missed one counting 0.

    ``lp_bound_energy_j`` is the least energy for the accuracy that the run reached, ``energy_price_per_j``
    what one more joule of the budget would have been worth. Nobody reaches the limits: they know the future,
    find everything in memory and never wait for another request.
    """

    requests: int
    accuracy_mean: float
    lp_bound_accuracy: float
    lp_bound_energy_j: float
    energy_price_per_j: float
    oracle_accuracy: float
    oracle_energy_j: float
    late: int
    late_avoidable: int

    @property
    def late_avoidable_frac(self) -> float:
        """Return the share of all requests that were late although another candidate would have been in time."""
        return self.late_avoidable / self.requests if self.requests else 0.0


class _Asked(NamedTuple):
    """What was asked of a request, by itself and by the settings in force."""

    budget_ns: int
    floor_frac: float
    cap_uj: float
    settings: Settings


class _Terms:
    """What a policy asks of a request, as the scheduler works it out."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._rules = {rule.name: index for index, rule in enumerate(policy.rules)}
        self._known: dict[tuple[str, tuple[int, ...]], Settings] = {}
        self.state, self.state_ns = DeviceState(), 0
        self.held: list[Held] = []

    def read(self, state: DeviceState, now_ns: int) -> None:
        """Take over a reading of the sensors."""
        self.state, self.state_ns = state, now_ns
        self.held = held_after(self.policy, state, self.held)

    def asked(self, request: Request, decision: Decision | None, now_ns: int) -> _Asked:
        """Return what was asked, by the rules its decision names or, without one, those that match now."""
        if decision is None:
            moment_s = local_moment_s(self.state, (now_ns - self.state_ns) // NS_PER_S)
            rules = matching_rules(self.policy, self.state, moment_s, request.task, request.app, self.held)
        else:
            rules = tuple(self._rules[name] for name in decision.rules)
        key = (request.task, rules)
        settings = self._known.get(key)
        if settings is None:
            settings = self._known[key] = settle(self.policy, *key)
        budget_ns, floor_frac = request.latency_budget_ns, request.min_accuracy_frac
        cap_uj = settings.max_energy_uj if request.max_energy_uj is None else request.max_energy_uj
        return _Asked(
            settings.latency_budget_ns if budget_ns is None else budget_ns,
            settings.min_accuracy_frac if floor_frac is None else floor_frac,
            inf if cap_uj is None else cap_uj,
            settings,
        )


class _Factors(NamedTuple):
    """How much longer than profiled a run takes on each processor, and how much more energy."""

    time: tuple[float, ...]
    energy: tuple[float, ...]


@dataclass(slots=True)
class _Flight:
    """A request that was decided: what its processors were like then, and what its stages took so far.

    ``took`` and ``profiled`` are time (ns) and energy (uJ), as they were and as the profile has them.
    """

    job: Job
    first: Decision
    decided_ns: int
    factors: _Factors
    decision: Decision
    spare_bytes: float
    processor: str = ""
    took: tuple[float, float] = (0.0, 0.0)
    profiled: tuple[float, float] = (0.0, 0.0)


class _Row(NamedTuple):
    """A request that ended, as the limits see it; ``energy_uj`` is infinite without an answer in time.

    ``times`` is by how much its own time and energy exceed the factors of the processors: batch and luck.
    """

    factors: _Factors
    times: tuple[float, float]
    asked: _Asked
    accuracy_frac: float
    energy_uj: float
    usd: float = 0.0


class Yardstick(Watcher):
    """Watches a run and tells, at its end, how far from the best possible it stayed."""

    def __init__(
        self,
        world: World,
        policy: Policy,
        expected: Expected,
        slowdown: Contention | None = None,
        power_factor: Contention | None = None,
        *,
        reachable: Callable[[int], bool] | None = None,
    ) -> None:
        """Measure a run of ``policy`` in ``world``.

        ``slowdown`` is the contention that its runtime has, ``power_factor`` the share of the profiled power
        that a run takes under it, ``reachable`` whether a server can be reached: out of reach its offers are never
        in time. All are only asked about the present.
        """
        self.bound, self.oracle = HorizonBound(), Oracle()
        self._charged = None if policy.money is None else TwoBudgetBound()
        self._world, self._terms, self._expected, self._slowdown = world, _Terms(policy), expected, slowdown
        self._power_factor = power_factor
        self._reachable = reachable
        self._remote = tuple([processor.is_remote for processor in world.processors])
        self._places = {processor.name: place for place, processor in enumerate(world.processors)}
        even = (1.0,) * len(world.processors)
        self._latest = _Factors(even, even)
        self._profiles = {
            (task, one.variant, one.processor): one for task, some in world.profiles.items() for one in some
        }
        self._bytes = {key[:2]: one.resident_bytes for key, one in self._profiles.items()}
        resorts = [(family.task, family.last_resort) for family in world.families]
        self._last_resort_bytes = sum(self._bytes.get(key, 0) for key in resorts)
        self._held: dict[tuple[str, str, str], int] = {}
        self._spare_bytes = inf
        self._offers: dict[Kind, Offers] = {}
        self._best: dict[Kind, Offers] = {}
        self._rows: dict[Kind, list[_Row]] = {}
        self._flights: dict[str, _Flight] = {}
        self._lateness = Lateness(world.processors)
        self._orders = count()
        self._accuracy = 0.0

    # ---- what the driver tells -------------------------------------------------------------------------

    def device(self, now_ns: int, state: DeviceState) -> None:
        """Note the state that rules are matched against, and what variants may hold in it."""
        self._terms.read(state, now_ns)
        goal, available = self._terms.policy.memory, state.memory_available_bytes
        limit = inf if goal.limit_bytes is None else goal.limit_bytes
        if available is not None:
            limit = min(limit, max(0, sum(self._held.values()) + available - goal.keep_available_bytes))
        self._spare_bytes = limit - self._last_resort_bytes

    def loaded(self, now_ns: int, task: str, variant: str, pool: str, load_ns: int) -> None:
        """Note when a variant will be in memory."""
        self._lateness.loads(task, variant, pool, now_ns + load_ns)
        self._held[task, variant, pool] = self._bytes[task, variant]

    def evicted(self, now_ns: int, task: str, variant: str, pool: str) -> None:
        """Note that a variant leaves memory."""
        self._lateness.leaves(task, variant, pool, now_ns)
        self._held.pop((task, variant, pool), None)

    def decided(self, now_ns: int, decision: Decision) -> None:
        """Note what the processors were like when a request was first decided."""
        flight = self._flights.get(decision.request_id)
        if flight is None:
            job = Job(next(self._orders), now_ns + decision.budget_ns)
            flight = _Flight(job, decision, now_ns, self._factors(now_ns), decision, self._spare_bytes)
            self._flights[decision.request_id] = flight
        flight.decision = decision
        flight.job.last = Goal.DEADLINE in decision.given_up

    def started(
        self,
        now_ns: int,
        request_id: str,
        *,
        task: str,
        variant: str,
        processor: str,
        stage: int,
        run_ns: int,
        energy_uj: float,
    ) -> None:
        """Add up what a request's stages took beside what the profile says."""
        flight, profile = self._flights[request_id], self._profiles[task, variant, processor]
        if stage == 0:
            flight.processor, flight.took, flight.profiled = processor, (0.0, 0.0), (0.0, 0.0)
        flight.took = (flight.took[0] + run_ns, flight.took[1] + energy_uj)
        flight.profiled = (
            flight.profiled[0] + profile.stage_latency_ns[stage],
            flight.profiled[1] + profile.stage_energy_uj[stage],
        )
        self._lateness.backlog.ran(flight.job, processor, now_ns, run_ns)

    def served(self, one: Served) -> None:
        """Take in a request that ended."""
        request, now_ns = one.arrival.request, one.finished_ns
        flight = self._flights.pop(request.request_id, None)
        asked = self._terms.asked(request, None if flight is None else flight.first, now_ns)
        if flight is None:
            job = Job(next(self._orders), one.arrival.at_ns + asked.budget_ns)
            row = _unanswered(request, asked, self._factors(now_ns))
        else:
            job, row = flight.job, self._ended(flight, one, asked)
        job.priority = request.priority
        self._take(request, row)
        if is_late(one.result):
            self._suspect(request, job, row, now_ns, flight)
        oldest = next(iter(self._flights.values()), None)
        self._lateness.judge(now_ns, now_ns if oldest is None else oldest.decided_ns)

    def lost(self, arrival: Arrival) -> None:
        """Take in a request that the device was off for: it counts, and nobody answered it."""
        request = arrival.request
        flight = self._flights.pop(request.request_id, None)
        asked = self._terms.asked(request, None if flight is None else flight.first, arrival.at_ns)
        factors = self._latest if flight is None else flight.factors
        self._take(request, _unanswered(request, asked, factors))

    def distance(self, budget_uj: float = inf, budget_usd: float = inf) -> Distance:
        """Return how far the run stayed from the best possible within an energy budget in microjoules, and of money.

        The budget is what runs and loads might have taken: what the battery held above the reserve less what
        the device drained by itself. A run that overdrew it may lie above the limit.
        Raises ``ValueError`` before the first request.
        """
        for kind in self._rows:
            self._settle(kind)
        self._lateness.judge_all()
        curve, requests = self.bound.curve(), self.bound.requests
        accuracy = self._accuracy / requests
        limit = curve.accuracy_at(budget_uj)
        if self._charged is not None and budget_usd < inf:
            limit = min(limit, self._charged.limit(budget_uj, budget_usd).accuracy_mean)
        return Distance(
            requests=requests,
            accuracy_mean=accuracy,
            lp_bound_accuracy=limit,
            lp_bound_energy_j=curve.energy_for(accuracy) / UJ_PER_J,
            energy_price_per_j=curve.price_per_j(budget_uj),
            oracle_accuracy=self.oracle.oracle_accuracy,
            oracle_energy_j=self.oracle.oracle_energy_j,
            late=self._lateness.late,
            late_avoidable=self._lateness.avoidable,
        )

    # ---- requests as the limits see them ---------------------------------------------------------------

    def _factors(self, now_ns: int) -> _Factors:
        """Return what the processors are like now."""
        slowdown, power = self._slowdown, self._power_factor
        if slowdown is not None:
            time = energy = tuple([slowdown(name, now_ns) for name in self._places])
            if power is not None:
                powers = [power(name, now_ns) for name in self._places]
                energy = tuple([factor * power for factor, power in zip(time, powers, strict=True)])
            self._latest = _Factors(time, energy)
        if self._reachable is None or self._reachable(now_ns):
            return self._latest
        time = tuple([inf if far else one for one, far in zip(self._latest.time, self._remote, strict=True)])
        return _Factors(time, self._latest.energy)

    def _ended(self, flight: _Flight, one: Served, asked: _Asked) -> _Row:
        factors, batch = flight.factors, one.arrival.request.batch
        times = (float(batch), float(batch))
        if flight.processor:
            place = self._places[flight.processor]
            time = _ratio(flight.took[0], flight.profiled[0], batch * factors.time[place])
            energy = _ratio(flight.took[1], flight.profiled[1], batch * factors.energy[place])
            times = (time / factors.time[place], energy / factors.energy[place])
        if not one.result.on_time:
            return _Row(factors, times, asked, 0.0, inf)
        accuracy = self._expected(one) or 0.0
        self._accuracy += accuracy
        return _Row(factors, times, asked, accuracy, one.result.energy_uj, one.result.cost_usd)

    def _take(self, request: Request, row: _Row) -> None:
        kind = (request.task, request.variant)
        rows = self._rows.setdefault(kind, [])
        rows.append(row)
        if len(rows) >= ROWS:
            self._settle(kind)

    def _settle(self, kind: Kind) -> None:
        """Put the requests of a kind that wait into the sums."""
        rows, offers = self._rows[kind], self._offers_of(kind, best=True)
        if not rows:
            return
        times = np.array([row.times for row in rows])
        time = np.array([row.factors.time for row in rows])[:, offers.processor] * times[:, :1]
        energy = np.array([row.factors.energy for row in rows])[:, offers.processor] * times[:, 1:]
        got_energy = np.array([[row.energy_uj] for row in rows])
        got_accuracy = np.array([[row.accuracy_frac] for row in rows])
        chunk = Chunk.of(
            np.hstack([np.broadcast_to(offers.accuracy_frac, time.shape), got_accuracy]),
            np.hstack([offers.latency_ns * time, np.where(got_energy < inf, 0.0, inf)]),
            np.hstack([offers.energy_uj * energy, got_energy]),
            [row.asked.budget_ns for row in rows],
            floor_frac=[row.asked.floor_frac for row in rows],
            cap_uj=[row.asked.cap_uj for row in rows],
        )
        in_time_uj = np.where(chunk.in_time, chunk.energy_uj, inf)
        self.bound.add(chunk.accuracy_frac, in_time_uj)
        if self._charged is not None:
            slower = np.where(np.isfinite(time), time, 0.0)
            usd = offers.usd + offers.usd_of_time * slower
            got_usd = np.array([[row.usd] for row in rows])
            self._charged.add(chunk.accuracy_frac, in_time_uj, np.hstack([usd, got_usd]))
        self.oracle.add(chunk)
        rows.clear()

    def _suspect(self, request: Request, job: Job, row: _Row, now_ns: int, flight: _Flight | None) -> None:
        """Take in a late request as it was when it was decided, or refused just now."""
        then_ns, first, spare_bytes = now_ns, None, self._spare_bytes
        if flight is not None:
            then_ns, first, spare_bytes = flight.decided_ns, flight.first, flight.spare_bytes
        offers = self._offers_of((request.task, request.variant))
        time, energy = (np.array(factor)[offers.processor] for factor in row.factors)
        asked = row.asked
        self._lateness.suspect(
            Suspect(
                job=job,
                then_ns=then_ns,
                task=request.task,
                offers=offers,
                latency_ns=offers.latency_ns * time * row.times[0],
                energy_uj=offers.energy_uj * energy * row.times[1],
                slowdown=time * row.times[0] / request.batch,
                floor_frac=asked.floor_frac,
                cap_uj=asked.cap_uj,
                settings=asked.settings,
                chosen=first,
                spare_bytes=spare_bytes,
            )
        )

    def _offers_of(self, kind: Kind, *, best: bool = False) -> Offers:
        """Return the offers to requests of a kind, or those that no other one beats."""
        if kind not in self._offers:
            task, pinned = kind
            world = self._world
            families = tuple(family for family in world.families if family.task == task)
            offers = offers_of(families, world.profiles.get(task, ()), world.processors)
            fits = np.array([pinned in ("", one.variant) for one in offers.candidates], bool)
            self._offers[kind] = offers.chosen(fits)
            self._best[kind] = self._offers[kind].undominated()
        return (self._best if best else self._offers)[kind]


def _unanswered(request: Request, asked: _Asked, factors: _Factors) -> _Row:
    return _Row(factors, (float(request.batch), float(request.batch)), asked, 0.0, inf)


def _ratio(took: float, profiled: float, usual: float) -> float:
    """Return how much more than profiled something took; the usual factor where the profile knows nothing."""
    return took / profiled if profiled > 0.0 else usual
