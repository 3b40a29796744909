"""What a compressed network costs, part by part, and what the paper's formula says it should."""

import math
from dataclasses import dataclass

DENSE_WEIGHT_BYTES = 4


@dataclass(frozen=True, slots=True)
class TensorUse:
    """One tensor of a file; ``codebook`` is 0 for a plain one."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nonzero: int
    codebook: int

    @property
    def size(self) -> int:
        """Return how many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Accounting:
    """Where the bytes of one file are; everything stored is in one of the parts.

    ``header``: magic, section table, checksums. ``skeleton``: the network without its weights. ``index``:
    names, shapes and entropy models. ``dense``: plain tensors such as biases. ``positions`` and ``codes``:
    where weights are left, and which codebook value each has.
    """

    coder: str
    header_bytes: int
    skeleton_bytes: int
    index_bytes: int
    codebooks_bytes: int
    dense_bytes: int
    positions_bytes: int
    codes_bytes: int
    tensors: tuple[TensorUse, ...]

    @property
    def total_bytes(self) -> int:
        """Return the size of the file."""
        stored = self.header_bytes + self.skeleton_bytes + self.index_bytes + self.codebooks_bytes
        return stored + self.dense_bytes + self.positions_bytes + self.codes_bytes

    @property
    def parameters(self) -> int:
        """Return how many numbers all tensors have."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def nonzero_parameters(self) -> int:
        """Return how many of them are not zero."""
        return sum(tensor.nonzero for tensor in self.tensors)

    @property
    def ratio(self) -> float:
        """Return how many times smaller the file is than the parameters at 4 bytes each."""
        return self.parameters * DENSE_WEIGHT_BYTES / self.total_bytes


def sharing_ratio(weights: int, clusters: int, bits: int) -> float:
    """Return r = n b / (n log2 k + k b) of weight sharing alone (Han et al., ICLR 2016, equation 1).

    ``weights`` is n, ``clusters`` k, ``bits`` b per weight before sharing.
    """
    if weights < 1 or clusters < 1 or bits < 1:
        raise ValueError(f"weights, clusters and bits are {weights}, {clusters}, {bits}; expected 1 or more")
    return weights * bits / (weights * math.log2(clusters) + clusters * bits)
