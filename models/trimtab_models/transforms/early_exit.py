"""Early exits trained jointly (Teerapittayanon et al., 'BranchyNet', ICPR 2016), confidence calibrated."""

# mypy: allow-untyped-decorators
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab_models.architectures.staged import Cuttable, StagedNetwork, exit_classifier
from trimtab_models.datasets.samples import Samples
from trimtab_models.errors import FoundryError
from trimtab_models.registry import Context, Report, register
from trimtab_models.training import Batch, Loss, cross_entropy, fit, predict
from trimtab_models.transforms.configs import EarlyExit


@register(EarlyExit)
def early_exit(network: nn.Module, config: EarlyExit, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` as a :class:`StagedNetwork`; its weights start the trunk and the last classifier."""
    staged = add_exits(network, config, context)
    fit(
        staged,
        context.splits.train,
        config.training,
        joint_loss(config),
        seed=context.seed,
        partial=context.partial,
        on_epoch=context.on_epoch,
    )
    temperatures = calibrate(staged, context.splits.validation)
    facts = {f"temperature_{i}": round(value, 3) for i, value in enumerate(temperatures)}
    return staged, Report("early_exit", facts)


def add_exits(network: nn.Module, config: EarlyExit, context: Context) -> StagedNetwork:
    """Cut ``network`` and put a fresh classifier after each piece but the last; raise ``FoundryError``."""
    network.eval()
    if not isinstance(network, Cuttable):
        raise FoundryError(f"early_exit: {type(network).__name__} cannot be cut into pieces")
    trunk, classifier = network.pieces()
    if len(trunk) != len(config.loss_weights):
        raise FoundryError(f"early_exit: {len(trunk)} exits but {len(config.loss_weights)} loss_weights")
    torch.manual_seed(context.seed)
    hidden = torch.zeros(1, *context.splits.train.images.shape[1:])
    classifiers: list[nn.Module] = []
    for piece in trunk[:-1]:
        hidden = piece(hidden)
        classifiers.append(exit_classifier(hidden.shape[1], hidden.shape[2], context.splits.classes))
    return StagedNetwork(trunk, [*classifiers, classifier])


def joint_loss(config: EarlyExit) -> Loss:
    """Return the weighted sum of every exit's cross-entropy."""
    single = cross_entropy(config.training)

    def loss(answers: Any, batch: Batch) -> Tensor:
        pairs = zip(config.loss_weights, answers, strict=True)
        weighted = [weight * single(logits, batch) for weight, logits in pairs]
        return torch.stack(weighted).sum()

    return loss


def calibrate(staged: StagedNetwork, held_out: Samples) -> list[float]:
    """Fold into each exit the temperature fitting ``held_out`` best (Guo et al., ICML 2017); return them."""
    answers = predict(staged, held_out)
    labels = torch.from_numpy(held_out.labels).long()
    temperatures = [_temperature(logits, labels) for logits in answers]
    for stage, temperature in zip(staged.stages, temperatures, strict=True):
        _scale(stage, 1 / temperature)
    return temperatures


def _temperature(logits: Tensor, labels: Tensor) -> float:
    """Search the temperature of least negative log-likelihood on a fine geometric grid from 1/4 to 4."""
    grid = torch.logspace(-2, 2, 401, base=2.0)
    losses = [float(functional.cross_entropy(logits / temperature, labels)) for temperature in grid]
    return float(grid[losses.index(min(losses))])


@torch.no_grad()
def _scale(stage: nn.Module, factor: float) -> None:
    """Multiply what the stage's last dense layer returns."""
    dense: Sequence[nn.Linear] = [m for m in stage.modules() if isinstance(m, nn.Linear)]
    dense[-1].weight.mul_(factor)
    dense[-1].bias.mul_(factor)
