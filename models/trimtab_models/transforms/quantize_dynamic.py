"""Dense layers with 8-bit weights whose inputs are quantised at each call, by ONNX Runtime's quantiser."""

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization import quantize_dynamic as quantize
from onnxruntime.quantization.shape_inference import quant_pre_process

from trimtab_models.export import Exported, ExportedStage, strip
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import QuantizeDynamic
from trimtab_models.transforms.quantize_int8 import quiet

_DENSE = ("MatMul", "Gemm")


@register(QuantizeDynamic)
def quantize_dynamic(model: Exported, config: QuantizeDynamic, _: Context) -> tuple[Exported, Report]:
    """Return ``model`` with dense layers that multiply 8-bit integers; everything else stays in float."""
    stages = tuple(_quantize(stage, config) for stage in model.stages)
    before, after = (sum(len(stage.onnx) for stage in some) for some in (model.stages, stages))
    return Exported(stages), Report("quantize_dynamic", {"bytes_before": before, "bytes": after})


def _quantize(stage: ExportedStage, config: QuantizeDynamic) -> ExportedStage:
    plain = onnx.load_from_string(stage.onnx)
    del plain.graph.value_info[:]  # the quantiser refuses shapes that disagree with its own inference
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, prepared, result = (Path(folder) / name for name in ("a.onnx", "b.onnx", "c.onnx"))
        onnx.save(plain, source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize(
            prepared,
            result,
            op_types_to_quantize=list(_DENSE),
            per_channel=config.per_channel,
            weight_type=QuantType.QInt8,
        )
        quantized = onnx.load(result)
    strip(quantized)
    return ExportedStage(quantized.SerializeToString(), stage.inputs, stage.outputs, stage.logits, stage.macs)
