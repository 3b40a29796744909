"""ALERT's filter and its choice, against figures worked by hand."""

from math import sqrt

import pytest
from tests.strategies.situations import Asked, entry

from trimtab.core.state import State
from trimtab.strategies import strategy_named
from trimtab.strategies.alert import GAIN, MEAN, NOISE, VARIANCE, Alert, expected_accuracy, observe

SLOW = entry("slow", 50.0, 0.9, 4.0)
FAST = entry("fast", 10.0, 0.7, 1.0)


def test_one_step_of_the_filter() -> None:
    """With y = 0.5; Q = max(0.1, 0.3*0.1 + 0.7*0.25^2) = 0.1; P = 0.5*0.1 + 0.1; K = 0.15/0.151."""
    notes: dict[str, float] = {}
    observe(notes, 1.5)
    assert notes[NOISE] == pytest.approx(0.1)
    assert notes[VARIANCE] == pytest.approx(0.15)
    assert notes[GAIN] == pytest.approx(0.15 / 0.151)
    assert notes[MEAN] == pytest.approx(1.0 + 0.5 * 0.15 / 0.151)


def test_a_large_surprise_raises_the_process_noise() -> None:
    """With y = 4; Q = 0.3*0.1 + 0.7*(0.5*4)^2 = 2.83; P = 0.05 + 2.83."""
    notes: dict[str, float] = {}
    observe(notes, 5.0)
    assert notes[NOISE] == pytest.approx(2.83)
    assert notes[VARIANCE] == pytest.approx(2.88)


def test_the_published_constants_settle_at_the_last_measurement_give_or_take_32_percent() -> None:
    notes: dict[str, float] = {}
    for _ in range(200):
        observe(notes, 1.2)
    assert notes[GAIN] == pytest.approx(0.990, abs=1e-3)
    assert sqrt(notes[VARIANCE]) == pytest.approx(0.318, abs=1e-3)
    observe(notes, 2.0)
    assert notes[MEAN] == pytest.approx(2.0, abs=0.01)


def test_accuracy_by_the_deadline() -> None:
    """100 ms for 50 ms: (2 - 1) / sqrt(0.1) = 3.162 standard deviations: 0.99922 of 0.9."""
    assert expected_accuracy(SLOW, 100_000_000, 1, 1.0, sqrt(0.1)) == pytest.approx(0.9 * 0.99922, abs=1e-5)


def test_the_staircase_of_an_anytime_network() -> None:
    """Exits at 50 and 100 ms, 75 ms left: z = 0.5/sigma and -0.25/sigma with sigma 0.25: 2 and -1."""
    stairs = entry("stairs", (50.0, 100.0), (0.6, 0.8))
    reached = 0.6 * (0.97725 - 0.15866) + 0.8 * 0.15866
    assert expected_accuracy(stairs, 75_000_000, 1, 1.0, 0.25) == pytest.approx(reached, abs=1e-4)


def test_maximises_accuracy_when_nothing_limits_it() -> None:
    assert Asked(Alert(), FAST, SLOW, budget_ms=100).ask() == ("slow@cpu", False)


def test_counts_what_may_be_late_as_worth_less() -> None:
    """60 ms for 50 ms: z = 0.2/0.316: 0.74 of 0.9 = 0.66 is less than the 0.7 of the fast one."""
    assert Asked(Alert(), FAST, SLOW, budget_ms=60).ask() == ("fast@cpu", False)


def test_an_energy_limit_caps_expected_energy() -> None:
    assert Asked(Alert(), FAST, SLOW, limit_j=3.0).ask() == ("fast@cpu", False)
    slower = State(notes={MEAN: 0.5}, processors=Asked(Alert(), FAST).state.processors)
    assert Asked(Alert(), FAST, SLOW, limit_j=3.0, state=slower).ask() == ("slow@cpu", False), "4 J x 0.5"


def test_a_floor_alone_minimises_energy() -> None:
    assert Asked(Alert(), FAST, SLOW, floor=0.6).ask() == ("fast@cpu", False)
    assert Asked(Alert(), FAST, SLOW, floor=0.85).ask() == ("slow@cpu", False)


def test_energy_is_given_up_before_accuracy() -> None:
    assert Asked(Alert(), FAST, SLOW, limit_j=0.5).ask() == ("slow@cpu", False)
    assert Asked(Alert(), FAST, SLOW, floor=0.99).ask() == ("slow@cpu", False)


def test_the_percentile_guarantee_keeps_out_what_is_unsure() -> None:
    """75 ms for 50 ms: z = 0.5/0.316 = 1.58: 94.3 %."""
    ninety = strategy_named("alert:0.9")
    assert Asked(ninety, FAST, SLOW, budget_ms=75).ask() == ("slow@cpu", False)
    assert Asked(strategy_named("alert:0.95"), FAST, SLOW, budget_ms=75).ask() == ("fast@cpu", False)


def test_learns_one_slow_down_for_all() -> None:
    asked = Asked(Alert(), FAST, SLOW)
    for _ in range(5):
        asked.ran(FAST, 3.0)
    assert asked.ask() == ("fast@cpu", False)


def test_wishes_for_what_is_not_in_memory() -> None:
    cold = entry("large", 50.0, 0.95, resident=False, load_ms=500)
    asked = Asked(Alert(), FAST, cold)
    assert asked.ask() == ("fast@cpu", False)
    assert asked.wish() == "large@cpu"


@pytest.mark.parametrize("argument", ["1.0", "-0.1", "sure"])
def test_a_confidence_is_a_probability_below_one(argument: str) -> None:
    with pytest.raises(ValueError, match="expected alert"):
        strategy_named(f"alert:{argument}")
