"""From a transform's config to the function that performs it."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trimtab_models.datasets.samples import Splits
from trimtab_models.transforms.configs import NAMES, TransformConfig

if TYPE_CHECKING:
    from torch import nn

    from trimtab_models.export import Exported
    from trimtab_models.settings import Training
    from trimtab_models.training import Epoch, Loss


@dataclass(frozen=True, slots=True)
class Report:
    """What a transform did, as figures worth reading."""

    transform: str
    facts: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items())
        return f"{self.transform}: {facts}" if facts else self.transform


@dataclass(frozen=True, slots=True)
class Context:
    """What a transform may use besides the model: data, the reference network, a seed, a resumable file."""

    splits: Splits
    reference: "nn.Module"
    seed: int
    partial: Path | None = None
    on_epoch: "Callable[[Epoch], None]" = lambda _: None

    def tune(
        self,
        network: "nn.Module",
        training: "Training | None",
        loss: "Loss | None" = None,
        *,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Train ``network`` in place as ``training`` says, if it says anything.

        Without ``loss`` it is the cross-entropy with the labels, mixed with what the reference teaches when
        ``training.teacher_frac`` asks for that. ``on_step`` follows every optimizer step. An interrupted call
        goes on where it stopped; a transform that calls this more than once repeats finished calls.
        """
        if training is None:
            return
        from trimtab_models.distillation import taught_loss
        from trimtab_models.training import fit

        fit(
            network,
            self.splits.train,
            training,
            loss or taught_loss(training, self.reference, self.splits.train),
            seed=self.seed,
            partial=self.partial,
            on_epoch=self.on_epoch,
            on_step=on_step,
        )


Function = Callable[[Any, Any, Context], tuple[Any, Report]]
F = TypeVar("F", bound=Function)

_FUNCTIONS: dict[type, Function] = {}


def register(config: type[TransformConfig]) -> Callable[[F], F]:
    """Make the decorated function the one that performs ``config``."""

    def decorate(function: F) -> F:
        _FUNCTIONS[config] = function
        return function

    return decorate


def apply(model: "nn.Module | Exported", config: TransformConfig, context: Context) -> tuple[Any, Report]:
    """Perform one transform on a network, or on an exported model where ``config.after_export`` says so."""
    kind = type(config)
    importlib.import_module(f"trimtab_models.transforms.{NAMES[kind]}")
    return _FUNCTIONS[kind](model, config, context)
