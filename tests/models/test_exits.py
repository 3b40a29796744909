"""Thresholds, shares and costs of exits: hand-computed, and true of any answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab_models import exits
from trimtab_models.exits import Operation

LOGITS = (
    np.log(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]], dtype=np.float32)),
    np.log(np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.9, 0.1]], dtype=np.float32)),
)
LABELS = np.array([0, 1, 0, 0], dtype=np.uint8)
"""Exit 0 is right, wrong, wrong, right; exit 1 is right, right, wrong, right."""


def test_confidence_and_entropy_of_known_answers() -> None:
    assert exits.confidence(LOGITS[0]) == pytest.approx([0.9, 0.6, 0.8, 0.5], abs=1e-6)
    even = np.zeros((1, 10), dtype=np.float32)
    assert exits.entropy(even)[0] == pytest.approx(math.log(10))
    assert exits.entropy(np.array([[500.0, 0.0]], dtype=np.float32))[0] == pytest.approx(0.0)
    assert exits.entropy(LOGITS[0])[1] == pytest.approx(-0.6 * math.log(0.6) - 0.4 * math.log(0.4), abs=1e-6)


def test_the_staircase_of_a_rule() -> None:
    share, accuracy = exits.exit_staircase(LOGITS, LABELS, 0.75)
    assert share == (0.5, 0.5)  # samples 0 and 2 leave at once
    assert accuracy == (0.5, 0.75)  # all answered at exit 0; then 0 and 2 there, 1 and 3 at exit 1


def test_each_exit_may_have_its_own_threshold() -> None:
    scores = [np.array([0.9, 0.5, 0.2]), np.array([0.1, 0.7, 0.6]), np.zeros(3)]
    assert exits.leaving_exit(scores, (0.8, 0.65, 0.0)).tolist() == [0, 1, 2]


def test_costs_are_those_of_all_stages_up_to_the_exit() -> None:
    assert exits.expected_macs((0.5, 0.25, 0.25), (100, 200, 400)) == 0.5 * 100 + 0.25 * 300 + 0.25 * 700
    assert exits.worst_macs((100, 200, 400)) == 700


def test_msdnets_budgets() -> None:
    assert exits.budget_shares(20, 4) == (0.25, 0.25, 0.25, 0.25)
    assert exits.budget_shares(10, 3) == pytest.approx((4 / 7, 2 / 7, 1 / 7))
    assert exits.budget_shares(1, 2) == pytest.approx((20 / 21, 1 / 21))
    assert len(exits.BUDGETS) == 39


def test_msdnets_thresholds_let_the_wanted_shares_leave() -> None:
    scores = [np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.9, 0.7, 0.8, 0.1]), np.zeros(4)]
    thresholds = exits.thresholds_for(scores, (0.25, 0.5, 0.25))
    assert thresholds == (0.4, 0.8, -math.inf)  # sample 3; then, of 0, 1 and 2, the surest two
    assert exits.leaving_exit(scores, thresholds).tolist() == [1, 2, 1, 0]
    assert exits.thresholds_for(scores, (0.0, 0.0, 1.0))[:2] == (math.inf, math.inf)


uniform_scores = st.lists(
    st.lists(st.floats(0.0, 1.0), min_size=30, max_size=30, unique=True), min_size=2, max_size=4
)


@given(uniform_scores, st.integers(1, 39))
def test_distinct_scores_leave_in_exactly_the_shares_of_the_budget(values: list[list[float]], p: int) -> None:
    scores = [np.array(value) for value in values]
    wanted = exits.budget_shares(p, len(scores))
    leaves = exits.leaving_exit(scores, exits.thresholds_for(scores, wanted))
    for position, share in enumerate(wanted[:-1]):
        left = 30 - int((leaves < position).sum())
        assert int((leaves == position).sum()) == min(round(share * 30), left)


@given(uniform_scores, st.floats(0.0, 1.0))
def test_no_threshold_costs_closer_to_the_target_than_the_one_found(
    values: list[list[float]], between: float
) -> None:
    scores = [np.array(value) for value in values]
    macs = [100, 50, 200, 300][: len(scores)]
    target = macs[0] + between * (sum(macs) - macs[0])

    def cost(threshold: float) -> float:
        return float(np.cumsum(macs)[exits.leaving_exit(scores, [threshold] * len(scores))].mean())

    found = abs(cost(exits.single_threshold_for(scores, macs, target)) - target)
    assert found <= min(abs(cost(float(t)) - target) for t in np.concatenate(scores[:-1])) + 1e-9


def test_the_front_keeps_what_nothing_beats() -> None:
    cheap, dear, beaten = (
        Operation("cheap", 0.5, 100.0, 0.90),
        Operation("dear", 0.9, 300.0, 0.95),
        Operation("beaten", 0.7, 200.0, 0.90),
    )
    assert exits.pareto([dear, beaten, cheap]) == (cheap, dear)


def test_thinning_keeps_both_ends() -> None:
    many = [Operation(str(i), 0.5, float(i), i / 100) for i in range(21)]
    assert [one.mean_macs for one in exits.thinned(many, 5)] == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert exits.thinned(many, 1) == (many[-1],)
    assert exits.thinned(many[:3], 5) == tuple(many[:3])


def test_rules_from_thresholds_are_measured_on_the_test_samples() -> None:
    rules = exits.exit_rules((0.75,), 0, (10, 90), (LOGITS, LABELS), (LOGITS, LABELS))
    assert [(rule.name, rule.threshold) for rule in rules] == [("t0.75", 0.75)]
    assert rules[0].share_frac == (0.5, 0.5)


def test_rules_from_budgets_are_few_and_each_step_of_cost_buys_accuracy() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 400).astype(np.uint8)
    truth = np.eye(4)[labels]
    logits = [(skill * truth + rng.normal(size=(400, 4))).astype(np.float32) for skill in (1.5, 3.0, 6.0)]
    macs = (100, 200, 400)
    rules = exits.exit_rules((), 4, macs, (logits, labels), (logits, labels))
    costs = [exits.expected_macs(rule.share_frac, macs) for rule in rules]
    accuracies = [rule.accuracy_frac[-1] for rule in rules]
    assert 2 <= len(rules) <= 4
    assert costs == sorted(costs)
    assert accuracies == sorted(accuracies)
    assert all(rule.name.startswith("budget-") for rule in rules)
