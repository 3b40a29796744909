"""Energy of one inference by counting operations in 45 nm silicon: an estimate that needs no meter.

Energies per operation are those of Horowitz, "Computing's Energy Problem (and what we can do about it)",
ISSCC 2014 (45 nm, 0.9 V); the DRAM figure is the one Han et al. use (Deep Compression, ICLR 2016; EIE, ISCA
2016). The count leaves out instructions, leakage and everything else around the arithmetic: it compares
variants as an accelerator would feel them and says little about the joules of a general processor.

What is counted for each stage:

* ``compute``: every multiply-accumulate as run, zeros too: one multiplication and one addition. 8-bit
  products are added up in 32 bits.
* ``weights``: every weight is read once, 32 bits at a time, from the smallest memory that holds all weights
  of the variant.
* ``features``: every intermediate tensor is written once and read by each reader, from the smallest memory
  that holds the peak of live tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.domain.family import ExitRule, Variant, expected_cost

OPERATION_PJ: Mapping[str, float] = {
    "int8 add": 0.03,
    "int16 add": 0.05,
    "int32 add": 0.1,
    "fp16 add": 0.4,
    "fp32 add": 0.9,
    "int8 multiply": 0.2,
    "int32 multiply": 3.1,
    "fp16 multiply": 1.1,
    "fp32 multiply": 3.7,
}
"""Picojoules of one operation."""

MEMORY_PJ: tuple[tuple[int | None, float], ...] = (
    (8 << 10, 5.0),
    (32 << 10, 10.0),
    (1 << 20, 50.0),
    (None, 640.0),
)
"""Picojoules of one 32-bit access, by how many bytes the memory holds: SRAM of 8 KB, 32 KB, 1 MB; LPDDR2."""

MAC_PJ: Mapping[str, float] = {
    "fp32": OPERATION_PJ["fp32 multiply"] + OPERATION_PJ["fp32 add"],
    "int8-weights": OPERATION_PJ["fp32 multiply"] + OPERATION_PJ["fp32 add"],
    "fp16": OPERATION_PJ["fp16 multiply"] + OPERATION_PJ["fp16 add"],
    "int8": OPERATION_PJ["int8 multiply"] + OPERATION_PJ["int32 add"],
}
"""Picojoules of one multiply-accumulate, by a variant's precision."""

ACCESS_BYTES = 4


@dataclass(frozen=True, slots=True)
class OperationEnergy:
    """Microjoules of one inference, by what they are spent on."""

    compute_uj: float
    weights_uj: float
    features_uj: float

    @property
    def total_uj(self) -> float:
        """Return all together."""
        return self.compute_uj + self.weights_uj + self.features_uj


def access_pj(held_bytes: int) -> float:
    """Return the picojoules of a 32-bit access to the smallest memory that holds ``held_bytes``."""
    return next(pj for size, pj in MEMORY_PJ if size is None or held_bytes <= size)


def operation_energy(variant: Variant, rule: ExitRule) -> OperationEnergy | None:
    """Return the expected energy under ``rule``; ``None`` where operations or bytes were not counted."""
    mac_pj = MAC_PJ.get(variant.precision)
    if mac_pj is None or not all(stage.weight_bytes for stage in variant.stages):
        return None
    weight_pj = access_pj(sum(stage.weight_bytes for stage in variant.stages)) / ACCESS_BYTES
    feature_pj = access_pj(variant.peak_activation_bytes) / ACCESS_BYTES
    return OperationEnergy(
        compute_uj=expected_cost(rule, [stage.macs * mac_pj for stage in variant.stages]) / 1e6,
        weights_uj=expected_cost(rule, [stage.weight_bytes * weight_pj for stage in variant.stages]) / 1e6,
        features_uj=expected_cost(rule, [stage.traffic_bytes * feature_pj for stage in variant.stages]) / 1e6,
    )
