"""Build families: train a network, compress it in many ways, measure and export every variant."""

from trimtab_models.errors import DatasetError, DefinitionError, FoundryError, MissingBuildExtra
from trimtab_models.pipeline import build_family
from trimtab_models.settings import BuildEvent, Progress

__all__ = [
    "BuildEvent",
    "DatasetError",
    "DefinitionError",
    "FoundryError",
    "MissingBuildExtra",
    "Progress",
    "build_family",
]
