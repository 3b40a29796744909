"""The per-request oracle, offers, and which lateness was avoidable."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.domain.decision import Cause, Outcome, Result
from trimtab.domain.policy import Filter, Policy, Settings
from trimtab.domain.processor import Processor
from trimtab.domain.request import Request
from trimtab_sim import Arrival, ModelledRuntime, SimulatedDriver, World
from trimtab_sim.late import Backlog, Job, Lateness, Suspect, is_late
from trimtab_sim.offers import Offers, offers_of
from trimtab_sim.oracle import Chunk, Oracle, least_energy, most_accurate

# ---- one request at a time -------------------------------------------------------------------------------


def test_accuracy_oracle_takes_the_best_in_time_under_the_cap() -> None:
    chunk = Chunk.of(
        [0.9, 0.8, 0.8, 0.6],
        [[30.0, 10.0, 12.0, 1.0]] * 4,
        [[9.0, 5.0, 4.0, 1.0]] * 4,
        [40.0, 20.0, 40.0, 0.5],
        cap_uj=[inf, inf, 4.5, inf],
    )
    found = most_accurate(chunk)
    assert found.offer.tolist() == [0, 2, 2, -1]
    assert found.accuracy_frac.tolist() == [0.9, 0.8, 0.8, 0.0]
    assert found.energy_uj.tolist() == [9.0, 4.0, 4.0, 0.0]
    assert found.unservable == 1
    assert not found.given_up.any()


def test_cap_is_given_up_before_the_deadline() -> None:
    found = most_accurate(Chunk.of([0.9, 0.6], [[9.0, 99.0]], [[5.0, 1.0]], [10.0], cap_uj=2.0))
    assert (found.offer[0], bool(found.given_up[0])) == (0, True)


def test_energy_oracle_takes_the_cheapest_from_the_floor_up() -> None:
    chunk = Chunk.of(
        [0.9, 0.8, 0.6],
        [[30.0, 10.0, 1.0]] * 4,
        [[9.0, 5.0, 1.0]] * 4,
        [40.0, 40.0, 20.0, 40.0],
        floor_frac=[0.0, 0.7, 0.85, 0.95],
    )
    found = least_energy(chunk)
    assert found.offer.tolist() == [2, 1, 1, 0]
    assert found.given_up.tolist() == [False, False, True, True]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 50), st.floats(0, 9)), min_size=1, max_size=5),
    st.floats(0, 50),
    st.floats(0, 1),
    st.one_of(st.just(inf), st.floats(0, 9)),
)
def test_oracles_agree_with_looking_at_every_offer(
    offers: list[tuple[float, float, float]], budget: float, floor: float, cap: float
) -> None:
    accuracy, latency, energy = zip(*offers, strict=True)
    chunk = Chunk.of(accuracy, [latency], [energy], [budget], floor_frac=floor, cap_uj=cap)
    in_time = [offer for offer in offers if offer[1] <= budget]
    capped = [offer for offer in in_time if offer[2] <= cap] or in_time
    best = max(capped, key=lambda offer: (offer[0], -offer[2]), default=(0.0, 0.0, 0.0))
    found = most_accurate(chunk)
    assert (found.accuracy_frac[0], found.energy_uj[0]) == (best[0], best[2])
    reachable = min(floor, max((offer[0] for offer in in_time), default=0.0))
    enough = [offer for offer in in_time if offer[0] >= reachable]
    cheapest = min(enough, key=lambda offer: (offer[2], -offer[0]), default=(0.0, 0.0, 0.0))
    chosen = least_energy(chunk)
    assert (chosen.accuracy_frac[0], chosen.energy_uj[0]) == (cheapest[0], cheapest[2])


def test_chunks_add_up() -> None:
    rng = np.random.default_rng(5)
    latency, energy, budget = rng.random((40, 6)), rng.random((40, 6)), rng.random(40)
    whole, parts = Oracle(), Oracle()
    whole.add(Chunk.of(np.linspace(0.5, 0.9, 6), latency, energy, budget, floor_frac=0.7, cap_uj=0.6))
    for rows in np.array_split(np.arange(40), 7):
        chunk = Chunk.of(
            np.linspace(0.5, 0.9, 6), latency[rows], energy[rows], budget[rows], floor_frac=0.7, cap_uj=0.6
        )
        parts.add(chunk)
    assert (whole.requests, whole.unservable) == (parts.requests, parts.unservable)
    assert whole.cap_given_up == parts.cap_given_up > 0
    assert whole.floor_given_up == parts.floor_given_up > 0
    assert whole.oracle_accuracy == pytest.approx(parts.oracle_accuracy)
    assert whole.oracle_energy_j == pytest.approx(parts.oracle_energy_j)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0.5, 0.6], [[1.0]], [[1.0]], [1.0]), "do not fit"),
        (([0.5], [[1.0]], [[1.0]], [1.0, 2.0]), "do not fit"),
        (([0.5], [[-1.0]], [[1.0]], [1.0]), "latency_ns"),
        (([0.5], [[1.0]], [[float("nan")]], [1.0]), "energy_uj"),
    ],
)
def test_chunk_that_makes_no_sense_is_refused(columns: tuple[list[float], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Chunk.of(*columns)


# ---- offers ----------------------------------------------------------------------------------------------


def offers_in(world: World) -> Offers:
    return offers_of(world.families, world.profiles["tiny"], world.processors)


def test_every_exit_is_an_offer(world: World) -> None:
    offers = offers_in(world)
    names = [
        (one.variant, one.exit_rule, cut) for one, cut in zip(offers.candidates, offers.exits, strict=True)
    ]
    one_processor = names[:2] + [name for name in names if name[0] == "staged"][:4]
    assert one_processor == [
        ("large", "full", 0),
        ("large", "full", 0),
        ("staged", "eager", 0),
        ("staged", "eager", 1),
        ("staged", "full", 0),
        ("staged", "full", 1),
    ]
    eager = names.index(("staged", "eager", 0))
    stage_uj = 1600.0
    # 0.8 leave by themselves and are as right as the rule (0.84), the rest is answered at 0.80.
    assert offers.accuracy_frac[eager : eager + 2].tolist() == pytest.approx([0.8 * 0.84 + 0.2 * 0.80, 0.84])
    assert offers.energy_uj[eager : eager + 2].tolist() == pytest.approx([stage_uj, 1.2 * stage_uj])
    assert offers.latency_ns[eager : eager + 2].tolist() == [800_000, 1_600_000]


def test_no_slowdown_makes_a_beaten_offer_the_best(world: World) -> None:
    every, best = offers_in(world), offers_in(world).undominated()
    assert 0 < len(best) < len(every)
    rng = np.random.default_rng(2)
    for _ in range(200):
        slow, budget_ns, cap_uj = (
            rng.lognormal(0, 1, len(world.processors)),
            rng.uniform(1e5, 1e7),
            rng.uniform(1e2, 2e4),
        )

        def choice(offers: Offers, slow=slow, budget_ns=budget_ns, cap_uj=cap_uj) -> tuple[float, float]:  # type: ignore[no-untyped-def]
            factor = slow[offers.processor]
            chunk = Chunk.of(
                offers.accuracy_frac,
                [offers.latency_ns * factor],
                [offers.energy_uj * factor],
                [budget_ns],
                cap_uj=cap_uj,
            )
            found = most_accurate(chunk)
            return float(found.accuracy_frac[0]), float(found.energy_uj[0])

        assert choice(every) == choice(best)


# ---- late ------------------------------------------------------------------------------------------------

CORES = tuple(Processor(f"cpu:{core}", "cpu", (core,), 1) for core in (0, 1))
GANG = Processor("cpu:0-1", "cpu", (0, 1), 2)


def test_wait_is_what_was_ahead() -> None:
    backlog = Backlog((*CORES, GANG))
    running, urgent, lax = Job(0, 900), Job(1, 400), Job(2, 2_000)
    backlog.ran(running, "cpu:0", 0, 150)
    backlog.ran(urgent, "cpu:0", 150, 100)
    backlog.ran(running, "cpu:0", 250, 30)
    backlog.ran(lax, "cpu:1", 300, 500)
    later = Job(4, 10)
    backlog.ran(later, "cpu:1", 130, 60)
    late = Job(3, 1_000)
    # Of what was decided before it: 50 left of the run in progress, 100 of one more urgent, the second stage of
    # the first. The lax one goes behind it, and what came later does not count.
    assert backlog.waits_ns(late, 100).tolist() == [180.0, 0.0, 180.0]
    urgent.priority, late.priority = 2, 1
    assert backlog.waits_ns(late, 100).tolist() == [80.0, 0.0, 80.0]
    running.last = True
    assert backlog.waits_ns(late, 100).tolist() == [80.0, 0.0, 80.0]
    backlog.forget(151)
    assert len(backlog) == 4


def suspect_of(offers: Offers, **changed: object) -> Suspect:
    ones = np.ones(len(offers))
    usual = Suspect(
        job=Job(5, 10_000_000),
        then_ns=5_000_000,
        task="tiny",
        offers=offers,
        latency_ns=offers.latency_ns,
        energy_uj=offers.energy_uj,
        slowdown=ones,
        floor_frac=0.0,
        cap_uj=inf,
        settings=Settings(),
        chosen=None,
    )
    return replace(usual, **changed)  # type: ignore[arg-type]


def avoidable(world: World, suspect: Suspect, loaded: bool = True, busy_ns: int = 0) -> bool:
    lateness = Lateness(world.processors)
    for processor in world.processors:
        if loaded:
            for variant in ("large", "small", "staged"):
                lateness.loads("tiny", variant, processor.pool, 0)
        if busy_ns and len(processor.cores) == 1:
            lateness.backlog.ran(Job(0, 1), processor.name, 4_000_000, 1_000_000 + busy_ns)
    lateness.suspect(suspect)
    lateness.judge(suspect.job.deadline_ns, 0)
    assert lateness.avoidable == 0, "not before its deadline has passed"
    lateness.judge(suspect.job.deadline_ns + 1, 0)
    assert lateness.late == 1
    return lateness.avoidable == 1


def test_late_request_is_avoidable_when_another_candidate_was_in_time(world: World) -> None:
    offers = offers_in(world)
    usual = suspect_of(offers)
    assert avoidable(world, usual)
    assert not avoidable(world, replace(usual, latency_ns=offers.latency_ns * 100))
    assert not avoidable(world, replace(usual, floor_frac=0.96))
    assert not avoidable(world, replace(usual, cap_uj=1.0))
    assert not avoidable(world, replace(usual, settings=Settings(processors=Filter(deny=("*",)))))
    assert not avoidable(world, replace(usual, settings=Settings(variants=Filter(allow=("none",)))))
    assert avoidable(world, replace(usual, settings=Settings(variants=Filter(allow=("small",)))))
    # 4 ms to load and at least 0.2 ms to run, in 5 ms; three times as slow it is not in time any more.
    assert avoidable(world, usual, loaded=False)
    assert not avoidable(world, replace(usual, slowdown=np.full(len(offers), 3.0)), loaded=False)
    assert avoidable(world, usual, busy_ns=4_000_000)
    assert not avoidable(world, usual, busy_ns=4_900_000)


def test_variant_that_had_left_memory_counts_with_its_load_and_only_if_there_was_room(world: World) -> None:
    """It takes 4 ms to load and 0.2 ms to run, of the 5 ms that the request had left at 1 ms."""
    usual = suspect_of(offers_in(world))
    slow = replace(usual, slowdown=np.full(len(usual.offers), 3.0))
    for left_ns, found in ((usual.then_ns + 1, True), (usual.then_ns, False)):
        lateness = Lateness(world.processors)
        for processor in world.processors:
            for variant in ("large", "small", "staged"):
                lateness.loads("tiny", variant, processor.pool, 0)
                lateness.leaves("tiny", variant, processor.pool, left_ns)
        lateness.suspect(slow)
        lateness.judge_all()
        assert (lateness.avoidable == 1) is found
    assert avoidable(world, usual, loaded=False)
    assert not avoidable(world, replace(usual, spare_bytes=0.0), loaded=False)
    assert avoidable(world, replace(usual, spare_bytes=0.0))


def test_only_other_candidates_count(world: World) -> None:
    offers = offers_in(world)
    report = SimulatedDriver(world, Policy("p"), ModelledRuntime(world.families, world.profiles))
    chosen = report.run([Arrival(2 * 10**9, Request("r", "tiny"))]).decisions[0][1]
    alone = offers.chosen(
        np.array(
            [
                (one.variant, one.processor, one.exit_rule)
                == (chosen.variant, chosen.processor, chosen.exit_rule)
                for one in offers.candidates
            ]
        )
    )
    assert len(alone) == 1
    assert avoidable(world, suspect_of(alone))
    assert not avoidable(world, suspect_of(alone, chosen=chosen))
    # The chosen one lies below the floor, so another one that does not reach it either would do.
    weak = replace(chosen, variant="small", exit_rule="full")
    assert avoidable(world, suspect_of(offers, floor_frac=0.99, chosen=weak))
    assert not avoidable(world, suspect_of(offers, floor_frac=0.99))


@pytest.mark.parametrize(
    ("outcome", "cause", "on_time", "late"),
    [
        (Outcome.DONE, Cause.NONE, True, False),
        (Outcome.DONE, Cause.NONE, False, True),
        (Outcome.EXPIRED, Cause.DEADLINE, False, True),
        (Outcome.REJECTED, Cause.OVERLOAD, False, True),
        (Outcome.REJECTED, Cause.GOALS, False, True),
        (Outcome.REJECTED, Cause.RESERVE, False, False),
        (Outcome.REJECTED, Cause.UNKNOWN_TASK, False, False),
        (Outcome.FAILED, Cause.VARIANT, False, False),
        (Outcome.CANCELLED, Cause.CALLER, False, False),
    ],
)
def test_what_counts_as_late(outcome: Outcome, cause: Cause, on_time: bool, late: bool) -> None:
    assert is_late(Result("r", outcome, cause, on_time=on_time)) is late
