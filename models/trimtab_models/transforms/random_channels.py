"""Convolutions with fixed random connections between channels (Changpinyo et al., 2017).

'The power of sparsity in convolutional neural networks', section 3. As zeros in a dense kernel they save
bytes where zeros are not stored, and no time: the CPU's convolutions multiply them. Outputs in ``groups`` that
share their inputs do less work in any runtime: a quarter of the inputs takes about a third of the time in ONNX
Runtime, for 64 to 128 channels.
"""

# mypy: allow-subclassing-any, allow-untyped-decorators
import torch
from torch import Tensor, nn

from trimtab_models.errors import FoundryError
from trimtab_models.registry import Context, Report, register
from trimtab_models.sparsity import keep_zeros
from trimtab_models.transforms.configs import RandomChannels
from trimtab_models.transforms.surgery import Site, cost_facts, inner_convolutions, sites, swap


@register(RandomChannels)
def random_channels(network: nn.Module, config: RandomChannels, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` with most connections cut, trained on with those left; raise ``FoundryError``."""
    shape = context.splits.shape
    facts = cost_facts(network, shape, "_before")
    chance = torch.Generator().manual_seed(context.seed)
    replaced = inner_convolutions(sites(network, shape), pointwise=True)
    sparse = []
    for site in replaced:
        if config.groups:
            swap(network, site, _gathered(site, config, chance))
        else:
            cut(site.layer.weight, config.keep_frac, chance)
            sparse.append(site.layer.weight)
    context.tune(network, config.training, on_step=keep_zeros(sparse))
    facts |= {"layers_replaced": len(replaced), **cost_facts(network, shape)}
    return network, Report("random_channels", facts)


@torch.no_grad()
def cut(weight: Tensor, keep_frac: float, chance: torch.Generator) -> None:
    """Zero, in a kernel (out, in, k, k), all but a random share of the inputs of each output."""
    outputs, inputs = weight.shape[:2]
    kept = torch.rand(outputs, inputs, generator=chance).argsort(dim=1)[:, : _kept(inputs, keep_frac)]
    mask = torch.zeros(outputs, inputs).scatter_(1, kept, 1.0)
    weight.mul_(mask[:, :, None, None])


def _kept(inputs: int, keep_frac: float) -> int:
    return max(1, round(inputs * keep_frac))


class GatheredConv(nn.Module):
    """A grouped convolution whose groups each read a random subset of the inputs."""

    seen: Tensor

    def __init__(self, conv: nn.Conv2d, groups: int, keep_frac: float, chance: torch.Generator) -> None:
        super().__init__()
        inputs, kept = conv.in_channels, _kept(conv.in_channels, keep_frac)
        drawn = [torch.randperm(inputs, generator=chance)[:kept].sort().values for _ in range(groups)]
        self.register_buffer("seen", torch.cat(drawn))
        self.conv = nn.Conv2d(
            groups * kept,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            groups=groups,
            bias=conv.bias is not None,
        )
        self._take_weights(conv, drawn)

    @torch.no_grad()
    def _take_weights(self, conv: nn.Conv2d, drawn: list[Tensor]) -> None:
        kernels = conv.weight.chunk(len(drawn))
        self.conv.weight.copy_(
            torch.cat([kernel[:, seen] for kernel, seen in zip(kernels, drawn, strict=True)])
        )
        if conv.bias is not None:
            self.conv.bias.copy_(conv.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, ...)."""
        returned: Tensor = self.conv(hidden.index_select(1, self.seen))
        return returned


def _gathered(site: Site, config: RandomChannels, chance: torch.Generator) -> GatheredConv:
    if site.layer.out_channels % config.groups:
        raise FoundryError(
            f"random_channels: {site.name} has {site.layer.out_channels} outputs, not a multiple of groups "
            f"{config.groups}"
        )
    return GatheredConv(site.layer, config.groups, config.keep_frac, chance)
