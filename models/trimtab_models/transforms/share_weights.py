"""Trained quantisation: weights of a layer share few values (Han et al., 'Deep Compression', ICLR 2016, section 3).

A weight is looked up as ``codebook[index]``, so its gradient reaches the codebook summed over all weights that
share the value: equation 3 of the paper. Pruned weights look up a zero that is never trained.

Exporting folds a batch norm into the convolution before it, which would scale each output channel by a factor
of its own and leave channels times 2^b distinct values. So a norm right behind a shared layer becomes an
:class:`Affine`, which stays apart in the file; the runtime folds it when it loads the model, at no cost per call.
"""

# mypy: allow-untyped-decorators, allow-subclassing-any
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import ShareWeights
from trimtab_models.transforms.kmeans import kmeans
from trimtab_models.transforms.layerwise import LayerError, per_layer, weighted_layers


@register(ShareWeights)
def share_weights(network: nn.Module, config: ShareWeights, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` with at most 2^bits distinct nonzero weights per layer; zeros stay zeros.

    Raises ``LayerError`` for settings that fit no layer and for layers without weights.
    """
    bits = per_layer(network, config.bits, "share_weights.bits")
    layers = {name: weighted_layers(network)[name] for name in bits}
    for name, layer in layers.items():
        share(name, layer, bits[name], config, context.seed)
    context.tune(network, config.training)
    for layer in layers.values():
        settle(layer)
    keep_norms_apart(network, list(layers.values()), context.splits.shape)
    values = sum(len(layer.weight.detach().unique()) for layer in layers.values())
    return network, Report("share_weights", {"layers": len(layers), "distinct_values": values})


class Codebook(nn.Module):
    """Look weights up in a codebook: the parametrisation of a layer whose weights share values.

    ``symbols`` has the weights' shape: 0 for a pruned weight, i + 1 for the i-th value of the codebook.
    """

    symbols: Tensor
    start: Tensor

    def __init__(self, symbols: Tensor, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("symbols", symbols)
        self.register_buffer("start", start, persistent=False)

    def forward(self, codebook: Tensor) -> Tensor:
        """Return the weights that ``codebook`` (values,) stands for."""
        table = torch.cat([codebook.new_zeros(1), codebook])
        return table.index_select(0, self.symbols.flatten()).view(self.symbols.shape)

    def right_inverse(self, weights: Tensor) -> Tensor:
        """Return the codebook to start training with."""
        return self.start.to(weights.dtype)


def share(name: str, layer: nn.Module, bits: int, config: ShareWeights, seed: int) -> None:
    """Make the weights of ``layer`` entries of a trainable codebook of at most 2^bits values, in place."""
    assert isinstance(layer.weight, Tensor)
    weights = layer.weight.detach().contiguous().numpy()
    nonzero = weights != 0
    if not nonzero.any() or not np.isfinite(weights).all():
        raise LayerError(f"share_weights: layer {name}: its weights are all zero or not all finite")
    centroids, nearest = kmeans(weights[nonzero].astype(np.float64), 2**bits, config.initialisation, seed)
    symbols = np.zeros(weights.shape, np.int64)
    symbols[nonzero] = nearest + 1
    codebook = Codebook(torch.from_numpy(symbols), torch.from_numpy(centroids.astype(np.float32)))
    parametrize.register_parametrization(layer, "weight", codebook, unsafe=True)


def settle(layer: nn.Module) -> None:
    """Replace the codebook of ``layer`` by the weights it stands for, in place."""
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


class Affine(nn.Module):
    """Scale and shift each channel: what a batch norm does at inference."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.affine:
            scale = scale * norm.weight.detach()
        shift = -norm.running_mean * scale
        if norm.affine:
            shift = shift + norm.bias.detach()
        self.scale = nn.Parameter(scale)
        self.shift = nn.Parameter(shift)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (batch, channels, height, width) times scale plus shift."""
        scaled: Tensor = maps * self.scale[:, None, None] + self.shift[:, None, None]
        return scaled


def keep_norms_apart(network: nn.Module, layers: list[nn.Module], shape: tuple[int, ...]) -> None:
    """Replace, in place, every batch norm that reads what one of ``layers`` returns by an ``Affine``."""
    for norm in _norms_behind(network, layers, shape):
        for parent in network.modules():
            for name, child in parent.named_children():
                if child is norm:
                    setattr(parent, name, Affine(norm))


def _norms_behind(
    network: nn.Module, layers: list[nn.Module], shape: tuple[int, ...]
) -> list[nn.BatchNorm2d]:
    returned: list[Tensor] = []  # held, so that no two have the same address
    found: list[nn.BatchNorm2d] = []

    def remember(_: nn.Module, __: Any, result: Tensor) -> None:
        returned.append(result)

    def compare(norm: nn.Module, taken: tuple[Tensor, ...]) -> None:
        if isinstance(norm, nn.BatchNorm2d) and any(taken[0] is tensor for tensor in returned):
            found.append(norm)

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [layer.register_forward_hook(remember) for layer in layers]
    hooks += [norm.register_forward_pre_hook(compare) for norm in norms]
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return found
