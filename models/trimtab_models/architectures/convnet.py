"""A plain chain of convolutions: the shape of a distilled student."""

# mypy: allow-subclassing-any
from torch import Tensor, nn

from trimtab_models.architectures.configs import ConvNet
from trimtab_models.architectures.layers import Head, Normalise, conv_norm_relu


class ConvNetNetwork(nn.Module):
    """Normalise, convolutions with batch norm, ReLU and optional pooling, then one or two dense layers."""

    def __init__(self, config: ConvNet, head: Head, image_size: int = 28) -> None:
        super().__init__()
        layers: list[nn.Module] = [Normalise(head.mean, head.std)]
        width, size = 1, image_size
        for channels, stride, pool in zip(config.channels, config.strides, config.pool, strict=True):
            layers.append(conv_norm_relu(width, channels, stride=stride))
            width, size = channels, -(-size // stride)
            if pool:
                layers.append(nn.MaxPool2d(2))
                size //= 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(*_head(config, width if config.mean else width * size * size, head.classes))

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, 1, height, width) in 0..1 to logits (batch, classes)."""
        logits: Tensor = self.head(self.features(image))
        return logits


def _head(config: ConvNet, width: int, classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(1)] if config.mean else []
    layers.append(nn.Flatten())
    if config.hidden:
        layers += [nn.Linear(width, config.hidden), nn.ReLU()]
        width = config.hidden
    return [*layers, nn.Linear(width, classes)]
