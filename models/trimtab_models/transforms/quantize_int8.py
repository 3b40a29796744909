"""Post-training int8 quantisation (Jacob et al., CVPR 2018) with ONNX Runtime's static QDQ quantiser."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from trimtab_models.datasets.samples import Samples
from trimtab_models.errors import FoundryError
from trimtab_models.export import Exported, ExportedStage, strip
from trimtab_models.features import feature_tensors
from trimtab_models.folding import fold_norms_behind_pools
from trimtab_models.measure import accuracy_frac, logits_of_exits, session
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import QuantizeInt8

_BATCH: Final = 64
_CHECKED: Final = 1000
_WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_OPERATORS: Final = sorted({*QLinearOpsRegistry, *QDQRegistry} - {"BatchNormalization"})
"""Batch norms that could not be folded have no integer kernel: rounding around them costs time and accuracy."""
_METHODS: Final = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}

Tensors = dict[str, NDArray[np.float32]]


class CalibrationError(FoundryError):
    """Held-out samples give no usable range for a tensor; the text names it and the node that makes it."""


@register(QuantizeInt8)
def quantize_int8(model: Exported, config: QuantizeInt8, context: Context) -> tuple[Exported, Report]:
    """Return ``model`` with 8-bit weights and activations; each stage is calibrated on what reaches it.

    The accuracies reported are those of the last exit on held-out samples. Raises ``CalibrationError``.
    """
    held_out = context.splits.validation
    rows = np.arange(min(config.calibration_samples, len(held_out)))
    tensors: Tensors = {context.splits.input_name: held_out.take(rows).tensors()}
    stages = []
    for stage in model.stages:
        stages.append(_quantize(stage, tensors, config))
        tensors |= _outputs(stage, tensors)
    facts: dict[str, float] = {}
    for ending, some in (("_before", list(model.stages)), ("", stages)):
        facts[f"bytes{ending}"] = sum(len(stage.onnx) for stage in some)
        facts[f"accuracy_frac{ending}"] = _accuracy(some, held_out)
    return Exported(tuple(stages)), Report("quantize_int8", facts)


def _quantize(stage: ExportedStage, tensors: Tensors, config: QuantizeInt8) -> ExportedStage:
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared, ranges, result = (
            Path(folder) / name for name in ("prepared.onnx", "ranges.json", "int8.onnx")
        )
        _prepare(stage, prepared)
        plain = onnx.load(prepared)
        # nodes made by folding may have no name, and only named ones can be left out
        for position, node in enumerate(plain.graph.node):
            node.name = node.name or f"{node.op_type}_{position}"
        onnx.save(plain, prepared)
        taken = {name: tensors[name] for name in stage.inputs}
        _calibrate(prepared, plain.graph, _Calibration(taken), config, ranges)
        quantize_static(
            prepared,
            result,
            None,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            nodes_to_exclude=sorted(float_nodes(plain.graph, config)),
            per_channel=config.per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[config.calibration_method],
            calibration_cache_path=ranges,
        )
        quantized = onnx.load(result)
    strip(quantized)
    return ExportedStage(quantized.SerializeToString(), stage.inputs, stage.outputs, stage.logits, stage.macs)


def _prepare(stage: ExportedStage, prepared: Path) -> None:
    """Write the graph with all folded that can be, and shapes inferred."""
    plain = onnx.load_from_string(stage.onnx)
    fold_norms_behind_pools(plain)
    source = prepared.with_name("plain.onnx")
    onnx.save(plain, source)
    quant_pre_process(source, prepared, skip_symbolic_shape=True)


def float_nodes(graph: Any, config: QuantizeInt8) -> set[str]:
    """Return the names of the nodes to leave in float.

    Those are everything up to a logarithm (log-mel features do not survive 8 bits), what happens to the input
    before the first layer with weights, and that layer or the last one where the config says so.
    """
    features = feature_tensors(graph)
    behind: set[str] = set()  # tensors behind a layer with weights
    for node in graph.node:
        if _is_layer(node, features) or any(name in behind for name in node.input):
            behind.update(node.output)
    layers = [node.name for node in graph.node if _is_layer(node, features)]
    chosen = {*(layers[:1] if config.float_first else ()), *(layers[-1:] if config.float_last else ())}
    return chosen | {n.name for n in graph.node if n.output[0] in features or n.output[0] not in behind}


def _is_layer(node: Any, features: set[str]) -> bool:
    return node.op_type in _WEIGHTED and node.output[0] not in features


def _calibrate(
    prepared: Path, graph: Any, reader: CalibrationDataReader, config: QuantizeInt8, ranges: Path
) -> None:
    """Write the range of every tensor to ``ranges``; refuse those that no 8-bit grid can cover."""
    method = _METHODS[config.calibration_method]
    options = {"percentile": config.percentile} if method is CalibrationMethod.Percentile else {}
    calibrator = create_calibrator(
        prepared,
        _OPERATORS,
        augmented_model_path=str(ranges.with_name("augmented.onnx")),
        calibrate_method=method,
        extra_options=options,
    )
    calibrator.collect_data(reader)
    found = calibrator.compute_data()
    makers = {name: node.name for node in graph.node for name in node.output}
    order = {name: at for at, name in enumerate(makers)}  # the caller's inputs first
    for name, data in sorted(found.items(), key=lambda item: order.get(item[0], -1)):
        low, high = (float(np.ravel(bound)[0]) for bound in data.range_value)
        if not np.isfinite([low, high]).all() or low == high == 0:
            raise CalibrationError(
                f"quantize_int8: tensor {name} (made by {makers.get(name, 'the caller')}) ranges from {low} to "
                f"{high} over the {config.calibration_method} calibration samples: no 8-bit grid covers that"
            )
    save_tensors_data(found, ranges)


def _outputs(stage: ExportedStage, tensors: Tensors) -> Tensors:
    values = session(stage.onnx).run(list(stage.outputs), {name: tensors[name] for name in stage.inputs})
    return dict(zip(stage.outputs, values, strict=True))


def _accuracy(stages: list[ExportedStage], samples: Samples) -> float:
    some = samples.take(np.arange(min(_CHECKED, len(samples))))
    return round(accuracy_frac(logits_of_exits([stage.onnx for stage in stages], some)[-1], some.labels), 4)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the quantiser: what it prints, and its advice to preprocess, which was done."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


class _Calibration(CalibrationDataReader):  # type: ignore[misc,unused-ignore]  # untyped base
    """Hand out the samples in equal batches; fewer samples than there are batches may be left over."""

    def __init__(self, tensors: Tensors) -> None:
        self._batches = self._split(tensors)

    @staticmethod
    def _split(tensors: Tensors) -> Iterator[Tensors]:
        count = len(next(iter(tensors.values())))
        batch = count // -(-count // _BATCH)  # the histograms need batches of one size
        for at in range(0, count - batch + 1, batch):
            yield {name: values[at : at + batch] for name, values in tensors.items()}

    def get_next(self) -> Any:
        """Return the next batch by input name, or nothing when all were seen."""
        return next(self._batches, None)
