"""Quantisation-aware training (Jacob et al., CVPR 2018, section 3; Krishnamoorthi, 2018).

While it trains, each layer sees its weights rounded to a symmetric grid per output channel and its input to a
grid between the extremes seen lately; gradients pass the rounding as if it were not there (straight-through
estimator, Bengio et al., 2013) and stop where activations are clipped.

What is returned is a plain network whose weights lie on their grid. That carries the learned grid through
everything that follows: scaling an output channel, which is all that folding a batch norm does, scales its grid
too, and a per-channel quantiser that takes the largest weight of a channel for its range finds the same grid
again (exactly for the number of bits trained; of two different widths the wider adds at most half of its own,
finer, step). So batch norms train unfolded, which is more stable. Ranges of activations are not carried:
``quantize_int8`` measures them anew on held-out samples, which are the extremes the training tracked.
"""

# mypy: allow-untyped-decorators, allow-subclassing-any
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import QuantizeAware
from trimtab_models.transforms.layerwise import Hold, weighted_layers

_INPUT = "input_grid"


@register(QuantizeAware)
def quantize_aware(network: nn.Module, config: QuantizeAware, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` trained with rounded weights and activations, its weights on their grid.

    Weights that are zero, say pruned, stay zero.
    """
    layers = weighted_layers(network)
    hold = Hold((layer.weight, layer.weight == 0) for layer in layers.values())
    hooks = [_attach(layer, config) for layer in layers.values()]
    context.tune(network, config.training, on_step=hold)
    for layer, hook in zip(layers.values(), hooks, strict=True):
        hook.remove()
        delattr(layer, _INPUT)
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return network, Report("quantize_aware", {"layers": len(layers), "weight_bits": config.weight_bits})


def straight_through(exact: Tensor, rounded: Tensor) -> Tensor:
    """Return ``rounded`` with the gradient of ``exact``."""
    if not torch.is_grad_enabled():
        return rounded  # the sum below differs by rounding errors of its own
    return exact + (rounded - exact).detach()


class WeightGrid(nn.Module):
    """Round weights (outputs, ...) to 2^bits - 1 steps symmetric around zero, per output channel."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.top = 2 ** (bits - 1) - 1

    def forward(self, weights: Tensor) -> Tensor:
        """Return the nearest weights on the grid; the largest of a channel is its end."""
        with torch.no_grad():
            largest = weights.abs().flatten(1).amax(dim=1).view(-1, *[1] * (weights.ndim - 1))
            scale = torch.where(largest > 0, largest / self.top, torch.ones_like(largest))
        return straight_through(weights, torch.round(weights / scale) * scale)


class ActivationGrid(nn.Module):
    """Clip activations to the range seen lately and round them to 2^bits values of it, zero among them.

    While training the range follows each batch's extremes by ``momentum``, starting with the first batch's.
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, bits: int, momentum: float) -> None:
        super().__init__()
        self.steps = 2**bits - 1
        self.momentum = momentum
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def forward(self, values: Tensor) -> Tensor:
        """Return ``values`` clipped and rounded, in their own type."""
        if self.training:
            self._follow(values)
        exact = values.float()
        scale = ((self.high - self.low) / self.steps).clamp(min=1e-12)
        zero = torch.round(-self.low / scale)
        low, high = -zero * scale, (self.steps - zero) * scale
        clipped = exact.clamp(low, high)
        return straight_through(clipped, torch.round(clipped / scale) * scale).to(values.dtype)

    @torch.no_grad()
    def _follow(self, values: Tensor) -> None:
        """Move the range, which always includes zero, towards this batch's extremes."""
        low, high = (bound.float() for bound in torch.aminmax(values))
        part = torch.where(self.seen, self.momentum, 1.0)
        self.low += part * (low.clamp(max=0.0) - self.low)
        self.high += part * (high.clamp(min=0.0) - self.high)
        self.seen.fill_(True)


def _attach(layer: nn.Module, config: QuantizeAware) -> Any:
    """Make ``layer`` see rounded weights and inputs; return the handle that undoes the latter."""
    parametrize.register_parametrization(layer, "weight", WeightGrid(config.weight_bits))
    layer.add_module(_INPUT, ActivationGrid(config.activation_bits, config.range_momentum))
    return layer.register_forward_pre_hook(_round_input)


def _round_input(layer: nn.Module, taken: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    grid = layer.get_submodule(_INPUT)
    return (grid(taken[0]), *taken[1:])
