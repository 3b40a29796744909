"""Layers that several architectures share; images are (batch, 1, 28, 28) float32 in 0..1."""

# mypy: allow-subclassing-any
from typing import Protocol

import torch
from torch import Tensor, nn


class Head(Protocol):
    """How many classes a network tells apart and how its input is normalised."""

    @property
    def classes(self) -> int:
        """The number of logits."""

    @property
    def mean(self) -> float:
        """The mean of the training pixels, in 0..1."""

    @property
    def std(self) -> float:
        """Their standard deviation."""


class Normalise(nn.Module):
    """Map pixels in 0..1 to zero mean and unit variance, inside the graph: callers send pixel / 255."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("scale", torch.tensor(1.0 / std))

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(image - mean) / std``, same shape."""
        normal: Tensor = (image - self.mean) * self.scale
        return normal


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a bias-free convolution that keeps the image size (over ``stride``) and its batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU."""
    return nn.Sequential(*conv_norm(inputs, outputs, kernel, stride), nn.ReLU())
