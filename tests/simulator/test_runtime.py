from dataclasses import replace
from statistics import median, stdev

import pytest

from trimtab.domain.decision import Decision, Outcome, Result
from trimtab.domain.quantities import NS_PER_MS
from trimtab.domain.request import Request
from trimtab.ports import RuntimeFailure
from trimtab_sim import Arrival, ModelledRuntime, World
from trimtab_sim.runtime import Run, difficulties, difficulty


def decided(variant: str, exit_rule: str = "full") -> Decision:
    return Decision(
        "r1", "tiny", variant, "cpu:0", exit_rule, 0.0, 0.9, 1.0, 0, 0, 1, 1.0, 1, 1, 0.0, (), "p", ()
    )


def make(world: World, seed: int = 1) -> ModelledRuntime:
    return ModelledRuntime(world.families, world.profiles, seed, lambda name, ns: 1.0 if ns < 100 else 2.0)


def run_of(
    world: World, decision: Decision, request_id: str = "r1", *, stage: int = 0, batch: int = 1
) -> Run:
    return Run(Arrival(0, Request(request_id, "tiny", batch=batch)), decision, world.processors[0], stage)


def test_latency_scatters_around_the_profile_with_contention_and_batch(world: World) -> None:
    runtime, names = make(world), [f"r{number}" for number in range(2000)]
    times = [runtime.run(run_of(world, decided("large"), name), now_ns=0).run_ns for name in names]
    assert median(times) == pytest.approx(3 * NS_PER_MS, rel=0.02)
    assert stdev(times) == pytest.approx(0.1 * 3 * NS_PER_MS, rel=0.1)
    slowed = [runtime.run(run_of(world, decided("large"), name, batch=3), now_ns=100) for name in names]
    assert median(ran.run_ns for ran in slowed) == pytest.approx(18 * NS_PER_MS, rel=0.02)
    assert median(ran.energy_uj for ran in slowed) == pytest.approx(6 * 6000.0, rel=0.02)


def test_requests_leave_in_the_shares_of_the_rule(world: World) -> None:
    runtime, decision = make(world), decided("staged", "eager")
    count = 4000
    runs = [run_of(world, decision, f"r{number}") for number in range(count)]
    confidences = [runtime.run(run, 0).confidence for run in runs]
    assert sum(c >= 0.5 for c in confidences) / count == pytest.approx(0.8, abs=0.02)
    last = [runtime.run(run_of(world, decision, f"r{number}", stage=1), 0) for number in range(100)]
    assert all(one.confidence >= 0.5 for one in last), "who reaches the end leaves there"
    stays = decided("staged", "full")
    assert all(runtime.run(run_of(world, stays, f"r{n}"), 0).confidence < 1.0 for n in range(100))


def test_a_request_has_the_same_luck_whatever_ran_before_and_on_every_variant(world: World) -> None:
    """Profiles of equal spread are off by the same factor."""
    one, other = make(world), make(world)
    names = [f"r{number}" for number in range(200)]
    large = {name: one.run(run_of(world, decided("large"), name), 0).run_ns for name in names}
    other.load("tiny", "small", world.processors[0], 0)
    for name in reversed(names):
        small_ns = other.run(run_of(world, decided("small"), name), 0).run_ns
        other.run(run_of(world, decided("staged"), name), 0)
        assert other.run(run_of(world, decided("large"), name), 0).run_ns == large[name]
        luck = large[name] / usual_ns(world, "large")
        assert small_ns / usual_ns(world, "small") == pytest.approx(luck, rel=1e-5)


def usual_ns(world: World, variant: str) -> int:
    where = world.processors[0].name
    (profile,) = (p for p in world.profiles["tiny"] if (p.variant, p.processor) == (variant, where))
    assert profile.latency_spread == 0.1
    return profile.stage_latency_ns[0]


def test_the_luck_of_a_load_depends_on_how_often_it_was_loaded(world: World) -> None:
    one, other = make(world), make(world)
    place = world.processors[0]
    first, second = (one.load("tiny", "large", place, 0) for _ in range(2))
    assert first != second
    other.run(run_of(world, decided("large")), 0)
    other.load("tiny", "small", place, 0)
    assert [other.load("tiny", "large", place, 0) for _ in range(2)] == [first, second]


def test_accuracy_is_that_of_where_the_sample_left(world: World) -> None:
    runtime, count = make(world), 4000

    def accuracy(result: Result, exit_rule: str) -> float:
        judged = [
            runtime.judge(Arrival(0, Request("r1", "tiny"), sample), decided("staged", exit_rule), result)
            for sample in range(count)
        ]
        return sum(bool(one) for one in judged) / count

    cut_short = Result("r1", Outcome.DONE, exit_index=0, confidence=0.2)
    assert accuracy(cut_short, "eager") == pytest.approx(0.80, abs=0.02)
    assert accuracy(replace(cut_short, confidence=0.6), "eager") == pytest.approx(0.84, abs=0.02)
    assert accuracy(replace(cut_short, exit_index=1), "full") == pytest.approx(0.90, abs=0.02)
    assert runtime.judge(Arrival(0, Request("r1", "tiny")), None, Result("r1", Outcome.REJECTED)) is None


def test_the_same_seed_gives_the_same_run(world: World) -> None:
    one, same, other = (
        [runtime.run(run_of(world, decided("large"), f"r{number}"), 0) for number in range(5)]
        for runtime in (make(world), make(world), make(world, seed=2))
    )
    assert one == same
    assert one != other
    assert difficulty(1, 5) == difficulty(1, 5) != difficulty(2, 5)


def test_what_has_no_profile_fails(world: World) -> None:
    with pytest.raises(RuntimeFailure, match="no profile of tiny/nobody on cpu:0"):
        make(world).load("tiny", "nobody", world.processors[0], 0)


def test_difficulties_of_a_block_are_those_of_its_samples() -> None:
    for seed, first in ((0, 0), (3, 7), (2**40 + 1, 10**6)):
        assert difficulties(seed, first, 50) == [difficulty(seed, first + index) for index in range(50)]


def test_samples_are_as_hard_in_whatever_order_they_come(world: World) -> None:
    done = Result("r1", Outcome.DONE, exit_index=0, confidence=1.0)
    order = [5, 6, 1029, 1028, 3, 0, 10**9, 6, *range(7, 3000, 97)]
    accuracy = world.families[0].variant("small").accuracy_frac
    runtime = make(world, seed=9)
    for sample in order:
        arrival = Arrival(0, Request("r1", "tiny"), sample)
        assert runtime.judge(arrival, decided("small"), done) == (difficulty(9, sample) < accuracy)
