"""Which layers of a network have weights to compress, and settings given layer by layer."""

# mypy: allow-untyped-decorators
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from trimtab_models.architectures.frontends import Frontend
from trimtab_models.errors import FoundryError

T = TypeVar("T")
Layer: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Linear
KINDS: Final = ("conv", "depthwise", "dense")


class LayerError(FoundryError):
    """A transform cannot do to a layer what its settings say; the text names step, layer and reason."""


def weighted_layers(network: nn.Module) -> dict[str, Layer]:
    """Return convolutions and dense layers by their dotted name, those of frontends left out."""
    fixed = {
        inner for module in network.modules() if isinstance(module, Frontend) for inner in module.modules()
    }
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Layer) and module not in fixed
    }


def kind_of(layer: nn.Module) -> str:
    """Return ``dense``, ``conv`` or ``depthwise`` (any convolution in groups)."""
    if isinstance(layer, nn.Linear):
        return "dense"
    return "depthwise" if isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups > 1 else "conv"


def per_layer(network: nn.Module, values: Mapping[str, T], field: str) -> dict[str, T]:
    """Return the value of each layer that has one: by its name, else the first pattern, else its kind.

    ``field`` is how an error names the setting. Raises ``LayerError`` when a name or pattern fits no layer.
    """
    layers = weighted_layers(network)
    for key in values:
        if key not in KINDS and not any(fnmatchcase(name, key) for name in layers):
            raise LayerError(
                f"{field}: no layer is called {key!r}; there are: {', '.join(layers)}, "
                f"and the kinds {', '.join(KINDS)}"
            )
    found = {name: _best(name, kind_of(layer), values) for name, layer in layers.items()}
    return {name: values[key] for name, key in found.items() if key is not None}


def _best(name: str, kind: str, values: Mapping[str, T]) -> str | None:
    if name in values:
        return name
    patterns = (key for key in values if key not in KINDS and fnmatchcase(name, key))
    return next(patterns, kind if kind in values else None)


class Hold:
    """Set some weights to zero; called after every optimizer step it keeps them there."""

    def __init__(self, held: Iterable[tuple[Tensor, Tensor]]) -> None:
        self._held = [(weights, zero) for weights, zero in held if bool(zero.any())]

    @torch.no_grad()
    def __call__(self) -> None:
        """Write +0.0 (a product with a mask would leave -0.0, another value to a codebook)."""
        for weights, zero in self._held:
            weights.masked_fill_(zero, 0.0)
