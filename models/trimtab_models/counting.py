"""Counts taken from an artefact itself: multiplications, weights and the traffic of intermediate tensors.

They need neither torch nor the network's class, so they hold for imported models too. Batch 1 throughout.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trimtab_models.features import feature_tensors
from trimtab_models.measure import constants, item_bytes, tensor_sizes, with_shapes

_WEIGHT_INPUT: Final = {
    "Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1, "FusedConv": 1,
    "Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1, "FusedMatMul": 1, "FusedGemm": 1,
}  # fmt: skip
"""Which input of a multiplying operator holds the weights."""
_CONVOLUTIONS: Final = frozenset({"Conv", "ConvInteger", "QLinearConv", "FusedConv"})
_QUANTISED: Final = frozenset({
    "QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
    "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
})  # fmt: skip
"""Operators that tell that activations are integers too."""
_RESHAPERS: Final = frozenset({"Transpose", "Reshape", "Identity", "Cast", "Unsqueeze", "Squeeze"})

Weights = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """What one stage does and holds: see ``trimtab.domain.family.Stage`` for the fields' meaning."""

    macs: int
    nonzero_macs: int
    weight_bytes: int
    traffic_bytes: int


def count(model: bytes) -> Counts:
    """Return the counts of an ONNX model, convolutions and dense layers; quantised or not.

    Multiplications are not counted (0) in graphs with branches or with tensors of unknown shape.
    """
    import onnx

    graph = with_shapes(onnx.load_from_string(model), onnx)
    widened = _widened(graph)
    pairs = list(_multiplications(graph, onnx)) if _countable(graph) else []
    return Counts(
        macs=sum(dense for dense, _ in pairs),
        nonzero_macs=sum(nonzero for _, nonzero in pairs),
        weight_bytes=sum(_held_bytes(initializer, widened) for initializer in graph.initializer),
        traffic_bytes=_traffic_bytes(graph),
    )


def precision(model: bytes) -> str:
    """Return what most learned weights are multiplied as: ``fp32``, ``fp16``, ``int8``, or ONNX's name of it.

    Constants of features (before a logarithm) do not count: those stay in float whatever follows.
    ``int8-weights`` are stored in 8 bits and multiplied as floats; weights that a cast widens count as wide.
    """
    import onnx

    graph = onnx.load_from_string(model).graph
    widened, features, held = _widened(graph), feature_tensors(graph), dict[str, int]()
    for initializer in graph.initializer:
        if (
            initializer.data_type != onnx.TensorProto.INT64 and initializer.name not in features
        ):  # INT64: shapes
            kind = widened.get(initializer.name, initializer.data_type)
            name = str(onnx.TensorProto.DataType.Name(kind))
            held[name] = held.get(name, 0) + math.prod(initializer.dims)
    most = max(held, key=lambda name: held[name], default="FLOAT").lower()
    quantised = any(node.op_type in _QUANTISED for node in graph.node)
    integers = "int8" if quantised else "int8-weights"
    known = {"float": "fp32", "float16": "fp16", "int8": integers, "uint8": integers}
    return known.get(most, most)


def _widened(graph: Any) -> dict[str, int]:
    """Return the element type after the cast for every initializer that is cast."""
    casts = (node for node in graph.node if node.op_type == "Cast")
    return {node.input[0]: node.attribute[0].i for node in casts}


def _multiplications(graph: Any, onnx: Any) -> Iterator[tuple[int, int]]:
    """Yield (all, nonzero) multiply-accumulates of every node that multiplies."""
    shapes = _shapes(graph)
    weights = _Weights(graph, onnx)
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            size = {a.name: a.i for a in node.attribute}
            macs = size["N"] * size["K"] * math.prod(shapes[node.output[0]][:-1])
            yield macs, macs
        elif node.op_type in _WEIGHT_INPUT:
            yield _of_node(node, shapes, weights)


def _countable(graph: Any) -> bool:
    shapes = _shapes(graph)
    multiplying = [n for n in graph.node if n.op_type in _WEIGHT_INPUT or n.op_type == "MatMulNBits"]
    known = all(shapes.get(name) for n in multiplying for name in (n.output[0], n.input[0]))
    return known and not any(a.HasField("g") for node in graph.node for a in node.attribute)


def _of_node(node: Any, shapes: Mapping[str, tuple[int, ...]], weights: "_Weights") -> tuple[int, int]:
    """Every weight is used once per position: per output pixel, per input pixel if transposed, per row."""
    out = shapes[node.output[0]]
    name = node.input[_WEIGHT_INPUT[node.op_type]]
    values = weights.of(name)
    if values is None:  # a product of two activations, as in attention
        inner = shapes[node.input[0]][-1]
        return math.prod(out) * inner, math.prod(out) * inner
    if node.op_type in _CONVOLUTIONS:
        positions = math.prod(out[2:])
    elif node.op_type == "ConvTranspose":
        positions = math.prod(shapes[node.input[0]][2:])
    elif node.op_type in ("Gemm", "FusedGemm"):
        positions = out[0]
    else:
        positions = math.prod(out) * values.shape[-2] // max(1, values.size) if values.ndim > 1 else 1
    return values.size * positions, int(np.count_nonzero(values)) * positions


class _Weights:
    """Constant tensors by name, through the nodes that only convert or rearrange them."""

    def __init__(self, graph: Any, onnx: Any) -> None:
        self._to_array = onnx.numpy_helper.to_array
        self._initializers = {one.name: one for one in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}

    def of(self, name: str) -> Weights | None:
        """Return the values, zero where the weight is; ``None`` for what depends on an input."""
        if name in self._initializers:
            return np.asarray(self._to_array(self._initializers[name]))
        node = self._makers.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            return np.asarray(self._to_array(node.attribute[0].t))
        if node.op_type == "DequantizeLinear":
            return self._dequantised(node)
        if node.op_type == "Transpose":
            values = self.of(node.input[0])
            order = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), None)
            return None if values is None else values.transpose(order)
        if node.op_type == "Mul":  # stored weights times their scales: zeros stay where they are
            stored, scales = (self.of(one) for one in node.input)
            return None if stored is None or scales is None else np.asarray(stored * scales)
        return self.of(node.input[0]) if node.op_type in _RESHAPERS else None

    def _dequantised(self, node: Any) -> Weights | None:
        """Return integers minus their zero point, which is what zero means."""
        stored = self.of(node.input[0])
        zero = self.of(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if stored is None or zero is None:
            return stored
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if zero.ndim == 1 and zero.size > 1:
            zero = zero.reshape([-1 if i == axis % stored.ndim else 1 for i in range(stored.ndim)])
        return stored.astype(np.int32) - zero.astype(np.int32)


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    tensors = (*graph.input, *graph.output, *graph.value_info)
    known = {t.name: tuple(d.dim_value for d in t.type.tensor_type.shape.dim) for t in tensors}
    return known | {one.name: tuple(one.dims) for one in graph.initializer}


def _held_bytes(initializer: Any, widened: Mapping[str, int]) -> int:
    kind = widened.get(initializer.name, initializer.data_type)
    bytes_held: int = math.ceil(math.prod(initializer.dims) * item_bytes(kind))
    return bytes_held


def _traffic_bytes(graph: Any) -> int:
    """Return the bytes written and read of all tensors that are not constant and occupy memory."""
    constant = constants(graph)
    nodes = [node for node in graph.node if not all(name in constant for name in node.output)]
    sizes = tensor_sizes(graph, nodes)
    written = sum(sizes.get(name, 0) for node in nodes for name in node.output)
    read = sum(sizes.get(name, 0) for node in nodes for name in node.input if name not in constant)
    return written + read
