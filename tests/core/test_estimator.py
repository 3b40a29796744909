"""The slow-down filter against numbers worked out by hand."""

from math import exp, log

import pytest

from trimtab.core.estimator import (
    MAX_VARIANCE,
    energy_factor,
    observe,
    observe_energy,
    slowdown,
    variance_at,
)
from trimtab.core.state import EnergyBias, EnergyRatio, Estimate

S = 1_000_000_000


def test_one_update_by_hand() -> None:
    """K = 0.04 / (0.04 + 0.01) = 0.8; ln 1.1 = 0.0953; noise moves 5 % of the way to r2 (1 - K)."""
    estimate = Estimate()
    observe(estimate, 1000, 1100, 0)
    residual = log(1.1)
    assert estimate.mean == pytest.approx(0.8 * residual)
    assert estimate.variance == pytest.approx(0.2 * 0.04 + 1e-5)
    assert estimate.noise == pytest.approx(0.01 + 0.05 * (residual**2 * 0.2 - 0.01))
    assert slowdown(estimate) == pytest.approx(exp(0.8 * residual))


def test_uncertainty_grows_while_unused_up_to_a_limit() -> None:
    estimate = Estimate(variance=0.04, updated_ns=0)
    assert variance_at(estimate, 10 * S) == pytest.approx(0.04 + 0.01)
    assert variance_at(estimate, -5) == 0.04
    assert variance_at(estimate, 3600 * S) == MAX_VARIANCE


def settled() -> Estimate:
    estimate = Estimate()
    for index in range(200):
        observe(estimate, 1000, 1000 + (20 if index % 2 else -20), index)
    return estimate


def test_an_accident_is_clipped() -> None:
    estimate = settled()
    observe(estimate, 1000, 20_000, 200)
    assert slowdown(estimate) < 1.1
    observe(estimate, 1000, 1000, 201)
    assert estimate.streak == 0


def test_a_streak_is_a_new_regime() -> None:
    estimate = settled()
    for index in range(3):
        observe(estimate, 1000, 3000, 200 + index)
    assert slowdown(estimate) == pytest.approx(3.0, rel=0.1)


def test_accidents_on_both_sides_are_no_streak() -> None:
    estimate = settled()
    for index, measured in enumerate((3000, 300, 3000, 300, 3000)):
        observe(estimate, 1000, measured, 200 + index)
        assert abs(estimate.streak) == 1
    assert 0.8 < slowdown(estimate) < 1.3


def test_energy_is_learned_from_energy() -> None:
    """The first expectation counts for three runs; later a run counts for a twentieth."""
    biases, ratio = dict[str, EnergyBias](), EnergyRatio()
    assert energy_factor(None, ratio) == 1.0
    observe_energy(biases, "a", ratio, 100.0, 200.0)
    assert biases["a"].mean == pytest.approx(log(2.0) / 3)
    biases["a"] = EnergyBias(mean=log(2.0), runs=1000)
    observe_energy(biases, "a", ratio, 100.0, 100.0)
    assert biases["a"].mean == pytest.approx(0.95 * log(2.0))
    observe_energy(biases, "a", ratio, 100.0, 1e9)  # an accident moves it by no more than one step
    assert energy_factor(biases["a"], ratio) == pytest.approx(exp(0.95 * log(2.0) + 0.05))


def test_what_never_ran_is_expected_to_be_as_far_off_as_all_the_rest_by_energy() -> None:
    """A small variant off by 5 and a large one off by 1.5: (50 + 1500) / (10 + 1000), not the mean of both."""
    biases, ratio = dict[str, EnergyBias](), EnergyRatio()
    for _ in range(200):
        observe_energy(biases, "small", ratio, 10.0, 50.0)
        observe_energy(biases, "large", ratio, 1000.0, 1500.0)
    assert energy_factor(None, ratio) == pytest.approx(1550 / 1010, rel=0.01)
    observe_energy(biases, "new", ratio, 100.0, 100.0 * energy_factor(None, ratio))
    assert energy_factor(biases["new"], ratio) == pytest.approx(1550 / 1010, rel=0.05)


@pytest.mark.parametrize(("profile_uj", "measured_uj"), [(0.0, 5.0), (5.0, 0.0)])
def test_nothing_is_learned_from_no_energy(profile_uj: float, measured_uj: float) -> None:
    biases, ratio = dict[str, EnergyBias](), EnergyRatio()
    observe_energy(biases, "a", ratio, profile_uj, measured_uj)
    assert (biases, ratio) == ({}, EnergyRatio())
