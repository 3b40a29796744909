"""Networks to ONNX: a file per stage, dynamic batch, normalisation inside, no trace of the build machine."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from trimtab_models.architectures.staged import StagedNetwork
from trimtab_models.measure import count_macs

INPUT: Final = "image"
OUTPUT: Final = "logits"


@dataclass(frozen=True, slots=True)
class ExportedStage:
    """One ONNX model in memory; ``macs`` are those of one sample through the network it was exported from."""

    onnx: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    logits: str
    macs: int


@dataclass(frozen=True, slots=True)
class Exported:
    """All stages of one variant, in order."""

    stages: tuple[ExportedStage, ...]


def export(network: nn.Module, image_shape: tuple[int, ...]) -> Exported:
    """Return ``network`` as ONNX; ``image_shape`` is that of one image, (channels, height, width)."""
    network = copy.deepcopy(network).eval()
    image = torch.zeros(2, *image_shape)
    if not isinstance(network, StagedNetwork):
        stage = ExportedStage(
            _to_onnx(network, image, INPUT, (OUTPUT,)),
            (INPUT,),
            (OUTPUT,),
            OUTPUT,
            count_macs(network, image),
        )
        return Exported((stage,))
    return Exported(tuple(_export_stages(network, image)))


def _export_stages(network: StagedNetwork, image: Tensor) -> Iterator[ExportedStage]:
    """Yield stage k: it takes ``image`` or ``hidden_<k-1>``, returns ``logits_<k>`` and ``hidden_<k>``."""
    hidden, taken = image, INPUT
    for position, stage in enumerate(network.stages):
        last = position == len(network.stages) - 1
        logits = f"{OUTPUT}_{position}"
        outputs: tuple[str, ...] = (logits,) if last else (logits, f"hidden_{position}")
        onnx = _to_onnx(stage, hidden, taken, outputs)
        yield ExportedStage(onnx, (taken,), outputs, logits, count_macs(stage, hidden))
        if not last:
            with torch.inference_mode():
                hidden = stage(hidden)[1]
            hidden, taken = hidden.clone(), outputs[1]


def _to_onnx(network: nn.Module, example: Tensor, taken: str, outputs: tuple[str, ...]) -> bytes:
    example = torch.zeros(example.shape)
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=[taken],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model_proto
    strip(model)
    data: bytes = model.SerializeToString()
    return data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's chatter: advice about torchvision and torch's own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def strip(model: Any) -> None:
    """Remove what tells where a model was built: stack traces with paths, comments, hints of shapes."""
    graph = model.graph
    del graph.value_info[:]
    holders = [model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    for holder in holders:
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
