"""The yardstick measures whole runs against the bound, the oracles and what was avoidable."""

from dataclasses import replace
from itertools import product
from math import inf
from typing import Any

import pytest

from trimtab.domain.decision import Decision
from trimtab.domain.family import Profile
from trimtab.domain.policy import Policy, Settings
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab.testing import tiny_family
from trimtab_sim import Arrival, Battery, ModelledRuntime, SimulatedDriver, World, poisson
from trimtab_sim.late import is_late
from trimtab_sim.offers import Offers, offers_of
from trimtab_sim.report import Served, Watcher
from trimtab_sim.runtime import Run, Running
from trimtab_sim.yardstick import Distance, Yardstick


def offers_in(world: World) -> Offers:
    return offers_of(world.families, world.profiles["tiny"], world.processors)


KINDS = (
    Request("", "tiny", latency_budget_ns=6 * NS_PER_MS),
    Request("", "tiny", latency_budget_ns=12 * NS_PER_MS, min_accuracy_frac=0.9),
    Request("", "tiny", latency_budget_ns=4 * NS_PER_MS, max_energy_uj=3000.0),
    Request("", "tiny", latency_budget_ns=9 * NS_PER_MS, variant="staged"),
    Request("", "tiny", latency_budget_ns=20 * NS_PER_MS, batch=3, priority=1),
)


def expected_in(world: World):  # type: ignore[no-untyped-def]
    """Return what an answer counts: what the exit's accuracy was measured as."""
    rules = {(v.name, rule.name): rule for v in world.families[0].variants for rule in v.exit_rules}

    def expected(one: Served) -> float | None:
        if not one.answered or one.decision is None:
            return None
        rule = rules[one.result.variant, one.decision.exit_rule]
        by_rule = one.result.exit_index == len(rule.share_frac) - 1 or one.result.confidence >= rule.threshold
        return rule.accuracy_frac[-1 if by_rule else one.result.exit_index]

    return expected


def slow(processor: str, now_ns: int) -> float:
    """Slow the first core down every other 100 ms."""
    return 3.0 if processor == "cpu:0" and now_ns // 100_000_000 % 2 else 1.0


def measured(
    world: World,
    policy: Policy,
    rate_per_s: float = 150.0,
    count: int = 500,
    kinds: tuple[Request, ...] = KINDS,
) -> tuple[Distance, SimulatedDriver, Yardstick]:
    yardstick = Yardstick(world, policy, expected_in(world), slow)
    runtime = ModelledRuntime(world.families, world.profiles, seed=4, contention=slow)
    driver = SimulatedDriver(world, policy, runtime, Battery(30.0), watch=yardstick, keep=True)
    start_ns = driver.start()
    report = driver.run(poisson(4, rate_per_s, count, kinds, start_ns))
    return yardstick.distance(report.energy_j * 1e6), driver, yardstick


@pytest.mark.parametrize("strategy", ["value", "largest", "smallest", "static:staged@cpu:0"])
@pytest.mark.parametrize("rate_per_s", [60.0, 900.0])
def test_no_run_beats_the_limits(world: World, strategy: str, rate_per_s: float) -> None:
    found, driver, _ = measured(world, Policy("p", strategy=strategy), rate_per_s)
    report = driver.report
    assert found.requests == report.requests == 500
    credited = sum(expected_in(world)(one) or 0.0 for one in report.served if one.result.on_time)
    assert found.accuracy_mean == pytest.approx(credited / 500)
    assert 0.2 < found.accuracy_mean <= found.lp_bound_accuracy + 1e-9
    assert found.accuracy_mean <= found.lp_bound_accuracy <= 0.95
    used_j = sum(one.result.energy_uj for one in report.served if one.result.on_time) / 1e6
    assert found.lp_bound_energy_j <= used_j * (1 + 1e-9)
    assert found.late_avoidable <= found.late
    assert found.late == sum(is_late(one.result) for one in report.served)


