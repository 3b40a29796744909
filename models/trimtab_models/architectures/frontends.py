"""What stands before a network's first layer: normalisation and features, part of every variant.

Callers send what their sensors give (pixels in 0..1, audio in -1..1, motion in SI units); everything that
was learned from the training data, or that would have to be re-implemented in each application, is in here.
"""

# mypy: allow-subclassing-any
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trimtab_models.architectures.configs import LogMel
from trimtab_models.datasets.samples import Splits, scaled


@dataclass(frozen=True, slots=True)
class Head:
    """What a network is told about its task: classes, and the shape of one input and its moments.

    ``patches`` is, for images, the covariance of normalised 2x2 patches (4 * channels, 4 * channels).
    """

    classes: int
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patches: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, splits: Splits) -> "Head":
        """Return what ``splits`` say."""
        return cls(splits.classes, splits.shape, splits.mean, splits.std, _patch_covariance(splits))

    def frontend(self, features: LogMel | None = None) -> "Frontend":
        """Return a fresh frontend for these inputs."""
        if features is not None:
            return LogMelFrontend(features, self.shape)
        return Normalise(self)


def _patch_covariance(splits: Splits, images: int = 500) -> NDArray[np.float64] | None:
    """Return the covariance of all normalised 2x2 patches of the first training images, None for signals."""
    if len(splits.shape) != 3 or min(splits.shape[1:]) < 2:
        return None
    broadcast = (-1, 1, 1)
    pixels = scaled(splits.train.inputs[:images], splits.train.scale)
    normal = (pixels - np.reshape(splits.mean, broadcast)) / np.reshape(splits.std, broadcast)
    windows = np.lib.stride_tricks.sliding_window_view(normal, (2, 2), axis=(2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 4 * splits.shape[0])
    covariance: NDArray[np.float64] = (patches.T @ patches) / len(patches)
    return covariance


class Frontend(nn.Module):
    """A frontend maps a batch of inputs to maps (batch, channels, height, width).

    ``map_shape`` is (channels, height, width) of what it returns. It has no trainable parameters, and
    transforms leave it alone.
    """

    map_shape: tuple[int, int, int]


class Normalise(Frontend):
    """Map inputs (batch, channels, ...) to zero mean and unit variance; windows become maps of height 1."""

    mean: Tensor
    scale: Tensor

    def __init__(self, head: Head) -> None:
        super().__init__()
        broadcast = (-1, *[1] * (len(head.shape) - 1))
        self.register_buffer("mean", torch.tensor(head.mean).reshape(broadcast))
        self.register_buffer("scale", (1.0 / torch.tensor(head.std)).reshape(broadcast))
        channels, *sides = head.shape
        self.map_shape = (channels, 1, sides[0]) if len(sides) == 1 else (channels, sides[0], sides[1])

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(inputs - mean) / std`` per channel."""
        normal: Tensor = (inputs - self.mean) * self.scale
        return normal if normal.ndim == 4 else normal.unsqueeze(2)


class LogMelFrontend(Frontend):
    """Short-time Fourier transform as a convolution, mel bands, logarithm, normalisation per band.

    Everything up to the logarithm stays in float32 under mixed precision and under int8 quantisation: squares
    of small amplitudes do not survive 8 bits.
    """

    basis: Tensor
    mel: Tensor

    def __init__(self, config: LogMel, shape: tuple[int, ...]) -> None:
        super().__init__()
        cosines, sines = fourier_basis(config.window)
        weights = mel_weights(config)
        used = int(np.flatnonzero(weights.any(axis=0)).max()) + 1  # bins above the last band are not computed
        stacked = np.concatenate([cosines[:used], sines[:used]]).astype(np.float32)
        self.register_buffer("basis", torch.from_numpy(stacked)[:, None])
        self.register_buffer("mel", torch.from_numpy(weights[:, :used].astype(np.float32))[:, :, None])
        self.hop = config.hop
        self.norm = nn.BatchNorm1d(config.bands, affine=False)
        self.map_shape = (1, config.bands, 1 + (shape[-1] - config.window) // config.hop)

    def forward(self, audio: Tensor) -> Tensor:
        """Map audio (batch, time) in -1..1 to normalised log-mel (batch, 1, bands, frames)."""
        with torch.autocast("cpu", enabled=False):
            spectrum = functional.conv1d(audio.float()[:, None], self.basis, stride=self.hop)
            bins = self.basis.shape[0] // 2
            power = spectrum[:, :bins].square() + spectrum[:, bins:].square()
            bands = functional.conv1d(power, self.mel)
            normal: Tensor = self.norm(torch.log(bands + 1e-6))
        return normal[:, None]


def fourier_basis(window: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Hann-weighted cosines and sines (window / 2 + 1, window) of the real Fourier transform."""
    time = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * math.pi * time / window)
    angle = 2 * math.pi * np.outer(np.arange(window // 2 + 1), time) / window
    scale = hann / np.sqrt(np.sum(hann**2))
    return np.cos(angle) * scale, -np.sin(angle) * scale


def mel_weights(config: LogMel) -> NDArray[np.float64]:
    """Return triangular mel filters (bands, window / 2 + 1), mel = 2595 log10(1 + f / 700) (O'Shaughnessy)."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (config.low_hz, config.high_hz))
    edges = 700 * (10 ** (np.linspace(low, high, config.bands + 2) / 2595) - 1)
    bins = np.arange(config.window // 2 + 1) * config.rate_hz / config.window
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    thin = ~weights.any(axis=1)  # a band between two bins takes the nearest
    nearest = np.abs(bins[None] - edges[1:-1, None]).argmin(axis=1)
    weights[np.flatnonzero(thin), nearest[thin]] = 1.0
    return weights
