"""Build a family from its definition: the one entry point, importable without the build extra."""

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trimtab.domain.family import Dataset, Family, ProfileSet, TensorSpec, Variant
from trimtab_models.choose import mark_dominated
from trimtab_models.datasets import DATASETS
from trimtab_models.datasets.samples import Splits, balanced
from trimtab_models.errors import FoundryError, MissingBuildExtra
from trimtab_models.family import MANIFEST, read_manifest, write_samples
from trimtab_models.imported import Imported, data_digest, importable, load_splits, resolve, source_digest
from trimtab_models.publish import publish, staging
from trimtab_models.recipe import IMPORT, Definition, definition_file, load_definition, place
from trimtab_models.settings import Progress, silent

_EXTRA = ("torch", "onnx", "onnxscript", "torch_pruning")


def build_family(definition: Path, *, only: Sequence[str] = (), progress: Progress = silent) -> Family:
    """Build what ``definition`` (``family.yaml`` or its folder) describes; return the family it wrote.

    Artefacts, samples and ``manifest.json`` land in the definition's folder once all of them are made: until
    then the previous family stays whole. Trained networks are kept in the user's cache, so that an interrupted
    build goes on where it stopped. ``only`` names the variants to build; the others are taken over from the
    present manifest. Raise ``DefinitionError``, ``DatasetError``, ``MissingBuildExtra``.
    """
    known, file = load_definition(definition), definition_file(definition)
    _check_names(only, known)
    require_extra()
    with importable(file.parent):
        splits = _splits(known, file, progress)
        with staging(file.parent) as staged:
            return _build(known, file, splits, staged, only=only, progress=progress)


def _build(
    known: Definition, file: Path, splits: Splits, staged: Path, *, only: Sequence[str], progress: Progress
) -> Family:
    from trimtab_models.builder import Builder

    folder = file.parent
    builder = Builder(known, file, splits, staged, _cache(known, file, splits), progress)
    previous = read_manifest(folder) if (folder / MANIFEST).exists() else None
    kept = {variant.name: variant for variant in previous.variants} if previous and only else {}
    for needed in (known.reference, known.last_resort):
        if only and needed not in (*only, *kept):
            raise FoundryError(f"no family is without {needed!r}, and it was not built before: build it, too")
    variants = []
    for variant in known.variants:
        if not only or variant.name in only:
            variants.append(builder.build(variant))
        elif variant.name in kept:
            variants.append(kept[variant.name])
    family = _describe(known, splits, tuple(variants), _still_valid(previous, variants))
    if known.dataset.shipped_per_class:
        shipped = balanced(splits.test, known.dataset.shipped_per_class, known.seed)
        write_samples(shipped, splits.input_name, staged / family.samples)
    return publish(mark_dominated(family), staged, folder)


def _splits(known: Definition, file: Path, progress: Progress) -> Splits:
    chosen = known.dataset
    if not chosen.imported:
        splits: Splits = DATASETS[chosen.name].load(chosen.validation_samples, known.seed, progress=progress)
        return splits
    where = place(file, "dataset", "name")
    return load_splits(chosen.name, chosen.arguments, chosen.validation_samples, known.seed, where)


def _cache(known: Definition, file: Path, splits: Splits) -> Path:
    """Return where trained networks are kept: apart for each version of a user's own code and data."""
    own: list[object] = []
    if isinstance(known.architecture, Imported):
        resolve(known.architecture.path, place(file, "architecture", IMPORT, "path"))
        own.append(known.architecture)
    if known.trainer is not None:
        resolve(known.trainer.path, place(file, "trainer", "path"))
        own.append(known.trainer)
    if known.dataset.imported:
        own.append((known.dataset, data_digest(splits)))
    cache = build_cache(known.task)
    return cache / source_digest(file.parent, own) if own else cache


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
    definition: Definition, splits: Splits, variants: tuple[Variant, ...], profiles: ProfileSet | None
) -> Family:
    name = definition.dataset.name
    module = sys.modules[name.partition(":")[0]] if definition.dataset.imported else DATASETS[name]
    unsaid = {
        "NAME": name,
        "LICENCE": "not stated",
        "SOURCE": name,
        "PREPROCESSING": "as the dataset's module has it",
    }

    def about(field: str) -> str:
        return str(getattr(module, field, unsaid[field]))

    train_samples = len(splits.train) + len(splits.validation)
    return Family(
        task=definition.task,
        title=definition.title,
        inputs=(TensorSpec(splits.input_name, "FP32", (-1, *splits.shape)),),
        outputs=(TensorSpec("logits", "FP32", (-1, splits.classes)),),
        labels=splits.labels,
        variants=variants,
        reference=definition.reference,
        last_resort=definition.last_resort,
        dataset=Dataset(about("NAME"), about("LICENCE"), about("SOURCE"), train_samples, len(splits.test)),
        preprocessing=about("PREPROCESSING"),
        profiles=profiles,
    )


def _still_valid(previous: Family | None, variants: Sequence[Variant]) -> ProfileSet | None:
    """Return the previous profiles of the variants whose artefacts came out the same."""
    if previous is None or previous.profiles is None:
        return None
    same = {variant.name for variant in variants if _digests(variant) == _stages(previous, variant.name)}
    profiles = tuple(p for p in previous.profiles.profiles if p.variant in same)
    return replace(previous.profiles, profiles=profiles) if profiles else None


def _stages(family: Family, name: str) -> list[str] | None:
    return next((_digests(variant) for variant in family.variants if variant.name == name), None)


def _digests(variant: Variant) -> list[str]:
    return [stage.sha256 for stage in variant.stages]
