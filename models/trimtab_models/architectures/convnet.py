"""Plain chains: of dense layers, of convolutions, of separable convolutions."""

# mypy: allow-subclassing-any
from torch import Tensor, nn

from trimtab_models.architectures.configs import ConvNet, LeNet5, Mlp, MobileNet
from trimtab_models.architectures.frontends import Frontend, Head
from trimtab_models.architectures.layers import Pair, conv_norm_relu, separable
from trimtab_models.architectures.staged import grouped


class ChainNetwork(nn.Module):
    """A frontend, features, a classifier."""

    def __init__(self, frontend: Frontend, features: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.frontend = frontend
        self.features = features
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a batch of inputs to logits (batch, classes)."""
        logits: Tensor = self.head(self.features(self.frontend(inputs)))
        return logits

    def pieces(self) -> tuple[list[nn.Module], nn.Module]:
        """Return one piece per layer with weights, the first with the frontend, and the classifier."""
        return grouped(self.features, self.frontend), self.head


class MlpNetwork(ChainNetwork):
    """Flatten, dense layers with ReLU, logits."""

    def __init__(self, config: Mlp, head: Head) -> None:
        frontend = head.frontend()
        channels, height, width = frontend.map_shape
        size = channels * height * width
        layers: list[nn.Module] = []
        for hidden in config.hidden:
            layers += [nn.Linear(size, hidden), nn.ReLU()]
            size = hidden
        features = nn.Sequential(nn.Flatten(), *layers)
        super().__init__(frontend, features, nn.Sequential(nn.Linear(size, head.classes)))


class LeNet5Network(ChainNetwork):
    """Convolution and pooling twice, one dense layer with ReLU, logits."""

    def __init__(self, config: LeNet5, head: Head) -> None:
        frontend = head.frontend()
        channels, height, width = frontend.map_shape
        layers: list[nn.Module] = []
        for outputs in config.channels:
            layers += [nn.Conv2d(channels, outputs, config.kernel), nn.MaxPool2d(2)]
            channels = outputs
            height, width = ((side - config.kernel + 1) // 2 for side in (height, width))
        dense = nn.Linear(channels * height * width, config.hidden)
        classifier = nn.Sequential(nn.Flatten(), dense, nn.ReLU(), nn.Linear(config.hidden, head.classes))
        super().__init__(frontend, nn.Sequential(*layers), classifier)


class ConvNetNetwork(ChainNetwork):
    """Convolutions with batch norm, ReLU and optional pooling, then one or two dense layers."""

    def __init__(self, config: ConvNet, head: Head) -> None:
        frontend = head.frontend(config.frontend)
        channels, height, width = frontend.map_shape
        flat = height == 1
        layers: list[nn.Module] = []
        for outputs, stride, pool in zip(config.channels, config.strides, config.pool, strict=True):
            kernel: Pair = (1 if flat else config.kernel, config.kernel)
            layers.append(conv_norm_relu(channels, outputs, kernel, (1 if flat else stride, stride)))
            channels, height, width = outputs, height if flat else -(-height // stride), -(-width // stride)
            if pool:
                layers.append(nn.MaxPool2d((1, 2) if flat else 2))
                height, width = height if flat else height // 2, width // 2
        features = channels if config.mean else channels * height * width
        classifier = nn.Sequential(*_classifier(config, features, head.classes))
        super().__init__(frontend, nn.Sequential(*layers), classifier)


class MobileNetNetwork(ChainNetwork):
    """A plain stem, separable convolutions, mean over pixels, logits."""

    def __init__(self, config: MobileNet, head: Head) -> None:
        frontend = head.frontend(config.frontend)
        channels, height, _ = frontend.map_shape
        flat = height == 1
        kernel: Pair = (1, 3) if flat else (3, 3)
        layers: list[nn.Module] = [conv_norm_relu(channels, config.stem, kernel)]
        channels = config.stem
        for outputs, stride in zip(config.channels, config.strides, strict=True):
            layers.append(separable(channels, outputs, kernel, (1 if flat else stride, stride)))
            channels = outputs
        classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, head.classes))
        super().__init__(frontend, nn.Sequential(*layers), classifier)


def _classifier(config: ConvNet, width: int, classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(1)] if config.mean else []
    layers.append(nn.Flatten())
    if config.hidden:
        layers += [nn.Linear(width, config.hidden), nn.ReLU()]
        width = config.hidden
    return [*layers, nn.Linear(width, classes)]
