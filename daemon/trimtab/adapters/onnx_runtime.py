"""Runs variants with ONNX Runtime: one session per stage of a variant in a pool.

Settings, and what they were measured to do (two x86-64 cores, networks of 4 to 12 convolutions):

* Intra-op threads = the processor's threads, inter-op 1, sequential; one thread means the caller's own.
* A wide session spins while it runs and stops when the run ends (``force_spinning_stop``). Without that
  its workers burn a core for the whole pause after a run (3.0 instead of 0.9 ms of CPU per 0.45 ms run),
  when the core belongs to another request; without any spinning two threads were no faster than one.
* The arena is off: it made no run faster and doubled what a variant holds (0.13 -> 0.27, 0.33 -> 0.56,
  1.8 -> 4.0 MiB).
* Worker threads inherit the affinity of the thread that creates the session, so ``load`` takes on a wide
  processor's cores while it does so. Binding each worker to one core was no faster.
* A Deep Compression artefact is decoded into arrays, which the session takes in place of the weights its
  skeleton leaves out; from then on it is a session like any other.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from trimtab import codec
from trimtab.adapters import process_memory
from trimtab.adapters.affinity import pinned
from trimtab.domain.family import Stage, Variant
from trimtab.domain.processor import Processor
from trimtab.ports import Array, Loaded, RuntimeFailure, Tensors

WARM_UP_RUNS = 2
ONNX = "onnx"
DEEP_COMPRESSION = "deep-compression"

DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(int16)": np.int16,
    "tensor(uint16)": np.uint16,
    "tensor(int32)": np.int32,
    "tensor(uint32)": np.uint32,
    "tensor(int64)": np.int64,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _LoadedStage:
    path: Path
    session: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Resident:
    stages: tuple[_LoadedStage, ...]
    loaded: Loaded


class OnnxRuntime:
    """Executes ONNX and Deep Compression artefacts. All methods may be called from any thread.

    A run holds its session for as long as it lasts, so that evicting a variant in use cannot free it early;
    loads happen one at a time, so that their memory can be told apart.
    """

    def __init__(self) -> None:
        self._resident: dict[Key, _Resident] = {}
        self._loading = threading.Lock()
        self._settled = False

    @property
    def name(self) -> str:
        """Return the name processors refer to."""
        return "onnxruntime"

    @property
    def description(self) -> str:
        """Return name, version and settings in one line."""
        return f"onnxruntime {ort.__version__}, sequential, no arena, workers spin only during a run"

    def load(self, task: str, variant: Variant, folder: Path, processor: Processor) -> Loaded:
        """Create and warm up a session per stage, unless that was done; raise ``RuntimeFailure``.

        ``load_ns`` covers sessions and warm-up runs. ``resident_bytes`` is by how much this process
        grew, at least the size of the artefacts.
        """
        if variant.format not in (ONNX, DEEP_COMPRESSION):
            raise RuntimeFailure(
                f"{variant.name}: onnxruntime cannot run artefacts of format {variant.format!r}"
            )
        key = (task, variant.name, processor.pool)
        with self._loading:
            present = self._resident.get(key)
            if present is None:
                present = self._load(variant, folder, processor)
                self._resident[key] = present
        return present.loaded

    def _load(self, variant: Variant, folder: Path, processor: Processor) -> _Resident:
        if not self._settled:  # the library's own set-up must not count as the first variant's
            _sessions(variant, folder, processor)
            self._settled = True
        process_memory.trim()
        before = process_memory.resident_bytes()
        begin = time.perf_counter_ns()
        stages = _sessions(variant, folder, processor)
        load_ns = time.perf_counter_ns() - begin
        process_memory.trim()
        grown = process_memory.resident_bytes() - before
        return _Resident(stages, Loaded(load_ns, max(grown, variant.artefact_bytes)))

    def run(
        self, task: str, variant: str, processor: Processor, stage: int, tensors: Tensors
    ) -> dict[str, Array]:
        """Run one stage on arrays by tensor name and return its outputs by name; raise ``RuntimeFailure``."""
        resident = self._resident.get((task, variant, processor.pool))
        if resident is None:
            raise RuntimeFailure(f"{task}/{variant} is not loaded in {processor.pool}")
        if not 0 <= stage < len(resident.stages):
            raise RuntimeFailure(f"{task}/{variant} has no stage {stage}; it has {len(resident.stages)}")
        loaded = resident.stages[stage]
        try:
            feed = {name: tensors[name] for name in loaded.inputs}
            values = loaded.session.run(loaded.outputs, feed)
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            raise RuntimeFailure(_explain(loaded, tensors, error)) from error
        return dict(zip(loaded.outputs, values, strict=True))

    def evict(self, task: str, variant: str, pool: str) -> None:
        """Drop a variant's sessions and give their memory back; unknown ones are ignored."""
        if self._resident.pop((task, variant, pool), None) is not None:
            process_memory.trim()

    def close(self) -> None:
        """Drop everything."""
        self._resident.clear()
        process_memory.trim()


