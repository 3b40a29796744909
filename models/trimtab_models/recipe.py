"""The definition of a family: ``family.yaml`` as typed, checked values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trimtab_models.architectures.configs import CONFIGS as ARCHITECTURES
from trimtab_models.architectures.configs import ArchitectureConfig
from trimtab_models.decode import decode_file, decode_text
from trimtab_models.errors import DefinitionError
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import CONFIGS as TRANSFORMS
from trimtab_models.transforms.configs import NAMES, TransformConfig

FORMAT_VERSION: Final = 1
FILE_NAME: Final = "family.yaml"
TAGS: Final[Mapping[str, type]] = {**ARCHITECTURES, **TRANSFORMS}

_VARIANT_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """Which dataset; how many training samples are held out; how many test samples of each class ship."""

    name: str
    validation_samples: int = 5000
    shipped_per_class: int = 50


@dataclass(frozen=True, slots=True)
class VariantRecipe:
    """A variant's name and the transforms that make it, in order, from the reference network."""

    name: str
    recipe: tuple[TransformConfig, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse names not in kebab-case and transforms in an impossible order; raise ``ValueError``."""
        if not _VARIANT_NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} is not lower-case words joined by '-'")
        for step, following in zip(self.recipe, self.recipe[1:], strict=False):
            if step.after_export and not following.after_export:
                raise ValueError(f"{NAMES[type(following)]} cannot follow {NAMES[type(step)]}")

    @property
    def transforms(self) -> tuple[str, ...]:
        """Return the names of the steps."""
        return tuple(NAMES[type(step)] for step in self.recipe)


@dataclass(frozen=True, slots=True)
class Definition:
    """All that determines a family: data, reference network, seed and the recipe of every variant."""

    format_version: int
    task: str
    title: str
    dataset: DatasetSettings
    seed: int
    architecture: ArchitectureConfig
    training: Training
    last_resort: str
    variants: tuple[VariantRecipe, ...]

    def __post_init__(self) -> None:
        """Refuse unknown versions, repeated names and a missing reference; raise ``ValueError``."""
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"format_version {self.format_version} is not {FORMAT_VERSION}")
        names = [variant.name for variant in self.variants]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"variants: named twice: {', '.join(repeated)}")
        if sum(not variant.recipe for variant in self.variants) != 1:
            raise ValueError("variants: exactly one, the reference, has no recipe")
        if self.last_resort not in names:
            raise ValueError(f"last_resort {self.last_resort!r} is no variant; they are: {', '.join(names)}")

    @property
    def reference(self) -> str:
        """Return the name of the uncompressed variant."""
        return next(variant.name for variant in self.variants if not variant.recipe)


def load_definition(path: Path) -> Definition:
    """Read a definition from ``family.yaml`` or the folder that holds it; raise ``DefinitionError``."""
    file = path / FILE_NAME if path.is_dir() else path
    return _known_dataset(decode_file(file, Definition, TAGS), str(file))


def parse_definition(text: str, name: str = FILE_NAME) -> Definition:
    """Read a definition from YAML text; ``name`` stands for the file in errors."""
    return _known_dataset(decode_text(text, Definition, TAGS, name=name), name)


def _known_dataset(definition: Definition, name: str) -> Definition:
    from trimtab_models.datasets import DATASETS

    if definition.dataset.name not in DATASETS:
        known = ", ".join(DATASETS)
        raise DefinitionError(f"{name}: dataset.name: unknown {definition.dataset.name!r}; known: {known}")
    return definition
