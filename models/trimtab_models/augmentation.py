"""Random changes to training inputs that leave their label alone; every draw comes from one generator."""

import torch
from torch import Tensor
from torch.nn import functional

from trimtab_models.datasets.samples import PIXEL_SCALE
from trimtab_models.settings import Training

Scale = float | tuple[float, ...]


def augment(
    inputs: Tensor, scale: Scale, training: Training, chance: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return stored inputs scaled to float and changed at random, and which of them are mirrored (n,).

    Images (n, channels, h, w) are shifted, mirrored and erased; signals (n, time) or (n, channels, time) are
    stretched, shifted, amplified and mixed with noise.
    """
    if inputs.ndim == 4:
        return _augment_images(inputs, training, chance)
    return _augment_signals(scaled_like(inputs, scale), training, chance), torch.zeros(
        len(inputs), dtype=torch.bool
    )


def scaled_like(inputs: Tensor, scale: Scale) -> Tensor:
    """Return signals (n, time) or (n, channels, time) as float32 times ``scale``."""
    if isinstance(scale, float):
        return inputs.float() * scale
    return inputs.float() * torch.tensor(scale)[:, None]


def _augment_images(images: Tensor, training: Training, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    count, channels, height, width = images.shape
    pad = training.crop_padding
    padded = functional.pad(images, (pad, pad, pad, pad))
    top = torch.randint(0, 2 * pad + 1, (count, 1), generator=chance)
    left = torch.randint(0, 2 * pad + 1, (count, 1), generator=chance)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    mirrored = (torch.rand(count, generator=chance) < 0.5) & training.flip
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    number, plane = torch.arange(count), torch.arange(channels)
    picked = padded[
        number[:, None, None, None],
        plane[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    return _erase(picked.float() * PIXEL_SCALE, training.erase_frac, chance), mirrored


def _erase(images: Tensor, erase_frac: float, chance: torch.Generator) -> Tensor:
    """Blacken a random square, a third of the side, in ``erase_frac`` of the images (Zhong et al., 2017)."""
    count, _, height, width = images.shape
    side = height // 3
    hit = torch.rand(count, generator=chance) < erase_frac
    top = torch.randint(0, height - side + 1, (count, 1), generator=chance)
    left = torch.randint(0, width - side + 1, (count, 1), generator=chance)
    row, column = torch.arange(height), torch.arange(width)
    tall = (row >= top) & (row < top + side) & hit[:, None]
    wide = (column >= left) & (column < left + side)
    return images.masked_fill((tall[:, :, None] & wide[:, None, :])[:, None], 0.0)


def _augment_signals(signals: Tensor, training: Training, chance: torch.Generator) -> Tensor:
    """Stretch and shift in time by linear interpolation, amplify, add noise relative to each channel."""
    count, time = len(signals), signals.shape[-1]
    spread = torch.rand(count, 1, generator=chance) * 2 - 1
    stretch = 1 + training.stretch_frac * spread
    shift = training.shift_frac * time * (torch.rand(count, 1, generator=chance) * 2 - 1)
    centre = (time - 1) / 2
    where = (torch.arange(time) - centre) * stretch + centre + shift
    moved = _interpolate(signals, where) if training.stretch_frac or training.shift_frac else signals
    broadcast = (count, *[1] * (signals.ndim - 1))
    gain_db = training.gain_db * (torch.rand(broadcast, generator=chance) * 2 - 1)
    level = training.noise_frac * torch.rand(broadcast, generator=chance)
    loudness = moved.std(dim=-1, keepdim=True)
    noise = torch.randn(moved.shape, generator=chance) if training.noise_frac else torch.zeros(())
    return moved * 10 ** (gain_db / 20) + noise * level * loudness


def _interpolate(signals: Tensor, where: Tensor) -> Tensor:
    """Return signals (n, ..., time) read at fractional positions (n, time); zero outside."""
    time = signals.shape[-1]
    before = where.floor()
    share = where - before
    read = torch.zeros_like(signals)
    for offset, weight in ((0, 1 - share), (1, share)):
        index = before.long() + offset
        weight = weight * ((index >= 0) & (index < time))
        index = index.clamp(0, time - 1)
        if signals.ndim == 3:
            index, weight = index[:, None].expand_as(signals), weight[:, None]
        read += signals.gather(-1, index) * weight
    return read
