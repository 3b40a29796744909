"""Early exits trained jointly (Teerapittayanon et al., 'BranchyNet', ICPR 2016), confidence calibrated."""

# mypy: allow-untyped-decorators
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab_models.architectures.staged import Cuttable, StagedNetwork, exit_classifier, joined
from trimtab_models.datasets.samples import Samples
from trimtab_models.distillation import taught_loss
from trimtab_models.errors import FoundryError
from trimtab_models.registry import Context, Report, register
from trimtab_models.training import Batch, Loss, predict
from trimtab_models.transforms.configs import EarlyExit

_FIRST_WEIGHT: Final = 1.0
_LAST_WEIGHT: Final = 0.3


@register(EarlyExit)
def early_exit(network: nn.Module, config: EarlyExit, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` as a :class:`StagedNetwork`; its weights start the trunk and the last classifier."""
    staged = add_exits(network, config, context)
    single = taught_loss(config.training, context.reference, context.splits.train)
    context.tune(staged, config.training, joint_loss(config, single, len(staged.stages)))
    temperatures = calibrate(staged, context.splits.validation)
    facts = {f"temperature_{i}": round(value, 3) for i, value in enumerate(temperatures)}
    return staged, Report("early_exit", facts)


def add_exits(network: nn.Module, config: EarlyExit, context: Context) -> StagedNetwork:
    """Cut ``network`` and put a fresh classifier after each piece but the last; raise ``FoundryError``."""
    network.eval()
    if not isinstance(network, Cuttable):
        raise FoundryError(f"early_exit: {type(network).__name__} cannot be cut into pieces")
    pieces, classifier = network.pieces()
    exits = config.exits or tuple(range(len(pieces) - 1))
    branches = config.branches * len(exits) if len(config.branches) == 1 else config.branches
    _check(config, len(pieces), exits, len(branches))
    torch.manual_seed(context.seed)
    trunk = joined(pieces, exits)
    hidden = torch.zeros(1, *context.splits.shape)
    classifiers: list[nn.Module] = []
    for position, piece in enumerate(trunk[:-1]):
        with torch.no_grad():
            hidden = piece(hidden)
        branch = branches[position] if branches else None
        classifiers.append(exit_classifier(hidden.shape[1:], context.splits.classes, branch))
    staged = StagedNetwork(trunk, [*classifiers, classifier])
    if config.freeze_trunk:
        staged.freeze_trunk()
    return staged


def _check(config: EarlyExit, pieces: int, exits: Sequence[int], branches: int) -> None:
    """Raise ``FoundryError`` unless exits, branches and weights fit the network."""
    if not exits or exits[-1] > pieces - 2:
        raise FoundryError(
            f"early_exit: exits {list(exits)}: the network has pieces 0..{pieces - 1}, and after the last is its own exit"
        )
    if branches not in (0, len(exits)):
        raise FoundryError(f"early_exit: {branches} branches for {len(exits)} early exits")
    if len(config.loss_weights) not in (0, len(exits) + 1):
        raise FoundryError(f"early_exit: {len(config.loss_weights)} loss_weights for {len(exits) + 1} exits")


def joint_loss(config: EarlyExit, single: Loss, exits: int) -> Loss:
    """Return the weighted sum of ``single`` over all exits, part of which the last exit may teach."""
    weights = config.loss_weights or tuple(np.linspace(_FIRST_WEIGHT, _LAST_WEIGHT, exits).tolist())
    share, temperature = config.self_teach_frac, config.training.temperature

    def loss(answers: Any, batch: Batch) -> Tensor:
        *early, last = answers
        taught = functional.log_softmax(last.detach().float() / temperature, dim=1)
        total = weights[-1] * single(last, batch)
        for weight, logits in zip(weights, early, strict=False):
            own = (1 - share) * single(logits, batch)
            if share:
                softened = functional.log_softmax(logits.float() / temperature, dim=1)
                gap = functional.kl_div(softened, taught, reduction="batchmean", log_target=True)
                own = own + share * temperature**2 * gap
            total = total + weight * own
        return total

    return loss


def calibrate(staged: StagedNetwork, held_out: Samples) -> list[float]:
    """Fold into each exit the temperature fitting ``held_out`` best (Guo et al., ICML 2017); return them."""
    answers = predict(staged, held_out)
    labels = torch.from_numpy(held_out.labels).long()
    temperatures = [fitted_temperature(logits, labels) for logits in answers]
    for stage, temperature in zip(staged.stages, temperatures, strict=True):
        _scale(stage, 1 / temperature)
    return temperatures


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature of least negative log-likelihood on a fine geometric grid from 1/4 to 4."""
    grid = torch.logspace(-2, 2, 401, base=2.0)
    losses = [float(functional.cross_entropy(logits / temperature, labels)) for temperature in grid]
    return float(grid[losses.index(min(losses))])


@torch.no_grad()
def _scale(stage: nn.Module, factor: float) -> None:
    """Multiply what the stage's last dense layer returns."""
    dense: Sequence[nn.Linear] = [m for m in stage.modules() if isinstance(m, nn.Linear)]
    dense[-1].weight.mul_(factor)
    dense[-1].bias.mul_(factor)
