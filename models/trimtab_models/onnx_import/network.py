"""A user's ONNX file to a classifier as the daemon serves it: any batch, one output called ``logits``."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter

from trimtab.domain.family import TensorSpec
from trimtab_models.onnx_import.errors import ImportFailure
from trimtab_models.onnx_import.samples import RESERVED, Given

LOGITS: Final = "logits"
BATCH: Final = "batch"
OPSET: Final = 17
_PER_CHANNEL_OPSET: Final = 13
_LEAST_IR: Final = 8
_DOMAINS: Final = ("", "ai.onnx")

DATATYPES: Final[Mapping[int, tuple[str, type[np.generic]]]] = {
    TensorProto.FLOAT: ("FP32", np.float32),
    TensorProto.FLOAT16: ("FP16", np.float16),
    TensorProto.DOUBLE: ("FP64", np.float64),
    TensorProto.UINT8: ("UINT8", np.uint8),
    TensorProto.UINT16: ("UINT16", np.uint16),
    TensorProto.UINT32: ("UINT32", np.uint32),
    TensorProto.UINT64: ("UINT64", np.uint64),
    TensorProto.INT8: ("INT8", np.int8),
    TensorProto.INT16: ("INT16", np.int16),
    TensorProto.INT32: ("INT32", np.int32),
    TensorProto.INT64: ("INT64", np.int64),
    TensorProto.BOOL: ("BOOL", np.bool_),
}
"""ONNX element types as Open Inference datatypes and numpy types."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A classifier: ONNX with inputs by name and the one output ``logits`` (n, classes).

    ``batch`` is -1, or 1 where the graph can only take one sample at a time. ``notes`` tell what was changed.
    """

    onnx: bytes
    inputs: tuple[TensorSpec, ...]
    types: Mapping[str, type[np.generic]]
    batch: int
    classes: int
    notes: tuple[str, ...]


def read_model(path: Path) -> Any:
    """Read and check an ONNX file, weights in neighbouring files included; raise ``ImportFailure``."""
    try:
        model = onnx.load(path)
    except OSError as error:
        raise ImportFailure(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf raises types of its own implementation
        raise ImportFailure(f"{path}: is no ONNX model: {_line(error)}") from error
    if not model.graph.node:
        raise ImportFailure(f"{path}: is no ONNX model, or one without nodes")
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in weights]
    del model.graph.input[:]  # before IR 4 weights were listed as inputs
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, _LEAST_IR)
    return model


def input_types(model: Any, path: Path) -> dict[str, type[np.generic]]:
    """Return the numpy type of every input; raise ``ImportFailure`` for what cannot be sent."""
    if not model.graph.input:
        raise ImportFailure(f"{path}: the network has no inputs")
    types = {}
    for tensor in model.graph.input:
        kind = tensor.type.tensor_type.elem_type
        if not tensor.type.HasField("tensor_type") or kind not in DATATYPES:
            raise ImportFailure(
                f"{path}: input {tensor.name!r} is no tensor of numbers, so it cannot be sent"
            )
        if tensor.name in RESERVED:
            raise ImportFailure(
                f"{path}: input {tensor.name!r}: samples use that name for themselves; rename it"
            )
        types[tensor.name] = DATATYPES[kind][1]
    return types


def make_network(model: Any, given: Given, path: Path, output: str = "") -> Network:
    """Return ``model`` ready to be served, its answers unchanged; raise ``ImportFailure``."""
    notes: list[str] = []
    types = input_types(model, path)
    fixed = _fix_shapes(model, given, path)
    _choose_output(model, path, output)
    notes += _end_in_logits(model)
    runnable(model.SerializeToString(), path)
    model, raised = _raise_opset(model)
    notes += raised
    batch = _free_batch(model, given, types, fixed, path)
    if batch == 1:
        notes.append("takes one sample at a time: its graph depends on a batch of 1")
    simple = optimised(model.SerializeToString(), path)
    classes = _classes(simple, given, types, path)
    specs = tuple(
        TensorSpec(name, DATATYPES[_kind(model, name)][0], (batch, *given.stored[name].shape[1:]))
        for name in types
    )
    return Network(simple, specs, types, batch, classes, tuple(notes))


def session(model: bytes, threads: int = 1) -> Any:
    """Return a session of ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def runnable(model: bytes, path: Path) -> Any:
    """Return a session; raise ``ImportFailure`` naming the node that ONNX Runtime cannot run."""
    try:
        return session(model)
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise ImportFailure(
            f"{path}: ONNX Runtime cannot run it: {_node_in(model, error)}{_line(error)}"
        ) from error


