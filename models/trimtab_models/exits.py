"""When to leave a network with several exits, and what that costs: confidence, budgets, thresholds, shares.

Everything here works on the logits of all exits for the same samples, first exit first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.family import ExitRule

Logits = NDArray[np.float32]
Scores = NDArray[np.float64]
"""How sure an exit is of each sample: the larger, the surer."""

BUDGETS: Final = range(1, 40)
"""The budgets p of MSDNet (Huang et al., ICLR 2018; the authors' code)."""


def confidence(logits: Logits) -> Scores:
    """Return the largest softmax probability of each row."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    largest: Scores = shifted.max(axis=1) / shifted.sum(axis=1)
    return largest


def entropy(logits: Logits) -> Scores:
    """Return the entropy of each row's softmax in nats (BranchyNet, section III-C): 0 is certain."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=1)
    mean: Scores = (weights * shifted).sum(axis=1) / total
    found: Scores = np.log(total) - mean
    return np.maximum(found, 0.0)


def certainty(logits: Logits) -> Scores:
    """Return the negated entropy, so that larger is surer."""
    return -entropy(logits)


CRITERIA: Final[Mapping[str, Callable[[Logits], Scores]]] = {"max softmax": confidence, "entropy": certainty}
"""How BranchyNet (entropy) and MSDNet and the daemon (max softmax) tell who may leave."""


def leaving_exit(scores: Sequence[Scores], thresholds: Sequence[float]) -> NDArray[np.int64]:
    """Return the first exit at which each sample's score reaches the exit's threshold; else the last.

    ``scores`` and ``thresholds`` have an entry per exit; what they say of the last one does not matter.
    """
    last = len(scores) - 1
    leaves = np.full(len(scores[0]), last, dtype=np.int64)
    for position in range(last - 1, -1, -1):
        leaves[scores[position] >= thresholds[position]] = position
    return leaves


def staircase(
    logits: Sequence[Logits], labels: NDArray[np.uint8], leaves: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (share_frac, accuracy_frac) when each sample leaves at the given exit: see ``ExitRule``."""
    exits = range(len(logits))
    right = np.stack([answer.argmax(axis=1) == labels for answer in logits])
    share = tuple(float((leaves == position).mean()) for position in exits)
    rows = np.arange(len(labels))
    accuracy = tuple(float(right[np.minimum(leaves, cut), rows].mean()) for cut in exits)
    return share, accuracy


def exit_staircase(
    logits: Sequence[Logits], labels: NDArray[np.uint8], threshold: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (share_frac, accuracy_frac) of an exit rule: see ``trimtab.domain.family.ExitRule``."""
    scores = [confidence(answer) for answer in logits]
    return staircase(logits, labels, leaving_exit(scores, [threshold] * len(logits)))


def expected_macs(share_frac: Sequence[float], stage_macs: Sequence[int]) -> float:
    """Return the mean multiply-accumulates of a sample: who leaves at an exit paid for all stages up to it."""
    return float(np.dot(share_frac, np.cumsum(stage_macs)))


def worst_macs(stage_macs: Sequence[int]) -> int:
    """Return the multiply-accumulates of a sample that no exit is sure of: no rule excludes that."""
    return sum(stage_macs)


def budget_shares(budget: int, exits: int) -> tuple[float, ...]:
    """Return the share that leaves at each exit under MSDNet's ``budget``: ~ (p / 20)^k for exit k = 1, 2, ..."""
    weights = np.power(budget / 20, np.arange(1, exits + 1, dtype=np.float64))
    return tuple(float(share) for share in weights / weights.sum())


def thresholds_for(scores: Sequence[Scores], share_frac: Sequence[float]) -> tuple[float, ...]:
    """Return one threshold per exit under which these shares of the samples leave (MSDNet's recipe).

    Exit by exit, the surest of those still in leave; at the last exit everybody does (-inf). An exit at which
    nobody is to leave gets +inf.
    """
    inside = np.ones(len(scores[0]), dtype=bool)
    found = []
    for score, share in zip(scores[:-1], share_frac, strict=False):
        count = min(round(share * len(score)), int(inside.sum()))
        threshold = float(np.sort(score[inside])[-count]) if count else np.inf
        inside &= score < threshold
        found.append(threshold)
    return (*found, -np.inf)


def single_threshold_for(scores: Sequence[Scores], stage_macs: Sequence[int], target_macs: float) -> float:
    """Return the one threshold for all exits whose mean cost comes closest to ``target_macs``.

    With calibrated confidences one threshold asks the same of every exit. The mean cost rises with the
    threshold, so bisection over the scores that occur finds it; ties go to the cheaper.
    """
    occurring = np.unique(np.concatenate(scores[:-1]))

    def cost(at: int) -> float:
        leaves = leaving_exit(scores, [float(occurring[at])] * len(scores))
        return float(np.cumsum(stage_macs)[leaves].mean())

    low, high = 0, len(occurring) - 1
    while low < high:
        middle = (low + high) // 2
        if cost(middle) < target_macs:
            low = middle + 1
        else:
            high = middle
    if low and abs(cost(low - 1) - target_macs) <= abs(cost(low) - target_macs):
        low -= 1
    return float(occurring[low])


@dataclass(frozen=True, slots=True)
class Operation:
    """A way to run a network with exits: its name and threshold, what it costs and how often it is right."""

    name: str
    threshold: float
    mean_macs: float
    accuracy_frac: float


def budgeted(
    logits: Sequence[Logits], labels: NDArray[np.uint8], stage_macs: Sequence[int]
) -> tuple[Operation, ...]:
    """Return one operation per budget of MSDNet, with its single threshold, from held-out answers."""
    scores = [confidence(answer) for answer in logits]
    found = []
    for budget in BUDGETS:
        target = expected_macs(budget_shares(budget, len(logits)), stage_macs)
        threshold = single_threshold_for(scores, stage_macs, target)
        share, accuracy = exit_staircase(logits, labels, threshold)
        name = f"budget-{budget}"
        found.append(Operation(name, threshold, expected_macs(share, stage_macs), accuracy[-1]))
    return tuple(found)


def pareto(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Return those that no other beats or equals in both cost and accuracy, cheapest first."""
    kept: list[Operation] = []
    for operation in sorted(operations, key=lambda one: (one.mean_macs, -one.accuracy_frac)):
        if not kept or operation.accuracy_frac > kept[-1].accuracy_frac:
            kept.append(operation)
    return tuple(kept)


def thinned(operations: Sequence[Operation], count: int) -> tuple[Operation, ...]:
    """Return at most ``count``: the first, the last, and those nearest to even steps of cost between them."""
    if len(operations) <= count:
        return tuple(operations)
    if count == 1:
        return (operations[-1],)
    costs = np.array([operation.mean_macs for operation in operations])
    steps = np.linspace(costs[0], costs[-1], count)
    nearest = sorted({int(np.abs(costs - step).argmin()) for step in steps})
    return tuple(operations[at] for at in nearest)


def exit_rules(
    thresholds: Sequence[float],
    budgets: int,
    stage_macs: Sequence[int],
    held_out: tuple[Sequence[Logits], NDArray[np.uint8]],
    test: tuple[Sequence[Logits], NDArray[np.uint8]],
) -> tuple[ExitRule, ...]:
    """Return the rules that an ``early_exit`` step asks for, as they do on the test samples.

    ``held_out`` and ``test`` are logits and labels. Given ``thresholds`` each becomes a rule ``t0.90``.
    Otherwise the held-out samples choose: the Pareto-optimal among MSDNet's budgets, at most ``budgets``.
    """
    if thresholds:
        named = [(f"t{threshold:.2f}", threshold) for threshold in thresholds]
    else:
        chosen = thinned(pareto(budgeted(*held_out, stage_macs)), budgets)
        named = [(operation.name, operation.threshold) for operation in chosen]
    return tuple(ExitRule(name, threshold, *exit_staircase(*test, threshold)) for name, threshold in named)
