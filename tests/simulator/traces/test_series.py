"""What a series and a list of arrivals guarantee."""

from collections.abc import Sequence

import numpy as np
import pytest

from trimtab_sim.traces import ArrivalTrace, Labels, Series

NAN = float("nan")


def series(**columns: Sequence[float]) -> Series:
    return Series("s", np.array([0, 10, 20, 40]), {name: np.array(v) for name, v in columns.items()})


def test_a_value_holds_until_the_next_known_one() -> None:
    found = series(voltage_mv=[NAN, 4000.0, NAN, 3900.0])
    assert np.isnan(found.at("voltage_mv", 9))
    assert [found.at("voltage_mv", now) for now in (10, 39, 40, 99)] == [4000, 4000, 3900, 3900]
    sampled = found.sampled("voltage_mv", np.array([0, 15, 40]))
    assert np.isnan(sampled[0])
    assert sampled[1:].tolist() == [4000, 3900]
    assert np.isnan(found.at("current_ma", 10))
    assert np.isnan(found.sampled("current_ma", np.array([1, 2]))).all()


def test_a_window_takes_rows_by_time() -> None:
    found = series(screen_on=[0, 1, 0, 1]).window(10, 40)
    assert found.at_ns.tolist() == [10, 20]
    assert found.columns["screen_on"].tolist() == [1, 0]
    labels = {"task": Labels(("a", "b"), np.array([0, 1, 0], np.int32))}
    arrivals = ArrivalTrace("a", np.array([5, 5, 9]), {"priority": np.array([1.0, 2, 3])}, labels).window(
        5, 6
    )
    assert (arrivals.columns["priority"].tolist(), [*arrivals.labels["task"]]) == ([1, 2], ["a", "b"])


def test_nothing_in_it_can_be_changed() -> None:
    given = np.array([0, 1])
    found = Series("s", given, {"screen_on": np.array([0.0, 1.0])})
    given[1] = 7
    assert found.at_ns[1] == 1
    with pytest.raises(ValueError, match="read-only"):
        found.at_ns[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        found.columns["screen_on"][0] = 1


@pytest.mark.parametrize("times", [[0, 0], [1, 0], [[0], [1]]])
def test_time_must_go_forward(times: list[int]) -> None:
    with pytest.raises(ValueError, match="in order"):
        Series("s", np.array(times), {})


def test_arrivals_may_come_together_but_not_backwards() -> None:
    assert len(ArrivalTrace("a", np.array([3, 3]))) == 2
    with pytest.raises(ValueError, match="in order"):
        ArrivalTrace("a", np.array([3, 2]))


def test_columns_must_be_known_and_fit() -> None:
    with pytest.raises(ValueError, match="volts: no such column"):
        series(volts=[1, 2, 3, 4])
    with pytest.raises(ValueError, match=r"voltage_mv: \(1,\) values for 4 times"):
        series(voltage_mv=[1])
    with pytest.raises(ValueError, match="colour"):
        ArrivalTrace("a", np.array([1]), labels={"colour": Labels(("x",), np.zeros(1, np.int32))})
    assert series(**{"energy_raw.GPU": [1, 2, 3, 4]}).columns["energy_raw.GPU"][3] == 4
