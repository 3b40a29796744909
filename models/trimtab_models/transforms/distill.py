"""Knowledge distillation (Hinton, Vinyals and Dean, 'Distilling the knowledge in a neural network', 2015)."""

# mypy: allow-untyped-decorators
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab_models import architectures
from trimtab_models.datasets.samples import Samples
from trimtab_models.registry import Context, Report, register
from trimtab_models.training import Batch, Loss, autocast, fit, predict
from trimtab_models.transforms.configs import Distill


@register(Distill)
def distill(network: nn.Module, config: Distill, context: Context) -> tuple[nn.Module, Report]:
    """Return a student of the reference: a fresh network, or ``network`` itself without ``architecture``.

    The teacher answers once for every image and its mirror image, which makes small students cheap to train;
    shifting an image by some pixels asks for no new answer.
    """
    student = network
    if config.architecture is not None:
        student = architectures.build(config.architecture, context.splits, context.seed)
    fit(
        student,
        context.splits.train,
        config.training,
        distillation_loss(answers_of(context.reference, context.splits.train), config),
        seed=context.seed,
        partial=context.partial,
        on_epoch=context.on_epoch,
    )
    parameters = sum(parameter.numel() for parameter in student.parameters())
    return student, Report("distill", {"parameters": parameters})


@torch.inference_mode()
def answers_of(teacher: nn.Module, samples: Samples) -> Tensor:
    """Return the teacher's logits (2, n, classes) for every image and for every mirrored image."""
    mirrored = replace(samples, images=np.ascontiguousarray(samples.images[..., ::-1]))
    with autocast():
        both = [predict(teacher, some)[0].float() for some in (samples, mirrored)]
    return torch.stack(both)


def distillation_loss(answers: Tensor, config: Distill) -> Loss:
    """Return hard_frac x cross-entropy + (1 - hard_frac) x T^2 x KL(teacher || student) at temperature T."""
    temperature = config.temperature
    soft = functional.log_softmax(answers / temperature, dim=2)

    def loss(logits: Any, batch: Batch) -> Tensor:
        own = functional.log_softmax(logits.float() / temperature, dim=1)
        taught = soft[batch.mirrored.long(), batch.rows]
        divergence = functional.kl_div(own, taught, reduction="batchmean", log_target=True)
        hard = functional.cross_entropy(logits.float(), batch.labels)
        total: Tensor = config.hard_frac * hard + (1 - config.hard_frac) * temperature**2 * divergence
        return total

    return loss
