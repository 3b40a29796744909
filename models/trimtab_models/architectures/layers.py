"""Layers that several architectures share."""

# mypy: allow-subclassing-any
from torch import nn

Pair = tuple[int, int]


def conv_norm(inputs: int, outputs: int, kernel: int | Pair = 3, stride: int | Pair = 1) -> nn.Sequential:
    """Return a bias-free convolution that keeps the map's size (over ``stride``) and its batch norm."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    conv = nn.Conv2d(inputs, outputs, sides, stride, (sides[0] // 2, sides[1] // 2), bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def conv_norm_relu(
    inputs: int, outputs: int, kernel: int | Pair = 3, stride: int | Pair = 1
) -> nn.Sequential:
    """Return convolution, batch norm and ReLU."""
    return nn.Sequential(*conv_norm(inputs, outputs, kernel, stride), nn.ReLU())


def separable(inputs: int, outputs: int, kernel: int | Pair = 3, stride: int | Pair = 1) -> nn.Sequential:
    """Return a depthwise and a 1x1 convolution, each with batch norm and ReLU (MobileNet, figure 3)."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sides[0] // 2, sides[1] // 2)
    depthwise = nn.Conv2d(inputs, inputs, sides, stride, padding, groups=inputs, bias=False)
    return nn.Sequential(
        depthwise, nn.BatchNorm2d(inputs), nn.ReLU(), *conv_norm_relu(inputs, outputs, kernel=1)
    )
