"""Build a family from its definition: the one entry point, importable without the build extra."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.domain.family import Dataset, Family, ProfileSet, TensorSpec, Variant
from trimtab_models.datasets import DATASETS
from trimtab_models.datasets.samples import balanced
from trimtab_models.errors import FoundryError, MissingBuildExtra
from trimtab_models.family import MANIFEST, read_manifest, write_manifest, write_samples
from trimtab_models.recipe import Definition, load_definition
from trimtab_models.settings import Progress, silent

if TYPE_CHECKING:
    from trimtab_models.datasets.samples import Splits

PREPROCESSING: Final = "grey pixels / 255, as float32 in 0..1; mean and deviation are part of the network"

_EXTRA = ("torch", "onnx", "onnxscript", "torch_pruning")


def build_family(definition: Path, *, only: Sequence[str] = (), progress: Progress = silent) -> Family:
    """Build what ``definition`` (``family.yaml`` or its folder) describes; return the family it wrote.

    Artefacts, samples and ``manifest.json`` land in the definition's folder, trained networks in the user's
    cache: an interrupted build goes on where it stopped. ``only`` names the variants to build; the others are
    taken over from the present manifest. Raise ``DefinitionError``, ``DatasetError``, ``MissingBuildExtra``.
    """
    known = load_definition(definition)
    folder = definition if definition.is_dir() else definition.parent
    _check_names(only, known)
    require_extra()
    from trimtab_models.builder import Builder

    dataset = DATASETS[known.dataset.name]
    splits = dataset.load(known.dataset.validation_samples, known.seed, progress=progress)
    builder = Builder(known, splits, folder, build_cache(known.task), progress)
    previous = read_manifest(folder) if (folder / MANIFEST).exists() else None
    kept = {variant.name: variant for variant in previous.variants} if previous and only else {}
    variants = []
    for variant in known.variants:
        if not only or variant.name in only:
            variants.append(builder.build(variant))
        elif variant.name in kept:
            variants.append(kept[variant.name])
    family = _describe(known, splits, tuple(variants), _still_valid(previous, variants))
    write_samples(balanced(splits.test, known.dataset.shipped_per_class, known.seed), folder / family.samples)
    write_manifest(family, folder)
    return family


def build_cache(task: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where a task's trained networks are kept: ``$XDG_CACHE_HOME/trimtab/build/<task>``."""
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home, "trimtab", "build", task)


def require_extra(packages: Sequence[str] = _EXTRA) -> None:
    """Raise ``MissingBuildExtra`` unless everything that building needs is installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingBuildExtra(package)


def _check_names(only: Sequence[str], definition: Definition) -> None:
    names = [variant.name for variant in definition.variants]
    for name in only:
        if name not in names:
            raise FoundryError(
                f"task {definition.task!r} has no variant {name!r}; it has: {', '.join(names)}"
            )


def _describe(
    definition: Definition, splits: "Splits", variants: tuple[Variant, ...], profiles: ProfileSet | None
) -> Family:
    dataset = DATASETS[definition.dataset.name]
    image_shape = (-1, *splits.test.images.shape[1:])
    train_samples = len(splits.train) + len(splits.validation)
    return Family(
        task=definition.task,
        title=definition.title,
        inputs=(TensorSpec("image", "FP32", image_shape),),
        outputs=(TensorSpec("logits", "FP32", (-1, splits.classes)),),
        labels=splits.labels,
        variants=variants,
        reference=definition.reference,
        last_resort=definition.last_resort,
        dataset=Dataset(dataset.NAME, dataset.LICENCE, dataset.SOURCE, train_samples, len(splits.test)),
        preprocessing=PREPROCESSING,
        profiles=profiles,
    )


def _still_valid(previous: Family | None, variants: Sequence[Variant]) -> ProfileSet | None:
    """Return the previous profiles of the variants whose artefacts came out the same."""
    if previous is None or previous.profiles is None:
        return None
    same = {variant.name for variant in variants if variant.stages == _stages(previous, variant.name)}
    profiles = tuple(p for p in previous.profiles.profiles if p.variant in same)
    return replace(previous.profiles, profiles=profiles) if profiles else None


def _stages(family: Family, name: str) -> object:
    return next((variant.stages for variant in family.variants if variant.name == name), None)
