"""What goes in comes out, bit for bit, whatever it is."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trimtab import codec
from trimtab.ports import Array

CODERS = pytest.mark.parametrize("coder", codec.CODERS)


def same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def round_trip(array: Array, coder: str) -> Array:
    data = codec.encode(codec.Artefact(b"net", {"w": array}, frozenset({"w"})), coder)
    assert codec.encode(codec.Artefact(b"net", {"w": array}, frozenset({"w"})), coder) == data
    found = codec.decode(data)
    assert found.skeleton == b"net"
    assert found.shared == {"w"}
    return found.tensors["w"]


@st.composite
def pruned(draw: st.DrawFn) -> Array:
    """Draw a tensor of any shape whose values are zeros and picks from a few floats of any kind."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7))
    pool = draw(st.lists(st.floats(width=32), min_size=1, max_size=9))
    zero = draw(st.sampled_from([0.0, 0.5, 0.95]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    array = rng.choice(np.array(pool, np.float32), size=shape)
    return np.where(rng.random(shape) < zero, np.float32(0), array).astype(np.float32)


@CODERS
@given(array=pruned())
@settings(max_examples=120)
def test_any_tensor(coder: str, array: Array) -> None:
    assert same(round_trip(array, coder), array)


@CODERS
@pytest.mark.parametrize(
    "array",
    [
        np.zeros((300, 20), np.float32),
        np.zeros((0, 5), np.float32),
        np.full((4, 4, 3, 3), 0.25, np.float32),
        np.array(-0.0, np.float32),
        np.array([0.0, -0.0, np.nan, -np.nan, np.inf, 1e-45, -1e-45], np.float32),
        np.arange(-400, 400, dtype=np.float32).reshape(20, 40),
    ],
    ids=["zeros", "empty", "one value", "minus zero", "odd floats", "799 values"],
)
def test_edges(coder: str, array: Array) -> None:
    assert same(round_trip(array, coder), array)


@CODERS
def test_huge_gaps(coder: str) -> None:
    array = np.zeros((1000, 1000), np.float32)
    array[0, 3] = array[999, 998] = 1.5
    array[500, 0] = -2.0
    assert same(round_trip(array, coder), array)


@CODERS
@pytest.mark.parametrize("values", [1, 2, 16, 255, 256, 257, 1000])
def test_sizes_of_codebooks(coder: str, values: int) -> None:
    rng = np.random.default_rng(values)
    array = rng.choice(rng.normal(size=values).astype(np.float32), (8, 6, 5, 5))
    array[rng.random(array.shape) < 0.9] = 0
    array.reshape(-1)[: values // 2] = np.unique(rng.normal(size=values).astype(np.float32))[: values // 2]
    assert same(round_trip(array, coder), array)


@CODERS
@pytest.mark.parametrize(
    "dtype", ["f4", "f2", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?", ">f4", ">i2"]
)
def test_plain_tensors_of_every_type(coder: str, dtype: str) -> None:
    array = (np.random.default_rng(1).normal(size=(3, 5)) * 50).astype(np.int8).astype(dtype)
    artefact = codec.Artefact(b"", {"b": array, "empty": array[:0], "one": array[0, 0].reshape(())})
    found = codec.decode(codec.encode(artefact, coder)).tensors
    for name, held in artefact.tensors.items():
        assert found[name].dtype == held.dtype.newbyteorder("=")
        assert np.array_equal(found[name], held)
        assert found[name].shape == held.shape


def test_tensors_come_in_the_order_of_their_names() -> None:
    one, two = np.ones(4, np.float32), np.zeros(3, np.int8)
    first = codec.encode(codec.Artefact(b"", {"a": one, "b": two}))
    assert first == codec.encode(codec.Artefact(b"", {"b": two, "a": one}))


@CODERS
def test_where_the_bytes_are(coder: str, weights: Callable[..., Array]) -> None:
    array, bias = weights(40, 14, 16), np.ones(40, np.float32)
    data = codec.encode(codec.Artefact(b"x" * 99, {"w": array, "b": bias}, frozenset({"w"})), coder)
    found = codec.inspect(data)
    assert found.total_bytes == len(data)
    assert found.coder == coder
    assert found.parameters == 40 * 196 + 40
    assert found.nonzero_parameters == np.count_nonzero(array) + 40
    assert found.ratio == pytest.approx(4 * (40 * 196 + 40) / len(data))
    assert [(use.name, use.codebook) for use in found.tensors] == [("b", 0), ("w", np.unique(array).size - 1)]


def test_context_is_smaller_where_neighbours_tell_something(weights: Callable[..., Array]) -> None:
    artefact = codec.Artefact(b"", {"w": weights(300, 28, 32)}, frozenset({"w"}))
    assert len(codec.encode(artefact, "context")) < 0.9 * len(codec.encode(artefact, "huffman"))


@pytest.mark.parametrize(
    ("artefact", "options", "message"),
    [
        (codec.Artefact(b"", {}), {"coder": "lzma"}, "coder is 'lzma'; there are huffman, context"),
        (codec.Artefact(b"", {}), {"gap_bits": 5}, "gap_bits is 5"),
        (codec.Artefact(b"", {}), {"coder": "huffman", "gap_bits": 17}, "gap_bits is 17"),
        (codec.Artefact(b"", {}, frozenset({"w"})), {}, "shared: no tensor 'w'"),
        (codec.Artefact(b"", {"": np.zeros(1)}), {}, "its name has not 1 to"),
        (codec.Artefact(b"", {"w": np.zeros(1, complex)}), {}, "'w': type complex128"),
        (codec.Artefact(b"", {"w": np.zeros((1,) * 9)}), {}, "'w': 9 dimensions, more than 8"),
        (codec.Artefact(b"", {"w": np.zeros(1)}, frozenset({"w"})), {}, "'w': shared weights are float32"),
        (
            codec.Artefact(b"", {"w": np.arange(9999, dtype=np.float32)}, frozenset({"w"})),
            {},
            "'w': 9998 values, more than 4096",
        ),
        (codec.Artefact(b"", {"w": np.zeros(1)}), {"limits": codec.Limits(tensors=0)}, "1 tensors, more"),
        (codec.Artefact(b"12", {}), {"limits": codec.Limits(skeleton_bytes=1)}, "skeleton: 2 bytes, more"),
        (
            codec.Artefact(b"", {"w": np.zeros(2)}),
            {"limits": codec.Limits(decoded_bytes=8)},
            "16 bytes, more",
        ),
        (codec.Artefact(b"", {}), {"limits": codec.Limits(file_bytes=8)}, "file: .* more than 8"),
        (
            codec.Artefact(b"", {"w": np.ones((2, 2), np.float32)}, frozenset({"w"})),
            {"limits": codec.Limits(lanes=1)},
            r"'w': a tensor of shape \[2, 2\] is too large",
        ),
    ],
)
def test_what_cannot_be_encoded(artefact: codec.Artefact, options: dict[str, object], message: str) -> None:
    with pytest.raises(codec.CodecError, match=message):
        codec.encode(artefact, **options)  # type: ignore[arg-type]


def test_steps_are_shared_by_all_tensors() -> None:
    """A file is never written that its own limits refuse: later tensors take layouts of fewer steps."""
    rng = np.random.default_rng(0)
    tensors = {f"w{i}": np.sign(rng.normal(size=(6, 60))).astype(np.float32) for i in range(4)}
    artefact, limits = codec.Artefact(b"", tensors, frozenset(tensors)), codec.Limits(steps=70)
    found = codec.decode(codec.encode(artefact, limits=limits), limits)
    assert all(same(found.tensors[name], tensors[name]) for name in tensors)
