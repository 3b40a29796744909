"""Multilayer perceptron convolutions and global average pooling (Lin et al., 'Network in Network', 2014)."""

# mypy: allow-untyped-decorators
from typing import Any

import torch
from torch import nn

from trimtab_models.errors import FoundryError
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import MlpConv
from trimtab_models.transforms.surgery import Site, cost_facts, is_spatial, sites, swap


@register(MlpConv)
def mlpconv(network: nn.Module, config: MlpConv, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` with mlpconv layers and an averaging classifier, trained; raise ``FoundryError``."""
    shape = context.splits.shape
    facts = cost_facts(network, shape, "_before")
    found: list[Site] = [site for site in sites(network, shape) if is_spatial(site.layer)]
    if not found:
        raise FoundryError(f"mlpconv: {type(network).__name__} has no k x k convolution to follow")
    torch.manual_seed(context.seed)
    head = averaging_head(network, shape, context.splits.classes)
    for site in found:
        swap(network, site, mlpconv_layer(site.layer))
    network.head = head
    context.tune(network, config.training)
    facts |= {"layers_replaced": len(found), **cost_facts(network, shape)}
    return network, Report("mlpconv", facts)


def mlpconv_layer(conv: nn.Conv2d, widths: tuple[int, ...] = ()) -> nn.Sequential:
    """Return ``conv`` followed by 1x1 convolutions of ``widths`` outputs, by default twice its own.

    They start as identities, ReLU before each, so the new layer starts as the ReLU of the old. After a bias-free
    convolution each ReLU is preceded by a batch norm. The last one's activation is left to what follows.
    """
    bias = conv.bias is not None
    layers: list[nn.Module] = [conv]
    inputs = conv.out_channels
    for outputs in widths or (inputs, inputs):
        layers += [] if bias else [nn.BatchNorm2d(inputs)]
        pointwise = nn.Conv2d(inputs, outputs, 1, bias=bias)
        nn.init.dirac_(pointwise.weight)
        if pointwise.bias is not None:
            nn.init.zeros_(pointwise.bias)
        layers += [nn.ReLU(), pointwise]
        inputs = outputs
    return nn.Sequential(*layers)


def averaging_head(network: nn.Module, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a classifier that averages the map: the network's own, or a fresh one for dense layers.

    The paper's 1x1 convolution to one map per class, then their means, equals the means, then a dense layer,
    which takes height x width times fewer MACs: so it is written. Raise ``FoundryError`` without a head on a
    map.
    """
    head = getattr(network, "head", None)
    if not isinstance(head, nn.Module):
        raise FoundryError(f"mlpconv: {type(network).__name__} has no classifier named head")
    if any(isinstance(layer, nn.AdaptiveAvgPool2d) for layer in head.modules()):
        return head
    read = _read_by(head, network, shape)
    if len(read) != 3:
        raise FoundryError(f"mlpconv: head of {type(network).__name__} reads {read}, not a feature map")
    return nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(read[0], classes))


@torch.no_grad()
def _read_by(layer: nn.Module, network: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape, for one input, of what ``layer`` reads."""
    shapes: list[tuple[int, ...]] = []

    def record(_: nn.Module, taken: Any) -> None:
        shapes.append(tuple(taken[0].shape[1:]))

    hook = layer.register_forward_pre_hook(record)
    try:
        network(torch.zeros(1, *shape))
    finally:
        hook.remove()
    return shapes[0]
