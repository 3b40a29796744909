"""ONNX models to Deep Compression artefacts: a shipped network, pruned and clustered here, answers the same."""

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from trimtab import codec  # noqa: E402
from trimtab.adapters.family_store import load_family, load_samples, shipped_families  # noqa: E402
from trimtab.ports import Array  # noqa: E402
from trimtab_models.compress import (  # noqa: E402
    CompressError,
    compress_onnx,
    decompress_to_onnx,
    inspect,
)

pytestmark = pytest.mark.build
CODERS = pytest.mark.parametrize("coder", codec.CODERS)
KEPT = 0.2


def pruned_and_shared(array: Array, bits: int = 4) -> Array:
    """Return the largest fifth of the weights, each rounded to one of 2^bits - 1 evenly spaced values."""
    threshold = np.quantile(np.abs(array), 1 - KEPT)
    step = np.abs(array).max() / 2 ** (bits - 1)
    kept = np.where(np.abs(array) > threshold, np.rint(array / step) * step, 0)
    return np.asarray(kept, np.float32)


@pytest.fixture(scope="module")
def network() -> bytes:
    model = onnx.load(shipped_families() / "fashion" / "student.onnx")
    for initializer in model.graph.initializer:
        if len(initializer.dims) > 1:
            array = pruned_and_shared(numpy_helper.to_array(initializer))
            initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
    body: bytes = model.SerializeToString()
    return body


@pytest.fixture(scope="module")
def images() -> Array:
    stored = load_family(shipped_families() / "fashion")
    return load_samples(stored)[0]["image"][:50]


def answers(model: bytes, images: Array) -> Array:
    logits: Array = ort.InferenceSession(model).run(None, {"image": images})[0]
    return logits


@CODERS
def test_a_shipped_network(network: bytes, images: Array, coder: str) -> None:
    data = compress_onnx(network, coder=coder)
    assert compress_onnx(network, coder=coder) == data
    artefact = codec.decode(data)
    options = ort.SessionOptions()
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in artefact.tensors.values()]
    options.add_external_initializers(list(artefact.tensors), values)
    session = ort.InferenceSession(artefact.skeleton, options)
    found = session.run(None, {"image": images})[0]
    expected = answers(network, images)
    assert float(np.ptp(expected)) > 0
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    assert np.array_equal(answers(decompress_to_onnx(data), images), expected)


@CODERS
def test_where_the_bytes_are(network: bytes, coder: str) -> None:
    data = compress_onnx(network, coder=coder)
    found = inspect(data)
    assert found.total_bytes == len(data)
    assert found.skeleton_bytes < 600
    assert {use.name for use in found.tensors if use.codebook} == {
        use.name for use in found.tensors if len(use.shape) > 1
    }
    assert found.ratio > 15


def test_what_does_not_gain_is_stored_as_it_is(images: Array) -> None:
    network = (shipped_families() / "fashion" / "student-int8.onnx").read_bytes()
    data = compress_onnx(network)
    assert codec.decode(data).shared == frozenset()
    assert any(use.dtype == "int8" for use in inspect(data).tensors)
    assert np.array_equal(answers(decompress_to_onnx(data), images), answers(network, images))


def tiny(array: Array) -> Any:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, array.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, array.shape[1]])],
        [numpy_helper.from_array(array, "w")],
    )
    return helper.make_model(graph)


def test_minus_zero_is_zero_and_names_can_be_given() -> None:
    array = np.array([[-0.0, 1.0], [0.0, -2.0]], np.float32)
    found = codec.decode(compress_onnx(tiny(array).SerializeToString(), shared=["w"]))
    assert found.shared == {"w"}
    assert found.tensors["w"].tobytes() == (array + np.float32(0)).tobytes()


def test_what_cannot_be_compressed() -> None:
    model = tiny(np.ones((2, 2), np.float32))
    with pytest.raises(CompressError, match="not an ONNX model"):
        compress_onnx(b"\xff\xff")
    with pytest.raises(CompressError, match="coder is 'zip'"):
        compress_onnx(model.SerializeToString(), coder="zip")
    with pytest.raises(CompressError, match="no tensor 'v'"):
        compress_onnx(model.SerializeToString(), shared=["v"])
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(CompressError, match="initializer 'w': lies in another file"):
        compress_onnx(model.SerializeToString())


def test_artefacts_that_are_no_models() -> None:
    with pytest.raises(codec.CodecError):
        decompress_to_onnx(b"TTDC")
    model = codec.decode(compress_onnx(tiny(np.ones((2, 2), np.float32)).SerializeToString()))
    with pytest.raises(CompressError, match="initializer 'w': the artefact has no such tensor"):
        decompress_to_onnx(codec.encode(codec.Artefact(model.skeleton, {})))
    with pytest.raises(CompressError, match=r"initializer 'w': shape \[2, 2\], the tensor has \(3,\)"):
        decompress_to_onnx(codec.encode(codec.Artefact(model.skeleton, {"w": np.ones(3)})))
