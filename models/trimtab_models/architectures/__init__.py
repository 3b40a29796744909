"""Networks by name: configs are plain data, :func:`build` needs torch."""

from typing import TYPE_CHECKING

from trimtab_models.architectures.configs import CONFIGS, ArchitectureConfig, ConvNet, ResNet

if TYPE_CHECKING:
    from torch import nn

    from trimtab_models.architectures.layers import Head

__all__ = ["CONFIGS", "ArchitectureConfig", "ConvNet", "ResNet", "build"]


def build(config: ArchitectureConfig, head: "Head", seed: int) -> "nn.Module":
    """Return a freshly initialised network; the same seed gives the same weights."""
    import torch

    from trimtab_models.architectures.convnet import ConvNetNetwork
    from trimtab_models.architectures.resnet import ResNetNetwork

    torch.manual_seed(seed)
    return ResNetNetwork(config, head) if isinstance(config, ResNet) else ConvNetNetwork(config, head)
