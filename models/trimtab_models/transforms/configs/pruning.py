"""Settings of the transforms that remove or share weights.

``Mapping`` fields take one value per layer, by the layer's name, a pattern of names (``groups.2.*``) or its
kind (``conv``, ``depthwise``, ``dense``); the most particular wins, layers without a value are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from trimtab_models.settings import Training, check_frac


@dataclass(frozen=True, slots=True)
class PruneMagnitude:
    """Set the smallest weights to zero and retrain the others (Han et al., NIPS 2015).

    Each layer keeps its ``keep_frac`` of largest weights; or, with ``global_keep_frac``, all layers together
    that share, by one threshold. After round r of ``rounds`` the share of zeros is 1 - (1 - r / rounds)^3 of
    the final one (Zhu and Gupta, 2017, equation 1), or r / rounds of it when ``schedule`` is linear. Every
    round trains by ``training``, the last by ``final_training`` if there is one.
    """

    after_export: ClassVar[bool] = False
    keep_frac: Mapping[str, float] = field(default_factory=dict)
    global_keep_frac: float | None = None
    rounds: int = 1
    schedule: Literal["cubic", "linear"] = "cubic"
    training: Training | None = None
    final_training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1 and both or none of the two ways to give them; raise ``ValueError``."""
        for layer, value in self.keep_frac.items():
            check_frac(f"keep_frac.{layer}", value)
        if self.global_keep_frac is not None:
            check_frac("global_keep_frac", self.global_keep_frac)
        if bool(self.keep_frac) == (self.global_keep_frac is not None):
            raise ValueError("give either keep_frac or global_keep_frac")
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, not {self.rounds}")


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Let layers that lose accuracy sooner keep more channels (Li et al., ICLR 2017, section 3.2).

    Each layer alone is pruned to each of ``probes`` (kept shares) and the network measured on ``samples``
    held-out samples. Then every layer is pruned as far as costs it the same accuracy, that loss being the
    least at which the network needs ``macs_frac`` of its multiply-accumulates or ``latency_frac`` of its time
    on one thread of this machine.
    """

    macs_frac: float | None = None
    latency_frac: float | None = None
    probes: tuple[float, ...] = (0.75, 0.5, 0.25)
    samples: int = 1000

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1 and both or none of the two targets; raise ``ValueError``."""
        if (self.macs_frac is None) == (self.latency_frac is None):
            raise ValueError("give either macs_frac or latency_frac")
        check_frac("macs_frac", self.macs_frac if self.macs_frac is not None else 1.0)
        check_frac("latency_frac", self.latency_frac if self.latency_frac is not None else 1.0)
        for probe in self.probes:
            check_frac("probes", probe)
        if not self.probes or 1.0 in self.probes or self.samples < 1:
            raise ValueError("probes must be some fractions under 1, samples at least 1")


@dataclass(frozen=True, slots=True)
class PruneStructured:
    """Remove whole channels of least L2 norm, everywhere the dependency graph couples them.

    Each layer keeps ``keep_frac`` of its channels, rounded down to multiples of ``round_to``; then fine-tune.
    With ``sensitivity`` layers keep different shares, none less than ``keep_frac``.
    """

    after_export: ClassVar[bool] = False
    keep_frac: float
    round_to: int = 16
    sensitivity: Sensitivity | None = None
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1; raise ``ValueError``."""
        check_frac("keep_frac", self.keep_frac)
        if self.round_to < 1:
            raise ValueError(f"round_to must be at least 1, not {self.round_to}")


@dataclass(frozen=True, slots=True)
class ShareWeights:
    """Let the weights of a layer take only 2^bits values, and train those (Han et al., ICLR 2016, section 3).

    The values are k-means centroids of the layer's nonzero weights, started evenly between the least and the
    largest (``linear``), at equal counts (``density``) or at weights drawn at random. Weights that are zero
    stay zero and need no value.
    """

    after_export: ClassVar[bool] = False
    bits: Mapping[str, int] = field(default_factory=lambda: {"conv": 8, "depthwise": 8, "dense": 5})
    initialisation: Literal["linear", "density", "random"] = "linear"
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse codebooks of less than 1 or more than 16 bits; raise ``ValueError``."""
        if not self.bits:
            raise ValueError("bits must name at least one layer or kind of layer")
        for layer, bits in self.bits.items():
            if not 1 <= bits <= 16:
                raise ValueError(f"bits.{layer} must be 1 to 16, not {bits}")


PruningConfig = PruneStructured | PruneMagnitude | ShareWeights

CONFIGS: Final[dict[str, type[PruningConfig]]] = {
    "prune_structured": PruneStructured,
    "prune_magnitude": PruneMagnitude,
    "share_weights": ShareWeights,
}
