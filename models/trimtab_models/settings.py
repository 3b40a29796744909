"""Settings shared by everything that trains, as plain data: importable without torch."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Training:
    """Stochastic gradient descent with Nesterov momentum and a one-cycle schedule (Smith, 2018).

    ``learning_rate`` is the peak, reached after ``warmup_frac`` of all steps. ``crop_padding`` is in pixels.
    """

    epochs: int
    batch: int = 256
    learning_rate: float = 0.1
    warmup_frac: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    crop_padding: int = 2
    flip: bool = True
    erase_frac: float = 0.0


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
