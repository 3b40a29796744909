"""Residual networks for small images (He et al., 2016; Page, 2018), whole or cut into pieces for exits."""

# mypy: allow-subclassing-any
import torch
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


class Scale(nn.Module):
    """Multiply by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``hidden`` times the constant."""
        return hidden * self.factor


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
        if config.whitened:
            first: nn.Module = nn.Sequential(whitening(head), nn.ReLU())
            width = 2 * 4 * frontend.map_shape[0]
        else:
            first, width = conv_norm_relu(frontend.map_shape[0], config.stem), config.stem
        groups: list[nn.Module] = []
        for channels, blocks in zip(config.channels, config.blocks, strict=True):
            pooled = nn.Conv2d(width, channels, 3, padding=1, bias=False)
            layers: list[nn.Module] = [pooled, nn.MaxPool2d(2), nn.BatchNorm2d(channels), nn.ReLU()]
            layers += [Residual(conv_norm_relu(channels, channels)) for _ in range(blocks)]
            groups.append(nn.Sequential(*layers))
            width = channels
        pool = nn.AdaptiveMaxPool2d(1) if config.whitened else nn.AdaptiveAvgPool2d(1)
        small: list[nn.Module] = [Scale(1 / 9)] if config.whitened else []
        classifier = nn.Sequential(pool, nn.Flatten(), *small, nn.Linear(width, head.classes))
        super().__init__(nn.Sequential(frontend, first), groups, classifier)
        if config.whitened:
            _start_as_airbench(self)


def whitening(head: Head) -> nn.Conv2d:
    """Return a fixed 2x2 convolution whose outputs are uncorrelated on the training images, and their negatives.

    Jordan, '94% on CIFAR-10 in 3.29 seconds' (2024), section 3.1; raises ``ValueError`` without images.
    """
    if head.patches is None:
        raise ValueError(f"a whitened stem is for images of at least 2x2 pixels, not inputs of {head.shape}")
    values, vectors = torch.linalg.eigh(torch.from_numpy(head.patches))
    channels = head.shape[0]
    filters = (vectors / torch.sqrt(values + 5e-4)).T.flip(0).reshape(-1, channels, 2, 2).float()
    conv = nn.Conv2d(channels, 2 * len(filters), 2)
    with torch.no_grad():
        conv.weight.copy_(torch.cat([filters, -filters]))
        nn.init.zeros_(conv.bias if conv.bias is not None else torch.empty(0))
    conv.weight.requires_grad_(False)
    return conv


def _start_as_airbench(network: nn.Module) -> None:
    """Let convolutions start as identities on their first channels and batch norms learn their bias only."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
        elif isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            nn.init.dirac_(module.weight.data[: module.in_channels])
