"""How much accuracy pruning each layer costs, and how to share out a budget by it (Li et al., ICLR 2017)."""

# mypy: allow-untyped-decorators
import copy
import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from torch import nn

from trimtab_models.export import export
from trimtab_models.measure import count_macs, session
from trimtab_models.registry import Context
from trimtab_models.training import predict
from trimtab_models.transforms.configs import PruneStructured, Sensitivity
from trimtab_models.transforms.layerwise import LayerError
from trimtab_models.transforms.prune_structured import groups, shrink

Curve = tuple[tuple[float, ...], tuple[float, ...]]
"""Shares of channels kept, ascending up to 1, and the accuracy lost at each, never rising."""
_HALVINGS: Final = 10
_RUNS: Final = 30


def allocate(
    network: nn.Module, config: PruneStructured, sensitivity: Sensitivity, context: Context
) -> dict[str, float]:
    """Return the share of channels each group keeps: all lose as much accuracy alone, within the budget.

    Raises ``LayerError`` when the budget is not met even with ``config.keep_frac`` everywhere.
    """
    curves = measure(network, config, sensitivity, context)
    cost, budget_frac = _cost(sensitivity, context)
    budget = budget_frac * cost(network)
    low, high = 0.0, 2.0
    if cost(_pruned(network, config, context, shares_at(high, curves, config.keep_frac))) > budget:
        raise LayerError(
            f"prune_structured: keeping {config.keep_frac} of every layer ({', '.join(curves)}) misses the "
            f"budget of {budget_frac}; lower keep_frac, round_to or the least of the probes"
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = cost(_pruned(network, config, context, shares_at(middle, curves, config.keep_frac))) <= budget
        low, high = (low, middle) if fits else (middle, high)
    return shares_at(high, curves, config.keep_frac)


def shares_at(severity: float, curves: Mapping[str, Curve], floor: float) -> dict[str, float]:
    """Return the share each group keeps at a severity from 0 (all of it) to 2 (the least its curve has).

    Up to 1 no layer loses accuracy: what the curves allow for nothing is taken in part. From there on the
    loss allowed grows in proportion to the largest measured.
    """
    largest = max(max(losses) for _, losses in curves.values())
    loss, part = max(0.0, severity - 1) * largest, min(1.0, severity)
    return {name: 1 - part * (1 - least_share(curve, loss, floor)) for name, curve in curves.items()}


def measure(
    network: nn.Module, config: PruneStructured, sensitivity: Sensitivity, context: Context
) -> dict[str, Curve]:
    """Return the curve of each group of layers, every other left whole, on held-out samples."""
    curves: dict[str, Curve] = {}
    whole = _accuracy(network, sensitivity, context)
    shares = sorted({*sensitivity.probes, config.keep_frac} - {1.0})
    for name in groups(network, context):
        losses: list[float] = []
        for share in shares:
            alone = _pruned(network, config, context, {name: share})
            losses.append(max(0.0, whole - _accuracy(alone, sensitivity, context)))
        falling = np.maximum.accumulate([0.0, *reversed(losses)])[::-1]
        curves[name] = ((*shares, 1.0), tuple(float(loss) for loss in falling))
    return curves


def least_share(curve: Curve, loss: float, floor: float) -> float:
    """Return the smallest share, not under ``floor``, at which the interpolated curve loses at most ``loss``."""
    shares, losses = curve
    for at in range(len(shares) - 1, 0, -1):
        left, right = losses[at - 1], losses[at]
        if left > loss:
            part = (left - loss) / (left - right) if left > right else 1.0
            return max(floor, shares[at - 1] + part * (shares[at] - shares[at - 1]))
    return max(floor, shares[0])


def _pruned(
    network: nn.Module, config: PruneStructured, context: Context, shares: Mapping[str, float]
) -> nn.Module:
    pruned = copy.deepcopy(network)
    shrink(pruned, config, context, shares)
    return pruned


def _accuracy(network: nn.Module, sensitivity: Sensitivity, context: Context) -> float:
    held_out = context.splits.validation
    some = held_out.take(np.arange(min(sensitivity.samples, len(held_out))))
    answers = predict(network, some)[-1].argmax(dim=1).numpy()
    return float((answers == some.labels).mean())


def _cost(sensitivity: Sensitivity, context: Context) -> tuple[Callable[[nn.Module], float], float]:
    if sensitivity.macs_frac is not None:
        example = torch.zeros(1, *context.splits.shape)
        return (lambda network: float(count_macs(network, example))), sensitivity.macs_frac
    assert sensitivity.latency_frac is not None
    known: dict[tuple[torch.Size, ...], float] = {}

    def seconds(network: nn.Module) -> float:
        shapes = tuple(parameter.shape for parameter in network.parameters())
        if shapes not in known:  # rounding makes many allocations the same network
            known[shapes] = _seconds(network, context)
        return known[shapes]

    return seconds, sensitivity.latency_frac


def _seconds(network: nn.Module, context: Context) -> float:
    """Return the shortest of some runs of one input on one thread."""
    splits = context.splits
    stages = export(network, splits.shape, splits.input_name).stages
    tensors = {splits.input_name: splits.validation.take(np.arange(1)).tensors()}
    total = 0.0
    for stage in stages:
        running = session(stage.onnx)
        taken = {name: tensors[name] for name in stage.inputs}
        seconds = []
        for _ in range(_RUNS):
            started = time.perf_counter()
            values = running.run(list(stage.outputs), taken)
            seconds.append(time.perf_counter() - started)
        tensors |= dict(zip(stage.outputs, values, strict=True))
        total += min(seconds)
    return total
