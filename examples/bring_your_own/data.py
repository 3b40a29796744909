"""Data of one's own: four wave forms in noise, made up here so that the example needs no download."""

from typing import Any

import numpy as np

NAME = "wave forms"
LICENCE = "CC0"
SOURCE = "examples/bring_your_own/data.py"
PREPROCESSING = "samples in -1..1, 128 of them"
LABELS = ("sine", "square", "sawtooth", "noise")


def load(train: int = 2000, test: int = 1000, noise: float = 0.6) -> dict[str, Any]:
    """Return (inputs, labels) of both splits and the names of the labels."""
    return {
        "train": waves(train, noise, seed=1),
        "test": waves(test, noise, seed=2),
        "labels": LABELS,
        "input_name": "signal",
    }


def waves(count: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return signals (count, 1, 128) float32 of random pitch and phase, and what they are (count,)."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, len(LABELS), count)
    turns = chance.uniform(2, 8, (count, 1)) * np.linspace(0, 1, 128) + chance.uniform(0, 1, (count, 1))
    forms = np.stack(
        [np.sin(2 * np.pi * turns), np.sign(np.sin(2 * np.pi * turns)), 2 * (turns % 1) - 1, 0 * turns]
    )
    signals = forms[labels, np.arange(count)] + noise * chance.standard_normal((count, 128))
    return signals[:, None].astype(np.float32), labels
