"""Build single variants, remembering every trained network under a name made of all that determines it."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn

from trimtab.domain.family import ExitRule, Stage, Variant
from trimtab_models.counting import count, precision
from trimtab_models.datasets.samples import Splits
from trimtab_models.errors import DefinitionError, FoundryError
from trimtab_models.exits import Logits, exit_rules
from trimtab_models.export import Exported, ExportedStage, export
from trimtab_models.measure import (
    ONNX,
    PACKED,
    accuracy_frac,
    count_parameters,
    decoded,
    logits_of_exits,
    peak_activation_bytes,
)
from trimtab_models.recipe import Definition, VariantRecipe
from trimtab_models.reference import train_reference
from trimtab_models.registry import Context, apply
from trimtab_models.settings import BuildEvent, Progress
from trimtab_models.training import Epoch
from trimtab_models.transforms.configs import NAMES, EarlyExit, TransformConfig

_CACHE_VERSION: Final = 1
_EXPORT: Final = "export"
_UNDER_WAY: ContextVar[str] = ContextVar("what a variant's build is doing", default=_EXPORT)
SUFFIXES: Final = {ONNX: ".onnx", PACKED: ".ttdc"}
"""File name suffixes by format."""


@dataclass(frozen=True, slots=True, eq=False)
class Builder:
    """Turn recipes into variants; ``cache`` holds networks between steps and between runs.

    ``file`` is the definition's, for errors.
    """

    definition: Definition
    file: Path
    splits: Splits
    folder: Path
    cache: Path
    progress: Progress

    def build(self, variant: VariantRecipe) -> Variant:
        """Make, write and measure one variant; raise ``FoundryError`` naming variant, step and reason."""
        with _told(variant.name):
            return self._build(variant)

    def _build(self, variant: VariantRecipe) -> Variant:
        trained = tuple(step for step in variant.recipe if not step.after_export)
        network = self.network(variant.name, trained)
        self.progress(BuildEvent(variant.name, _EXPORT, 0, 1))
        model: nn.Module | Exported = export(network, self.splits.shape, self.splits.input_name)
        for number, step in enumerate(variant.recipe[len(trained) :], len(trained) + 1):
            model = self._apply(variant.name, model, step, number, None)
        if not isinstance(model, Exported):
            raise TypeError(f"the recipe of {variant.name} ends in {type(model).__name__}, not in ONNX")
        self.progress(BuildEvent(variant.name, _EXPORT, 1, 1))
        described = self._measure(variant, model, self._write(variant.name, model))
        self.progress(BuildEvent(variant.name, "done", 1, 1, f"accuracy {described.accuracy_frac:.4f}"))
        return described

    def network(self, variant: str, steps: tuple[TransformConfig, ...]) -> nn.Module:
        """Return the reference after ``steps``, from the cache or trained now."""
        path = self.cache / f"{self._key(steps)}.pt"
        if path.exists():
            network: nn.Module = torch.load(path, weights_only=False)
            return network
        self.cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        made = self._transform(variant, steps, partial) if steps else self._train(variant, partial)
        fresh = path.with_suffix(".writing")
        torch.save(made, fresh)
        fresh.replace(path)
        return made

    def _train(self, variant: str, partial: Path) -> nn.Module:
        with _doing("training the reference"):
            return train_reference(
                self.definition, self.file, self.splits, partial, self._listener(variant, "train")
            )

    def _transform(self, variant: str, steps: tuple[TransformConfig, ...], partial: Path) -> nn.Module:
        network = self.network(variant, steps[:-1])
        made = self._apply(variant, network, steps[-1], len(steps), partial)
        if not isinstance(made, nn.Module):
            raise TypeError(f"{NAMES[type(steps[-1])]} returned {type(made).__name__}, not a network")
        return made

    def _apply(
        self,
        variant: str,
        model: nn.Module | Exported,
        step: TransformConfig,
        number: int,
        partial: Path | None,
    ) -> nn.Module | Exported:
        """Perform step ``number`` of a recipe, counted from 1."""
        reference, name = self.network(self.definition.reference, ()), NAMES[type(step)]
        seed, listener = self.definition.seed, self._listener(variant, name)
        with _doing(f"step {number} ({name})"):
            made: nn.Module | Exported
            made, report = apply(model, step, Context(self.splits, reference, seed, partial, listener))
        self.progress(BuildEvent(variant, report.transform, 1, 1, str(report)))
        return made

    def _listener(self, variant: str, step: str) -> "_Listener":
        return _Listener(self.progress, variant, step)

    def _key(self, steps: tuple[TransformConfig, ...]) -> str:
        """Return a name for the network after ``steps``: equal settings give equal names."""
        known = self.definition
        made_of = (
            _CACHE_VERSION, known.dataset.name, known.dataset.validation_samples, known.seed,
            known.architecture, known.training, steps,
        )  # fmt: skip
        return hashlib.sha256(repr(made_of).encode()).hexdigest()[:20]

    def _write(self, name: str, model: Exported) -> tuple[Stage, ...]:
        """Write one file per stage, each in one move; return their descriptions."""
        return tuple(
            write_stage(stage, self.folder, _stem(name, position, model), model.format)
            for position, stage in enumerate(model.stages)
        )

    def _measure(self, variant: VariantRecipe, model: Exported, stages: tuple[Stage, ...]) -> Variant:
        artefacts = [decoded(self.folder / stage.artefact, model.format) for stage in stages]
        logits = logits_of_exits(artefacts, self.splits.test, threads=2)
        accuracy = accuracy_frac(logits[-1], self.splits.test.labels)
        rules: tuple[ExitRule, ...] = (ExitRule("full", 0.0, (1.0,), (accuracy,)),)
        for step in variant.recipe:
            if isinstance(step, EarlyExit):
                rules = self._exit_rules(step, artefacts, logits, [stage.macs for stage in stages])
        parameters = [count_parameters(artefact) for artefact in artefacts]
        return Variant(
            name=variant.name,
            transforms=variant.transforms,
            stages=stages,
            exit_rules=rules,
            accuracy_frac=accuracy,
            parameters=sum(total for total, _ in parameters),
            nonzero_parameters=sum(nonzero for _, nonzero in parameters),
            precision=precision(max(artefacts, key=len)),
            format=model.format,
            note=variant.note,
        )

    def _exit_rules(
        self, step: EarlyExit, artefacts: Sequence[bytes], logits: tuple[Logits, ...], macs: Sequence[int]
    ) -> tuple[ExitRule, ...]:
        """Return the rules of ``step`` measured on the test set; held-out samples choose among budgets."""
        test, held_out = self.splits.test.labels, self.splits.validation
        answers = logits_of_exits(artefacts, held_out, threads=2) if step.budgets else ()
        return exit_rules(step.thresholds, step.budgets, macs, (answers, held_out.labels), (logits, test))


@contextmanager
def _doing(what: str) -> Iterator[None]:
    """Let errors inside say what was being done; the innermost says it."""
    before = _UNDER_WAY.get()
    _UNDER_WAY.set(what)
    yield
    _UNDER_WAY.set(before)  # not when it failed: then ``what`` is what failed


@contextmanager
def _told(variant: str) -> Iterator[None]:
    """Turn what goes wrong in building a variant into an error that says where."""
    token = _UNDER_WAY.set("export and measuring")
    try:
        yield
    except DefinitionError:
        raise  # names file, line and field
    except FoundryError as error:
        raise FoundryError(f"variant {variant}: {_UNDER_WAY.get()}: {error}") from error
    except Exception as error:  # torch, onnx and the runtime raise a dozen unrelated types
        reason = f"{type(error).__name__}: {error}"
        raise FoundryError(f"variant {variant}: {_UNDER_WAY.get()}: {reason}") from error
    finally:
        _UNDER_WAY.reset(token)


def write_stage(stage: ExportedStage, folder: Path, stem: str, format_name: str) -> Stage:
    """Write the artefact of a stage in one move, named ``stem`` and its format's suffix; describe it."""
    path = folder / f"{stem}{SUFFIXES[format_name]}"
    fresh = path.with_name(f"{path.name}.writing")
    fresh.write_bytes(stage.artefact)
    fresh.replace(path)
    counts = count(stage.onnx)
    return Stage(
        artefact=path.name,
        sha256=hashlib.sha256(stage.artefact).hexdigest(),
        artefact_bytes=len(stage.artefact),
        inputs=stage.inputs,
        outputs=stage.outputs,
        logits=stage.logits,
        macs=stage.macs,
        peak_activation_bytes=peak_activation_bytes(stage.onnx),
        nonzero_macs=min(stage.macs, counts.nonzero_macs),
        weight_bytes=counts.weight_bytes,
        traffic_bytes=counts.traffic_bytes,
    )


def _stem(name: str, position: int, model: Exported) -> str:
    return name if len(model.stages) == 1 else f"{name}.{position}"


@dataclass(frozen=True, slots=True)
class _Listener:
    """Pass on what the training loop says as progress of one step."""

    progress: Progress
    variant: str
    step: str

    def __call__(self, epoch: Epoch) -> None:
        note = f"loss {epoch.loss:.3f}, {epoch.seconds:.0f} s"
        self.progress(BuildEvent(self.variant, self.step, epoch.number, epoch.total, note))