def answers(
    model: bytes, tensors: Mapping[str, NDArray[Any]], batch: int, threads: int = 1
) -> NDArray[np.float32]:
    """Return the logits (n, classes) of all samples, ``batch`` at a time."""
    opened = session(model, threads)
    count = len(next(iter(tensors.values())))
    parts = [
        opened.run([LOGITS], {name: values[at : at + batch] for name, values in tensors.items()})[0]
        for at in range(0, count, batch)
    ]
    return np.concatenate(parts).astype(np.float32)


def optimised(model: bytes, path: Path) -> bytes:
    """Return ``model`` with constants folded, batch norms in their convolutions and dead nodes gone."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "simple.onnx")
        options.optimized_model_filepath = str(written)
        try:
            onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            raise ImportFailure(f"{path}: ONNX Runtime cannot simplify it: {_line(error)}") from error
        simple = onnx.load(written)
    return anonymous(simple)


def anonymous(model: Any) -> bytes:
    """Return a model's bytes without what tells where it was made: comments, traces, hints of shapes."""
    graph = model.graph
    del graph.value_info[:]
    for holder in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        holder.ClearField("doc_string")
        if "metadata_props" in holder.DESCRIPTOR.fields_by_name:
            holder.ClearField("metadata_props")
    data: bytes = model.SerializeToString()
    return data


def _fix_shapes(model: Any, given: Given, path: Path) -> int:
    """Give inputs the samples' shape and a free batch; return the batch they had, or 0 if it was free."""
    fixed = 0
    for tensor in model.graph.input:
        sizes = tensor.type.tensor_type.shape.dim
        shape = given.stored[tensor.name].shape
        wanted = [size.dim_value if size.HasField("dim_value") else -1 for size in sizes]
        fits = len(wanted) == len(shape) and all(
            size in (-1, 0, real) for size, real in zip(wanted[1:], shape[1:], strict=True)
        )
        if not fits or not wanted:
            raise ImportFailure(
                f"{path}: input {tensor.name!r} has shape {wanted}, its samples {[-1, *shape[1:]]} (batch first)"
            )
        fixed = max(fixed, wanted[0])
        for size, real in zip(sizes[1:], shape[1:], strict=True):
            size.dim_value = real
        sizes[0].dim_param = BATCH
    del model.graph.value_info[:]
    return fixed


def _choose_output(model: Any, path: Path, output: str) -> None:
    """Keep one output; raise ``ImportFailure`` when it is not clear which."""
    names = [tensor.name for tensor in model.graph.output]
    if not output and len(names) != 1:
        raise ImportFailure(
            f"{path}: has the outputs {', '.join(names)}; say which are the logits: --output NAME"
        )
    chosen = output or names[0]
    if chosen not in names:
        raise ImportFailure(f"{path}: has no output {chosen!r}; it has {', '.join(names)}")
    kind = next(tensor for tensor in model.graph.output if tensor.name == chosen).type.tensor_type.elem_type
    if kind not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
        name = TensorProto.DataType.Name(kind)
        raise ImportFailure(
            f"{path}: output {chosen!r} is {name}; logits are floats. Other outputs: --output NAME"
        )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(chosen, kind, None))


def _end_in_logits(model: Any) -> list[str]:
    """Let the graph end in what stands before a last softmax, flat, as ``logits``; return notes."""
    graph = model.graph
    kind = graph.output[0].type.tensor_type.elem_type
    name, notes = _before_softmax(graph, graph.output[0].name)
    rank = _rank(model, name)
    if any(LOGITS in node.output for node in graph.node):
        _rename(graph, LOGITS, f"{LOGITS}_before")
        name = f"{LOGITS}_before" if name == LOGITS else name
    if kind != TensorProto.FLOAT:
        graph.node.append(helper.make_node("Cast", [name], [f"{LOGITS}_float"], to=TensorProto.FLOAT))
        name = f"{LOGITS}_float"
    if rank == 2:
        graph.node.append(helper.make_node("Identity", [name], [LOGITS], name="trimtab_logits"))
    else:
        graph.node.append(helper.make_node("Flatten", [name], [LOGITS], name="trimtab_logits", axis=1))
    del graph.output[:]
    graph.output.append(_logits_info())
    return notes


def _logits_info() -> Any:
    return helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [BATCH, None])


def _before_softmax(graph: Any, output: str) -> tuple[str, list[str]]:
    """Return the tensor a last softmax takes and a note, or ``output`` where there is none.

    Answers are compared, and confidences computed, on logits: the softmax of probabilities would be wrong.
    """
    makers = {made: node for node in graph.node for made in node.output}
    last = makers.get(output)
    while last is not None and last.op_type in ("Identity", "Flatten", "Reshape", "Squeeze"):
        last = makers.get(last.input[0])
    if last is None or last.op_type != "Softmax":
        return output, []
    axis = next((attribute.i for attribute in last.attribute if attribute.name == "axis"), -1)
    if axis not in (1, -1):
        return output, []
    shown = last.name or last.output[0]
    return last.input[0], [f"its last softmax ({shown}) was left out: logits are served, not probabilities"]


