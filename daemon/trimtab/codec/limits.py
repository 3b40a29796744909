"""How large anything in a file may be; checked before memory is allocated."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest sizes that are decoded or encoded; counts of things, or bytes after decoding.

    ``steps`` are those of the context coder in all tensors together: its decoding time grows with them.
    """

    file_bytes: int = 128 << 20
    skeleton_bytes: int = 16 << 20
    index_bytes: int = 4 << 20
    decoded_bytes: int = 128 << 20
    tensors: int = 4096
    rank: int = 8
    name_bytes: int = 512
    codebook: int = 1 << 12
    steps: int = 1 << 16
    lanes: int = 1 << 22


DEFAULT = Limits()
