"""Deep Compression artefacts as bytes: pruned weights that share values, entropy-coded. See docs/codec.md."""

from trimtab.codec.accounting import Accounting, TensorUse, sharing_ratio
from trimtab.codec.artefact import Artefact, decode, encode, inspect
from trimtab.codec.container import CODERS
from trimtab.codec.errors import CodecError
from trimtab.codec.limits import Limits

__all__ = [
    "CODERS",
    "Accounting",
    "Artefact",
    "CodecError",
    "Limits",
    "TensorUse",
    "decode",
    "encode",
    "inspect",
    "sharing_ratio",
]
