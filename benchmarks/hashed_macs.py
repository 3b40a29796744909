"""Multiplications that a network with hashed dense layers needs, counted on its artefact sample by sample.

The artefact of such a network (Spring and Shrivastava, KDD 2017) computes every neuron and multiplies those
its hash tables did not find by 0: ``Mul(Gemm(...), Cast(bool))``. An executor that follows the tables would
compute only the others, and behind them read only these. Needs the ``onnx`` package.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from families import Array, Shipped, session
from trimtab_models.counting import count
from trimtab_models.errors import FoundryError
from trimtab_models.measure import ONNX, decoded


@dataclass(frozen=True, slots=True)
class Needed:
    """Averages over the samples: what is multiplied, what hashing adds, how many neurons are computed.

    ``macs`` skip inactive neurons and the weights that would meet them in the next layer. Hashing adds and
    subtracts inputs: ``hash_additions``, none of them a multiplication.
    """

    macs: float
    hash_additions: float
    active_frac: float


@dataclass(frozen=True, slots=True)
class _Layer:
    """A dense layer: its weights, the mask of its neurons and that of its inputs, "" where there is none.

    ``projects`` tells that it is the projection by which an input is hashed.
    """

    weights: NDArray[Any]
    mask: str
    input_mask: str
    projects: bool


def needed(shipped: Shipped, name: str) -> Needed:
    """Return what an average test sample needs of a variant of one stage; raise ``FoundryError``."""
    variant = shipped.family.variant(name)
    if len(variant.stages) != 1 or variant.format != ONNX:
        raise FoundryError(f"{name}: hashed layers are counted in ONNX artefacts of one stage")
    body = decoded(shipped.folder / variant.stages[0].artefact, variant.format)
    layers = list(_layers(onnx.load_from_string(body).graph))
    masks = sorted({layer.mask for layer in layers} - {""})
    if not masks:
        raise FoundryError(f"{name}: {variant.stages[0].artefact} has no hashed layer")
    active = _active(shipped, body, masks)
    return _count(layers, active, count(body).nonzero_macs)


def _weights(graph: Any) -> dict[str, NDArray[Any]]:
    """Return the initializers by name, and those stored narrow as what the runtime widens them to."""
    known: dict[str, NDArray[Any]] = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if all(name in known for name in node.input):
            if node.op_type == "Cast":
                known[node.output[0]] = known[node.input[0]].astype(np.float32)
            elif node.op_type == "Mul":
                known[node.output[0]] = known[node.input[0]] * known[node.input[1]]
    return known


def _layers(graph: Any) -> Iterator[_Layer]:
    """Yield the dense layers that are hashed, that read hashed ones, or that hash."""
    weights = _weights(graph)
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul") and node.input[1] in weights:
            mask = next((m for r in readers.get(node.output[0], ()) if (m := _mask(r, makers))), "")
            values = weights[node.input[1]]
            projects = node.op_type == "MatMul" and bool(np.isin(values, (-1, 0, 1)).all())
            before = makers.get(node.input[0])
            while before is not None and before.op_type in ("Relu", "Identity"):
                before = makers.get(before.input[0])
            input_mask = _mask(before, makers) if before is not None else ""
            if mask or input_mask or projects:
                yield _Layer(values, mask, input_mask, projects)


def _mask(node: Any, makers: dict[str, Any]) -> str:
    """Return the tensor that ``node`` multiplies a dense layer by, if it is made from booleans."""
    if node.op_type != "Mul":
        return ""
    made = [makers.get(name) for name in node.input]
    if not any(maker is not None and maker.op_type == "Gemm" for maker in made):
        return ""
    casts = [maker.output[0] for maker in made if maker is not None and maker.op_type == "Cast"]
    return str(casts[0]) if casts else ""


def _active(shipped: Shipped, body: bytes, masks: list[str]) -> dict[str, Array]:
    """Return each mask (n, neurons) over the test set."""
    model = onnx.load_from_string(body)
    for mask in masks:
        model.graph.output.append(onnx.helper.make_tensor_value_info(mask, onnx.TensorProto.FLOAT, None))
    running = session(model.SerializeToString())
    parts = []
    for at in range(0, len(shipped.test), 100):
        inputs = shipped.test.take(np.arange(at, min(at + 100, len(shipped.test)))).tensors()
        parts.append(running.run(masks, {shipped.input_name: inputs}))
    return {mask: np.concatenate([part[at] for part in parts]) for at, mask in enumerate(masks)}


def _count(layers: list[_Layer], active: dict[str, Array], dense_macs: int) -> Needed:
    macs, additions = float(dense_macs), 0.0
    for layer in layers:
        entries = np.count_nonzero(layer.weights)
        if layer.projects:
            macs -= entries
            per_input = np.count_nonzero(layer.weights, axis=1)
            read = active[layer.input_mask] @ per_input if layer.input_mask else np.full(1, entries)
            additions += float(read.mean()) + layer.weights.shape[1]
        else:
            neurons, inputs = layer.weights.shape  # as torch stores them, transB
            taken = active[layer.input_mask].sum(axis=1) if layer.input_mask else np.full(1, inputs)
            computed = active[layer.mask].sum(axis=1) if layer.mask else np.full(1, neurons)
            macs -= entries - float((taken * computed).mean()) * entries / layer.weights.size
    found = np.concatenate([mask.reshape(-1) for mask in active.values()])
    return Needed(macs, additions, float(found.mean()))
