"""Settings of the transforms that write a layer as a product of smaller ones."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from trimtab_models.settings import Training, check_frac


@dataclass(frozen=True, slots=True)
class LowRank:
    """Replace convolutions by their Tucker-2 factors and dense layers by their SVD; then fine-tune.

    Exactly one field says how ranks are chosen:

    - ``rank_frac``: that share of each side's channels;
    - ``energy_frac``: the smallest rank that keeps this share of the squared singular values;
    - ``macs_frac`` or ``parameters_frac``: ranks of all layers together, such that the network needs at most
      this share of its MACs or parameters at the least energy lost;
    - ``vbmf``: what variational Bayes finds above the noise (Kim et al., ICLR 2016).

    Ranks are rounded up to a multiple of ``round_to`` and are at least ``rank_floor``. Layers that would not
    get cheaper stay as they are; so do 1x1 convolutions, unless ``pointwise``, and layers not of the ``kinds``.
    """

    after_export: ClassVar[bool] = False
    rank_frac: float | None = None
    energy_frac: float | None = None
    macs_frac: float | None = None
    parameters_frac: float | None = None
    vbmf: bool = False
    rank_floor: int = 16
    round_to: int = 16
    pointwise: bool = False
    kinds: tuple[Literal["conv", "dense"], ...] = ("conv", "dense")
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse several ways to choose ranks, none, and fractions outside 0..1; raise ``ValueError``."""
        fracs = {
            name: value
            for name in ("rank_frac", "energy_frac", "macs_frac", "parameters_frac")
            if (value := getattr(self, name)) is not None
        }
        if len(fracs) + self.vbmf != 1:
            raise ValueError("give one of rank_frac, energy_frac, macs_frac, parameters_frac and vbmf")
        for name, value in fracs.items():
            check_frac(name, value)
        if min(self.rank_floor, self.round_to) < 1:
            raise ValueError("rank_floor and round_to must be at least 1")


@dataclass(frozen=True, slots=True)
class SparseCoding:
    """Write each dense layer as a dictionary times sparse codes (SparseSep, SenSys 2016).

    The dictionary has ``atoms_frac`` x outputs atoms, at least ``atoms_floor``; every input is a combination
    of at most ``nonzeros`` of them. The paper does not retrain; ``training`` does, with the zeros kept.
    """

    after_export: ClassVar[bool] = False
    atoms_frac: float
    nonzeros: int
    atoms_floor: int = 16
    iterations: int = 20
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1 and counts under one; raise ``ValueError``."""
        check_frac("atoms_frac", self.atoms_frac)
        for name in ("nonzeros", "atoms_floor", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


FactoringConfig = LowRank | SparseCoding

CONFIGS: Final = {"low_rank": LowRank, "sparse_coding": SparseCoding}
