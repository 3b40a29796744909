"""Train a network: seeded, resumable after every epoch, bfloat16 where the CPU multiplies it natively."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab_models.datasets.samples import Samples
from trimtab_models.settings import Training

Loss = Callable[[Any, Tensor, Tensor], Tensor]
"""``loss(what the network returned, images, labels)``."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one epoch went."""

    number: int
    total: int
    loss: float
    seconds: float


def cross_entropy(training: Training) -> Loss:
    """Return the loss of plain training."""

    def loss(logits: Any, images: Tensor, labels: Tensor) -> Tensor:
        del images
        return functional.cross_entropy(logits.float(), labels, label_smoothing=training.label_smoothing)

    return loss


def fit(
    network: nn.Module,
    samples: Samples,
    training: Training,
    loss: Loss,
    *,
    seed: int,
    partial: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> nn.Module:
    """Train ``network`` in place and return it in inference mode.

    After each epoch the state goes to ``partial``; a later call with the same arguments continues from there
    and ends with the same weights as an uninterrupted one.
    """
    network.to(memory_format=torch.channels_last)
    optimizer = _optimizer(network, training)
    first = _restore(partial, network, optimizer)
    for epoch in range(first, training.epochs):
        started = time.monotonic()
        mean_loss = _epoch(network, optimizer, samples, training, loss, epoch, seed)
        _save(partial, network, optimizer, epoch + 1)
        on_epoch(Epoch(epoch + 1, training.epochs, mean_loss, time.monotonic() - started))
    if partial is not None:
        partial.unlink(missing_ok=True)
    return network.to(memory_format=torch.contiguous_format).eval()


def autocast() -> torch.autocast:
    """Return a context that computes in bfloat16 when the CPU has AMX (2 to 4 times faster there)."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported())


def _optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Decay weights only, never biases and batch norms (He et al., 'Bag of tricks', 2019, section 3.1)."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.momentum, nesterov=True)


def _epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: Samples,
    training: Training,
    loss: Loss,
    epoch: int,
    seed: int,
) -> float:
    network.train()
    chance = torch.Generator().manual_seed(seed * 1009 + epoch)
    order = torch.randperm(len(samples), generator=chance)
    images, labels = torch.from_numpy(samples.images), torch.from_numpy(samples.labels).long()
    batches = order.split(training.batch)
    total = 0.0
    for step, rows in enumerate(batches):
        _set_learning_rate(optimizer, training, (epoch + step / len(batches)) / training.epochs)
        batch = augment(images[rows], training, chance)
        with autocast():
            value = loss(network(batch), batch, labels[rows])
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call,unused-ignore]  # torch leaves it untyped
        optimizer.step()
        total += float(value)
    return total / len(batches)


def _set_learning_rate(optimizer: torch.optim.Optimizer, training: Training, done_frac: float) -> None:
    """Rise linearly to the peak, fall to zero along half a cosine."""
    warm = training.warmup_frac
    if done_frac < warm:
        scale = done_frac / warm
    else:
        scale = 0.5 * (1 + math.cos(math.pi * (done_frac - warm) / (1 - warm)))
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * scale


def augment(images: Tensor, training: Training, chance: torch.Generator) -> Tensor:
    """Return (n, 1, h, w) uint8 images as float 0..1, randomly shifted, mirrored and erased."""
    count, _, height, width = images.shape
    pad = training.crop_padding
    padded = functional.pad(images, (pad, pad, pad, pad))
    top = torch.randint(0, 2 * pad + 1, (count, 1), generator=chance)
    left = torch.randint(0, 2 * pad + 1, (count, 1), generator=chance)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    if training.flip:
        mirrored = torch.rand(count, generator=chance) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    picked = padded[torch.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]]
    return _erase(picked[:, None].float() / 255, training.erase_frac, chance)


def _erase(images: Tensor, erase_frac: float, chance: torch.Generator) -> Tensor:
    """Blacken one random square of a third of the side in ``erase_frac`` of the images (Zhong et al., 2017)."""
    count, _, height, width = images.shape
    side = height // 3
    hit = torch.rand(count, generator=chance) < erase_frac
    top = torch.randint(0, height - side + 1, (count, 1), generator=chance)
    left = torch.randint(0, width - side + 1, (count, 1), generator=chance)
    row, column = torch.arange(height), torch.arange(width)
    tall = (row >= top) & (row < top + side) & hit[:, None]
    wide = (column >= left) & (column < left + side)
    return images.masked_fill((tall[:, :, None] & wide[:, None, :])[:, None], 0.0)


def _save(partial: Path | None, network: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    if partial is None:
        return
    fresh = partial.with_suffix(".writing")
    torch.save({"epoch": epoch, "network": network.state_dict(), "optimizer": optimizer.state_dict()}, fresh)
    fresh.replace(partial)


def _restore(partial: Path | None, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a partial run if there is one; return the epoch to go on with."""
    if partial is None or not partial.exists():
        return 0
    state = torch.load(partial, weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])
