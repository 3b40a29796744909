"""What to make of an imported ONNX network, as data: importable without the onnx package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from trimtab_models.decode import decode_file
from trimtab_models.settings import check_frac

Calibration = Literal["minmax", "percentile", "entropy"]
FLOAT: Final = "fp32"
INT8: Final = "int8"


@dataclass(frozen=True, slots=True)
class StaticInt8:
    """8-bit weights and activations with fixed ranges (Jacob et al., CVPR 2018), as QDQ nodes.

    ``calibration`` says how ranges follow from what the calibration samples make of every tensor: all of it,
    99.999 % of it, or what keeps most information (Migacz, 2017).
    """

    calibration: Calibration = "minmax"
    per_channel: bool = True
    samples: int = 128


@dataclass(frozen=True, slots=True)
class DynamicInt8:
    """8-bit weights of dense layers, whose inputs are quantised with ranges found in every run."""


@dataclass(frozen=True, slots=True)
class WeightInt8:
    """8-bit weights, one scale per output channel; the runtime makes floats of them when it loads."""

    least_elements: int = 1024


@dataclass(frozen=True, slots=True)
class Factor:
    """Dense layers and 1x1 convolutions as two thinner ones: their SVD, cut at a share of its energy.

    ``energy_frac`` of the squared singular values stays. A layer is left alone unless its factors have at
    most ``most_frac`` of its weights.
    """

    energy_frac: float = 0.95
    most_frac: float = 0.8

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1; raise ``ValueError``."""
        check_frac("energy_frac", self.energy_frac)
        check_frac("most_frac", self.most_frac)


@dataclass(frozen=True, slots=True)
class ZeroSmallest:
    """Set the weights of least magnitude to zero, this share of every layer (Han et al., 2015, untrained)."""

    zero_frac: float = 0.3

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1; raise ``ValueError``."""
        check_frac("zero_frac", self.zero_frac)


@dataclass(frozen=True, slots=True)
class ShareWeights:
    """Let every layer have at most 2^bits different weights: k-means from evenly spaced centres (Han, 2016).

    The artefact is a Deep Compression one, entropy-coded; the daemon decodes it when it loads the variant.
    """

    bits: int = 6
    least_elements: int = 1024

    def __post_init__(self) -> None:
        """Refuse codebooks that are none; raise ``ValueError``."""
        if not 1 <= self.bits <= 10:
            raise ValueError(f"bits must be from 1 to 10, not {self.bits}")


Step = StaticInt8 | DynamicInt8 | WeightInt8 | Factor | ZeroSmallest | ShareWeights

STEPS: Final[dict[str, type[Step]]] = {
    "static_int8": StaticInt8,
    "dynamic_int8": DynamicInt8,
    "weight_int8": WeightInt8,
    "factor": Factor,
    "zero_smallest": ZeroSmallest,
    "share_weights": ShareWeights,
}
STEP_NAMES: Final = {kind: name for name, kind in STEPS.items()}
LAST: Final = (StaticInt8, DynamicInt8, WeightInt8, ShareWeights)
"""Steps that change how weights are stored, so that nothing can follow."""


@dataclass(frozen=True, slots=True)
class ImportedVariant:
    """A variant's name and the steps that make it, in order, from the network as it came."""

    name: str
    recipe: tuple[Step, ...]
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse an empty recipe and steps in an impossible order; raise ``ValueError``."""
        if not self.recipe:
            raise ValueError(f"variant {self.name!r} has no step; the network as it came is always made")
        for step, following in zip(self.recipe, self.recipe[1:], strict=False):
            if isinstance(step, LAST):
                raise ValueError(f"{STEP_NAMES[type(following)]} cannot follow {STEP_NAMES[type(step)]}")

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the names of the steps."""
        return tuple(STEP_NAMES[type(step)] for step in self.recipe)

    @property
    def precision(self) -> str:
        """Return the numbers the variant computes with."""
        return INT8 if isinstance(self.recipe[-1], StaticInt8 | DynamicInt8) else FLOAT


@dataclass(frozen=True, slots=True)
class Plan:
    """The variants to make besides the network as it came."""

    variants: tuple[ImportedVariant, ...]

    def __post_init__(self) -> None:
        """Refuse names used twice; raise ``ValueError``."""
        names = [FLOAT, *(variant.name for variant in self.variants)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"variants: named twice: {', '.join(repeated)}")


DEFAULT_PLAN: Final = Plan(
    (
        ImportedVariant("int8", (StaticInt8(),), "8-bit weights and activations"),
        ImportedVariant("int8-percentile", (StaticInt8("percentile"),), "ranges without outliers"),
        ImportedVariant("int8-entropy", (StaticInt8("entropy"),), "ranges that keep most information"),
        ImportedVariant("int8-dynamic", (DynamicInt8(),), "dense layers in 8 bits, ranges per run"),
        ImportedVariant("int8-weights", (WeightInt8(),), "8-bit weights on disk, floats in memory"),
        ImportedVariant("lowrank", (Factor(),), "95 % of the energy of dense layers and 1x1 convolutions"),
        ImportedVariant("lowrank-int8", (Factor(), StaticInt8()), "low rank, then 8 bits"),
        ImportedVariant(
            "deep", (ZeroSmallest(), ShareWeights()), "30 % zeros, 64 values per layer, entropy-coded"
        ),
    )
)


def load_plan(path: Path) -> Plan:
    """Read the variants from a YAML file; raise ``DefinitionError`` naming file, line and field."""
    return decode_file(path, Plan, STEPS)
