"""Transforms as data: one frozen config per compression step, importable without torch."""

from dataclasses import dataclass
from typing import ClassVar, Final

from trimtab_models.architectures.configs import ArchitectureConfig
from trimtab_models.settings import Training


@dataclass(frozen=True, slots=True)
class PruneStructured:
    """Remove whole channels of least L2 norm, everywhere the dependency graph couples them.

    Each layer keeps ``keep_frac`` of its channels, rounded down to multiples of ``round_to``; then fine-tune.
    """

    after_export: ClassVar[bool] = False
    keep_frac: float
    round_to: int = 16
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1; raise ``ValueError``."""
        _check_frac("keep_frac", self.keep_frac)


@dataclass(frozen=True, slots=True)
class LowRank:
    """Replace each convolution by its Tucker-2 factors and each dense layer by its SVD; then fine-tune.

    A side with c channels gets rank ``rank_frac`` x c, rounded up to a multiple of ``round_to`` and at least
    ``rank_floor``. Layers that would not get smaller stay as they are.
    """

    after_export: ClassVar[bool] = False
    rank_frac: float
    rank_floor: int = 16
    round_to: int = 16
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1; raise ``ValueError``."""
        _check_frac("rank_frac", self.rank_frac)


@dataclass(frozen=True, slots=True)
class EarlyExit:
    """Give the network a classifier after every group and train all of them together (BranchyNet, 2016).

    ``loss_weights`` has one entry per exit, first exit first. ``thresholds`` on the confidence (max softmax)
    become the variant's exit rules.
    """

    after_export: ClassVar[bool] = False
    loss_weights: tuple[float, ...]
    thresholds: tuple[float, ...]
    training: Training

    def __post_init__(self) -> None:
        """Refuse thresholds outside 0..1; raise ``ValueError``."""
        if not self.thresholds:
            raise ValueError("thresholds must not be empty")
        for threshold in self.thresholds:
            _check_frac("thresholds", threshold)


@dataclass(frozen=True, slots=True)
class Distill:
    """Train a student on the softened answers of the reference (Hinton et al., 2015).

    Without ``architecture`` the network as it is (say, pruned) is the student. The loss is ``hard_frac`` of
    the cross-entropy plus the rest times the divergence from the teacher at ``temperature``.
    """

    after_export: ClassVar[bool] = False
    training: Training
    architecture: ArchitectureConfig | None = None
    temperature: float = 4.0
    hard_frac: float = 0.1


@dataclass(frozen=True, slots=True)
class QuantizeInt8:
    """Store weights as signed and activations as unsigned 8-bit integers, calibrated on held-out samples.

    Signed activations are slower than float on x86, so there is no option for them.
    """

    after_export: ClassVar[bool] = True
    calibration_samples: int = 512
    per_channel: bool = True

    def __post_init__(self) -> None:
        """Refuse to calibrate on nothing; raise ``ValueError``."""
        if self.calibration_samples < 1:
            raise ValueError("calibration_samples must be at least 1")


TransformConfig = PruneStructured | LowRank | EarlyExit | Distill | QuantizeInt8

CONFIGS: Final[dict[str, type[TransformConfig]]] = {
    "prune_structured": PruneStructured,
    "low_rank": LowRank,
    "early_exit": EarlyExit,
    "distill": Distill,
    "quantize_int8": QuantizeInt8,
}

NAMES: Final = {config: name for name, config in CONFIGS.items()}


def _check_frac(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be over 0 and at most 1, not {value}")
