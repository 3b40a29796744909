"""Group lasso while training, then without the groups it brought to zero (Liu et al., 2015; Wen et al., 2016).

'Sparse convolutional neural networks' zeroes slices of kernels, which a dense runtime multiplies all the same.
'Learning structured sparsity' zeroes whole channels: those are removed, and removal changes no answer, because
all weights that read a channel, in every layer, are one group.
"""

# mypy: allow-subclassing-any, allow-untyped-decorators
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from trimtab_models.registry import Context, Report, register
from trimtab_models.settings import Training
from trimtab_models.sparsity import keep_zeros
from trimtab_models.transforms.configs import GroupLasso
from trimtab_models.transforms.surgery import cost_facts, sites

_STEPS = "group_lasso_steps"


@register(GroupLasso)
def group_lasso(network: nn.Module, config: GroupLasso, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` without the groups that reached zero, retrained when the config says so."""
    shape = context.splits.shape
    facts = cost_facts(network, shape, "_before")
    whole = config.groups == "channels"
    groups = readers(network, shape) if whole else kernels(network, shape)
    _train(network, groups, config, context)
    facts["groups"] = sum(len(group.norms()) for group in groups)
    facts["groups_zero"] = sum(int((group.norms() == 0).sum()) for group in groups)
    if whole:
        remove_unread(network, shape, config.round_to)
    weights = [] if whole else [part for group in groups for part in group.weights]
    after = replace(context, partial=context.partial and context.partial.with_suffix(".retraining"))
    after.tune(network, config.retraining, on_step=keep_zeros(weights))
    return network, Report("group_lasso", {**facts, **cost_facts(network, shape)})


class Groups:
    """Groups of weights: number ``of[i]`` is the group of the i-th weight, all tensors flattened in a row."""

    def __init__(self, weights: Sequence[Tensor], of: Sequence[Tensor]) -> None:
        self.weights = tuple(weights)
        self.of = tuple(of)
        self.sizes = sum(torch.bincount(one.flatten(), minlength=self._count) for one in self.of)

    @property
    def _count(self) -> int:
        return 1 + max(int(one.max()) for one in self.of)

    @torch.no_grad()
    def norms(self) -> Tensor:
        """Return the Euclidean norm of each group."""
        squares = torch.zeros(len(self.sizes))
        for weight, one in zip(self.weights, self.of, strict=True):
            squares.index_add_(0, one.flatten(), weight.square().contiguous().flatten())
        return squares.sqrt()

    @torch.no_grad()
    def shrink(self, strength: float, keep_frac: float) -> None:
        """Take ``strength`` off each group's root mean square, down to zero; spare the largest ``keep_frac``.

        This is the proximal step of the group lasso with groups weighted by the root of their size (Yuan and
        Lin, 2006).
        """
        norms = self.norms()
        factors = (1 - strength * self.sizes.sqrt() / norms.clamp(min=1e-30)).clamp(min=0)
        factors[norms.topk(math.ceil(keep_frac * len(norms))).indices] = 1
        for weight, one in zip(self.weights, self.of, strict=True):
            weight.mul_(factors[one])


def kernels(network: nn.Module, shape: tuple[int, ...]) -> list[Groups]:
    """Return, of each layer but the first, its k x k slices (or single dense weights) as groups."""
    found = []
    for site in sites(network, shape)[1:]:
        weight = site.layer.weight
        slices = torch.arange(weight.shape[0] * weight.shape[1]).reshape(*weight.shape[:2])
        found.append(
            Groups(
                [weight],
                [slices.reshape(*weight.shape[:2], 1, 1).expand_as(weight) if weight.ndim == 4 else slices],
            )
        )
    return found


def readers(network: nn.Module, shape: tuple[int, ...]) -> list[Groups]:
    """Return, for each set of layers that share channels, all weights that read a channel as one group."""
    found = []
    for group in _dependent(network, shape)[1]:
        parts = _reading(group)
        if parts:
            of = [roots.reshape(1, -1, *[1] * (weight.ndim - 2)).expand_as(weight) for weight, roots in parts]
            found.append(Groups([weight for weight, _ in parts], of))
    return found


def remove_unread(network: nn.Module, shape: tuple[int, ...], round_to: int = 1) -> int:
    """Remove channels all of whose readers are zero, in place; return how many.

    ``round_to`` leaves a multiple of it, keeping some of those channels.
    """
    graph, groups = _dependent(network, shape)
    removed = 0
    for group in groups:
        parts = _reading(group)
        if not parts:
            continue
        channels = len(group[0].idxs)
        read = torch.zeros(channels)
        for weight, roots in parts:
            used = weight.detach().abs().sum(dim=tuple(d for d in range(weight.ndim) if d != 1))
            read.index_add_(0, roots, used)
        unread = (read == 0).nonzero()[:, 0].tolist()
        least = -(-(channels - len(unread)) // round_to) * round_to
        unread = unread[: max(channels - max(least, 1), 0)]
        if unread:
            first = group[0].dep
            graph.get_pruning_group(first.target.module, first.handler, unread).prune()
            removed += len(unread)
    return removed


def _dependent(network: nn.Module, shape: tuple[int, ...]) -> tuple[Any, Iterable[Any]]:
    """Return Torch-Pruning's graph and its groups of layers that gain and lose channels together."""
    network.eval()
    graph = torch_pruning.DependencyGraph().build_dependency(network, torch.zeros(1, *shape))
    return graph, graph.get_all_groups()


def _reading(group: Any) -> list[tuple[Tensor, Tensor]]:
    """Return the weights (out, in, ...) that read the group's channels, and which channel each input is."""
    parts = []
    for item in group:
        layer = item.dep.target.module
        full = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        reads = item.dep.handler in (
            torch_pruning.prune_conv_in_channels,
            torch_pruning.prune_linear_in_channels,
        )
        if full and reads:
            roots = torch.empty(layer.weight.shape[1], dtype=torch.long)
            roots[torch.tensor(item.idxs)] = torch.tensor(item.root_idxs)
            parts.append((layer.weight, roots))
    return parts


def _train(network: nn.Module, groups: list[Groups], config: GroupLasso, context: Context) -> None:
    """Train with a proximal step after each step; how many were done is in a buffer, so it can be resumed."""
    network.register_buffer(_STEPS, torch.zeros((), dtype=torch.long))
    steps = -(-len(context.splits.train) // config.training.batch) * config.training.epochs

    def shrink() -> None:
        done = int(getattr(network, _STEPS))
        getattr(network, _STEPS).add_(1)
        strength = config.strength * _rate(config.training, done / steps)
        for group in groups:
            group.shrink(strength, config.keep_frac)

    context.tune(network, config.training, on_step=shrink)
    delattr(network, _STEPS)


def _rate(training: Training, done_frac: float) -> float:
    """Return the share of the peak learning rate at this time: a proximal step is as long as the gradient's."""
    if done_frac < training.warmup_frac:
        return done_frac / training.warmup_frac
    return 0.5 * (1 + math.cos(math.pi * (done_frac - training.warmup_frac) / (1 - training.warmup_frac)))
