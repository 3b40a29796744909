"""Post-training transforms on ONNX graphs: each takes a model's bytes and returns those of a smaller one."""

import io
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
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
    quantize_dynamic,
    quantize_static,
)

from trimtab_models.measure import with_shapes
from trimtab_models.onnx_import import weights
from trimtab_models.onnx_import.errors import NotMade
from trimtab_models.onnx_import.network import anonymous
from trimtab_models.onnx_import.settings import (
    STEP_NAMES,
    DynamicInt8,
    Factor,
    ShareWeights,
    StaticInt8,
    Step,
    WeightInt8,
    ZeroSmallest,
)

_BATCH: Final = 16
_LEAST_DENSE_FRAC: Final = 0.5
_METHODS: Final = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a step may use: calibration samples by input name, and the batch the graph takes (-1: any)."""

    tensors: Tensors
    batch: int


def make(model: bytes, steps: tuple[Step, ...], material: Material) -> bytes:
    """Apply ``steps`` in order; raise ``NotMade`` naming step and reason."""
    for number, step in enumerate(steps, 1):
        where = f"step {number} ({STEP_NAMES[type(step)]})"
        try:
            model = _apply(model, step, material)
        except NotMade as reason:
            raise NotMade(f"{where}: {reason}") from reason
        except Exception as error:  # quantisers raise a dozen unrelated types
            raise NotMade(
                f"{where}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            ) from error
    return model


def _apply(model: bytes, step: Step, material: Material) -> bytes:
    match step:
        case StaticInt8():
            return static_int8(model, step, material)
        case DynamicInt8():
            return dynamic_int8(model)
        case WeightInt8():
            return weights.encode_int8(model, step.least_elements)
        case Factor():
            return weights.factor(model, step.energy_frac, step.most_frac)
        case ZeroSmallest():
            return weights.zero_smallest(model, step.zero_frac)
        case ShareWeights():
            return weights.share(model, step.bits, step.least_elements)


def static_int8(model: bytes, step: StaticInt8, material: Material) -> bytes:
    """Return ``model`` with QDQ nodes, ranges from the calibration samples."""
    count = min(step.samples, len(next(iter(material.tensors.values()))))
    seen = {name: _spread(values, count) for name, values in material.tensors.items()}
    with _files() as (plain, result):
        plain.write_bytes(model)
        quantize_static(
            plain,
            result,
            _Calibration(seen, 1 if material.batch == 1 else min(_BATCH, count)),
            quant_format=QuantFormat.QDQ,
            per_channel=step.per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[step.calibration],
            extra_options={"CalibStridedMinMax": 1},  # one batch's activations in memory at a time
        )
        return anonymous(onnx.load(result))


def _spread(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return ``count`` of the rows, evenly spread: samples often come sorted by class."""
    return values[np.arange(count) * len(values) // count]


def dynamic_int8(model: bytes) -> bytes:
    """Return ``model`` with 8-bit dense layers; raise ``NotMade`` where they are not most of the work."""
    share = dense_frac(model)
    if share < _LEAST_DENSE_FRAC:
        raise NotMade(f"only {share:.0%} of the multiply-accumulates are in dense layers")
    with _files() as (plain, result):
        plain.write_bytes(model)
        quantize_dynamic(
            plain,
            result,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        return anonymous(onnx.load(result))


def dense_frac(model: bytes) -> float:
    """Return the share of multiply-accumulates that matrix products do, the rest being convolutions."""
    graph = with_shapes(onnx.load_from_string(model), onnx)
    tensors = (*graph.input, *graph.output, *graph.value_info)
    shapes = {t.name: [size.dim_value for size in t.type.tensor_type.shape.dim] for t in tensors}
    shapes |= {initializer.name: list(initializer.dims) for initializer in graph.initializer}
    work = {"Conv": 0, "MatMul": 0, "Gemm": 0}
    for node in graph.node:
        if node.op_type in work and shapes.get(node.output[0]):
            summed = shapes[node.input[1]][1:] if node.op_type == "Conv" else shapes[node.input[0]][-1:]
            work[node.op_type] += math.prod(shapes[node.output[0]]) * math.prod(summed)
    return (work["MatMul"] + work["Gemm"]) / max(sum(work.values()), 1)


@contextmanager
def _files() -> Iterator[tuple[Path, Path]]:
    """Yield two file names in a passing folder, the quantiser's advice and progress silenced."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield Path(folder, "plain.onnx"), Path(folder, "result.onnx")
    finally:
        logging.disable(level)


class _Calibration(CalibrationDataReader):  # type: ignore[misc,unused-ignore]  # untyped base
    """Hand out samples in batches of one size; what does not fill a batch is left out."""

    def __init__(self, tensors: Tensors, batch: int) -> None:
        count = len(next(iter(tensors.values())))
        self._tensors = tensors
        self._batch = batch
        self._starts = range(0, count - batch + 1, batch)
        self._next = iter(self._starts)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._starts)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Hand out these batches next."""
        self._next = iter(self._starts[start_index:end_index])

    def get_next(self) -> Any:
        """Return the next batch by input name, or nothing when all were seen."""
        at = next(self._next, None)
        if at is None:
            return None
        rows = slice(at, at + self._batch)
        return {name: np.ascontiguousarray(values[rows]) for name, values in self._tensors.items()}