def _rank(model: Any, name: str) -> int:
    """Return how many dimensions a tensor has, -1 where inference cannot tell."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    for tensor in (*graph.value_info, *graph.output):
        if tensor.name == name and tensor.type.tensor_type.HasField("shape"):
            return len(tensor.type.tensor_type.shape.dim)
    return -1


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new


def _raise_opset(model: Any) -> tuple[Any, list[str]]:
    """Return the model in an opset that knows scales per channel; on failure as it is, and why."""
    version = next((known.version for known in model.opset_import if known.domain in _DOMAINS), 0)
    if version >= _PER_CHANNEL_OPSET or version == 0:
        return model, []
    try:
        raised = version_converter.convert_version(model, OPSET)
        del raised.graph.value_info[:], raised.graph.output[:]  # its shapes have the old batch
        raised.graph.output.append(_logits_info())
        session(raised.SerializeToString())
    except Exception as error:  # the converter and the runtime raise a dozen unrelated types
        return model, [
            f"opset {version} could not be raised to {OPSET} ({_line(error)}): no scales per channel"
        ]
    return raised, [f"opset {version} was raised to {OPSET}"]


def _free_batch(
    model: Any, given: Given, types: Mapping[str, type[np.generic]], fixed: int, path: Path
) -> int:
    """Make ``model`` take any batch if it can; return -1, or 1 if it was and must stay fixed to one."""
    names = _free_reshapes(model, fixed) if fixed > 0 else []
    pair = given.take(np.arange(2)).tensors(types)
    data = model.SerializeToString()
    try:
        one_by_one, together = answers(data, pair, 1), answers(data, pair, 2)
        if np.allclose(
            one_by_one, together, rtol=1e-2, atol=1e-3 * max(1.0, float(np.abs(one_by_one).max()))
        ):
            return -1
        reason = "answers to two samples differ from those to each of them"
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        reason = _node_in(data, error) + _line(error)
    try:
        answers(data, pair, 1)
    except Exception as error:
        where = ", ".join(tensor.name for tensor in model.graph.input)
        hint = f"; it has a fixed batch of {fixed}, on which {', '.join(names)} depend" if names else ""
        raise ImportFailure(f"{path}: inputs {where} cannot take one sample: {_line(error)}{hint}") from error
    if fixed > 1:
        raise ImportFailure(
            f"{path}: input {model.graph.input[0].name!r} has a fixed batch of {fixed}: {reason}"
        )
    for tensor in model.graph.input:
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    return 1


def _free_reshapes(model: Any, fixed: int) -> list[str]:
    """Let reshapes to a fixed batch take the batch from their input; return the nodes changed."""
    weights = {initializer.name: initializer for initializer in model.graph.initializer}
    constants = {
        node.output[0]: attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    changed = []
    for position, node in enumerate(list(model.graph.node)):
        shape = (
            weights.get(node.input[1]) or constants.get(node.input[1]) if node.op_type == "Reshape" else None
        )
        if shape is None:
            continue
        sizes = numpy_helper.to_array(shape).copy()
        if sizes.ndim != 1 or sizes.size < 2 or sizes[0] != fixed:
            continue
        sizes[0] = 0 if (sizes == -1).any() else -1
        name = f"{node.input[1]}_free_{position}"
        model.graph.initializer.append(numpy_helper.from_array(sizes, name))
        node.input[1] = name
        changed.append(node.name or node.output[0])
    return changed


def _classes(model: bytes, given: Given, types: Mapping[str, type[np.generic]], path: Path) -> int:
    found = answers(model, given.take(np.arange(1)).tensors(types), 1)
    if found.ndim != 2 or len(found) != 1 or found.shape[1] < 2:
        raise ImportFailure(
            f"{path}: the output has shape {list(found.shape)} for one sample; logits are [1, classes]"
        )
    if not np.isfinite(found).all():
        raise ImportFailure(f"{path}: the answer to the first sample is not finite")
    return int(found.shape[1])


def _kind(model: Any, name: str) -> int:
    return next(int(t.type.tensor_type.elem_type) for t in model.graph.input if t.name == name)


def _node_in(model: bytes, error: Exception) -> str:
    """Return the node that an error of the runtime is about, as a prefix; empty when it names none."""
    text = str(error)
    nodes: Sequence[Any] = onnx.load_from_string(model).graph.node
    for position, node in enumerate(nodes):
        if node.name and re.search(rf"(?<![\w/]){re.escape(node.name)}(?![\w/])", text):
            return f"node {node.name!r} ({node.op_type}): "
        if re.search(rf"\b{re.escape(node.op_type)}\(-?\d+\)", text):
            return f"node {node.name or f'number {position}'!r} ({node.op_type}): "
    return ""


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
