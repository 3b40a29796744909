"""Float weights stored in 16 bits; the runtime widens them once, when it loads the artefact."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from trimtab_models.errors import FoundryError
from trimtab_models.export import Exported, ExportedStage
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import StoreHalf

_LARGEST = float(np.finfo(np.float16).max)


@register(StoreHalf)
def store_half(model: Exported, config: StoreHalf, context: Context) -> tuple[Exported, Report]:
    """Return ``model`` with a cast after each large float initializer; raise ``FoundryError`` on overflow."""
    del context
    stages = tuple(_halve(stage, config) for stage in model.stages)
    before, after = (sum(len(stage.onnx) for stage in some) for some in (model.stages, stages))
    return replace(model, stages=stages), Report("store_half", {"bytes_before": before, "bytes": after})


def _halve(stage: ExportedStage, config: StoreHalf) -> ExportedStage:
    model = onnx.load_from_string(stage.onnx)
    casts = [
        _narrow(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= config.least_elements
    ]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return replace(stage, onnx=model.SerializeToString())


def _narrow(tensor: Any) -> Any:
    """Turn an initializer into float16 under another name; return the node that widens it to its old one."""
    wide = onnx.numpy_helper.to_array(tensor)
    if np.abs(wide).max(initial=0.0) > _LARGEST:
        raise FoundryError(f"store_half: tensor {tensor.name!r} holds values over {_LARGEST:.0f}")
    name = tensor.name
    tensor.CopyFrom(onnx.numpy_helper.from_array(wide.astype(np.float16), f"{name}_half"))
    return onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT)
