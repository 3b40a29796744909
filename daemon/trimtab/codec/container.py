"""The file around the content: magic, version, coder, checked sections, digest."""

import hashlib
import struct
import zlib
from collections.abc import Mapping

from trimtab.codec.errors import CodecError
from trimtab.codec.limits import Limits

MAGIC = b"TTDC"
FORMAT_VERSION = 1
CODERS = ("huffman", "context")
SECTIONS = ("skeleton", "index", "codebooks", "dense", "positions", "codes")
START = struct.Struct("<4sBB")
ENTRY = struct.Struct("<II")
DIGEST_BYTES = 16
HEADER_BYTES = START.size + len(SECTIONS) * ENTRY.size + DIGEST_BYTES

# Fields that nearly every exported network has, as ONNX stores them; deflate refers to them instead of
# storing them. Part of the format: a change needs a new FORMAT_VERSION. The commonest come last.
WORDS = (
    b'DequantizeLinear"\x0eQuantizeLinear_quantized_scale_zero_pointBatchNormalization"\x06ConcatSoftmax'
    b'"\x11GlobalAveragePool"\x0bAveragePool"\nReduceMean*\x0f\n\x08keepdims\x18\x00\xa0\x01\x02'
    b'*\x1b\n\x14noop_with_empty_axes\x18\x00\xa0\x01\x02*\x0b\n\x04axis\x18\x01\xa0\x01\x02"\x03Add"\x03Mul'
    b'"\x03Sub"\x06MatMul"\x07Flattenfeatures.0.head.2.scalemeanval_0\n\nmax_pool2d_1\n\x05val_1\x12\x04view'
    b'"\x07Reshape*\x10\n\tallowzero\x18\x01\xa0\x01\x02\n\x06conv2d\x12\x0amax_pool2d"\x07MaxPool'
    b"*\x14\n\rstorage_order\x18\x00\xa0\x01\x02*\x12\n\tdilations@\x01@\x01\xa0\x01\x07*\x10\n\tceil_mode\x18"
    b'\x00\xa0\x01\x02*\x11\n\x04pads@\x00@\x00@\x00@\x00\xa0\x01\x07*\x15\n\x08auto_pad"\x06NOTSET\xa0\x01\x03'
    b"*\x10\n\x07strides@\x02@\x02\xa0\x01\x07*\x15\n\x0ckernel_shape@\x02@\x02\xa0\x01\x07\n"
    b'\x080.weight\n\x060.bias\x12\x08conv2d_1"\x04Conv*\x0c\n\x05group\x18\x01\xa0\x01\x02'
    b'*\x11\n\x04pads@\x01@\x01@\x01@\x01\xa0\x01\x07*\x15\n\x08auto_pad"\x06NOTSET\xa0\x01\x03*\x10\n\x07strides'
    b"@\x01@\x01\xa0\x01\x07*\x12\n\tdilations@\x01@\x01\xa0\x01\x07*\x15\n\x0ckernel_shape@\x03@\x03\xa0\x01\x07\n"
    b'\n\x08linear_1\x12\x06relu_1"\x04Relu\n\x04view\n\x081.weight\n\x061.bias\x12\x06linear"\x04Gemm'
    b"*\x0e\n\x04beta\x15\x00\x00\x80?\xa0\x01\x01*\r\n\x06transB\x18\x01\xa0\x01\x02*\x0f\n\x05alpha\x15\x00\x00\x80?"
    b"\xa0\x01\x01*\r\n\x06transA\x18\x00\xa0\x01\x02\n\x12\nmain_graph*\x1d\x08\x02\x10\x07B\x05val_1J\x10"
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x10\x03\x00\x00\x00\x00\x00\x00*\x1d\x08\n\x10\x01B\x061.biasj\r\n\x08location\x12\x01-p\x01"
    b'*"\x08\n\x08d\x10\x01B\x081.weightj\r\n\x08location\x12\x01-p\x01Z$\n\x05image\x12\x1b\n\x19\x08\x01\x12\x15\n'
    b"\x07\x12\x05batch\n\x02\x08\x01\n\x02\x08\x1c\n\x02\x08\x1cb\x1d\n\x06logits\x12\x13\n\x11\x08\x01\x12\r\n\x07\x12\x05"
    b"batch\n\x02\x08\nB\x04\n\x00\x10\x14\x08\n\x12\x07pytorch\x1a\n2.13.0+cpu:"
)


