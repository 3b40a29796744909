"""Changes to the weights of an ONNX graph: fewer bits, fewer values, fewer ranks. No data is needed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trimtab_models.onnx_import.errors import NotMade

Matrix = NDArray[np.float32]
KINDS: Final = ("Conv", "Gemm", "MatMul")
_INT8_LIMIT: Final = 127
_ROUNDS: Final = 50


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A convolution or dense layer with constant float weights; ``outputs`` is the axis of its outputs."""

    node: Any
    stored: Any
    values: Matrix
    outputs: int


def layers(graph: Any, least_elements: int = 0) -> Iterator[Layer]:
    """Yield the layers whose weights belong to them alone and have that many elements."""
    stored = {initializer.name: initializer for initializer in graph.initializer}
    users: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    for node in graph.node:
        weight = stored.get(node.input[1]) if node.op_type in KINDS and len(node.input) > 1 else None
        if weight is None or weight.data_type != TensorProto.FLOAT or users[weight.name] != 1:
            continue
        values = numpy_helper.to_array(weight)
        if values.size >= least_elements and values.ndim >= 2:
            yield Layer(node, weight, values, _outputs(node, values))


def _outputs(node: Any, values: Matrix) -> int:
    if node.op_type == "Conv" or (node.op_type == "Gemm" and _attribute(node, "transB", 0)):
        return 0
    return values.ndim - 1


def _attribute(node: Any, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def encode_int8(model: bytes, least_elements: int) -> bytes:
    """Store weights as int8 with a scale per output channel; ``Cast`` and ``Mul``, which fold when loaded.

    Not ``DequantizeLinear``: ONNX Runtime keeps that in the graph and runs it for every sample.
    """
    proto = onnx.load_from_string(model)
    found = list(layers(proto.graph, least_elements))
    if not found:
        raise NotMade(f"no layer has {least_elements} weights or more")
    fresh = []
    for layer in found:
        name = layer.stored.name
        others = tuple(axis for axis in range(layer.values.ndim) if axis != layer.outputs)
        largest = np.abs(layer.values).max(axis=others, keepdims=True)
        scale = (np.where(largest > 0, largest, 1) / _INT8_LIMIT).astype(np.float32)
        codes = np.clip(np.rint(layer.values / scale), -_INT8_LIMIT, _INT8_LIMIT).astype(np.int8)
        layer.stored.CopyFrom(numpy_helper.from_array(codes, f"{name}_int8"))
        proto.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        fresh.append(helper.make_node("Cast", [f"{name}_int8"], [f"{name}_cast"], to=TensorProto.FLOAT))
        fresh.append(helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name]))
    return _with_nodes(proto, [*fresh, *proto.graph.node])


def zero_smallest(model: bytes, zero_frac: float) -> bytes:
    """Set the given share of every layer's weights, those of least magnitude, to zero."""

    def change(values: Matrix) -> Matrix:
        count = int(zero_frac * values.size)
        if count == 0:
            return values
        limit = np.partition(np.abs(values).ravel(), count - 1)[count - 1]
        return np.where(np.abs(values) <= limit, np.float32(0), values)

    return _each_layer(model, 0, change)


def share(model: bytes, bits: int, least_elements: int) -> bytes:
    """Move every layer's nonzero weights to the nearest of at most 2^bits values; zeros stay zeros."""
    return _each_layer(model, least_elements, lambda values: shared(values, 2**bits))


def shared(values: Matrix, most: int) -> Matrix:
    """Return ``values`` with at most ``most`` different nonzero ones: Lloyd's k-means from even spacing."""
    kept = values[values != 0].astype(np.float64)
    if np.unique(kept).size <= most:
        return values
    ordered = np.sort(kept)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centres = np.linspace(ordered[0], ordered[-1], most)
    for _ in range(_ROUNDS):
        edges = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        bounds = np.concatenate([[0], edges, [ordered.size]])
        counts = np.diff(bounds)
        means = np.diff(sums[bounds]) / np.maximum(counts, 1)
        moved = np.sort(np.where(counts > 0, means, centres))
        if np.allclose(moved, centres, rtol=0, atol=1e-9):
            break
        centres = moved
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
    moved_weights: Matrix = np.where(values != 0, centres[nearest], 0).astype(np.float32)
    return moved_weights


