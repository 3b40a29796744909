"""Settings of the transforms that store numbers in fewer bits."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from trimtab_models.settings import Training


def _check_bits(name: str, bits: int) -> None:
    if not 2 <= bits <= 8:
        raise ValueError(f"{name} must be 2 to 8, not {bits}")


@dataclass(frozen=True, slots=True)
class QuantizeInt8:
    """Store weights as signed and activations as unsigned 8-bit integers, calibrated on held-out samples.

    Signed activations are slower than float on x86, so there is no option for them. Activations range from
    their least to their largest value, or within bounds that lose least information (``entropy``) or clip all
    but ``percentile`` percent (``percentile``). ``float_first`` and ``float_last`` leave the first or the last
    layer with weights in float.
    """

    after_export: ClassVar[bool] = True
    calibration_samples: int = 512
    per_channel: bool = True
    calibration_method: Literal["minmax", "entropy", "percentile"] = "minmax"
    percentile: float = 99.99
    float_first: bool = False
    float_last: bool = False

    def __post_init__(self) -> None:
        """Refuse to calibrate on nothing; raise ``ValueError``."""
        if self.calibration_samples < 1:
            raise ValueError("calibration_samples must be at least 1")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile must be over 50 and at most 100, not {self.percentile}")


@dataclass(frozen=True, slots=True)
class QuantizeAware:
    """Train on with rounded weights and activations, so that rounding them later costs less (Jacob et al., 2018).

    Weights end on a symmetric grid of 2^weight_bits - 1 steps per output channel. ``range_momentum`` is how
    fast the ranges of activations follow the batches.
    """

    after_export: ClassVar[bool] = False
    training: Training
    weight_bits: int = 8
    activation_bits: int = 8
    range_momentum: float = 0.05

    def __post_init__(self) -> None:
        """Refuse widths outside 2..8 bits and a momentum outside 0..1; raise ``ValueError``."""
        _check_bits("weight_bits", self.weight_bits)
        _check_bits("activation_bits", self.activation_bits)
        if not 0 < self.range_momentum <= 1:
            raise ValueError(f"range_momentum must be over 0 and at most 1, not {self.range_momentum}")


@dataclass(frozen=True, slots=True)
class QuantizeWeights:
    """Store weights as 8- or 4-bit integers with a scale per output channel; compute in float.

    Tensors of fewer than ``least_weights`` weights stay as they are.
    """

    after_export: ClassVar[bool] = True
    bits: Literal[4, 8] = 8
    least_weights: int = 256

    def __post_init__(self) -> None:
        """Refuse widths the runtime cannot store; raise ``ValueError``."""
        if self.bits not in (4, 8):
            raise ValueError(f"bits must be 4 or 8, not {self.bits}")


@dataclass(frozen=True, slots=True)
class QuantizeDynamic:
    """Store the weights of dense layers as 8-bit integers and quantise their inputs anew at each call.

    Convolutions stay in float: the runtime's integer convolution with dynamic ranges is 3 to 10 times slower.
    """

    after_export: ClassVar[bool] = True
    per_channel: bool = True


QuantizingConfig = QuantizeInt8 | QuantizeAware | QuantizeWeights | QuantizeDynamic

CONFIGS: Final[dict[str, type[QuantizingConfig]]] = {
    "quantize_int8": QuantizeInt8,
    "quantize_aware": QuantizeAware,
    "quantize_weights": QuantizeWeights,
    "quantize_dynamic": QuantizeDynamic,
}
