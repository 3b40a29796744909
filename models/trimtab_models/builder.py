"""Build single variants, remembering every trained network under a name made of all that determines it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn

from trimtab.domain.family import ExitRule, Stage, Variant
from trimtab_models import architectures
from trimtab_models.datasets.samples import Splits
from trimtab_models.export import Exported, export
from trimtab_models.measure import (
    accuracy_frac,
    count_parameters,
    exit_staircase,
    logits_of_exits,
    peak_activation_bytes,
)
from trimtab_models.recipe import Definition, VariantRecipe
from trimtab_models.registry import Context, Report, apply
from trimtab_models.settings import BuildEvent, Progress
from trimtab_models.training import Epoch, cross_entropy, fit
from trimtab_models.transforms.configs import NAMES, EarlyExit, QuantizeInt8, TransformConfig

_CACHE_VERSION: Final = 1
_EXPORT: Final = "export"


@dataclass(frozen=True, slots=True, eq=False)
class Builder:
    """Turn recipes into variants; ``cache`` holds networks between steps and between runs."""

    definition: Definition
    splits: Splits
    folder: Path
    cache: Path
    progress: Progress

    def build(self, variant: VariantRecipe) -> Variant:
        """Make, write and measure one variant."""
        trained = tuple(step for step in variant.recipe if not step.after_export)
        network = self.network(variant.name, trained)
        self.progress(BuildEvent(variant.name, _EXPORT, 0, 1))
        model: nn.Module | Exported = export(network, self.splits.test.images.shape[1:])
        for step in variant.recipe[len(trained) :]:
            model, report = apply(model, step, self._context(variant.name, NAMES[type(step)], None))
            self._say(variant.name, report)
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
        network = architectures.build(self.definition.architecture, self.splits, self.definition.seed)
        return fit(
            network,
            self.splits.train,
            self.definition.training,
            cross_entropy(self.definition.training),
            seed=self.definition.seed,
            partial=partial,
            on_epoch=self._listener(variant, "train"),
        )

    def _transform(self, variant: str, steps: tuple[TransformConfig, ...], partial: Path) -> nn.Module:
        network, name = self.network(variant, steps[:-1]), NAMES[type(steps[-1])]
        made, report = apply(network, steps[-1], self._context(variant, name, partial))
        self._say(variant, report)
        if not isinstance(made, nn.Module):
            raise TypeError(f"{name} returned {type(made).__name__}, not a network")
        return made

    def _context(self, variant: str, step: str, partial: Path | None) -> Context:
        reference = self.network(self.definition.reference, ())
        return Context(self.splits, reference, self.definition.seed, partial, self._listener(variant, step))

    def _listener(self, variant: str, step: str) -> "_Listener":
        return _Listener(self.progress, variant, step)

    def _say(self, variant: str, report: Report) -> None:
        self.progress(BuildEvent(variant, report.transform, 1, 1, str(report)))

    def _key(self, steps: tuple[TransformConfig, ...]) -> str:
        """Return a name for the network after ``steps``: equal settings give equal names."""
        known = self.definition
        made_of = (
            _CACHE_VERSION, known.dataset.name, known.dataset.validation_samples, known.seed,
            known.architecture, known.training, steps,
        )  # fmt: skip
        return hashlib.sha256(repr(made_of).encode()).hexdigest()[:20]

    def _write(self, name: str, model: Exported) -> tuple[Stage, ...]:
        """Write one file per stage, ``name.onnx`` or ``name.<stage>.onnx``; return their descriptions."""
        stages = []
        for position, stage in enumerate(model.stages):
            file = f"{name}.onnx" if len(model.stages) == 1 else f"{name}.{position}.onnx"
            (self.folder / file).write_bytes(stage.onnx)
            stages.append(
                Stage(
                    artefact=file,
                    sha256=hashlib.sha256(stage.onnx).hexdigest(),
                    artefact_bytes=len(stage.onnx),
                    inputs=stage.inputs,
                    outputs=stage.outputs,
                    logits=stage.logits,
                    macs=stage.macs,
                    peak_activation_bytes=peak_activation_bytes(stage.onnx),
                )
            )
        return tuple(stages)

    def _measure(self, variant: VariantRecipe, model: Exported, stages: tuple[Stage, ...]) -> Variant:
        test = self.splits.test
        logits = logits_of_exits([self.folder / stage.artefact for stage in stages], test, threads=2)
        accuracy = accuracy_frac(logits[-1], test.labels)
        rules = [ExitRule("full", 0.0, (1.0,), (accuracy,))]
        for step in variant.recipe:
            if isinstance(step, EarlyExit):
                rules = [
                    ExitRule(f"t{threshold:.2f}", threshold, *exit_staircase(logits, test.labels, threshold))
                    for threshold in step.thresholds
                ]
        parameters = [count_parameters(stage.onnx) for stage in model.stages]
        quantized = any(isinstance(step, QuantizeInt8) for step in variant.recipe)
        return Variant(
            name=variant.name,
            transforms=variant.transforms,
            stages=stages,
            exit_rules=tuple(rules),
            accuracy_frac=accuracy,
            parameters=sum(total for total, _ in parameters),
            nonzero_parameters=sum(nonzero for _, nonzero in parameters),
            precision="int8" if quantized else "fp32",
            note=variant.note,
        )


@dataclass(frozen=True, slots=True)
class _Listener:
    """Pass on what the training loop says as progress of one step."""

    progress: Progress
    variant: str
    step: str

    def __call__(self, epoch: Epoch) -> None:
        note = f"loss {epoch.loss:.3f}, {epoch.seconds:.0f} s"
        self.progress(BuildEvent(self.variant, self.step, epoch.number, epoch.total, note))
