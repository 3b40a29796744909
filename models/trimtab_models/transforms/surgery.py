"""Find the layers of a network that a transform may replace, and replace them."""

# mypy: allow-untyped-decorators
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from trimtab_models.measure import count_macs
from trimtab_models.sparsity import nonzero_macs
from trimtab_models.transforms.layerwise import weighted_layers

_FEW: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A layer, its dotted name, and the shapes of what it reads and returns for one input."""

    name: str
    layer: nn.Module
    reads: tuple[int, ...]
    returns: tuple[int, ...]

    @property
    def pixels_in(self) -> int:
        """Return the positions of the map (channels, height, width) it reads; 1 for a vector."""
        return math.prod(self.reads[1:])

    @property
    def pixels_out(self) -> int:
        """Return the positions of the map it returns; 1 for a vector."""
        return math.prod(self.returns[1:])


def sites(network: nn.Module, shape: tuple[int, ...]) -> list[Site]:
    """Return convolutions and dense layers in the order they run on an input, those of frontends left out.

    Puts ``network`` into inference mode.
    """
    found: dict[str, Site] = {}
    layers = {n: m for n, m in weighted_layers(network).items() if isinstance(m, (nn.Conv2d, nn.Linear))}
    hooks = [layer.register_forward_hook(_recorder(found, name)) for name, layer in layers.items()]
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())


def _recorder(found: dict[str, Site], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def record(layer: nn.Module, taken: Any, returned: Any) -> None:
        found[name] = Site(name, layer, tuple(taken[0].shape[1:]), tuple(returned.shape[1:]))

    return record


def is_plain(layer: nn.Module) -> bool:
    """Return whether it is a convolution without groups, dilation or unusual padding."""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def is_spatial(layer: nn.Module) -> bool:
    """Return whether it is a plain convolution that looks at more than one position."""
    return is_plain(layer) and layer.kernel_size != (1, 1)


def inner_convolutions(found: list[Site], *, pointwise: bool = False) -> list[Site]:
    """Return the spatial (or all plain) convolutions of over three input channels, except the first.

    What saves on many input channels (MobileNet, Fire, random channels) has nothing to save on few, and all
    three papers leave the first layer alone.
    """
    wanted = is_plain if pointwise else is_spatial
    convolutions = [site for site in found if isinstance(site.layer, nn.Conv2d)]
    return [site for site in convolutions[1:] if wanted(site.layer) and site.reads[0] > _FEW]


def swap(network: nn.Module, site: Site, fresh: nn.Module) -> None:
    """Put ``fresh`` in the place of the site's layer."""
    network.set_submodule(site.name, fresh)


def cost_facts(network: nn.Module, shape: tuple[int, ...], suffix: str = "") -> dict[str, float]:
    """Return MACs and parameters for a report; how many are not zero as well, where weights are."""
    network.eval()
    example = torch.zeros(1, *shape)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    facts = {f"macs{suffix}": count_macs(network, example), f"parameters{suffix}": parameters}
    nonzero_macs_left = nonzero_macs(network, example)
    if nonzero_macs_left < facts[f"macs{suffix}"]:
        facts[f"nonzero_macs{suffix}"] = nonzero_macs_left
        facts[f"nonzero_parameters{suffix}"] = sum(int(p.count_nonzero()) for p in network.parameters())
    return dict(facts)
