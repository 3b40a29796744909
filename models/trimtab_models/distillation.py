"""Knowledge distillation (Hinton, Vinyals and Dean, 'Distilling the knowledge in a neural network', 2015)."""

# mypy: allow-untyped-decorators
import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab_models.datasets.samples import Samples
from trimtab_models.settings import Training
from trimtab_models.training import Batch, Loss, autocast, cross_entropy, predict

_last_answers: dict[tuple[int, bool, bytes], Tensor] = {}


def taught_loss(training: Training, teacher: nn.Module, samples: Samples) -> Loss:
    """Return the loss ``training`` asks for: with the labels, and with the teacher's answers if it teaches.

    The teacher answers once for every input and, for images that are mirrored, its mirror image; a shifted
    image asks for no new answer. That makes small students cheap to train.
    """
    if not training.teacher_frac:
        return cross_entropy(training)
    mirrored = training.flip and samples.inputs.ndim == 4
    key = (id(samples), mirrored, _digest(teacher))
    if key not in _last_answers:  # a family's variants share teacher and samples
        _last_answers.clear()
        _last_answers[key] = answers_of(teacher, samples, mirrored=mirrored)
    return distillation_loss(_last_answers[key], training)


def _digest(network: nn.Module) -> bytes:
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.digest()


@torch.inference_mode()
def answers_of(teacher: nn.Module, samples: Samples, *, mirrored: bool) -> Tensor:
    """Return the last exit's logits (1, n, classes) of every input, or (2, n, classes) with its mirror image."""
    with autocast():
        plain = predict(teacher, samples)[-1].float()
        if not mirrored:
            return plain[None]
        flipped = replace(samples, inputs=np.ascontiguousarray(samples.inputs[..., ::-1]))
        return torch.stack([plain, predict(teacher, flipped)[-1].float()])


def distillation_loss(answers: Tensor, training: Training) -> Loss:
    """Return (1 - teacher_frac) x cross-entropy + teacher_frac x T^2 x KL(teacher || student) at T."""
    temperature, share = training.temperature, training.teacher_frac
    soft = functional.log_softmax(answers / temperature, dim=2)
    labelled = cross_entropy(training)

    def loss(logits: Any, batch: Batch) -> Tensor:
        own = functional.log_softmax(logits.float() / temperature, dim=1)
        taught = soft[batch.mirrored.long(), batch.rows]
        divergence = functional.kl_div(own, taught, reduction="batchmean", log_target=True)
        total: Tensor = (1 - share) * labelled(logits, batch) + share * temperature**2 * divergence
        return total

    return loss
