"""Architectures as data: one frozen config per network class, importable without torch."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LogMel:
    """Log-mel features computed inside the network, so that applications send raw audio.

    Frames of ``window`` samples every ``hop`` samples, Hann-weighted, as ``bands`` mel bands between
    ``low_hz`` and ``high_hz`` at ``rate_hz`` samples a second.
    """

    rate_hz: int = 8000
    window: int = 256
    hop: int = 128
    bands: int = 32
    low_hz: float = 60.0
    high_hz: float = 3800.0


@dataclass(frozen=True, slots=True)
class Mlp:
    """Dense layers with ReLU between them on the flattened input: LeNet-300-100 (LeCun et al., 1998)."""

    hidden: tuple[int, ...] = (300, 100)


@dataclass(frozen=True, slots=True)
class LeNet5:
    """LeNet-5 as Caffe has it and pruning papers use it: 431k parameters with the default widths.

    Two unpadded convolutions of ``kernel`` pixels, each followed by 2x2 max pooling, and two dense layers.
    """

    channels: tuple[int, ...] = (20, 50)
    hidden: int = 500
    kernel: int = 5


@dataclass(frozen=True, slots=True)
class ResNet:
    """A residual network of basic blocks (He et al., 2016): a group of ``blocks`` per entry of ``channels``.

    Keep channels multiples of 16: ONNX Runtime computes in blocks of 16 and is much slower otherwise.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    blocks: int = 2
    frontend: LogMel | None = None


@dataclass(frozen=True, slots=True)
class PooledResNet:
    """A shallow, wide residual network (Page, 'How to train your ResNet', 2018; Jordan, 'airbench', 2024).

    Each group convolves to its width, halves the image by max pooling and adds ``blocks`` residual 3x3
    convolutions. The stem is a 3x3 convolution to ``stem`` channels or, ``whitened``, a fixed 2x2 convolution
    that decorrelates the training images' pixels (two filters for each value of a patch): as in airbench,
    convolutions then start as identities, batch norms have a bias only and logits are small. Such a network
    learns in a third of the epochs with a ``norm_bias_rate`` of 64.
    """

    channels: tuple[int, ...] = (64, 128, 256)
    blocks: tuple[int, ...] = (1, 2, 2)
    stem: int = 32
    whitened: bool = False


@dataclass(frozen=True, slots=True)
class MobileNet:
    """Depthwise separable convolutions in a chain (Howard et al., 'MobileNets', 2017).

    ``channels`` and ``strides`` have one entry per separable block, after a plain stem of ``stem`` channels.
    """

    channels: tuple[int, ...] = (64, 128, 128, 256, 256)
    strides: tuple[int, ...] = (1, 2, 1, 2, 1)
    stem: int = 32
    frontend: LogMel | None = None


@dataclass(frozen=True, slots=True)
class ConvNet:
    """A plain chain of convolutions; ``pool`` halves the map after each convolution marked true.

    Windows (channels, time) are maps of height 1: kernel and pooling then act along time only. ``hidden`` > 0
    puts one dense layer of that width before the logits. ``mean`` averages the last feature map over its
    pixels; otherwise it is flattened.
    """

    channels: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (2, 1, 1)
    pool: tuple[bool, ...] = (False, True, False)
    hidden: int = 0
    mean: bool = True
    kernel: int = 3
    frontend: LogMel | None = None

    def __post_init__(self) -> None:
        """Refuse lists of different lengths; raise ``ValueError``."""
        if not len(self.channels) == len(self.strides) == len(self.pool):
            raise ValueError("channels, strides and pool need one entry per convolution each")


ArchitectureConfig = Mlp | LeNet5 | ResNet | PooledResNet | MobileNet | ConvNet

CONFIGS: Final[dict[str, type[ArchitectureConfig]]] = {
    "mlp": Mlp,
    "lenet5": LeNet5,
    "resnet": ResNet,
    "pooled_resnet": PooledResNet,
    "mobilenet": MobileNet,
    "convnet": ConvNet,
}
