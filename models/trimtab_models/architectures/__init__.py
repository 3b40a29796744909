"""Networks by name: configs are plain data, :func:`build` needs torch."""

from typing import TYPE_CHECKING

from trimtab_models.architectures.configs import (
    CONFIGS,
    ArchitectureConfig,
    ConvNet,
    LeNet5,
    LogMel,
    Mlp,
    MobileNet,
    PooledResNet,
    ResNet,
)

if TYPE_CHECKING:
    from torch import nn

    from trimtab_models.architectures.frontends import Head

__all__ = [
    "CONFIGS",
    "ArchitectureConfig",
    "ConvNet",
    "LeNet5",
    "LogMel",
    "Mlp",
    "MobileNet",
    "PooledResNet",
    "ResNet",
    "build",
]


def build(config: ArchitectureConfig, head: "Head", seed: int) -> "nn.Module":
    """Return a freshly initialised network; the same seed gives the same weights."""
    import torch

    from trimtab_models.architectures import convnet, resnet

    torch.manual_seed(seed)
    networks = {
        Mlp: convnet.MlpNetwork,
        LeNet5: convnet.LeNet5Network,
        ConvNet: convnet.ConvNetNetwork,
        MobileNet: convnet.MobileNetNetwork,
        ResNet: resnet.ResNetNetwork,
        PooledResNet: resnet.PooledResNetNetwork,
    }
    network: nn.Module = networks[type(config)](config, head)  # type: ignore[arg-type,unused-ignore]  # keyed by its type
    return network
