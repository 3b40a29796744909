"""The filter of slow-down and energy against numbers worked out by hand, and against times that change."""

from math import exp, isfinite, log, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.core.estimator import (
    JUMP,
    MAX_VARIANCE,
    QUIET,
    SETTLED,
    energy_factor,
    observe,
    observe_energy,
    own_noise,
    slowdown,
    variance_at,
)
from trimtab.core.state import Bias, EnergyBias, EnergyRatio, Estimate

S = 1_000_000_000
SURE = 0.0
"""Variance of a bias that learns nothing."""


def test_one_update_by_hand() -> None:
    """P = 0.04 + 5 % of R = 0.0405; K = 0.0405 / (0.0405 + 0.01 + 0.0095) = 0.675, the bias has 0.0095 / 0.06."""
    estimate, bias = Estimate(), Bias(variance=0.0095)
    assert observe(estimate, bias, 0.12, 0) == QUIET
    assert estimate.mean == pytest.approx(0.675 * 0.12)
    assert estimate.variance == pytest.approx(0.325 * 0.0405)
    assert bias.mean == pytest.approx(0.0095 / 0.06 * 0.12)
    assert bias.variance == pytest.approx((1 - 0.0095 / 0.06) * 0.0095)
    surprise = 0.12**2 * 0.325 * (1 - 0.0095 / 0.06)
    assert estimate.noise == pytest.approx(0.01 + (surprise - 0.01) / 6)
    assert slowdown(estimate) == pytest.approx(exp(0.675 * 0.12))


def test_uncertainty_grows_while_unused_up_to_a_limit() -> None:
    estimate = Estimate(variance=0.04)
    assert variance_at(estimate, 10 * S) == pytest.approx(0.04 + 0.003)
    assert variance_at(estimate, -5) == 0.04
    assert variance_at(estimate, 3600 * S) == MAX_VARIANCE


def test_the_spread_of_profiles_counts_until_runs_have_told_the_noise() -> None:
    """Half of it is left after five runs; a profile that tells less than the noise adds nothing."""
    quiet, bias = Estimate(noise=0.0001, observations=5), Bias(variance=0.0004)
    assert own_noise(quiet, bias, 0.1) == pytest.approx(0.0004 + 0.5 * (0.01 - 0.0001))
    assert own_noise(quiet, bias, 0.001) == pytest.approx(0.0004)
    quiet.observations = 100
    assert own_noise(quiet, bias, 0.1) == pytest.approx(0.0004, rel=0.01)


def settled(spread: float = 0.02, runs: int = 200, level: float = 0.0) -> tuple[Estimate, Bias]:
    """Return a filter that has seen runs of a constant level, every other one above and below."""
    estimate, bias = Estimate(), Bias(variance=SURE)
    for index in range(runs):
        observe(estimate, bias, level + (spread if index % 2 else -spread), index)
    return estimate, bias


def test_noise_is_learned_whatever_it_is() -> None:
    """Runs that vary by 2 % leave a noise of 2 %, those that vary by a tenth of that less than a hundredth of it."""
    assert sqrt(settled(0.02)[0].noise) == pytest.approx(0.02, rel=0.15)
    assert sqrt(settled(0.002)[0].noise) == pytest.approx(0.002, rel=0.15)


def test_an_accident_is_believed_half_and_forgotten_with_the_next_run() -> None:
    estimate, bias = settled()
    before = estimate.mean
    assert observe(estimate, bias, log(20.0), 200) == JUMP
    assert estimate.mean == pytest.approx(before + 0.5 * (log(20.0) - before), rel=1e-3)
    assert observe(estimate, bias, 0.02, 201) == SETTLED
    assert estimate.mean == pytest.approx(0.0, abs=0.03)
    assert estimate.change_odds == pytest.approx(0.45)


def test_a_new_regime_is_followed_from_the_second_run() -> None:
    estimate, bias = settled()
    observe(estimate, bias, log(3.0), 200)
    assert observe(estimate, bias, log(3.0), 201) == SETTLED
    assert slowdown(estimate) == pytest.approx(3.0, rel=0.05)
    assert estimate.change_odds == pytest.approx(0.55)


def test_the_regime_before_is_returned_to_at_once() -> None:
    """Contention that comes and goes has two levels; each is known once it was there."""
    estimate, bias = settled()
    for index in range(50):
        observe(estimate, bias, log(1.8) + (0.02 if index % 2 else -0.02), 200 + index)
    assert observe(estimate, bias, 0.01, 300) == JUMP
    assert slowdown(estimate) == pytest.approx(1.0, rel=0.03)
    assert observe(estimate, bias, log(1.8), 301) == JUMP
    assert slowdown(estimate) == pytest.approx(1.8, rel=0.03)


def test_where_all_were_accidents_the_next_one_is_hardly_believed() -> None:
    estimate, bias = settled()
    for index in range(400):
        observe(estimate, bias, log(2.0) if index % 20 == 0 else 0.02 * (-1) ** index, 1000 + index)
    observe(estimate, bias, log(2.0), 2000)
    assert slowdown(estimate) < 1.15


def test_a_level_on_its_way_is_followed() -> None:
    """A chip that heats up: each run takes 3 % longer than the last, which is no outlier by itself."""
    estimate, bias = settled()
    for index in range(20):
        observe(estimate, bias, 0.03 * index, 200 + index)
        assert abs(estimate.mean - 0.03 * index) < 0.1


