"""Damaged and hostile files are refused with ``CodecError``, before memory is taken, and nothing else escapes."""

import contextlib
import struct
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import codec
from trimtab.codec import container
from trimtab.codec.fields import Writer
from trimtab.codec.limits import DEFAULT
from trimtab.ports import Array

CODERS = pytest.mark.parametrize("coder", codec.CODERS)


@pytest.fixture(scope="module")
def files(weights: Callable[..., Array]) -> dict[str, bytes]:
    tensors = {"fc.weight": weights(12, 10, 8), "fc.bias": np.linspace(0, 1, 12).astype(np.float32)}
    tensors["conv"] = weights(8, 6, 300).reshape(4, 2, 6, 6)
    artefact = codec.Artefact(b"skeleton " * 9, tensors, frozenset({"fc.weight", "conv"}))
    return {coder: codec.encode(artefact, coder) for coder in codec.CODERS}


@CODERS
def test_every_truncation(files: dict[str, bytes], coder: str) -> None:
    data = files[coder]
    for length in range(len(data)):
        with pytest.raises(codec.CodecError):
            codec.decode(data[:length])
    with pytest.raises(codec.CodecError, match="file: 1 bytes too many"):
        codec.decode(data + b"\0")


@CODERS
def test_every_flipped_byte(files: dict[str, bytes], coder: str) -> None:
    data = files[coder]
    for at in range(len(data)):
        with pytest.raises(codec.CodecError):
            codec.decode(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])


@CODERS
def test_the_section_is_named(files: dict[str, bytes], coder: str) -> None:
    data = files[coder]
    begin = container.HEADER_BYTES
    for number, name in enumerate(container.SECTIONS):
        length, _ = struct.unpack_from("<II", data, container.START.size + 8 * number)
        assert length
        with pytest.raises(codec.CodecError, match=f"section {name}: checksum does not match"):
            codec.decode(data[:begin] + bytes([data[begin] ^ 255]) + data[begin + 1 :])
        with pytest.raises(codec.CodecError, match=f"section {name}: ends after 0 of {length} bytes"):
            codec.decode(data[:begin])
        begin += length


def decodes_or_is_refused(data: bytes) -> None:
    """Decode what may happen to be valid; an error of any other type fails the test."""
    with contextlib.suppress(codec.CodecError):
        assert codec.decode(data).tensors


@CODERS
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
@settings(max_examples=400)
def test_tampering_with_checksums_made_to_fit(
    files: dict[str, bytes], reseal: Callable[[bytes, int, int], bytes], coder: str, where: float, value: int
) -> None:
    data = files[coder]
    at = container.HEADER_BYTES + int(where * (len(data) - container.HEADER_BYTES))
    decodes_or_is_refused(reseal(data, at, value))


@CODERS
@given(model=st.binary(max_size=60), positions=st.binary(max_size=64), codes=st.binary(max_size=64))
@settings(max_examples=400)
def test_models_and_streams_of_random_bytes(coder: str, model: bytes, positions: bytes, codes: bytes) -> None:
    index = Writer()
    index.number(1)
    index.data(b"w")
    for value in (1, 2, 20, 30, 3):  # shared float32, 20 x 30, three values
        index.number(value)
    book = np.array([-1, 0.5, 2], np.float32)
    data = hostile(coder, index.body() + model, codebooks=book, positions=positions, codes=codes)
    decodes_or_is_refused(data)


@given(st.binary(max_size=300))
def test_random_bytes(body: bytes) -> None:
    for data in (body, container.MAGIC + body, container.MAGIC + b"\1\1" + body):
        with pytest.raises(codec.CodecError):
            codec.decode(data)


def hostile(
    coder: str,
    index: bytes,
    codebooks: Array | None = None,
    positions: bytes = b"",
    codes: bytes = b"",
    dense: bytes = b"",
) -> bytes:
    book = b"" if codebooks is None else codebooks.view(np.uint8).reshape(-1, 4).T.tobytes()
    sections = {
        "skeleton": container.deflate(b""),
        "index": container.deflate(index),
        "codebooks": container.deflate(book),
        "dense": container.deflate(dense),
        "positions": positions,
        "codes": codes,
    }
    return container.pack(coder, sections, DEFAULT)


