"""Residual networks for small images (He et al., 2016; Page, 2018), whole or cut into pieces for exits."""

# mypy: allow-subclassing-any
from torch import Tensor, nn

from trimtab_models.architectures.configs import PooledResNet, ResNet
from trimtab_models.architectures.frontends import Head
from trimtab_models.architectures.layers import conv_norm, conv_norm_relu


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_norm_relu(inputs, outputs, stride=stride)
        self.second = conv_norm(outputs, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, kernel=1, stride=stride)
        self.activation = nn.ReLU()

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        out: Tensor = self.activation(self.second(self.first(hidden)) + self.shortcut(hidden))
        return out


class Residual(nn.Module):
    """Add what a body computes to what it was given."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``hidden + body(hidden)``."""
        out: Tensor = hidden + self.body(hidden)
        return out


class GroupedNetwork(nn.Module):
    """Frontend and stem, groups of layers, a classifier: the shape of everything that can be cut."""

    def __init__(self, stem: nn.Module, groups: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.groups = nn.ModuleList(groups)
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a batch of inputs to logits (batch, classes)."""
        hidden = self.stem(inputs)
        for group in self.groups:
            hidden = group(hidden)
        logits: Tensor = self.head(hidden)
        return logits

    def pieces(self) -> tuple[list[nn.Module], nn.Module]:
        """Return one piece per group, the first with the stem, and the classifier."""
        first, *others = self.groups
        return [nn.Sequential(self.stem, first), *others], self.head


class ResNetNetwork(GroupedNetwork):
    """Stem, groups of basic blocks (each after the first halves the map), mean over pixels, logits."""

    def __init__(self, config: ResNet, head: Head) -> None:
        frontend = head.frontend(config.frontend)
        width = config.channels[0]
        stem = nn.Sequential(frontend, conv_norm_relu(frontend.map_shape[0], width))
        groups: list[nn.Module] = []
        for group, channels in enumerate(config.channels):
            blocks = []
            for block in range(config.blocks):
                blocks.append(BasicBlock(width, channels, stride=2 if group and not block else 1))
                width = channels
            groups.append(nn.Sequential(*blocks))
        classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, head.classes))
        super().__init__(stem, groups, classifier)


class PooledResNetNetwork(GroupedNetwork):
    """Stem, groups of a pooled convolution and residual convolutions, mean over pixels, logits."""

    def __init__(self, config: PooledResNet, head: Head) -> None:
        frontend = head.frontend()
        stem = nn.Sequential(frontend, conv_norm_relu(frontend.map_shape[0], config.stem))
        groups: list[nn.Module] = []
        width = config.stem
        for channels, blocks in zip(config.channels, config.blocks, strict=True):
            pooled = nn.Conv2d(width, channels, 3, padding=1, bias=False)
            layers: list[nn.Module] = [pooled, nn.MaxPool2d(2), nn.BatchNorm2d(channels), nn.ReLU()]
            layers += [Residual(conv_norm_relu(channels, channels)) for _ in range(blocks)]
            groups.append(nn.Sequential(*layers))
            width = channels
        classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, head.classes))
        super().__init__(stem, groups, classifier)