def test_what_a_profile_got_wrong_is_learned_of_each_candidate_and_shrunk_to_zero() -> None:
    """One candidate takes a tenth longer than profiled, three do not; the level is what they have in common."""
    estimate, biases, rng = Estimate(), [Bias() for _ in range(4)], Random(3)
    for index in range(400):
        which = index % 4
        observe(estimate, biases[which], rng.gauss(0.1 if which == 0 else 0.0, 0.01), index)
    off = [bias.mean for bias in biases]
    assert off[0] - off[1] == pytest.approx(0.1, abs=0.02)
    assert estimate.mean + off[1] == pytest.approx(0.0, abs=0.02)
    assert max(abs(one) for one in off) < 0.1


RATIOS = st.floats(-7.0, 7.0)


@given(st.lists(st.tuples(RATIOS, st.integers(0, 10**12)), max_size=60))
def test_whatever_runs_take_the_filter_stays_sane(runs: list[tuple[float, int]]) -> None:
    """Means lie within what was seen, variances and noise stay positive and finite, odds within their limits."""
    estimate, bias, now_ns = Estimate(), Bias(), 0
    for ratio, later_ns in runs:
        now_ns += later_ns
        observe(estimate, bias, ratio, now_ns)
        assert 0.0 < estimate.noise < 100.0
        assert 0.0 < variance_at(estimate, now_ns) <= MAX_VARIANCE
        assert 0.0 < bias.variance <= 1.0
        assert 0.1 <= estimate.change_odds <= 0.9
        assert isfinite(estimate.mean + bias.mean)
    bound = max([abs(ratio) for ratio, _ in runs], default=0.0)
    assert abs(estimate.mean) <= 2 * bound + 1e-9


@given(st.integers(0, 10**6), st.floats(0.003, 0.1), st.floats(-2.0, 2.0))
def test_a_constant_level_is_found_whatever_it_is(seed: int, spread: float, level: float) -> None:
    estimate, bias, rng = Estimate(), Bias(), Random(seed)
    for index in range(150):
        observe(estimate, bias, rng.gauss(level, spread), index)
    assert abs(estimate.mean + bias.mean - level) < 3 * spread
    assert spread / 2.5 < sqrt(estimate.noise) < 2.5 * spread


@given(st.integers(0, 10**6), st.floats(1.3, 4.0))
def test_a_switch_costs_two_runs(seed: int, factor: float) -> None:
    """From the second run of a new regime on, the level is right within a tenth."""
    estimate, bias, rng = Estimate(), Bias(), Random(seed)
    for index in range(150):
        observe(estimate, bias, rng.gauss(0.0, 0.01), index)
    for index in range(2):
        observe(estimate, bias, rng.gauss(log(factor), 0.01), 150 + index)
    assert abs(estimate.mean + bias.mean - log(factor)) < 0.1


def learn(
    estimate: Estimate,
    biases: dict[str, EnergyBias],
    key: str,
    ratio: EnergyRatio,
    costs: tuple[float, float],
) -> int:
    return observe_energy(estimate, biases, key, ratio, costs, 0)


def test_energy_is_learned_from_energy() -> None:
    """The first run says most of what its variant's profile got wrong; an accident moves it by one step at most."""
    estimate, biases, ratio = Estimate(variance=0.0025, noise=0.0025), dict[str, EnergyBias](), EnergyRatio()
    assert energy_factor(None, ratio) == 1.0
    learn(estimate, biases, "a", ratio, (100.0, 200.0))
    whole = 0.25 + 0.0025 * 1.05 + 0.0025
    assert biases["a"].mean == pytest.approx(0.25 / whole * log(2.0))
    assert estimate.mean == pytest.approx(0.0025 * 1.05 / whole * log(2.0))
    before = biases["a"].mean + estimate.mean
    learn(estimate, biases, "a", ratio, (100.0, 1e9))
    assert biases["a"].mean + estimate.mean <= before + 1.0


def test_what_never_ran_is_expected_to_be_as_far_off_as_all_the_rest_by_energy() -> None:
    """A small variant off by 5 and a large one off by 1.5: (50 + 1500) / (10 + 1000), not the mean of both."""
    estimate, biases, ratio = Estimate(variance=0.0025), dict[str, EnergyBias](), EnergyRatio()
    for _ in range(200):
        learn(estimate, biases, "small", ratio, (10.0, 50.0))
        learn(estimate, biases, "large", ratio, (1000.0, 1500.0))
    usual = slowdown(estimate)
    assert usual * energy_factor(None, ratio) == pytest.approx(1550 / 1010, rel=0.03)
    assert usual * energy_factor(biases["small"], ratio) == pytest.approx(5.0, rel=0.03)
    assert usual * energy_factor(biases["large"], ratio) == pytest.approx(1.5, rel=0.03)


def test_energy_follows_its_processor_and_not_only_its_variant() -> None:
    """After a leap that one variant met twice, another one that has not run since is expected to take more too."""
    estimate, biases, ratio = Estimate(variance=0.0025), dict[str, EnergyBias](), EnergyRatio()
    for index in range(100):
        wobble = 1.01 if index % 4 < 2 else 0.99
        learn(estimate, biases, "ab"[index % 2], ratio, (100.0, 100.0 * wobble))
    for _ in range(2):
        learn(estimate, biases, "a", ratio, (100.0, 180.0))
    assert slowdown(estimate) * energy_factor(biases["b"], ratio) == pytest.approx(1.8, rel=0.05)


@pytest.mark.parametrize("costs", [(0.0, 5.0), (5.0, 0.0)])
def test_nothing_is_learned_from_no_energy(costs: tuple[float, float]) -> None:
    estimate, biases, ratio = Estimate(), dict[str, EnergyBias](), EnergyRatio()
    learn(estimate, biases, "a", ratio, costs)
    assert (estimate, biases, ratio) == (Estimate(), {}, EnergyRatio())
