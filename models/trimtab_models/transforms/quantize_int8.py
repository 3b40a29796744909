"""Post-training int8 quantisation (Jacob et al., CVPR 2018) with ONNX Runtime's static QDQ quantiser."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from trimtab_models.export import INPUT, Exported, ExportedStage, strip
from trimtab_models.measure import session
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import QuantizeInt8

_BATCH = 64

Tensors = dict[str, NDArray[np.float32]]


@register(QuantizeInt8)
def quantize_int8(model: Exported, config: QuantizeInt8, context: Context) -> tuple[Exported, Report]:
    """Return ``model`` with 8-bit weights and activations; each stage is calibrated on what reaches it."""
    tensors: Tensors = {INPUT: context.splits.validation.pixels()[: config.calibration_samples]}
    stages = []
    for stage in model.stages:
        stages.append(_quantize(stage, tensors, config))
        tensors |= _outputs(stage, tensors)
    before, after = (sum(len(stage.onnx) for stage in some) for some in (model.stages, stages))
    return Exported(tuple(stages)), Report("quantize_int8", {"bytes_before": before, "bytes": after})


def _quantize(stage: ExportedStage, tensors: Tensors, config: QuantizeInt8) -> ExportedStage:
    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, prepared, result = (
            Path(folder) / name for name in ("plain.onnx", "prepared.onnx", "int8.onnx")
        )
        plain.write_bytes(stage.onnx)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            result,
            _Calibration({name: tensors[name] for name in stage.inputs}),
            quant_format=QuantFormat.QDQ,
            per_channel=config.per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        quantized = onnx.load(result)
    strip(quantized)
    return ExportedStage(quantized.SerializeToString(), stage.inputs, stage.outputs, stage.logits, stage.macs)


def _outputs(stage: ExportedStage, tensors: Tensors) -> Tensors:
    values = session(stage.onnx).run(list(stage.outputs), {name: tensors[name] for name in stage.inputs})
    return dict(zip(stage.outputs, values, strict=True))


class _quiet:  # noqa: N801  reads as a statement
    """Silence the quantiser's advice to preprocess, which was done."""

    def __enter__(self) -> None:
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.simplefilter("ignore")
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *reason: object) -> None:
        logging.disable(self.level)
        self.warnings.__exit__(None, None, None)


class _Calibration(CalibrationDataReader):  # type: ignore[misc,unused-ignore]  # untyped base
    """Hand out the samples in batches."""

    def __init__(self, tensors: Tensors) -> None:
        self._batches = self._split(tensors)

    @staticmethod
    def _split(tensors: Tensors) -> Iterator[Tensors]:
        count = len(next(iter(tensors.values())))
        for at in range(0, count, _BATCH):
            yield {name: values[at : at + _BATCH] for name, values in tensors.items()}

    def get_next(self) -> Any:
        """Return the next batch by input name, or nothing when all were seen."""
        return next(self._batches, None)