def test_oracle_of_a_run_agrees_with_looking_at_every_request(world: World) -> None:
    """Without noise and contention the oracles follow from profiles and goals alone."""
    calm = tuple(replace(one, latency_spread=0.0) for one in world.profiles["tiny"])
    world = World(world.processors, world.families, {"tiny": calm})
    policy = Policy("p", defaults=Settings(min_accuracy_frac=0.82))
    yardstick = Yardstick(world, policy, expected_in(world))
    driver = SimulatedDriver(world, policy, ModelledRuntime(world.families, world.profiles), watch=yardstick)
    plain = [replace(kind, variant="", batch=1) for kind in KINDS[:3]]
    arrivals = list(poisson(1, 5.0, 60, plain, driver.start()))
    driver.run(arrivals)
    offers, accuracy, energy = offers_in(world), 0.0, 0.0
    for arrival in arrivals:
        request = arrival.request
        floor = 0.82 if request.min_accuracy_frac is None else request.min_accuracy_frac
        cap = inf if request.max_energy_uj is None else request.max_energy_uj
        every = list(zip(offers.accuracy_frac, offers.latency_ns, offers.energy_uj, strict=True))
        in_time = [offer for offer in every if offer[1] <= (request.latency_budget_ns or 0)]
        accuracy += max(offer[0] for offer in in_time if offer[2] <= cap)
        energy += min(offer[2] for offer in in_time if offer[0] >= floor)
    found = yardstick.distance()
    assert found.oracle_accuracy == pytest.approx(accuracy / 60)
    # A staged variant that left early may have been cheaper than it is on average.
    assert 0.8 * energy / 1e6 < found.oracle_energy_j <= energy / 1e6 * (1 + 1e-9)


class Throttled(ModelledRuntime):
    """Takes half the power."""

    def run(self, run: Run, now_ns: int) -> Running:
        ran = super().run(run, now_ns)
        return replace(ran, energy_uj=ran.energy_uj / 2)


def test_throttled_processors_take_longer_and_less_power(world: World) -> None:
    """Half the power for twice as long is the energy profiled, for what ran and for every other offer."""
    calm = tuple(replace(one, latency_spread=0.0) for one in world.profiles["tiny"])
    world = World(world.processors, world.families, {"tiny": calm})
    policy = Policy("p", strategy="largest", defaults=Settings(min_accuracy_frac=0.93))
    runtime = Throttled(world.families, world.profiles, 1, lambda *_: 2.0)
    yardstick = Yardstick(world, policy, expected_in(world), lambda *_: 2.0, lambda *_: 0.5)
    driver = SimulatedDriver(world, policy, runtime, watch=yardstick)
    driver.run(poisson(1, 5.0, 40, [Request("", "tiny", latency_budget_ns=NS_PER_S)], driver.start()))
    found = yardstick.distance()
    assert found.accuracy_mean == pytest.approx(0.95)
    assert found.oracle_energy_j == pytest.approx(40 * 6000e-6)
    assert found.lp_bound_energy_j == pytest.approx(40 * 6000e-6)


def test_request_in_flight_when_the_device_goes_off_is_missed(world: World) -> None:
    yardstick = Yardstick(world, Policy("p"), expected_in(world))

    class Dying(Watcher):
        """Tells the yardstick of all that happens, and of what ends that it was lost."""

        def decided(self, now_ns: int, decision: Decision) -> None:
            yardstick.decided(now_ns, decision)

        def started(self, now_ns: int, request_id: str, **what: Any) -> None:
            yardstick.started(now_ns, request_id, **what)

        def served(self, one: Served) -> None:
            yardstick.lost(one.arrival)

    driver = SimulatedDriver(
        world, Policy("p"), ModelledRuntime(world.families, world.profiles), watch=Dying()
    )
    driver.run(poisson(1, 100.0, 30, KINDS, driver.start()))
    found = yardstick.distance()
    assert (found.requests, found.accuracy_mean, found.late) == (30, 0.0, 0)
    assert found.lp_bound_accuracy > 0.8
    assert not yardstick._flights


