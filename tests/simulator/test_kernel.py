import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.testing import ClockConformance
from trimtab_sim import Kernel, TimeTravelError


def test_items_come_in_order_of_time_then_priority_then_push() -> None:
    kernel: Kernel[str] = Kernel()
    kernel.push(20, "late")
    kernel.push(10, "second", priority=1)
    kernel.push(10, "third", priority=1)
    kernel.push(10, "first")
    assert list(kernel.run()) == ["first", "second", "third", "late"]
    assert kernel.now_ns() == 20
    assert len(kernel) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 1))))
def test_the_order_is_total_and_stable(keys: list[tuple[int, int]]) -> None:
    kernel: Kernel[tuple[int, int, int]] = Kernel()
    for index, (at_ns, priority) in enumerate(keys):
        kernel.push(at_ns, (at_ns, priority, index), priority)
    assert list(kernel.run()) == sorted((*key, index) for index, key in enumerate(keys))


def test_items_are_never_compared() -> None:
    kernel: Kernel[object] = Kernel()
    items = [object(), object()]
    for item in items:
        kernel.push(1, item)
    assert list(kernel.run()) == items


def test_what_is_pushed_meanwhile_comes_in_its_turn() -> None:
    kernel: Kernel[int] = Kernel(100)
    kernel.push(100, 3)
    seen = []
    for item in kernel.run():
        seen.append((kernel.now_ns(), item))
        if item:
            kernel.push(kernel.now_ns() + 7, item - 1)
    assert seen == [(100, 3), (107, 2), (114, 1), (121, 0)]


def test_run_stops_before_its_end_and_leaves_the_clock_there() -> None:
    kernel: Kernel[str] = Kernel()
    for at_ns in (10, 20, 30):
        kernel.push(at_ns, f"at {at_ns}")
    assert list(kernel.run(until_ns=20)) == ["at 10"]
    assert kernel.now_ns() == 20
    assert kernel.peek() == 20
    assert list(kernel.run(until_ns=31)) == ["at 20", "at 30"]
    assert kernel.peek() is None


def test_nothing_happens_in_the_past() -> None:
    kernel: Kernel[str] = Kernel(50)
    with pytest.raises(TimeTravelError, match="'early' at 49 ns is 1 ns in the past"):
        kernel.push(49, "early")
    with pytest.raises(TimeTravelError):
        list(kernel.run(until_ns=49))
    with pytest.raises(IndexError):
        kernel.step()


def test_it_is_a_clock_like_any_other() -> None:
    ClockConformance(Kernel).check_all()
