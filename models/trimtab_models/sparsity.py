"""Zero weights: keep them zero while training, count the work that is left without them."""

# mypy: allow-untyped-decorators
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trimtab_models.measure import count_macs


def nonzero_macs(network: nn.Module, example: Tensor) -> int:
    """Return the multiply-accumulates of one sample that have a weight other than zero.

    It is ``count_macs`` less every position at which a zero weight of a convolution or dense layer would be
    multiplied: what an executor that skips each zero does. One that multiplies densely saves nothing.
    """
    skipped = [0]
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(_counter(skipped)) for layer in layers]
    try:
        total = count_macs(network, example)
    finally:
        for hook in hooks:
            hook.remove()
    return total - skipped[0]


def _counter(skipped: list[int]) -> Callable[[nn.Module, Any, Any], None]:
    def count(layer: nn.Module, taken: Any, returned: Any) -> None:
        del taken
        weight: Tensor = layer.weight
        channels = returned.shape[-1] if isinstance(layer, nn.Linear) else returned.shape[1]
        positions = returned[0].numel() // channels
        skipped[0] += (weight.numel() - int(weight.count_nonzero())) * positions

    return count


def keep_zeros(weights: Iterable[Tensor]) -> Callable[[], None]:
    """Return what, called after each optimizer step, makes zero again all that is zero now."""
    masks = [(weight, weight.detach() != 0) for weight in weights]

    def restore() -> None:
        with torch.no_grad():
            for weight, mask in masks:
                weight.mul_(mask)

    return restore