def pack(coder: str, sections: Mapping[str, bytes], limits: Limits) -> bytes:
    """Return the file of ``sections``; raise ``CodecError`` where it would be too large."""
    table = b"".join(ENTRY.pack(len(sections[name]), zlib.crc32(sections[name])) for name in SECTIONS)
    head = START.pack(MAGIC, FORMAT_VERSION, CODERS.index(coder)) + table
    body = b"".join(sections[name] for name in SECTIONS)
    whole = head + _digest(head, body) + body
    if len(whole) > limits.file_bytes:
        raise CodecError(f"file: {len(whole)} bytes, more than {limits.file_bytes}")
    return whole


def unpack(data: bytes, limits: Limits) -> tuple[str, dict[str, bytes]]:
    """Return coder and sections of a file; raise ``CodecError`` if anything is not as it was written."""
    if data[: len(MAGIC)] != MAGIC:
        raise CodecError("header: this is not a Deep Compression artefact")
    if len(data) > limits.file_bytes:
        raise CodecError(f"file: {len(data)} bytes, more than {limits.file_bytes}")
    if len(data) < HEADER_BYTES:
        raise CodecError(f"header: the file ends after {len(data)} of {HEADER_BYTES} bytes")
    _, version, coder = START.unpack_from(data)
    if version != FORMAT_VERSION:
        raise CodecError(f"header: format version {version}; this trimtab reads {FORMAT_VERSION}")
    if coder >= len(CODERS):
        raise CodecError(f"header: unknown coder {coder}")
    return CODERS[coder], _sections(data)


def _sections(data: bytes) -> dict[str, bytes]:
    entries = [ENTRY.unpack_from(data, START.size + i * ENTRY.size) for i in range(len(SECTIONS))]
    expected = HEADER_BYTES + sum(length for length, _ in entries)
    if len(data) > expected:
        raise CodecError(f"file: {len(data) - expected} bytes too many")
    found: dict[str, bytes] = {}
    at = HEADER_BYTES
    for name, (length, check) in zip(SECTIONS, entries, strict=True):
        found[name] = data[at : at + length]
        if len(found[name]) < length:
            raise CodecError(f"section {name}: ends after {len(found[name])} of {length} bytes")
        if zlib.crc32(found[name]) != check:
            raise CodecError(f"section {name}: checksum does not match, the file is damaged")
        at += length
    table = HEADER_BYTES - DIGEST_BYTES
    if _digest(data[:table], data[HEADER_BYTES:]) != data[table:HEADER_BYTES]:
        raise CodecError("file: digest does not match, the file is damaged")
    return found


def _digest(head: bytes, body: bytes) -> bytes:
    return hashlib.sha256(head + body).digest()[:DIGEST_BYTES]


def deflate(body: bytes, words: bytes = WORDS) -> bytes:
    """Return ``body`` compressed (raw deflate); ``words`` are bytes it may refer to."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, words[-32768:])
    return packer.compress(body) + packer.flush()


def inflate(body: bytes, most: int, where: str, words: bytes = WORDS) -> bytes:
    """Return what ``deflate`` was given, at most ``most`` bytes; raise ``CodecError``."""
    unpacker = zlib.decompressobj(-15, words[-32768:])
    try:
        found = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise CodecError(f"section {where}: cannot be decompressed: {error}") from error
    if len(found) > most:
        raise CodecError(f"section {where}: more than {most} bytes after decompression")
    if not unpacker.eof or unpacker.unused_data:
        raise CodecError(f"section {where}: compressed data ends too early or too late")
    return found
