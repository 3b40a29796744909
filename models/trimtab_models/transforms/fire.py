"""Fire modules in place of convolutions (Iandola et al., 'SqueezeNet', 2016)."""

# mypy: allow-subclassing-any
import torch
from torch import Tensor, nn

from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import Fire
from trimtab_models.transforms.surgery import cost_facts, inner_convolutions, sites, swap


@register(Fire)
def fire(network: nn.Module, config: Fire, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` with Fire modules, trained."""
    shape = context.splits.shape
    facts = cost_facts(network, shape, "_before")
    torch.manual_seed(context.seed)
    replaced = 0
    for site in inner_convolutions(sites(network, shape)):
        module = FireModule.like(site.layer, config.squeeze_frac)
        if module is not None and _size(module) < _size(site.layer):
            swap(network, site, module)
            replaced += 1
    context.tune(network, config.training)
    return network, Report("fire", {**facts, "layers_replaced": replaced, **cost_facts(network, shape)})


class FireModule(nn.Module):
    """Squeeze by 1x1 filters and ReLU; expand by 1x1 and k x k filters, their outputs side by side.

    The stride is that of the expanding filters. What is summed is left to the layers that follow: in our
    networks batch norm and ReLU. After a bias-free convolution's example the squeeze has batch norm.
    """

    def __init__(self, inputs: int, squeezed: int, expanded: tuple[int, int], like: nn.Conv2d) -> None:
        super().__init__()
        bias = like.bias is not None
        squeeze: list[nn.Module] = [nn.Conv2d(inputs, squeezed, 1, bias=bias)]
        self.squeeze = nn.Sequential(*squeeze, *([] if bias else [nn.BatchNorm2d(squeezed)]), nn.ReLU())
        self.narrow = nn.Conv2d(squeezed, expanded[0], 1, like.stride, bias=bias)
        self.wide = nn.Conv2d(squeezed, expanded[1], like.kernel_size, like.stride, like.padding, bias=bias)
        sides = zip(like.kernel_size, like.padding, strict=True)
        self.before, self.after = zip(*((k // 2 - p, k - 1 - k // 2 - p) for k, p in sides), strict=True)

    @classmethod
    def like(cls, conv: nn.Conv2d, squeeze_frac: float) -> "FireModule | None":
        """Return a fresh module with the shapes of ``conv``; nothing if that pads more than half a kernel."""
        if any(2 * padding > size - 1 for size, padding in zip(conv.kernel_size, conv.padding, strict=True)):
            return None
        outputs = conv.out_channels
        squeezed = max(1, round(outputs * squeeze_frac))
        return cls(conv.in_channels, squeezed, (outputs // 2, outputs - outputs // 2), conv)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, inputs, h, w) to what the convolution it stands for would return."""
        squeezed: Tensor = self.squeeze(hidden)
        height, width = squeezed.shape[2] - self.after[0], squeezed.shape[3] - self.after[1]
        centres = squeezed[:, :, self.before[0] : height, self.before[1] : width]
        return torch.cat([self.narrow(centres), self.wide(squeezed)], dim=1)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