def _sessions(variant: Variant, folder: Path, processor: Processor) -> tuple[_LoadedStage, ...]:
    """Open every stage; a wide processor's session takes its worker threads' cores from the creating thread."""
    with pinned(processor.cores if processor.threads > 1 else ()):
        return tuple(
            _open(stage, folder / stage.artefact, variant.format, processor) for stage in variant.stages
        )


def _options(processor: Processor) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = processor.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _providers(processor: Processor) -> list[str]:
    cpu = "CPUExecutionProvider"
    return [cpu] if processor.provider == cpu else [processor.provider, cpu]


def _open(stage: Stage, path: Path, format_name: str, processor: Processor) -> _LoadedStage:
    """Create the session of one stage and run it on zeros; raise ``RuntimeFailure`` naming the file."""
    if not path.is_file():
        raise RuntimeFailure(f"{path}: no such artefact")
    session = (_session if format_name == ONNX else _decoded_session)(path, processor)
    if processor.provider not in session.get_providers():
        raise RuntimeFailure(f"{path}: {processor.provider} is not usable on this machine")
    loaded = _LoadedStage(
        path,
        session,
        tuple(given.name for given in session.get_inputs()),
        tuple(given.name for given in session.get_outputs()),
    )
    _check_names(stage, loaded)
    _warm_up(loaded)
    return loaded


def _session(path: Path, processor: Processor) -> Any:
    try:
        return ort.InferenceSession(str(path), _options(processor), providers=_providers(processor))
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise RuntimeFailure(f"{path}: cannot be loaded: {_first_line(error)}") from error


def _decoded_session(path: Path, processor: Processor) -> Any:
    """Return the session of a Deep Compression artefact; raise ``RuntimeFailure``.

    The runtime reads the tensors while it creates the session, and has its own copies after that.
    """
    artefact = _decoded(path)
    options = _options(processor)
    try:
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in artefact.tensors.values()]
        options.add_external_initializers(list(artefact.tensors), values)
        return ort.InferenceSession(artefact.skeleton, options, providers=_providers(processor))
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise RuntimeFailure(f"{path}: cannot be loaded: {_first_line(error)}") from error


def _decoded(path: Path) -> codec.Artefact:
    try:
        with path.open("rb") as file:
            return codec.decode(file.read(codec.Limits().file_bytes + 1))
    except OSError as error:
        raise RuntimeFailure(f"{path}: cannot be read: {error.strerror}") from error
    except codec.CodecError as error:
        raise RuntimeFailure(f"{path}: cannot be decoded: {error}") from error


def _check_names(stage: Stage, loaded: _LoadedStage) -> None:
    for what, declared, found in (
        ("inputs", stage.inputs, loaded.inputs),
        ("outputs", stage.outputs, loaded.outputs),
    ):
        if set(declared) != set(found):
            raise RuntimeFailure(
                f"{loaded.path}: {what} are {sorted(found)}, the manifest says {sorted(declared)}"
            )


def _warm_up(loaded: _LoadedStage) -> None:
    try:
        feed = {given.name: _zeros(given) for given in loaded.session.get_inputs()}
        for _ in range(WARM_UP_RUNS):
            loaded.session.run(loaded.outputs, feed)
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise RuntimeFailure(f"{loaded.path}: warm-up failed: {_first_line(error)}") from error


def _zeros(given: Any) -> Array:
    shape = [size if isinstance(size, int) and size > 0 else 1 for size in given.shape]
    return np.zeros(shape, DTYPES[given.type])


def _explain(loaded: _LoadedStage, tensors: Tensors, error: Exception) -> str:
    """Return what is wrong with the inputs of a run that failed, else what the runtime said."""
    for given in loaded.session.get_inputs():
        expected = f"{given.type} of shape {_shape(given.shape)}"
        array = tensors.get(given.name)
        if array is None:
            return f"{loaded.path.name}: input {given.name!r} is missing; expected {expected}"
        if array.dtype != DTYPES.get(given.type):
            return f"{loaded.path.name}: input {given.name!r} is {array.dtype}; expected {expected}"
        if not _fits(array.shape, given.shape):
            return (
                f"{loaded.path.name}: input {given.name!r} has shape {list(array.shape)}; expected {expected}"
            )
    return f"{loaded.path.name}: run failed: {_first_line(error)}"


def _fits(shape: tuple[int, ...], expected: list[object]) -> bool:
    return len(shape) == len(expected) and all(
        not isinstance(want, int) or want <= 0 or want == got
        for got, want in zip(shape, expected, strict=True)
    )


def _shape(expected: list[object]) -> list[object]:
    return [size if isinstance(size, int) and size > 0 else -1 for size in expected]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
