"""ONNX models to Deep Compression artefacts and back. Needs the ``onnx`` package, not torch."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from trimtab import codec

CODER = "context"
OUTSIDE = "-"  # stands for the file that an external initializer names; the runtime is given arrays instead
MOST_SHARED_VALUES = 1 << 12
LEAST_ELEMENTS = 4
MODEL_BYTES = 64
FLOAT_BYTES = 4.0


class CompressError(Exception):
    """A model cannot be compressed; the message names the initializer and the reason."""


def compress_onnx(
    model: bytes,
    *,
    coder: str = CODER,
    gap_bits: int | None = None,
    shared: Iterable[str] | None = None,
) -> bytes:
    """Return the artefact of an ONNX model; raise ``CompressError``.

    ``coder`` is "huffman" (the paper's; ``gap_bits`` sets the width of relative indices) or "context" (ours).
    ``shared`` names the initializers to be coded by codebook; None takes those that get smaller by it.
    A weight of -0.0 is stored as 0.0, and nodes lose their names. Initializers that shapes may depend on stay
    in the skeleton.
    """
    proto = _parse(model)
    for node in proto.graph.node:
        node.ClearField("name")
    tensors: dict[str, NDArray[Any]] = {}
    for initializer in proto.graph.initializer:
        if _stays(initializer):
            continue
        array = _array(initializer)
        tensors[initializer.name] = array + np.float32(0) if array.dtype == np.float32 else array
        _leave_out(initializer)
    chosen = frozenset(shared) if shared is not None else _worth_sharing(tensors)
    artefact = codec.Artefact(proto.SerializeToString(deterministic=True), tensors, chosen)
    try:
        return codec.encode(artefact, coder, gap_bits=gap_bits)
    except codec.CodecError as error:
        raise CompressError(str(error)) from error


def decompress_to_onnx(data: bytes) -> bytes:
    """Return the ONNX model of an artefact, weights inside; raise ``codec.CodecError`` or ``CompressError``."""
    artefact = codec.decode(data)
    proto = _parse(artefact.skeleton)
    for initializer in proto.graph.initializer:
        if initializer.data_location != onnx.TensorProto.EXTERNAL:
            continue
        if initializer.name not in artefact.tensors:
            raise CompressError(f"initializer {initializer.name!r}: the artefact has no such tensor")
        array = artefact.tensors[initializer.name]
        if tuple(initializer.dims) != array.shape:
            raise CompressError(
                f"initializer {initializer.name!r}: shape {list(initializer.dims)}, the tensor has {array.shape}"
            )
        initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
    whole: bytes = proto.SerializeToString(deterministic=True)
    return whole


def inspect(data: bytes) -> codec.Accounting:
    """Return where the bytes of an artefact are; raise ``codec.CodecError``."""
    return codec.inspect(data)


def _parse(model: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(model)
    except Exception as error:  # protobuf raises types of its own implementation
        raise CompressError(f"this is not an ONNX model: {error}") from error


def _stays(initializer: onnx.TensorProto) -> bool:
    """Return whether an initializer is left in the skeleton: shapes, axes, single numbers."""
    whole = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.STRING)
    return initializer.data_type in whole or math.prod(initializer.dims) < LEAST_ELEMENTS


def _array(initializer: onnx.TensorProto) -> NDArray[Any]:
    if initializer.data_location == onnx.TensorProto.EXTERNAL:
        raise CompressError(f"initializer {initializer.name!r}: lies in another file")
    array: NDArray[Any] = numpy_helper.to_array(initializer)
    return array


def _leave_out(initializer: onnx.TensorProto) -> None:
    """Turn an initializer into a reference to data outside the model."""
    kept = onnx.TensorProto(
        name=initializer.name,
        data_type=initializer.data_type,
        dims=initializer.dims,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    kept.external_data.add(key="location", value=OUTSIDE)
    initializer.CopyFrom(kept)


def _worth_sharing(tensors: dict[str, NDArray[Any]]) -> frozenset[str]:
    floats = {name: array for name, array in tensors.items() if array.dtype == np.float32}
    return frozenset(name for name, array in floats.items() if _shared_bytes(array) < _plain_bytes(array))


def _shared_bytes(weights: NDArray[Any]) -> float:
    """Return about how many bytes the weights take by codebook: entropy of positions, indices, and codebook."""
    values = np.unique(weights[weights != 0])
    if values.size > MOST_SHARED_VALUES:
        return math.inf
    left = np.count_nonzero(weights) / weights.size
    positions = -sum(p * math.log2(p) for p in (left, 1 - left) if p > 0) * weights.size
    codes = left * weights.size * math.log2(max(values.size, 1))
    return FLOAT_BYTES * values.size + (positions + codes) / 8 + MODEL_BYTES


def _plain_bytes(weights: NDArray[Any]) -> float:
    return FLOAT_BYTES * np.count_nonzero(weights) + weights.size / 8
