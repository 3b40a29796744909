"""Architectures as data: one frozen config per network class, importable without torch."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ResNet:
    """A residual network of basic blocks (He et al., 2016): a group of ``blocks`` per entry of ``channels``.

    Keep channels multiples of 16: ONNX Runtime computes in blocks of 16 and is much slower otherwise.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    blocks: int = 2


@dataclass(frozen=True, slots=True)
class ConvNet:
    """A plain chain of 3x3 convolutions; ``pool`` halves the image after each convolution marked true.

    ``hidden`` > 0 puts one dense layer of that width before the logits. ``mean`` averages the last feature
    map over its pixels; otherwise it is flattened.
    """

    channels: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (2, 1, 1)
    pool: tuple[bool, ...] = (False, True, False)
    hidden: int = 0
    mean: bool = True


ArchitectureConfig = ResNet | ConvNet

CONFIGS: Final[dict[str, type[ResNet] | type[ConvNet]]] = {"resnet": ResNet, "convnet": ConvNet}
