"""Settings shared by everything that trains, as plain data: importable without torch."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Training:
    """Stochastic gradient descent with Nesterov momentum and a one-cycle schedule (Smith, 2018).

    ``learning_rate`` is the peak, reached after ``warmup_frac`` of all steps; biases of batch norms learn
    ``norm_bias_rate`` times as fast (Jordan, 'airbench', 2024). Images are shifted by up to
    ``crop_padding`` pixels, mirrored (``flip``) and partly erased; signals are stretched and shifted by up to
    these fractions of their length, amplified by up to ``gain_db`` and mixed with noise of up to
    ``noise_frac`` of their standard deviation.

    With ``teacher_frac`` over 0 the reference teaches: that share of the loss is the divergence from its
    answers at ``temperature`` (Hinton et al., 2015), the rest the cross-entropy with the labels. So every
    transform that trains can be combined with distillation.
    """

    epochs: int
    batch: int = 256
    learning_rate: float = 0.1
    warmup_frac: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    norm_bias_rate: float = 1.0
    label_smoothing: float = 0.0
    crop_padding: int = 2
    flip: bool = True
    erase_frac: float = 0.0
    stretch_frac: float = 0.0
    shift_frac: float = 0.0
    gain_db: float = 0.0
    noise_frac: float = 0.0
    teacher_frac: float = 0.0
    temperature: float = 4.0


@dataclass(frozen=True, slots=True)
class BuildEvent:
    """One notice of progress: ``done`` of ``total`` units of one step of one variant."""

    variant: str
    step: str
    done: int
    total: int
    note: str = ""


class Progress(Protocol):
    """Receive what a build is doing."""

    def __call__(self, event: BuildEvent, /) -> None:
        """Take one notice; must not raise."""


def silent(event: BuildEvent, /) -> None:
    """Ignore progress."""
    del event


def check_frac(name: str, value: float) -> None:
    """Refuse a fraction outside 0..1, 0 excluded; raise ``ValueError``."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be over 0 and at most 1, not {value}")
