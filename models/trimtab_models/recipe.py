"""The definition of a family: ``family.yaml`` as typed, checked values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from trimtab_models.architectures.configs import CONFIGS as ARCHITECTURES
from trimtab_models.architectures.configs import ArchitectureConfig
from trimtab_models.decode import decode_file, decode_text
from trimtab_models.errors import DefinitionError
from trimtab_models.imported import Imported, check_path
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import CONFIGS as TRANSFORMS
from trimtab_models.transforms.configs import NAMES, QuantizeWeights, StoreHalf, TransformConfig

FORMAT_VERSION: Final = 1
FILE_NAME: Final = "family.yaml"
IMPORT: Final = "import"
TAGS: Final[Mapping[str, type]] = {**ARCHITECTURES, IMPORT: Imported, **TRANSFORMS}

_VARIANT_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """Which dataset; how many training samples are held out; how many test samples of each class ship.

    ``name`` is one of ours or an import path, ``package.module:function``, called with ``arguments``.
    """

    name: str
    validation_samples: int = 5000
    shipped_per_class: int = 50
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse broken import paths, and arguments for a dataset of ours; raise ``ValueError``."""
        if self.imported:
            check_path(self.name)
        elif self.arguments:
            raise ValueError(f"arguments are for imported datasets; {self.name!r} takes none")

    @property
    def imported(self) -> bool:
        """Return whether the dataset is the user's own."""
        return ":" in self.name


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
    def only_stored(self) -> bool:
        """Return whether the steps change no more than how the reference's weights are written down."""
        return all(isinstance(step, StoreHalf | QuantizeWeights) for step in self.recipe)

    @property
    def transforms(self) -> tuple[str, ...]:
        """Return the names of the steps."""
        return tuple(NAMES[type(step)] for step in self.recipe)


UNTRAINED: Final = Training(epochs=0)


@dataclass(frozen=True, slots=True)
class Definition:
    """All that determines a family: data, reference network, seed and the recipe of every variant.

    The reference is trained as ``training`` says, or by ``trainer``, a loop of the user's.
    """

    format_version: int
    task: str
    title: str
    dataset: DatasetSettings
    seed: int
    architecture: ArchitectureConfig | Imported
    last_resort: str
    variants: tuple[VariantRecipe, ...]
    training: Training = UNTRAINED
    trainer: Imported | None = None

    def __post_init__(self) -> None:
        """Refuse unknown versions, repeated names and a missing reference; raise ``ValueError``."""
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"format_version {self.format_version} is not {FORMAT_VERSION}")
        if (self.trainer is None) == (self.training == UNTRAINED):
            raise ValueError("training or trainer: exactly one of them says how the reference is trained")
        names = [variant.name for variant in self.variants]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"variants: named twice: {', '.join(repeated)}")
        if len(self._references()) != 1:
            raise ValueError("variants: exactly one, the reference, has no recipe but how it is stored")
        if self.last_resort not in names:
            raise ValueError(f"last_resort {self.last_resort!r} is no variant; they are: {', '.join(names)}")

    @property
    def reference(self) -> str:
        """Return the name of the uncompressed variant."""
        return self._references()[0].name

    def _references(self) -> list[VariantRecipe]:
        """Return the variants without a recipe; where there are none, those that are only stored smaller."""
        bare = [variant for variant in self.variants if not variant.recipe]
        return bare or [variant for variant in self.variants if variant.only_stored]


def definition_file(path: Path) -> Path:
    """Return the file of a definition given by its file or the folder that holds it."""
    return path / FILE_NAME if path.is_dir() else path


def load_definition(path: Path) -> Definition:
    """Read a definition from ``family.yaml`` or the folder that holds it; raise ``DefinitionError``."""
    file = definition_file(path)
    return _known_dataset(decode_file(file, Definition, TAGS), str(file))


def parse_definition(text: str, name: str = FILE_NAME) -> Definition:
    """Read a definition from YAML text; ``name`` stands for the file in errors."""
    return _known_dataset(decode_text(text, Definition, TAGS, name=name), name)


def place(file: Path, *keys: str) -> str:
    """Return where a field of a definition stands, ``file:line: a.b``, as the start of an error."""
    node: yaml.Node | None = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = 1
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((name, inner) for name, inner in pairs if name.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return f"{file}:{line}: {'.'.join(keys)}"


def _known_dataset(definition: Definition, name: str) -> Definition:
    from trimtab_models.datasets import DATASETS

    chosen = definition.dataset
    if not chosen.imported and chosen.name not in DATASETS:
        raise DefinitionError(
            f"{name}: dataset.name: unknown {chosen.name!r}; known: {', '.join(DATASETS)}, or package.module:function"
        )
    return definition
