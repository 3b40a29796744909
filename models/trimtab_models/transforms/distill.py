"""A student of another architecture, taught by the reference."""

from torch import nn

from trimtab_models import architectures
from trimtab_models.architectures.frontends import Head
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import Distill


@register(Distill)
def distill(network: nn.Module, config: Distill, context: Context) -> tuple[nn.Module, Report]:
    """Return a student of the reference: a fresh network, or ``network`` itself without ``architecture``."""
    student = network
    if config.architecture is not None:
        student = architectures.build(config.architecture, Head.of(context.splits), context.seed)
    context.tune(student, config.training)
    parameters = sum(parameter.numel() for parameter in student.parameters())
    return student, Report("distill", {"parameters": parameters})
