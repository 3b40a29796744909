"""Depthwise separable convolutions in place of full ones (Howard et al., 'MobileNets', 2017)."""

# mypy: allow-untyped-decorators
import torch
from torch import nn

from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import DepthwiseSeparable
from trimtab_models.transforms.surgery import cost_facts, inner_convolutions, sites, swap


@register(DepthwiseSeparable)
def depthwise_separable(
    network: nn.Module, config: DepthwiseSeparable, context: Context
) -> tuple[nn.Module, Report]:
    """Return ``network`` with separable convolutions, retrained when the config has ``training``."""
    shape = context.splits.shape
    facts = cost_facts(network, shape, "_before")
    replaced = inner_convolutions(sites(network, shape))
    for site in replaced:
        swap(network, site, separated(site.layer, activation=config.activation))
    context.tune(network, config.training)
    facts |= {"layers_replaced": len(replaced), **cost_facts(network, shape)}
    return network, Report("depthwise_separable", facts)


@torch.no_grad()
def separated(conv: nn.Conv2d, *, activation: bool = False) -> nn.Sequential:
    """Return a depthwise and a 1x1 convolution: the pair closest to the kernel, before any activation.

    Each input channel's slice (outputs, k x k) of the kernel is replaced by its best rank-1 approximation:
    one filter for the channel, one weight per output (Guo et al., 'Network decoupling', BMVC 2018).
    """
    inputs, outputs = conv.in_channels, conv.out_channels
    slices = conv.weight.transpose(0, 1).reshape(inputs, outputs, -1)
    left, values, right = torch.linalg.svd(slices, full_matrices=False)
    root = values[:, :1].sqrt()
    depthwise = nn.Conv2d(
        inputs, inputs, conv.kernel_size, conv.stride, conv.padding, groups=inputs, bias=False
    )
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=conv.bias is not None)
    depthwise.weight.copy_((root * right[:, 0]).reshape(depthwise.weight.shape))
    pointwise.weight.copy_((root * left[:, :, 0]).T[:, :, None, None])
    if conv.bias is not None:
        pointwise.bias.copy_(conv.bias)
    between = [nn.BatchNorm2d(inputs), nn.ReLU()] if activation else []
    return nn.Sequential(depthwise, *between, pointwise)
