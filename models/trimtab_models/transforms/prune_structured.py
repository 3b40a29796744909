"""Structured pruning by channel groups (Fang et al., 'DepGraph', CVPR 2023) with Torch-Pruning."""

import torch
import torch_pruning
from torch import nn

from trimtab_models.registry import Context, Report, register
from trimtab_models.training import cross_entropy, fit
from trimtab_models.transforms.configs import PruneStructured


@register(PruneStructured)
def prune_structured(
    network: nn.Module, config: PruneStructured, context: Context
) -> tuple[nn.Module, Report]:
    """Return ``network`` with fewer channels, fine-tuned when the config has ``training``."""
    before = count(network)
    shrink(network, config, context)
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
    facts = {"parameters_before": before, "parameters": count(network)}
    return network, Report("prune_structured", facts)


def shrink(network: nn.Module, config: PruneStructured, context: Context) -> None:
    """Remove the channels of least L2 norm from ``network``, in place; classifiers keep their outputs."""
    classes = context.splits.classes
    classifiers = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    example = torch.zeros(1, *context.splits.train.images.shape[1:])
    network.eval()
    pruner = torch_pruning.pruner.MagnitudePruner(
        network,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=1 - config.keep_frac,
        round_to=config.round_to,
        ignored_layers=classifiers,
    )
    pruner.step()


def count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
