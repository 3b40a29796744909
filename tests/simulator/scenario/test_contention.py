from trimtab.domain.policy import Filter
from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.scenario.contention import contention
from trimtab_sim.scenario.model import Slowdown

EVERYTHING = Filter()


def test_steps_hold_until_the_next_and_entries_multiply() -> None:
    slow = contention(
        (
            Slowdown(Filter(("cpu:*",)), ((10, 2.0), (20, 1.0))),
            Slowdown(EVERYTHING, ((15, 3.0),)),
        ),
        ("cpu:0", "gpu"),
        seed=1,
        start_ns=100,
    )
    assert [slow("cpu:0", 100 + at) for at in (0, 9, 10, 15, 20)] == [1.0, 1.0, 2.0, 6.0, 3.0]
    assert [slow("gpu", 100 + at) for at in (0, 10, 15)] == [1.0, 1.0, 3.0]


def spells(seed: int, name: str = "cpu:0") -> list[float]:
    process = Slowdown(EVERYTHING, ((0, 1.5),), True, on_ns=NS_PER_S, off_ns=3 * NS_PER_S)
    slow = contention((process,), ("cpu:0", "cpu:1"), seed, start_ns=0)
    return [slow(name, at * NS_PER_S // 10) for at in range(40_000)]


def test_switching_is_on_for_its_share_of_the_time() -> None:
    found = spells(seed=4)
    assert set(found) == {1.0, 1.5}
    assert found[0] == 1.0
    assert abs(found.count(1.5) / len(found) - 0.25) < 0.03


def test_switching_depends_on_seed_and_processor_alone() -> None:
    assert spells(seed=4) == spells(seed=4)
    assert spells(seed=4) != spells(seed=5)
    assert spells(seed=4) != spells(seed=4, name="cpu:1")


def test_moments_may_be_asked_in_any_order() -> None:
    process = Slowdown(EVERYTHING, ((0, 2.0),), True, on_ns=NS_PER_S, off_ns=NS_PER_S)
    one, other = (contention((process,), ("p",), 7, start_ns=0) for _ in range(2))
    times = [at * NS_PER_S // 3 for at in range(300)]
    assert [one("p", at) for at in times] == [other("p", at) for at in reversed(times)][::-1]


def test_shared_spells_are_the_same_on_all_processors() -> None:
    process = Slowdown(EVERYTHING, ((0, 1.5),), True, NS_PER_S, NS_PER_S, shared=True)
    slow = contention((process,), ("cpu:0", "gpu"), 3, start_ns=0)
    one = [slow("cpu:0", at * NS_PER_S // 10) for at in range(400)]
    assert set(one) == {1.0, 1.5}
    assert one == [slow("gpu", at * NS_PER_S // 10) for at in range(400)]


def test_jitter_exceeds_its_scale_as_often_as_a_lomax_tail_does() -> None:
    """With shape 2 one run in a hundred exceeds 9 scales and one in ten 2.16 scales, on every processor alike."""
    tail = Slowdown(EVERYTHING, ((0, 1.0),), jitter=(0.01, 2.0))
    slow = contention((tail,), ("cpu:0", "gpu"), 3, start_ns=0)
    found = [slow("cpu:0", at * 1000) for at in range(40_000)]
    assert found == [slow("gpu", at * 1000) for at in range(40_000)]
    assert min(found) >= 1.0
    assert abs(sum(one > 1.09 for one in found) / 40_000 - 0.01) < 0.002
    assert abs(sum(one > 1.02162 for one in found) / 40_000 - 0.1) < 0.006