def described(*values: int, name: bytes = b"w") -> bytes:
    index = Writer()
    index.number(1)
    index.data(name)
    for value in values:
        index.number(value)
    return index.body()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (described(0, 2, 1 << 14, 1 << 14), "'w': with it, tensors have more than"),
        (described(1, 2, 1 << 20, 1 << 20), "'w': with it, tensors have more than"),
        (described(0, 4, 0, 1 << 27, 1 << 27, 1 << 27), "'w': with it, tensors have more than"),
        (described(0, 9), "number of dimensions is 9; expected 0 to 8"),
        (described(99), "type is 99"),
        (described(0, 1, 1 << 40), "dimension is"),
        (described(3, 1, 1), "shared weights are float32, not float16"),
        (described(0, 1, 4), "section dense: 0 bytes; the index describes 16"),
        (described(1, 1, 4, 1), "codebook values is 1; expected 0 to 0"),
        (described(1, 1, 4, 0, 4), "4 weights are left, but the codebook is empty"),
        (described(0, 0, name=b"\xff"), "name is not UTF-8"),
        (described(0, 0, name=b""), "is not in order"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\x01", "number of tensors is too long a number"),
        (b"\x81\x00", "number of tensors is not written in the shortest way"),
        (b"\x01", "ends inside length of name"),
        (b"\x00\x00", "1 bytes too many"),
    ],
)
def test_what_an_index_may_not_say(index: bytes, message: str) -> None:
    tracemalloc.start()
    with pytest.raises(codec.CodecError, match=message):
        codec.decode(hostile("context", index))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("section", ["skeleton", "index", "codebooks", "dense"])
def test_bombs_are_not_unpacked(section: str) -> None:
    limits = codec.Limits(skeleton_bytes=1 << 16, index_bytes=1 << 16, decoded_bytes=1 << 16)
    parts = dict.fromkeys(container.SECTIONS, container.deflate(b""))
    parts |= {"positions": b"", "codes": b"", "index": container.deflate(b"\0")}
    parts[section] = container.deflate(bytes(64 << 20))
    data = container.pack("huffman", parts, DEFAULT)
    tracemalloc.start()
    with pytest.raises(codec.CodecError, match=f"section {section}: more than .* after decompression"):
        codec.decode(data, limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_too_many_steps_are_refused_at_once() -> None:
    index = described(1, 2, 1, 1 << 20, 1, 5, 0, 1, 1)  # 1 x 2^20, one value, 5 left, one channel: 2^20 steps
    data = hostile("context", index, np.ones(1, np.float32))
    begin = time.perf_counter()
    with pytest.raises(codec.CodecError, match="1048576 steps of 1 weights are too many"):
        codec.decode(data)
    assert time.perf_counter() - begin < 1


def test_other_versions_and_coders(files: dict[str, bytes]) -> None:
    data = files["huffman"]
    with pytest.raises(codec.CodecError, match="format version 2; this trimtab reads 1"):
        codec.decode(data[:4] + b"\2" + data[5:])
    with pytest.raises(codec.CodecError, match="unknown coder 2"):
        codec.decode(data[:5] + b"\2" + data[6:])
    with pytest.raises(codec.CodecError, match="digest does not match"):
        codec.decode(data[:5] + b"\1" + data[6:])
    with pytest.raises(codec.CodecError, match="not a Deep Compression artefact"):
        codec.decode(b"\x08\x0a\x12\x07pytorch")


@pytest.mark.parametrize("book", [[1.0, 1.0], [2.0, 1.0], [-1.0, 0.0]])
def test_codebooks_in_disorder(book: list[float]) -> None:
    values = np.array(book, np.float32)
    with pytest.raises(codec.CodecError, match="section codebooks: tensor 'w': codebook is not in ascending"):
        codec.decode(hostile("huffman", described(1, 1, 4, 2), values))
