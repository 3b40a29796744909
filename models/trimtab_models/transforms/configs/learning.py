"""Settings of the transforms that learn which elements of a network are needed."""

from dataclasses import dataclass
from typing import ClassVar, Final

from trimtab_models.settings import Training, check_frac


@dataclass(frozen=True, slots=True)
class CompressorCritic:
    """Let a recurrent compressor learn which elements to drop, against the network as critic (DeepIoT, 2017).

    Until at most ``keep_frac`` of the parameters remain, over the first ``rise_frac`` of ``search``, a rising
    threshold on the keep probability marks elements for removal. ``compressor_width`` is that of the LSTM,
    ``compressor_rate`` its learning rate; every element starts at ``start_prob``. Then fine-tune.
    """

    after_export: ClassVar[bool] = False
    keep_frac: float
    search: Training
    compressor_width: int = 64
    compressor_rate: float = 2e-3
    start_prob: float = 0.8
    rise_frac: float = 0.7
    round_to: int = 1
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1 and counts under 1; raise ``ValueError``."""
        for name in ("keep_frac", "start_prob", "rise_frac"):
            check_frac(name, getattr(self, name))
        _check_count("compressor_width", self.compressor_width)
        _check_count("round_to", self.round_to)


@dataclass(frozen=True, slots=True)
class LearnedGates:
    """Learn a hard-concrete gate for every element under a limit on the expected size (Louizos et al., 2018).

    The limit falls to ``keep_frac`` of the parameters over the first ``rise_frac`` of ``search``; gates start
    open with probability ``start_prob`` and learn at ``gate_rate``. Then closed elements go; fine-tune.
    """

    after_export: ClassVar[bool] = False
    keep_frac: float
    search: Training
    gate_rate: float = 0.05
    start_prob: float = 0.95
    rise_frac: float = 0.7
    round_to: int = 1
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1 and counts under 1; raise ``ValueError``."""
        for name in ("keep_frac", "start_prob", "rise_frac"):
            check_frac(name, getattr(self, name))
        _check_count("round_to", self.round_to)


@dataclass(frozen=True, slots=True)
class HashedActivation:
    """Compute only the neurons of dense layers that hash like their input (Spring and Shrivastava, KDD 2017).

    ``tables`` hash tables of ``bits`` signed random projections each; a projection has entries of -1 and 1 in
    ``density_frac`` of its places. Of the neurons found at all, at most ``active_frac`` of the layer's are
    computed: those found in most tables. Layers with fewer than ``min_neurons`` stay dense, and so does the
    classifier. While training, tables are rebuilt every ``rehash_steps`` steps.
    """

    after_export: ClassVar[bool] = False
    active_frac: float
    bits: int = 6
    tables: int = 20
    density_frac: float = 1 / 3
    min_neurons: int = 64
    rehash_steps: int = 20
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1 and counts under 1; raise ``ValueError``."""
        check_frac("active_frac", self.active_frac)
        check_frac("density_frac", self.density_frac)
        for name in ("bits", "tables", "min_neurons", "rehash_steps"):
            _check_count(name, getattr(self, name))
        if self.bits > 16:
            raise ValueError(f"bits must be at most 16, not {self.bits}")


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")


LearningConfig = CompressorCritic | LearnedGates | HashedActivation

CONFIGS: Final = {
    "compressor_critic": CompressorCritic,
    "learned_gates": LearnedGates,
    "hashed_activation": HashedActivation,
}
