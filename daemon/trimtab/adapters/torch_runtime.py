"""Runs TorchScript and ``torch.export`` artefacts with PyTorch, where it is installed.

The second runtime: slower at batch 1 and 190 MB larger than ONNX Runtime, for variants that only PyTorch can
execute. Importing this module does not import torch; constructing ``TorchRuntime`` does. PyTorch keeps one
thread count per process, and its pools degrade badly beside other work: processors must have one thread.
"""

import importlib
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.adapters import process_memory
from trimtab.domain.family import Stage, TensorSpec, Variant
from trimtab.domain.processor import Processor
from trimtab.ports import Array, Loaded, RuntimeFailure, Tensors

FORMATS = ("torchscript", "pt2")

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _LoadedStage:
    stage: Stage
    module: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class _Resident:
    stages: tuple[_LoadedStage, ...]
    loaded: Loaded


class TorchRuntime:
    """Executes TorchScript (``torchscript``) and exported (``pt2``) artefacts on one CPU thread.

    Artefacts take the stage's inputs in the manifest's order and return its outputs in that order (one tensor
    or a tuple). ``inputs`` are the task's tensors; with them ``load`` can warm up.
    ``library`` is torch, or a stand-in with the same few functions.
    """

    def __init__(self, inputs: tuple[TensorSpec, ...] = (), library: Any = None) -> None:
        self._torch = _import_torch() if library is None else library
        self._torch.set_num_threads(1)
        self._inputs = {spec.name: spec for spec in inputs}
        self._resident: dict[Key, _Resident] = {}
        self._loading = threading.Lock()

    @property
    def name(self) -> str:
        """Return the name processors refer to."""
        return "torch"

    @property
    def description(self) -> str:
        """Return name, version and settings in one line."""
        return f"torch {self._torch.__version__}, one thread, inference mode"

    def load(self, task: str, variant: Variant, folder: Path, processor: Processor) -> Loaded:
        """Load every stage, or return what an earlier load took; raise ``RuntimeFailure`` naming the file."""
        if variant.format not in FORMATS:
            raise RuntimeFailure(f"{variant.name}: torch cannot run artefacts of format {variant.format!r}")
        if processor.threads != 1:
            raise RuntimeFailure(f"{processor.name}: torch runs on processors of one thread only")
        key = (task, variant.name, processor.pool)
        with self._loading:
            present = self._resident.get(key)
            if present is None:
                present = self._load(variant, folder)
                self._resident[key] = present
        return present.loaded

    def _load(self, variant: Variant, folder: Path) -> _Resident:
        process_memory.trim()
        before = process_memory.resident_bytes()
        begin = time.perf_counter_ns()
        stages = tuple(
            _LoadedStage(stage, self._open(folder / stage.artefact, variant)) for stage in variant.stages
        )
        self._warm_up(stages)
        load_ns = time.perf_counter_ns() - begin
        process_memory.trim()
        grown = process_memory.resident_bytes() - before
        return _Resident(stages, Loaded(load_ns, max(grown, variant.artefact_bytes)))

    def _open(self, path: Path, variant: Variant) -> Callable[..., Any]:
        if not path.is_file():
            raise RuntimeFailure(f"{path}: no such artefact")
        try:
            with (
                warnings.catch_warnings()
            ):  # torch.jit is deprecated, but nothing replaces it on old artefacts
                warnings.simplefilter("ignore")
                if variant.format == "torchscript":
                    opened: Callable[..., Any] = self._torch.jit.load(str(path), map_location="cpu").eval()
                else:
                    opened = self._torch.export.load(str(path)).module()
        except Exception as error:  # torch raises many unrelated types
            raise RuntimeFailure(f"{path}: cannot be loaded: {_first_line(error)}") from error
        return opened

    def _warm_up(self, stages: tuple[_LoadedStage, ...]) -> None:
        """Run the stages in a chain on zeros, as far as their inputs are known."""
        known: dict[str, Array] = {name: _zeros(spec) for name, spec in self._inputs.items()}
        for loaded in stages:
            if not all(name in known for name in loaded.stage.inputs):
                return
            known.update(self._execute(loaded, known))

    def run(
        self, task: str, variant: str, processor: Processor, stage: int, tensors: Tensors
    ) -> dict[str, Array]:
        """Run one stage on arrays by tensor name and return its outputs by name; raise ``RuntimeFailure``."""
        resident = self._resident.get((task, variant, processor.pool))
        if resident is None:
            raise RuntimeFailure(f"{task}/{variant} is not loaded in {processor.pool}")
        if not 0 <= stage < len(resident.stages):
            raise RuntimeFailure(f"{task}/{variant} has no stage {stage}; it has {len(resident.stages)}")
        return self._execute(resident.stages[stage], tensors)

    def _execute(self, loaded: _LoadedStage, tensors: Tensors) -> dict[str, Array]:
        stage = loaded.stage
        missing = [name for name in stage.inputs if name not in tensors]
        if missing:
            raise RuntimeFailure(
                f"{stage.artefact}: input {missing[0]!r} is missing; expected {list(stage.inputs)}"
            )
        try:
            arrays = [self._torch.from_numpy(np.ascontiguousarray(tensors[name])) for name in stage.inputs]
            with self._torch.inference_mode():
                values = loaded.module(*arrays)
            values = values if isinstance(values, (tuple, list)) else (values,)
            return {name: value.numpy() for name, value in zip(stage.outputs, values, strict=True)}
        except Exception as error:  # torch raises many unrelated types
            given = ", ".join(
                f"{name!r} {tensors[name].dtype}{list(tensors[name].shape)}" for name in stage.inputs
            )
            raise RuntimeFailure(f"{stage.artefact}: run failed on {given}: {_first_line(error)}") from error

    def evict(self, task: str, variant: str, pool: str) -> None:
        """Drop a variant and give its memory back to the system; unknown ones are ignored."""
        if self._resident.pop((task, variant, pool), None) is not None:
            process_memory.trim()

    def close(self) -> None:
        """Drop everything."""
        self._resident.clear()
        process_memory.trim()


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise RuntimeFailure("the torch runtime needs PyTorch: pip install 'trimtab[build]'") from error


_DTYPES = {"FP32": np.float32, "FP64": np.float64, "UINT8": np.uint8, "INT8": np.int8, "INT64": np.int64}


def _zeros(spec: TensorSpec) -> Array:
    shape = [size if size > 0 else 1 for size in spec.shape]
    return np.zeros(shape, _DTYPES.get(spec.datatype, np.float32))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
