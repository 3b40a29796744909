"""Figures about variants, on numbers small enough to check by hand."""

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, balanced, hold_out
from trimtab_models.exits import confidence, exit_staircase
from trimtab_models.measure import accuracy_frac

LABELS = np.array([0, 1, 0, 1], np.uint8)
SURE, UNSURE = 5.0, 0.1


def test_confidence_is_the_largest_softmax_probability() -> None:
    logits = np.array([[0, 0], [1000, 0], [np.log(3), 0]], np.float32)
    assert confidence(logits) == pytest.approx([0.5, 1.0, 0.75])


def test_accuracy_counts_the_largest_logit() -> None:
    assert accuracy_frac(np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32), LABELS) == 0.5


def test_the_staircase_answers_at_the_cut_whoever_has_not_left() -> None:
    first = np.array([[SURE, 0], [SURE, 0], [UNSURE, 0], [UNSURE, 0]], np.float32)  # right wrong right wrong
    second = np.array([[0, SURE], [0, SURE], [SURE, 0], [0, SURE]], np.float32)  # wrong right right right
    share, accuracy = exit_staircase([first, second], LABELS, 0.9)
    assert share == (0.5, 0.5)  # the two sure ones leave first
    assert accuracy == (0.5, 0.75)  # all at exit 0; else 0 and 1 at exit 0, 2 and 3 at exit 1


def test_no_threshold_lets_everyone_leave_first() -> None:
    logits = np.array([[UNSURE, 0]] * 4, np.float32)
    assert exit_staircase([logits, logits], LABELS, 0.0)[0] == (1.0, 0.0)


def test_held_out_samples_and_the_rest_are_all_samples() -> None:
    samples = Samples(np.zeros((10, 1, 2, 2), np.uint8), np.arange(10, dtype=np.uint8) % 2, np.arange(10))
    rest, held_out = hold_out(samples, 3, seed=1)
    assert sorted([*rest.index, *held_out.index]) == list(range(10))
    assert len(held_out) == 3
    assert hold_out(samples, 3, seed=1)[1].index.tolist() == held_out.index.tolist()


def test_balanced_samples_have_equally_many_of_each_class() -> None:
    samples = Samples(np.zeros((9, 1, 2, 2), np.uint8), np.array([0] * 6 + [1] * 3, np.uint8), np.arange(9))
    assert np.bincount(balanced(samples, 2, seed=1).labels).tolist() == [2, 2]
