"""Deep Compression artefacts (Han, Mao and Dally, ICLR 2016), written by ``trimtab.codec``."""

# mypy: allow-untyped-decorators
from dataclasses import replace

from trimtab_models.compress import CompressError, compress_onnx, decompress_to_onnx
from trimtab_models.errors import FoundryError
from trimtab_models.export import Exported, ExportedStage
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import Compress


@register(Compress)
def compress(model: Exported, config: Compress, context: Context) -> tuple[Exported, Report]:
    """Return ``model`` with every stage packed; its ONNX is from then on what the packed bytes decode to."""
    del context
    stages = tuple(_packed(position, stage, config) for position, stage in enumerate(model.stages))
    before = sum(len(stage.onnx) for stage in model.stages)
    after = sum(len(stage.packed) for stage in stages)
    facts = {"bytes_before": before, "bytes": after, "ratio": round(before / after, 2)}
    return Exported(stages), Report("compress", facts)


def _packed(position: int, stage: ExportedStage, config: Compress) -> ExportedStage:
    if stage.packed:
        raise FoundryError(f"compress: stage {position} is compressed already")
    try:
        packed = compress_onnx(stage.onnx, coder=config.coder, gap_bits=config.gap_bits or None)
    except CompressError as error:
        raise FoundryError(f"compress: stage {position}: {error}") from error
    return replace(stage, onnx=decompress_to_onnx(packed), packed=packed)
