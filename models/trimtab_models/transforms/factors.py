"""Layers as products of smaller ones: Tucker-2 for convolutions, truncated SVD for dense layers."""

# mypy: allow-untyped-decorators
import torch
from torch import Tensor, nn

from trimtab_models.transforms.surgery import Site, is_plain, is_spatial

Ranks = tuple[int, ...]
"""(inputs, outputs) of a spatial convolution, one rank of a dense layer or 1x1 convolution."""


def is_factorable(layer: nn.Module, *, pointwise: bool) -> bool:
    """Return whether there are factors for it."""
    return isinstance(layer, nn.Linear) or (is_plain(layer) and (pointwise or is_spatial(layer)))


def unfoldings(layer: nn.Module) -> tuple[Tensor, ...]:
    """Return the matrices whose ranks are reduced: a kernel (out, in, k, k) along inputs, along outputs."""
    weight: Tensor = layer.weight.detach()
    outputs, inputs = weight.shape[:2]
    if not is_spatial(layer):
        return (weight.reshape(outputs, inputs),)
    return weight.transpose(0, 1).reshape(inputs, -1), weight.reshape(outputs, -1)


def channels(site: Site) -> Ranks:
    """Return the ranks at which nothing is saved."""
    outputs, inputs = site.layer.weight.shape[:2]
    return (inputs, outputs) if is_spatial(site.layer) else (min(inputs, outputs),)


def cost(site: Site, ranks: Ranks) -> tuple[int, int]:
    """Return (MACs, weights) of the factors; a convolution's side at full rank has no factor of its own.

    Weights are S R3 + k^2 R3 R4 + R4 T for S inputs and T outputs (Kim et al., ICLR 2016), and
    r (m + n) for a dense layer (Xue et al., Interspeech 2013).
    """
    outputs, inputs, *kernel = site.layer.weight.shape
    if len(ranks) == 1:
        weights = ranks[0] * (inputs + outputs)
        return weights * site.pixels_out, weights
    rank_in, rank_out = ranks
    first = inputs * rank_in if rank_in < inputs else 0
    rest = kernel[0] * kernel[1] * rank_in * rank_out + (rank_out * outputs if rank_out < outputs else 0)
    return first * site.pixels_in + rest * site.pixels_out, first + rest


def whole_cost(site: Site) -> tuple[int, int]:
    """Return (MACs, weights) of the layer as it is."""
    weights = site.layer.weight.numel()
    return weights * site.pixels_out, weights


def factored(layer: nn.Module, ranks: Ranks) -> nn.Sequential:
    """Return the factors of a layer for which ``is_factorable`` holds."""
    if isinstance(layer, nn.Linear):
        return svd(layer, *ranks)
    return tucker2(layer, *ranks) if is_spatial(layer) else svd_pointwise(layer, *ranks)


@torch.no_grad()
def tucker2(conv: nn.Conv2d, rank_in: int, rank_out: int) -> nn.Sequential:
    """Return 1x1, k x k and 1x1 convolutions that compute the HOSVD of ``conv`` truncated to the ranks.

    HOSVD: De Lathauwer et al., 2000; the factors are the leading left singular vectors of the kernel unfolded
    along its outputs and its inputs. A side at full rank keeps its channels and gets no 1x1 convolution.
    """
    outputs, inputs = conv.out_channels, conv.in_channels
    along_inputs, along_outputs = unfoldings(conv)
    core, layers = conv.weight, []
    if rank_in < inputs:
        basis = _basis(along_inputs, rank_in)
        core = torch.einsum("oskl,sr->orkl", core, basis)
        layers.append(_pointwise(basis.T))
    last = None
    if rank_out < outputs:
        basis = _basis(along_outputs, rank_out)
        core = torch.einsum("ockl,or->rckl", core, basis)
        last = _pointwise(basis, conv.bias)
    middle = nn.Conv2d(
        core.shape[1],
        core.shape[0],
        conv.kernel_size,
        conv.stride,
        conv.padding,
        bias=last is None and conv.bias is not None,
    )
    _fill(middle, core, conv.bias if last is None else None)
    return nn.Sequential(*layers, middle, *([last] if last is not None else []))


@torch.no_grad()
def svd(dense: nn.Linear, rank: int) -> nn.Sequential:
    """Return two dense layers with the best approximation of that rank (Eckart-Young); exact at full."""
    after, before = _halves(dense.weight, rank)
    first = nn.Linear(dense.in_features, rank, bias=False)
    last = nn.Linear(rank, dense.out_features, bias=dense.bias is not None)
    _fill(first, before)
    _fill(last, after, dense.bias)
    return nn.Sequential(first, last)


@torch.no_grad()
def svd_pointwise(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    """Return two 1x1 convolutions for one; the first takes the stride, so that both run on the small map."""
    after, before = _halves(conv.weight[:, :, 0, 0], rank)
    first = nn.Conv2d(conv.in_channels, rank, 1, conv.stride, conv.padding, bias=False)
    _fill(first, before[:, :, None, None])
    return nn.Sequential(first, _pointwise(after, conv.bias))


def _basis(unfolded: Tensor, rank: int) -> Tensor:
    """Return the ``rank`` leading left singular vectors, or as many as there are."""
    left: Tensor = torch.linalg.svd(unfolded, full_matrices=False).U
    return left[:, :rank]


def _halves(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return (out, rank) and (rank, in) of equal scale whose product approximates ``weight`` best."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def _pointwise(matrix: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    conv = nn.Conv2d(matrix.shape[1], matrix.shape[0], 1, bias=bias is not None)
    _fill(conv, matrix[:, :, None, None], bias)
    return conv


def _fill(layer: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> None:
    layer.weight.copy_(weight)
    if layer.bias is not None and bias is not None:
        layer.bias.copy_(bias)
