"""Networks with several exits (Teerapittayanon et al., 'BranchyNet', ICPR 2016), run stage by stage."""

# mypy: allow-subclassing-any
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from trimtab_models.architectures.layers import conv_norm_relu


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

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (batch, classes) of every exit, first exit first."""
        answers, hidden = [], image
        for stage in self.stages[:-1]:
            logits, hidden = stage(hidden)
            answers.append(logits)
        return (*answers, self.stages[-1](hidden))


def exit_classifier(channels: int, size: int, classes: int) -> nn.Sequential:
    """Return a small classifier for a feature map of ``size`` pixels a side: pool, convolve, pool, dense."""
    layers: list[nn.Module] = []
    if size >= 14:
        layers.append(nn.MaxPool2d(2))
    layers += [conv_norm_relu(channels, channels, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, classes))
