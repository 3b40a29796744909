"""Settings of the transforms that only change how an artefact is stored, not what it computes."""

from dataclasses import dataclass
from typing import ClassVar, Final

CODERS: Final = ("context", "huffman")


@dataclass(frozen=True, slots=True)
class Compress:
    """Store the network as a Deep Compression artefact, decoded when it is loaded (Han et al., ICLR 2016).

    ``coder`` is the paper's ``huffman``, for which ``gap_bits`` sets the width of relative indices (0: the
    best), or our ``context``. It pays after ``prune_magnitude`` and ``share_weights``, and comes last.
    """

    after_export: ClassVar[bool] = True
    coder: str = "context"
    gap_bits: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown coders and widths; raise ``ValueError``."""
        if self.coder not in CODERS:
            raise ValueError(f"coder {self.coder!r} is unknown; known: {', '.join(CODERS)}")
        if self.gap_bits < 0 or (self.gap_bits and self.coder != "huffman"):
            raise ValueError("gap_bits must not be negative, and only the coder huffman takes them")


@dataclass(frozen=True, slots=True)
class StoreHalf:
    """Store float weights in 16 bits; the runtime widens them once, when it loads the artefact.

    Tensors of fewer than ``least_elements`` numbers stay as they are: the cast would take more bytes.
    """

    after_export: ClassVar[bool] = True
    least_elements: int = 64

    def __post_init__(self) -> None:
        """Refuse to halve nothing; raise ``ValueError``."""
        if self.least_elements < 1:
            raise ValueError("least_elements must be at least 1")


PackingConfig = Compress | StoreHalf

CONFIGS: Final[dict[str, type[PackingConfig]]] = {"compress": Compress, "store_half": StoreHalf}
