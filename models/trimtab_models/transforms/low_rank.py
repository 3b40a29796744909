"""Low-rank factors: Tucker-2 for convolutions (Kim et al., ICLR 2016), truncated SVD for dense layers."""

# mypy: allow-untyped-decorators
import torch
from torch import Tensor, nn

from trimtab_models.registry import Context, Report, register
from trimtab_models.training import cross_entropy, fit
from trimtab_models.transforms.configs import LowRank


@register(LowRank)
def low_rank(network: nn.Module, config: LowRank, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` with factored layers, fine-tuned when the config has ``training``."""
    factored = factor_layers(network, config)
    if config.training is not None:
        loss = cross_entropy(config.training)
        fit(
            network,
            context.splits.train,
            config.training,
            loss,
            seed=context.seed,
            partial=context.partial,
            on_epoch=context.on_epoch,
        )
    return network, Report("low_rank", {"layers_factored": factored})


def factor_layers(parent: nn.Module, config: LowRank) -> int:
    """Replace, in place and depth first, every layer whose factors are smaller; return how many."""
    factored = 0
    for name, child in list(parent.named_children()):
        smaller: nn.Module | None = None
        if isinstance(child, nn.Conv2d) and child.kernel_size != (1, 1) and child.groups == 1:
            inputs, outputs = rank(child.in_channels, config), rank(child.out_channels, config)
            smaller = tucker2(child, inputs, outputs)
        elif isinstance(child, nn.Linear):
            smaller = svd(child, rank(min(child.in_features, child.out_features), config))
        else:
            factored += factor_layers(child, config)
        if smaller is not None and _size(smaller) < _size(child):
            setattr(parent, name, smaller)
            factored += 1
    return factored


def rank(channels: int, config: LowRank) -> int:
    """Return the rank for a side with ``channels``: a fraction, rounded up, not under the floor."""
    wanted = -(-round(channels * config.rank_frac) // config.round_to) * config.round_to
    return min(channels, max(wanted, config.rank_floor))


@torch.no_grad()
def tucker2(conv: nn.Conv2d, rank_in: int, rank_out: int) -> nn.Sequential:
    """Return 1x1, k x k and 1x1 convolutions that compute the HOSVD of ``conv`` truncated to the ranks.

    Exact at full rank. HOSVD: De Lathauwer et al., 2000; the factors are the leading left singular vectors of
    the kernel (out, in, k, k) unfolded along its outputs and its inputs.
    """
    kernel = conv.weight
    outputs, inputs = kernel.shape[:2]
    basis_out = _basis(kernel.reshape(outputs, -1), rank_out)
    basis_in = _basis(kernel.transpose(0, 1).reshape(inputs, -1), rank_in)
    rank_out, rank_in = basis_out.shape[1], basis_in.shape[1]  # an unfolding may have fewer
    core = torch.einsum("oikl,or,is->rskl", kernel, basis_out, basis_in)
    first = nn.Conv2d(inputs, rank_in, 1, bias=False)
    middle = nn.Conv2d(
        rank_in,
        rank_out,
        (core.shape[2], core.shape[3]),
        (conv.stride[0], conv.stride[1]),
        conv.padding if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[1]),
        bias=False,
    )
    last = nn.Conv2d(rank_out, outputs, 1, bias=conv.bias is not None)
    first.weight.copy_(basis_in.T[:, :, None, None])
    middle.weight.copy_(core)
    last.weight.copy_(basis_out[:, :, None, None])
    if conv.bias is not None and last.bias is not None:
        last.bias.copy_(conv.bias)
    return nn.Sequential(first, middle, last)


@torch.no_grad()
def svd(dense: nn.Linear, rank: int) -> nn.Sequential:
    """Return two dense layers with the best approximation of that rank (Eckart-Young); exact at full."""
    left, values, right = torch.linalg.svd(dense.weight, full_matrices=False)
    first = nn.Linear(dense.in_features, rank, bias=False)
    last = nn.Linear(rank, dense.out_features, bias=dense.bias is not None)
    root = values[:rank].sqrt()
    first.weight.copy_(root[:, None] * right[:rank])
    last.weight.copy_(left[:, :rank] * root)
    if dense.bias is not None and last.bias is not None:
        last.bias.copy_(dense.bias)
    return nn.Sequential(first, last)


def _basis(unfolded: Tensor, rank: int) -> Tensor:
    left: Tensor = torch.linalg.svd(unfolded, full_matrices=False).U
    return left[:, :rank]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
