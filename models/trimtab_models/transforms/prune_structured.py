"""Structured pruning by channel groups (Fang et al., 'DepGraph', CVPR 2023) with Torch-Pruning."""

# mypy: allow-untyped-decorators
import contextlib
from collections.abc import Iterator, Mapping

import torch
import torch_pruning
from torch import nn

from trimtab_models.architectures.frontends import Frontend
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import PruneStructured
from trimtab_models.transforms.layerwise import LayerError


@register(PruneStructured)
def prune_structured(
    network: nn.Module, config: PruneStructured, context: Context
) -> tuple[nn.Module, Report]:
    """Return ``network`` with fewer channels, fine-tuned when the config has ``training``."""
    before = count(network)
    facts: dict[str, float] = {"parameters_before": before}
    if config.sensitivity is None:
        shrink(network, config, context)
    else:
        from trimtab_models.transforms.sensitivity import allocate

        shares = allocate(network, config, config.sensitivity, context)
        shrink(network, config, context, shares)
        facts |= {f"keep_frac.{name}": round(share, 3) for name, share in shares.items()}
    context.tune(network, config.training)
    return network, Report("prune_structured", facts | {"parameters": count(network)})


def shrink(
    network: nn.Module,
    config: PruneStructured,
    context: Context,
    keep_frac: Mapping[str, float] | None = None,
) -> None:
    """Remove the channels of least L2 norm from ``network``, in place; classifiers keep their outputs.

    ``keep_frac`` gives the share per group, by the name :func:`groups` has for it; without it all keep
    ``config.keep_frac``. A layer that has no more channels than ``round_to`` keeps them. Raises
    ``LayerError`` when a layer cannot be pruned.
    """
    named = dict(network.named_modules())
    network.eval()
    ratios = {
        named[layer]: 1 - (keep_frac or {})[name]
        for name, layers in groups(network, context).items()
        for layer in layers
        if name in (keep_frac or {})
    }
    with _without_frontends(network, context) as example:
        pruner = torch_pruning.pruner.MagnitudePruner(
            network,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=1 - config.keep_frac if keep_frac is None else 0.0,
            pruning_ratio_dict=ratios,
            round_to=config.round_to,
            ignored_layers=_classifiers(network, context),
        )
        pruner.step()
    for name, module in named.items():
        if isinstance(module, nn.Conv2d | nn.Linear) and 0 in module.weight.shape:
            raise LayerError(f"prune_structured: layer {name}: no channel would be left; keep more")


def groups(network: nn.Module, context: Context) -> dict[str, tuple[str, ...]]:
    """Return the layers whose output channels can only be removed together, under the name of the first."""
    names = {module: name for name, module in network.named_modules()}
    with _without_frontends(network, context) as example:
        graph = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=example)
        found = graph.get_all_groups(
            ignored_layers=_classifiers(network, context), root_module_types=[nn.Conv2d, nn.Linear]
        )
        coupled = [
            {
                names[dependency.target.module]
                for dependency, _ in group
                if dependency.target.module in names and graph.is_out_channel_pruning_fn(dependency.handler)
                if isinstance(dependency.target.module, nn.Conv2d | nn.Linear)
            }
            for group in found
        ]
    order = list(names.values())
    listed = sorted(
        (sorted(layers, key=order.index) for layers in coupled), key=lambda some: order.index(some[0])
    )
    return {layers[0]: tuple(layers) for layers in listed}


def _classifiers(network: nn.Module, context: Context) -> list[nn.Module]:
    classes = context.splits.classes
    return [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == classes]


@contextlib.contextmanager
def _without_frontends(network: nn.Module, context: Context) -> Iterator[torch.Tensor]:
    """Give an example of what reaches the first layer, while nothing stands in place of the frontends."""
    example = torch.zeros(1, *context.splits.shape)
    taken = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Frontend):
                taken.append((parent, name, child))
                setattr(parent, name, nn.Identity())
    try:
        with torch.no_grad():
            features = taken[0][2](example) if taken else example
        yield features
    finally:
        for parent, name, child in taken:
            setattr(parent, name, child)


def count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