def _each_layer(model: bytes, least_elements: int, change: Callable[[Matrix], Matrix]) -> bytes:
    proto = onnx.load_from_string(model)
    found = list(layers(proto.graph, least_elements))
    if not found:
        raise NotMade(f"no layer has {least_elements} weights or more")
    for layer in found:
        values = change(layer.values)
        layer.stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), layer.stored.name))
    data: bytes = proto.SerializeToString()
    return data


def factor(model: bytes, energy_frac: float, most_frac: float) -> bytes:
    """Replace dense layers and 1x1 convolutions by two thinner ones; raise ``NotMade`` if none gets smaller."""
    proto = onnx.load_from_string(model)
    replaced = {}
    for layer in layers(proto.graph):
        if _factorable(layer):
            nodes = _factors(proto.graph, layer, energy_frac, most_frac)
            if nodes:
                replaced[layer.node.output[0]] = nodes
    if not replaced:
        raise NotMade(f"no layer would shrink to {most_frac:.0%} and keep {energy_frac:.0%} of its energy")
    nodes = [piece for node in proto.graph.node for piece in replaced.get(node.output[0], [node])]
    return _with_nodes(proto, nodes)


def _factorable(layer: Layer) -> bool:
    if layer.node.op_type == "Conv":
        return (
            layer.values.shape[2:] == (1,) * (layer.values.ndim - 2)
            and _attribute(layer.node, "group", 1) == 1
        )
    plain = layer.node.op_type == "MatMul" or (
        not _attribute(layer.node, "transA", 0) and _attribute(layer.node, "alpha", 1.0) == 1.0
    )
    return plain and layer.values.ndim == 2


def _factors(graph: Any, layer: Layer, energy_frac: float, most_frac: float) -> list[Any]:
    """Return the two nodes in place of a layer, or nothing when they would not be smaller.

    The weights as a matrix (outputs, inputs) are U S V'; the first node applies sqrt(S) V', the second
    U sqrt(S) and the bias. Best of all matrices of that rank (Eckart and Young, 1936).
    """
    flat = layer.values.reshape(layer.values.shape[0], -1) if layer.outputs == 0 else layer.values.T
    left, values, right = np.linalg.svd(flat.astype(np.float64), full_matrices=False)
    energy = np.cumsum(values**2) / max(float(np.sum(values**2)), 1e-30)
    rank = min(int(np.searchsorted(energy, energy_frac)) + 1, values.size)
    rank = min(-(-rank // 8) * 8, values.size)  # the runtime computes in blocks
    outputs, inputs = flat.shape
    if rank * (outputs + inputs) > most_frac * outputs * inputs:
        return []
    root = np.sqrt(values[:rank])
    return _two_nodes(graph, layer, root[:, None] * right[:rank], left[:, :rank] * root)


def _two_nodes(graph: Any, layer: Layer, first: NDArray[np.float64], last: NDArray[np.float64]) -> list[Any]:
    """Put ``first`` (rank, inputs) and ``last`` (outputs, rank) in the layout of the layer."""
    node, name = layer.node, layer.stored.name
    thin, second = onnx.NodeProto(), onnx.NodeProto()
    for copy in (thin, second):
        copy.CopyFrom(node)
    middle = f"{node.output[0]}_rank"
    del thin.input[:], thin.output[:]
    thin.input.extend([node.input[0], f"{name}_first"])
    thin.output.append(middle)
    thin.name, second.name = f"{node.name}_first", f"{node.name}_last"
    second.input[0], second.input[1] = middle, f"{name}_last"
    if node.op_type == "Conv":
        ones = [1] * (layer.values.ndim - 2)
        first, last = first.reshape(*first.shape, *ones), last.reshape(*last.shape, *ones)
        kept = [a for a in second.attribute if a.name == "kernel_shape"]
        del second.attribute[:]  # stride and padding belong to the first
        second.attribute.extend(kept)
    elif layer.outputs != 0:
        first, last = first.T, last.T
    graph.initializer.remove(layer.stored)
    for values, end in ((first, "first"), (last, "last")):
        stored = numpy_helper.from_array(np.ascontiguousarray(values.astype(np.float32)), f"{name}_{end}")
        graph.initializer.append(stored)
    return [thin, second]


def _with_nodes(proto: Any, nodes: list[Any]) -> bytes:
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    data: bytes = proto.SerializeToString()
    return data
