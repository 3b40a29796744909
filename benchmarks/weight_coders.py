"""What the weights of a Deep Compression artefact take under both coders, general compressors and bounds.

All figures are bytes. General compressors are those of the standard library, and brotli and zstandard where
they are installed.
"""

import bz2
import importlib
import lzma
import math
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trimtab import codec
from trimtab.codec import container

ESCAPE: Final = 255
REPEATS: Final = 5
PARTS: Final = ("header", "skeleton", "index", "codebooks", "dense", "positions", "codes")


def parts(found: codec.Accounting) -> dict[str, int]:
    """Return the bytes of a file by part; they add up to the file."""
    return {part: int(getattr(found, f"{part}_bytes")) for part in PARTS}


def without_words(data: bytes) -> int:
    """Return how long the file would be if deflate had no preset dictionary to refer to."""
    limits = codec.Limits()
    _, sections = container.unpack(data, limits)
    skeleton = container.inflate(sections["skeleton"], limits.skeleton_bytes, "skeleton")
    words = container.WORDS + skeleton
    index = container.inflate(sections["index"], limits.index_bytes, "index", words)
    plain = {
        "skeleton": container.deflate(skeleton, b""),
        "index": container.deflate(index, skeleton),
        **{
            part: container.deflate(container.inflate(sections[part], limits.decoded_bytes, part), b"")
            for part in ("codebooks", "dense")
        },
    }
    return len(data) + sum(len(body) - len(sections[part]) for part, body in plain.items())


def decode_ms(data: bytes) -> float:
    """Return the median milliseconds of decoding a file to arrays."""
    taken = []
    for _ in range(REPEATS):
        began_ns = time.perf_counter_ns()
        codec.decode(data)
        taken.append(time.perf_counter_ns() - began_ns)
    return float(np.median(taken)) / 1e6


def recoded(data: bytes, coder: str) -> bytes:
    """Return the same weights in a file of another coder, checked to decode to the same bits."""
    artefact = codec.decode(data)
    other = codec.encode(artefact, coder)
    again = codec.decode(other).tensors
    for name, array in artefact.tensors.items():
        if again[name].tobytes() != array.tobytes():
            raise codec.CodecError(f"tensor {name!r}: differs after {coder}")
    return other


def compressors() -> dict[str, Callable[[bytes], bytes]]:
    """Return the general compressors that are here, at their strongest settings."""
    found: dict[str, Callable[[bytes], bytes]] = {
        "deflate": lambda body: zlib.compress(body, 9),
        "bzip2": lambda body: bz2.compress(body, 9),
        "xz": lambda body: lzma.compress(body, preset=9 | lzma.PRESET_EXTREME),
    }
    if (brotli := _module("brotli")) is not None:
        found["brotli"] = lambda body: brotli.compress(body, quality=11, lgwin=24)
    if (zstandard := _module("zstandard")) is not None:
        found["zstd"] = lambda body: zstandard.ZstdCompressor(level=22).compress(body)
    return found


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def compressed_floats(artefact: codec.Artefact) -> dict[str, int]:
    """Return what the tensors take as float32, zeros and all, by general compressor."""
    body = b"".join(array.tobytes() for array in artefact.tensors.values())
    return {name: len(pack(body)) for name, pack in compressors().items()}


def compressed_gaps(artefact: codec.Artefact) -> dict[str, int]:
    """Return what gaps and codes of the shared tensors take as two streams of bytes, by general compressor."""
    gaps, codes = bytearray(), bytearray()
    for gap, code in _symbols(artefact).values():
        for value in gap.tolist():
            gaps += bytes([ESCAPE] * (value // ESCAPE) + [value % ESCAPE])
        codes += code.astype(np.uint8 if code.max(initial=0) <= ESCAPE else np.uint16).tobytes()
    return {name: len(pack(bytes(gaps))) + len(pack(bytes(codes))) for name, pack in compressors().items()}


def bounds(artefact: codec.Artefact) -> dict[str, int]:
    """Return what no coder can go below that takes the symbols of each shared tensor as independent.

    ``gaps`` and ``codes`` are their entropies (Huffman and ANS codes are such coders); ``positions`` is the
    entropy of which weights are left if all were as likely. The tables a decoder needs come on top.
    """
    symbols = _symbols(artefact)
    left = {name: len(code) / artefact.tensors[name].size for name, (_, code) in symbols.items()}
    return {
        "gaps": math.ceil(sum(_entropy_bytes(gap) for gap, _ in symbols.values())),
        "codes": math.ceil(sum(_entropy_bytes(code) for _, code in symbols.values())),
        "positions": math.ceil(
            sum(artefact.tensors[name].size * _binary_bits(share) / 8 for name, share in left.items())
        ),
    }


def _symbols(artefact: codec.Artefact) -> Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return for each shared tensor the gaps before its weights, row-major, and which value each has."""
    found = {}
    for name in sorted(artefact.shared):
        weights = artefact.tensors[name].reshape(-1)
        places = np.flatnonzero(weights)
        gaps = np.diff(places, prepend=-1) - 1
        codes = np.unique(weights[places], return_inverse=True)[1]
        found[name] = (gaps.astype(np.int64), codes.astype(np.int64))
    return found


def _entropy_bytes(symbols: NDArray[np.int64]) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / max(1, counts.sum()))).sum()) / 8


def _binary_bits(share: float) -> float:
    return -sum(p * math.log2(p) for p in (share, 1 - share) if p > 0)
