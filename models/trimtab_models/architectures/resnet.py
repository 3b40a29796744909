"""A residual network of basic blocks (He et al., 'Deep residual learning', CVPR 2016), for small images."""

# mypy: allow-subclassing-any
from torch import Tensor, nn

from trimtab_models.architectures.configs import ResNet
from trimtab_models.architectures.layers import Head, Normalise, conv_norm, conv_norm_relu


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


class ResNetNetwork(nn.Module):
    """Stem, groups of basic blocks (each after the first halves the image), mean over pixels, logits."""

    def __init__(self, config: ResNet, head: Head) -> None:
        super().__init__()
        width = config.channels[0]
        self.stem = nn.Sequential(Normalise(head.mean, head.std), conv_norm_relu(1, width))
        groups = []
        for group, channels in enumerate(config.channels):
            blocks = []
            for block in range(config.blocks):
                blocks.append(BasicBlock(width, channels, stride=2 if group and not block else 1))
                width = channels
            groups.append(nn.Sequential(*blocks))
        self.groups = nn.ModuleList(groups)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, head.classes))

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, 1, height, width) in 0..1 to logits (batch, classes)."""
        hidden = self.stem(image)
        for group in self.groups:
            hidden = group(hidden)
        logits: Tensor = self.head(hidden)
        return logits

    def pieces(self) -> tuple[list[nn.Module], nn.Module]:
        """Return one piece per group, the first with the stem, and the classifier."""
        first, *others = self.groups
        return [nn.Sequential(self.stem, first), *others], self.head
