"""What a variant costs and how well it answers, measured on the artefact that is shipped."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from trimtab.domain.family import Variant
from trimtab_models.branching import all_graphs
from trimtab_models.datasets.samples import Samples, scaled
from trimtab_models.errors import FoundryError
from trimtab_models.exits import Logits

if TYPE_CHECKING:
    from torch import Tensor, nn

ONNX: Final = "onnx"
PACKED: Final = "deep-compression"
"""Formats of artefacts, as manifests name them; the second is made by ``trimtab_models.compress``."""

_QUANTIZERS: Final = ("QuantizeLinear", "DequantizeLinear")
_IN_PLACE: Final = frozenset({"Relu", "Clip", "Reshape", "Flatten", "Squeeze", "QuantizeLinear"})
_ITEM_BYTES: Final[Mapping[int, float]] = {
    1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2, 21: 0.5, 22: 0.5,
}  # fmt: skip
"""Bytes per element of ONNX types: float, uint8, int8, uint16, int16, int32, int64, bool, half, double,
uint32, uint64, bfloat16, uint4, int4."""


def session(model: Path | bytes, threads: int = 1) -> Any:
    """Return an ONNX Runtime session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
    )


def runnable(variant: Variant, folder: Path) -> tuple[bytes, ...]:
    """Return the ONNX model of every stage from the artefacts that ship; raise ``FoundryError``."""
    return tuple(decoded(folder / stage.artefact, variant.format) for stage in variant.stages)


def decoded(path: Path, format_name: str) -> bytes:
    """Return an artefact file as an ONNX model; raise ``FoundryError`` naming the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FoundryError(f"{path}: cannot be read: {error.strerror}") from error
    if format_name == ONNX:
        return data
    if format_name != PACKED:
        raise FoundryError(f"{path}: artefacts of format {format_name!r} cannot be measured")
    from trimtab.codec import CodecError
    from trimtab_models.compress import CompressError, decompress_to_onnx

    try:
        return decompress_to_onnx(data)
    except (CodecError, CompressError) as error:
        raise FoundryError(f"{path}: {error}") from error


def logits_of_exits(
    stages: Sequence[Path | bytes], samples: Samples, *, batch: int = 100, threads: int = 1
) -> tuple[Logits, ...]:
    """Return the logits (n, classes) of every stage for all samples, the whole chain run in ONNX Runtime."""
    sessions = [session(stage, threads) for stage in stages]
    chunks = [
        _run_chain(sessions, scaled(samples.inputs[at : at + batch], samples.scale))
        for at in range(0, len(samples), batch)
    ]
    return tuple(np.concatenate(parts) for parts in zip(*chunks, strict=True))


def _run_chain(sessions: Sequence[Any], inputs: NDArray[np.float32]) -> list[Logits]:
    tensors: dict[str, NDArray[np.float32]] = {sessions[0].get_inputs()[0].name: inputs}
    answers = []
    for stage in sessions:
        names = [output.name for output in stage.get_outputs()]
        taken = {tensor.name: tensors[tensor.name] for tensor in stage.get_inputs()}
        tensors.update(zip(names, stage.run(names, taken), strict=True))
        answers.append(next(tensors[name] for name in names if name.startswith("logits")))
    return answers


def accuracy_frac(logits: Logits, labels: NDArray[np.uint8]) -> float:
    """Return the share of samples whose largest logit is that of the label."""
    return float((logits.argmax(axis=1) == labels).mean())


def count_macs(network: "nn.Module", example: "Tensor") -> int:
    """Return the multiply-accumulates (convolutions, dense layers) of one sample of the batch ``example``."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(example[:1])
    return int(counter.get_total_flops()) // 2


def count_parameters(model: bytes) -> tuple[int, int]:
    """Return (parameters, nonzero parameters) in an ONNX model, without scales, zero points and shapes."""
    import onnx

    graphs = list(all_graphs(onnx.load_from_string(model).graph))
    scales = {
        name for g in graphs for node in g.node if node.op_type in _QUANTIZERS for name in node.input[1:]
    }
    total = nonzero = 0
    for initializer in (one for graph in graphs for one in graph.initializer):
        if (
            initializer.name in scales
            or not initializer.dims
            or initializer.data_type == onnx.TensorProto.INT64
        ):
            continue
        values = onnx.numpy_helper.to_array(initializer)
        total += values.size
        nonzero += int(np.count_nonzero(values))
    return total, nonzero


def peak_activation_bytes(model: bytes) -> int:
    """Return the largest sum of tensors alive at once, batch 1, running the nodes in their stored order.

    Weights are not counted. A tensor whose only reader works in place or is fused into its producer by the
    runtime (ReLU, reshape, quantisation) costs nothing; a dequantised tensor costs what its source costs.
    """
    import onnx

    graph = with_shapes(onnx.load_from_string(model), onnx)
    constant = constants(graph)
    nodes = [node for node in graph.node if not all(name in constant for name in node.output)]
    sizes = tensor_sizes(graph, nodes)
    last_use = {tensor.name: len(nodes) for tensor in graph.output}
    for position in range(len(nodes) - 1, -1, -1):
        node = nodes[position]
        for name in node.input:
            last_use.setdefault(name, position)
            if node.op_type == "DequantizeLinear":  # its source lives as long as it does
                last_use[name] = max(last_use[name], last_use.get(node.output[0], position))
    born = {name: position for position, node in enumerate(nodes) for name in node.output}
    born |= {tensor.name: 0 for tensor in graph.input}
    alive = [0] * len(nodes)
    for name, start in born.items():
        for position in range(start, min(last_use.get(name, start), len(nodes) - 1) + 1):
            alive[position] += sizes.get(name, 0)
    return max(alive)


def with_shapes(model: Any, onnx: Any) -> Any:
    """Return the graph with the batch fixed to 1 and every tensor's shape inferred."""
    for tensor in (*model.graph.input, *model.graph.output):
        for size in tensor.type.tensor_type.shape.dim:
            if not size.HasField("dim_value"):
                size.dim_value = 1
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, data_prop=True).graph


def constants(graph: Any) -> set[str]:
    """Return the tensors that depend on no input, such as dequantised weights."""
    constant = {initializer.name for initializer in graph.initializer}
    for node in graph.node:
        if all(name in constant or not name for name in node.input):
            constant.update(node.output)
    return constant


def tensor_sizes(graph: Any, nodes: Sequence[Any]) -> dict[str, int]:
    """Return the bytes each tensor occupies, nothing for those that share another's memory."""
    sizes = {}
    for tensor in (*graph.input, *graph.output, *graph.value_info):
        shape = [size.dim_value for size in tensor.type.tensor_type.shape.dim]
        sizes[tensor.name] = math.ceil(math.prod(shape) * item_bytes(tensor.type.tensor_type.elem_type))
    kept = {tensor.name for tensor in (*graph.input, *graph.output)}
    for name in _sharing(nodes):
        if name not in kept:
            sizes[name] = 0
    return sizes


def item_bytes(element_type: int) -> float:
    """Return the bytes of one element of an ONNX type (its number in ``TensorProto``); 4 for rare ones."""
    return _ITEM_BYTES.get(element_type, 4)


def _sharing(nodes: Sequence[Any]) -> Iterator[str]:
    readers: dict[str, list[str]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    for node in nodes:
        for name in node.output:
            only_reader = readers[name][0] if len(readers.get(name, ())) == 1 else ""
            if node.op_type == "DequantizeLinear" or only_reader in _IN_PLACE:
                yield name
