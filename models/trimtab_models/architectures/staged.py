"""Networks with several exits (Teerapittayanon et al., 'BranchyNet', ICPR 2016), run stage by stage."""

# mypy: allow-subclassing-any
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from trimtab_models.architectures.layers import Pair, conv_norm_relu
from trimtab_models.transforms.configs.conditional import Branch

_WIDE_MAP = 14
"""Pixels a side from which the default branch pools before it convolves."""


@runtime_checkable
class Cuttable(Protocol):
    """A network that can be cut into pieces run one after another, with a classifier at the end."""

    def pieces(self) -> tuple[list[nn.Module], nn.Module]:
        """Return the pieces in order and the classifier that follows the last."""


class ExitStage(nn.Module):
    """A piece of the trunk and the classifier of its exit."""

    def __init__(self, trunk: nn.Module, classifier: nn.Module, *, last: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.classifier = classifier
        self.last = last

    def forward(self, hidden: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits and, except at the last exit, the hidden tensor for the next stage."""
        hidden = self.trunk(hidden)
        logits: Tensor = self.classifier(hidden)
        return logits if self.last else (logits, hidden)


class StagedNetwork(nn.Module):
    """Stages in order; as a whole it answers at every exit."""

    def __init__(self, trunk: Sequence[nn.Module], classifiers: Sequence[nn.Module]) -> None:
        super().__init__()
        last = len(trunk) - 1
        pairs = zip(trunk, classifiers, strict=True)
        self.stages = nn.ModuleList(ExitStage(t, c, last=i == last) for i, (t, c) in enumerate(pairs))
        self.frozen = False

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (batch, classes) of every exit, first exit first."""
        answers, hidden = [], image
        for stage in self.stages[:-1]:
            logits, hidden = stage(hidden)
            answers.append(logits)
        return (*answers, self.stages[-1](hidden))

    def trunk(self) -> list[nn.Module]:
        """Return what the network was before it had exits, in pieces."""
        return [*(stage.trunk for stage in self.stages), self.stages[-1].classifier]

    def freeze_trunk(self) -> None:
        """Keep the trunk's weights and statistics as they are, now and in training."""
        self.frozen = True
        for piece in self.trunk():
            piece.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but not on a frozen trunk: its batch norms must not move."""
        super().train(mode)
        if self.frozen:
            for piece in self.trunk():
                piece.eval()
        return self


def grouped(layers: nn.Sequential, first: nn.Module) -> list[nn.Module]:
    """Cut a chain before every layer that has weights; ``first`` joins the first piece."""
    starts = [at for at, layer in enumerate(layers) if any(True for _ in layer.parameters())] or [0]
    bounds = [0, *starts[1:], len(layers)]
    pieces: list[nn.Module] = [nn.Sequential(*list(layers)[a:b]) for a, b in pairwise(bounds)]
    return [nn.Sequential(first, pieces[0]), *pieces[1:]]


def joined(pieces: Sequence[nn.Module], exits: Sequence[int]) -> list[nn.Module]:
    """Return the pieces put together such that one can leave after those numbered ``exits`` and the last."""
    bounds = [0, *(exit_at + 1 for exit_at in exits), len(pieces)]
    return [nn.Sequential(*pieces[a:b]) if b - a > 1 else pieces[a] for a, b in pairwise(bounds)]


def exit_classifier(shape: Sequence[int], classes: int, branch: Branch | None = None) -> nn.Sequential:
    """Return a classifier for feature maps (channels, height, width), as ``branch`` describes it.

    Without ``branch``: pool where the map is wide, one convolution, mean over pixels, a dense layer. What a
    dense layer returned, (features,), gets a dense layer only.
    """
    if len(shape) == 1:
        return nn.Sequential(nn.Linear(shape[0], classes))
    channels, height, width = shape
    if branch is None:
        branch = Branch(2 if height >= _WIDE_MAP else 1, (channels,), 2, mean=True)
    flat = height == 1
    pool: Pair = (1 if flat else min(branch.pool, height), min(branch.pool, width))
    layers: list[nn.Module] = [nn.MaxPool2d(pool)] if pool != (1, 1) else []
    kernel: Pair = (1 if flat else 3, 3)
    for outputs in branch.channels:
        layers.append(
            conv_norm_relu(channels, outputs, kernel, (1 if flat else branch.stride, branch.stride))
        )
        channels = outputs
    if branch.mean:
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers.append(nn.Flatten())
    with torch.no_grad():
        features = nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[1]
    if branch.hidden:
        layers += [nn.Linear(features, branch.hidden), nn.ReLU()]
        features = branch.hidden
    return nn.Sequential(*layers, nn.Linear(features, classes))
