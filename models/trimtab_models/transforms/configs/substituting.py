"""Settings of the transform that starts over with another architecture."""

from dataclasses import dataclass
from typing import ClassVar, Final

from trimtab_models.architectures.configs import ArchitectureConfig
from trimtab_models.settings import Training


@dataclass(frozen=True, slots=True)
class Substitute:
    """Train another architecture from fresh weights on the labels: the classic networks of the literature.

    What follows in the recipe compresses that network. To have the reference teach it, use ``distill``.
    """

    after_export: ClassVar[bool] = False
    architecture: ArchitectureConfig
    training: Training


SubstitutingConfig = Substitute

CONFIGS: Final = {"substitute": Substitute}
