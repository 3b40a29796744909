"""Train a network: seeded, resumable after every epoch, bfloat16 where the CPU multiplies it natively."""

# mypy: allow-untyped-decorators
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab_models.augmentation import augment
from trimtab_models.datasets.samples import Samples, scaled
from trimtab_models.settings import Training


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Augmented inputs (n, ...), labels (n,), which samples these are and which of them are mirrored."""

    inputs: Tensor
    labels: Tensor
    rows: Tensor
    mirrored: Tensor


Loss = Callable[[Any, Batch], Tensor]
"""``loss(what the network returned, batch)``."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one epoch went."""

    number: int
    total: int
    loss: float
    seconds: float


Listener = Callable[[Epoch], None]
"""Told of every epoch."""


def cross_entropy(training: Training) -> Loss:
    """Return the loss of plain training."""

    def loss(logits: Any, batch: Batch) -> Tensor:
        smoothing = training.label_smoothing
        return functional.cross_entropy(logits.float(), batch.labels, label_smoothing=smoothing)

    return loss


def fit(
    network: nn.Module,
    samples: Samples,
    training: Training,
    loss: Loss,
    *,
    seed: int,
    partial: Path | None = None,
    on_epoch: Listener = lambda _: None,
    on_step: Callable[[], None] = lambda: None,
) -> nn.Module:
    """Train ``network`` in place and return it in inference mode; ``on_step`` follows every step.

    After each epoch the state goes to ``partial``; a later call with the same arguments continues from there
    and ends with the same weights as an uninterrupted one.
    """
    channels_last(network)
    optimizer = _optimizer(network, training)
    first = _restore(partial, network, optimizer)
    for epoch in range(first, training.epochs):
        started = time.monotonic()
        mean_loss = _epoch(
            network, optimizer, samples, training, loss, epoch=epoch, seed=seed, on_step=on_step
        )
        _save(partial, network, optimizer, epoch + 1)
        on_epoch(Epoch(epoch + 1, training.epochs, mean_loss, time.monotonic() - started))
    if partial is not None:
        partial.unlink(missing_ok=True)
    _store(network, torch.contiguous_format)
    network.eval()
    return network


def channels_last(network: nn.Module) -> None:
    """Store weights with channels innermost, as the CPU's convolutions like them: twice as fast to train."""
    _store(network, torch.channels_last)


def _store(network: nn.Module, layout: torch.memory_format) -> None:
    network.to(memory_format=layout)  # type: ignore[call-overload,unused-ignore]  # torch's stubs forget it


def innermost_channels(inputs: Tensor) -> Tensor:
    """Return images with channels innermost; other inputs as they are."""
    return inputs.to(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs


def autocast() -> torch.autocast:
    """Return a context that computes in bfloat16 when the CPU multiplies it (AMX or AVX-512: 2 to 4 times faster)."""
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=native)


@torch.inference_mode()
def predict(network: nn.Module, samples: Samples, batch: int = 500) -> tuple[Tensor, ...]:
    """Return the logits (n, classes) of every exit for all samples; a plain network has one exit."""
    network.eval()
    chunks = []
    for at in range(0, len(samples), batch):
        inputs = torch.from_numpy(scaled(samples.inputs[at : at + batch], samples.scale))
        answers = network(innermost_channels(inputs))
        chunks.append((answers,) if isinstance(answers, Tensor) else answers)
    return tuple(torch.cat(exit_logits) for exit_logits in zip(*chunks, strict=True))


def _optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Decay weights only, never biases and batch norms (He et al., 'Bag of tricks', 2019, section 3.1)."""
    shifts = {id(module.bias) for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1 and id(p) not in shifts]
    shifting = [p for p in network.parameters() if id(p) in shifts]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": training.weight_decay, "rate": 1.0},
        {"params": free, "weight_decay": 0.0, "rate": 1.0},
        {"params": shifting, "weight_decay": 0.0, "rate": training.norm_bias_rate},
    ]
    return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.momentum, nesterov=True)


def _epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: Samples,
    training: Training,
    loss: Loss,
    *,
    epoch: int,
    seed: int,
    on_step: Callable[[], None],
) -> float:
    """Go through all samples once, in an order and with an augmentation drawn from ``seed`` and ``epoch``."""
    network.train()
    chance = torch.Generator().manual_seed(seed * 1009 + epoch)
    order = torch.randperm(len(samples), generator=chance)
    inputs, labels = torch.from_numpy(samples.inputs), torch.from_numpy(samples.labels).long()
    batches = torch.split(order, training.batch)
    total = 0.0
    for step, rows in enumerate(batches):
        _set_learning_rate(optimizer, training, (epoch + step / len(batches)) / training.epochs)
        shown, mirrored = augment(inputs[rows], samples.scale, training, chance)
        batch = Batch(innermost_channels(shown), labels[rows], rows, mirrored)
        with autocast():
            value = loss(network(batch.inputs), batch)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call,unused-ignore]  # torch leaves it untyped
        optimizer.step()
        on_step()
        total += value.item()
    return total / len(batches)


def _set_learning_rate(optimizer: torch.optim.Optimizer, training: Training, done_frac: float) -> None:
    """Rise linearly to the peak, fall to zero along half a cosine."""
    warm = training.warmup_frac
    if done_frac < warm:
        scale = done_frac / warm
    else:
        scale = 0.5 * (1 + math.cos(math.pi * (done_frac - warm) / (1 - warm)))
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * scale * group["rate"]


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
