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
from trimtab_models.branching import all_graphs, settle_weights
from trimtab_models.folding import fold_normalised_input, fold_norms_behind_pools
from trimtab_models.measure import ONNX, PACKED, count_macs

OUTPUT: Final = "logits"


@dataclass(frozen=True, slots=True)
class ExportedStage:
    """One ONNX model in memory; ``macs`` are those of one sample through the network it was exported from.

    ``packed`` is the Deep Compression artefact that holds exactly this model, where that is what ships.
    """

    onnx: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    logits: str
    macs: int
    packed: bytes = b""

    @property
    def artefact(self) -> bytes:
        """Return what is written to disk."""
        return self.packed or self.onnx


@dataclass(frozen=True, slots=True)
class Exported:
    """All stages of one variant, in order."""

    stages: tuple[ExportedStage, ...]

    @property
    def format(self) -> str:
        """Return the format of all artefacts, as manifests name it."""
        return PACKED if any(stage.packed for stage in self.stages) else ONNX


def export(network: nn.Module, input_shape: tuple[int, ...], input_name: str = "image") -> Exported:
    """Return ``network`` as ONNX; ``input_shape`` is that of one input, say (channels, height, width)."""
    network = copy.deepcopy(network).eval()
    image = torch.zeros(2, *input_shape)
    if not isinstance(network, StagedNetwork):
        stage = ExportedStage(
            _to_onnx(network, image, input_name, (OUTPUT,)),
            (input_name,),
            (OUTPUT,),
            OUTPUT,
            count_macs(network, image),
        )
        return Exported((stage,))
    return Exported(tuple(_export_stages(network, image, input_name)))


def _export_stages(network: StagedNetwork, image: Tensor, input_name: str) -> Iterator[ExportedStage]:
    """Yield stage k: it takes the input or ``hidden_<k-1>``, returns ``logits_<k>`` and ``hidden_<k>``."""
    hidden, taken = image, input_name
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
    settle_weights(model)
    fold_normalised_input(model)
    fold_norms_behind_pools(model)
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
    holders = [model]
    for graph in all_graphs(model.graph):
        del graph.value_info[:]
        holders += [graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    for holder in holders:
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
