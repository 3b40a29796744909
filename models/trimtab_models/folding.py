"""Exchange operators of an ONNX graph so that normalisation disappears into convolutions."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Arrays = dict[str, NDArray[Any]]


def fold_norms_behind_pools(model: Any) -> int:
    """Fold convolution, max pooling, batch norm into convolution, max pooling; in place; return how many.

    A positive factor and a shift per channel commute with the maximum. A norm with a factor of zero or less
    stays. A ReLU behind the norm moves before the pooling, where the runtime fuses it with the convolution.
    """
    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    folded = [
        node for node in graph.node if node.op_type == "BatchNormalization" and _fold(graph, node, arrays)
    ]
    for node in folded:
        graph.node.remove(node)
    _drop_unused(graph)
    return len(folded)


def fold_normalised_input(model: Any) -> bool:
    """Fold ``(input - mean) * scale`` into a convolution without padding that alone reads it; in place.

    With padding it would not be the same: the frame of zeros stands for the mean. Return whether it was done.
    """
    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    done = any(_fold_input(graph, conv, arrays) for conv in graph.node if conv.op_type == "Conv")
    _drop_unused(graph)
    return done


def _fold_input(graph: Any, conv: Any, arrays: Arrays) -> bool:
    scaling = _only_link(graph, conv.input[0], "Mul")
    shifting = _only_link(graph, scaling.input[0], "Sub") if scaling is not None else None
    padded = any(any(attribute.ints) for attribute in conv.attribute if attribute.name == "pads")
    if scaling is None or shifting is None or padded:
        return False
    known = [shifting.input[1], scaling.input[1], *conv.input[1:]]
    if any(name not in arrays for name in known):
        return False
    mean, scale, weights, *bias = (arrays[name].astype(np.float64) for name in known)
    per_channel = (1, -1, *[1] * (weights.ndim - 2))
    if {mean.size, scale.size} != {weights.shape[1]}:
        return False
    scaled = weights * scale.reshape(per_channel)
    shift = (scaled * mean.reshape(per_channel)).reshape(len(weights), -1).sum(axis=1)
    _set_inputs(graph, conv, {"folded": scaled, "folded_bias": (bias[0] if bias else 0.0) - shift})
    conv.input[0] = shifting.input[0]
    graph.node.remove(scaling)
    graph.node.remove(shifting)
    return True


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _fold(graph: Any, norm: Any, arrays: Arrays) -> bool:
    pool = _only_link(graph, norm.input[0], "MaxPool")
    conv = _only_link(graph, pool.input[0], "Conv") if pool is not None else None
    known = [*norm.input[1:5], *(conv.input[1:] if conv is not None else ())]
    if pool is None or conv is None or any(name not in arrays for name in known):
        return False
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    gamma, beta, mean, variance = (arrays[name].astype(np.float64) for name in norm.input[1:5])
    scale = gamma / np.sqrt(variance + epsilon)
    if not (scale > 0).all():
        return False
    weights = arrays[conv.input[1]]
    bias = arrays[conv.input[2]] if len(conv.input) > 2 else 0.0
    scaled = weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
    _set_inputs(graph, conv, {"folded": scaled, "folded_bias": (bias - mean) * scale + beta})
    _move_relu(graph, conv, pool, norm)
    return True


def _only_link(graph: Any, tensor: str, kind: str) -> Any:
    """Return the node of that kind that makes ``tensor``, if only one node reads it and the graph does not."""
    readers = sum(name == tensor for node in graph.node for name in node.input)
    if readers != 1 or any(output.name == tensor for output in graph.output):
        return None
    return next((n for n in graph.node if tensor in n.output and n.op_type == kind), None)


def _set_inputs(graph: Any, conv: Any, values: Arrays) -> None:
    """Give ``conv`` fresh weights and bias, its only inputs besides the map, named after the old weights."""
    stem = conv.input[1]
    del conv.input[1:]
    for ending, value in values.items():
        name = f"{stem}_{ending}"
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        conv.input.append(name)


def _move_relu(graph: Any, conv: Any, pool: Any, norm: Any) -> None:
    """Let the pool return what the norm did, or what a ReLU that alone reads the norm did."""
    readers = [node for node in graph.node if norm.output[0] in node.input]
    if len(readers) != 1 or readers[0].op_type != "Relu":
        pool.output[0] = norm.output[0]
        return
    relu = onnx.NodeProto()
    relu.CopyFrom(readers[0])
    pool.output[0] = relu.output[0]
    relu.input[0], relu.output[0] = conv.output[0], f"{conv.output[0]}_relu"
    pool.input[0] = relu.output[0]
    graph.node.remove(readers[0])
    graph.node.insert(list(graph.node).index(conv) + 1, relu)
