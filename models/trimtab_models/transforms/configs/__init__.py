"""Transforms as data: one frozen config per compression step, importable without torch."""

from typing import Final

from trimtab_models.transforms.configs import (
    conditional,
    factoring,
    learning,
    packing,
    pruning,
    quantizing,
    replacing,
    substituting,
)
from trimtab_models.transforms.configs.conditional import Branch, ConditionalConfig, EarlyExit, SkipBlocks
from trimtab_models.transforms.configs.factoring import FactoringConfig, LowRank, SparseCoding
from trimtab_models.transforms.configs.learning import (
    CompressorCritic,
    HashedActivation,
    LearnedGates,
    LearningConfig,
)
from trimtab_models.transforms.configs.packing import Compress, PackingConfig, StoreHalf
from trimtab_models.transforms.configs.pruning import (
    PruneMagnitude,
    PruneStructured,
    PruningConfig,
    Sensitivity,
    ShareWeights,
)
from trimtab_models.transforms.configs.quantizing import (
    QuantizeAware,
    QuantizeDynamic,
    QuantizeInt8,
    QuantizeWeights,
    QuantizingConfig,
)
from trimtab_models.transforms.configs.replacing import (
    DepthwiseSeparable,
    Distill,
    Fire,
    GroupLasso,
    MlpConv,
    RandomChannels,
    ReplacingConfig,
)
from trimtab_models.transforms.configs.substituting import Substitute, SubstitutingConfig

__all__ = [
    "CONFIGS",
    "NAMES",
    "Branch",
    "Compress",
    "CompressorCritic",
    "DepthwiseSeparable",
    "Distill",
    "EarlyExit",
    "Fire",
    "GroupLasso",
    "HashedActivation",
    "LearnedGates",
    "LowRank",
    "MlpConv",
    "PruneMagnitude",
    "PruneStructured",
    "QuantizeAware",
    "QuantizeDynamic",
    "QuantizeInt8",
    "QuantizeWeights",
    "RandomChannels",
    "Sensitivity",
    "ShareWeights",
    "SkipBlocks",
    "SparseCoding",
    "StoreHalf",
    "Substitute",
    "TransformConfig",
]

TransformConfig = (
    PruningConfig
    | FactoringConfig
    | ReplacingConfig
    | SubstitutingConfig
    | ConditionalConfig
    | LearningConfig
    | QuantizingConfig
    | PackingConfig
)

CONFIGS: Final[dict[str, type[TransformConfig]]] = {
    **pruning.CONFIGS,
    **factoring.CONFIGS,
    **replacing.CONFIGS,
    **substituting.CONFIGS,
    **conditional.CONFIGS,
    **learning.CONFIGS,
    **quantizing.CONFIGS,
    **packing.CONFIGS,
}

NAMES: Final = {config: name for name, config in CONFIGS.items()}
