"""Another architecture, trained from fresh weights."""

from torch import nn

from trimtab_models import architectures
from trimtab_models.architectures.frontends import Head
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import Substitute


@register(Substitute)
def substitute(network: nn.Module, config: Substitute, context: Context) -> tuple[nn.Module, Report]:
    """Return a network of the given architecture; nothing of ``network`` is used."""
    del network
    other = architectures.build(config.architecture, Head.of(context.splits), context.seed)
    context.tune(other, config.training)
    return other, Report("substitute", {"parameters": sum(p.numel() for p in other.parameters())})