def test_calm_runs_are_hardly_late_and_clumsy_ones_avoidably(world: World) -> None:
    calm, _, _ = measured(world, Policy("p", strategy="smallest"), 20.0, kinds=KINDS[:3])
    assert calm.late_avoidable_frac <= 0.01
    profiles = tuple(
        replace(one, stage_latency_ns=(9 * NS_PER_MS,)) if one.variant == "large" else one
        for one in world.profiles["tiny"]
    )
    slower = World(world.processors, world.families, {"tiny": profiles})
    clumsy, _, _ = measured(slower, Policy("p", strategy="largest"), 20.0, kinds=KINDS[:3])
    assert clumsy.late_avoidable > 100


def test_refusing_a_pinned_variant_that_would_have_been_in_time_is_avoidable(world: World) -> None:
    """A strategy with one variant of its own refuses requests for another one."""
    found, _, _ = measured(world, Policy("p", strategy="smallest"), 20.0, 60, kinds=KINDS[3:4])
    assert (found.late, found.late_avoidable) == (60, 60)


def test_memory_holds_what_is_in_flight_only(world: World) -> None:
    _, _, yardstick = measured(world, Policy("p"), rate_per_s=400.0, count=3000)
    assert not yardstick._flights
    assert not yardstick._lateness._suspects
    assert len(yardstick._lateness.backlog) < 50
    assert all(len(rows) == 0 for rows in yardstick._rows.values())


def test_requests_that_the_device_was_off_for_count_as_missed(world: World) -> None:
    yardstick = Yardstick(world, Policy("p"), expected_in(world))
    for number in range(4):
        yardstick.lost(Arrival(number, Request(f"r{number}", "tiny")))
    yardstick.lost(Arrival(9, Request("other", "nobody")))
    found = yardstick.distance(0.0)
    assert (found.requests, found.accuracy_mean, found.lp_bound_accuracy) == (5, 0.0, 0.0)
    assert yardstick.distance().lp_bound_accuracy == pytest.approx(0.95 * 4 / 5)


def test_profiles_without_energy_leave_it_at_nothing(world: World) -> None:
    free = tuple(
        replace(one, stage_energy_uj=(0.0,) * len(one.stage_energy_uj), load_energy_uj=0.0)
        for one in world.profiles["tiny"]
    )
    found, _, _ = measured(World(world.processors, world.families, {"tiny": free}), Policy("p"), count=100)
    assert found.oracle_energy_j == 0.0
    assert found.lp_bound_accuracy >= found.accuracy_mean


def brute_force(world: World, arrivals: list[Arrival], budget_uj: float) -> float:
    """Return the best mean accuracy of all ways to serve a few requests one at a time with enough time."""
    offers = offers_in(world)
    best = 0.0
    for choice in product(range(-1, len(offers)), repeat=len(arrivals)):
        taken = [place for place in choice if place >= 0]
        if sum(offers.energy_uj[taken]) <= budget_uj:
            best = max(best, float(sum(offers.accuracy_frac[taken])))
    return best / len(arrivals)


def test_limit_of_a_run_holds_against_every_way_to_serve_it() -> None:
    family, core = tiny_family(), Processor("cpu:0", "cpu", (0,), 1)
    profiles = tuple(
        Profile(v.name, core.name, (NS_PER_MS,) * len(v.stages), 0.0, (e,) * len(v.stages), 0, 0.0, 1)
        for v, e in zip(family.variants, (4000.0, 1000.0, 900.0), strict=True)
    )
    world = World((core,), (family,), {"tiny": profiles})
    yardstick = Yardstick(world, Policy("p"), expected_in(world))
    arrivals = [Arrival(number * NS_PER_MS * 9, Request(f"r{number}", "tiny")) for number in range(4)]
    for arrival in arrivals:
        yardstick.lost(arrival)
    for budget_uj in (0.0, 900.0, 2_500.0, 7_000.0, 9_100.0, 16_000.0):
        best = brute_force(world, arrivals, budget_uj)
        limit = yardstick.distance(budget_uj).lp_bound_accuracy
        assert best - 1e-9 <= limit <= best + 0.25
