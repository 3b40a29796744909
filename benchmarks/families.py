"""Families as they ship, with their whole test sets: checked, opened and run as benchmarks need them.

Nothing here needs torch or onnx.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from trimtab import codec
from trimtab.domain.family import Family, Variant
from trimtab_models.datasets import DATASETS
from trimtab_models.datasets.fetch import find
from trimtab_models.datasets.samples import Samples
from trimtab_models.errors import FoundryError
from trimtab_models.family import MANIFEST, check_artefacts, read_manifest
from trimtab_models.measure import ONNX, PACKED
from trimtab_models.recipe import load_definition

ROOT: Final = Path(__file__).resolve().parent.parent
FAMILIES: Final = ROOT / "models" / "families"

Array = NDArray[np.float32]
BATCH: Final = 100
TURN: Final = 20
"""Runs of one variant before it is the next one's turn."""
SETTLE: Final = 3
"""Runs at the start of a turn that do not count: the caches hold the previous variant."""


@dataclass(frozen=True, slots=True, eq=False)
class Shipped:
    """A family, the folder of its artefacts and its test samples."""

    folder: Path
    family: Family
    test: Samples
    input_name: str

    def has(self, *names: str) -> bool:
        """Return whether the family has all these variants."""
        return set(names) <= {variant.name for variant in self.family.variants}

    def open(self, name: str) -> "Chain":
        """Return a variant ready to run."""
        return Chain.open(self.folder, self.family.variant(name))

    def right(self, chain: "Chain") -> NDArray[np.bool_]:
        """Return for every test sample whether the last stage of ``chain`` answers it rightly."""
        answers = [
            chain.run({self.input_name: self.test.take(rows).tensors()}).argmax(axis=1)
            for rows in np.split(np.arange(len(self.test)), range(BATCH, len(self.test), BATCH))
        ]
        found: NDArray[np.bool_] = np.concatenate(answers) == self.test.labels
        return found


def load(folder: Path, limit: int = 0) -> Shipped:
    """Return the family in ``folder`` with its test set, or the set's first ``limit`` samples.

    Raise ``FoundryError`` if manifest, artefacts or test set are missing or are not what they should be.
    """
    if not (folder / MANIFEST).is_file():
        raise FoundryError(f"{folder}: no family is here; build it: trimtab family build {folder.name}")
    family = read_manifest(folder)
    if wrong := check_artefacts(family, folder):
        raise FoundryError("; ".join(wrong))
    chosen = load_definition(folder)
    name = chosen.dataset.name
    if name not in DATASETS:
        raise FoundryError(f"{folder}: its data, {name!r}, is not one of ours: {', '.join(DATASETS)}")
    if find(DATASETS[name].ORIGIN) is None:
        raise FoundryError(f"dataset {name} is not on this machine; get it: trimtab data fetch {name}")
    splits = DATASETS[name].load(chosen.dataset.validation_samples, chosen.seed)
    test = splits.test.take(np.arange(min(limit, len(splits.test)))) if limit else splits.test
    return Shipped(folder, family, test, splits.input_name)


@dataclass(frozen=True, slots=True)
class Chain:
    """The sessions of a variant's stages in order, with the names each takes and returns."""

    sessions: tuple[Any, ...]
    inputs: tuple[tuple[str, ...], ...]
    outputs: tuple[tuple[str, ...], ...]
    logits: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path, variant: Variant) -> "Chain":
        """Load a variant's artefacts, decoding those that are packed; raise ``FoundryError``."""
        stages = variant.stages
        return cls(
            tuple(opened(folder / stage.artefact, variant.format) for stage in stages),
            tuple(stage.inputs for stage in stages),
            tuple(stage.outputs for stage in stages),
            tuple(stage.logits for stage in stages),
        )

    def run(self, given: Mapping[str, Array]) -> Array:
        """Return the logits of the last stage, all stages run."""
        tensors = dict(given)
        for number in range(len(self.sessions)):
            logits = self.stage(number, tensors)
        return logits

    def stage(self, number: int, tensors: dict[str, Array]) -> Array:
        """Run one stage: add what it returns to ``tensors``, return its logits."""
        names = self.outputs[number]
        given = {name: tensors[name] for name in self.inputs[number]}
        tensors.update(zip(names, self.sessions[number].run(names, given), strict=True))
        return tensors[self.logits[number]]


def opened(path: Path, format_name: str) -> Any:
    """Return an artefact as a session, decoded first if it is packed; raise ``FoundryError``."""
    body = path.read_bytes()
    if format_name == ONNX:
        return session(body)
    if format_name != PACKED:
        raise FoundryError(f"{path}: artefacts of format {format_name!r} cannot be run here")
    try:
        artefact = codec.decode(body)
    except codec.CodecError as error:
        raise FoundryError(f"{path}: {error}") from error
    return session(artefact.skeleton, artefact.tensors)


def session(model: bytes, tensors: Mapping[str, NDArray[Any]] | None = None) -> Any:
    """Return a model, ``tensors`` in the place of its external ones, ready to run in one thread on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if tensors:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in tensors.values()]
        options.add_external_initializers(list(tensors), values)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def latencies_ns(
    chains: Sequence[Chain], input_name: str, inputs: Array, runs: int
) -> list[NDArray[np.int64]]:
    """Return wall-clock nanoseconds of ``runs`` runs per chain, batch 1, each on a sample of ``inputs``.

    The chains take turns, each time beginning with the next one, so that a clock that changes or a machine
    that is busy for a while slows all of them alike.
    """
    taken: list[list[int]] = [[] for _ in chains]
    for turn, at in enumerate(range(0, runs, TURN)):
        order = [(turn + number) % len(chains) for number in range(len(chains))]
        for number in order:
            for run in range(-SETTLE, min(TURN, runs - at)):
                given = {input_name: inputs[(at + run) % len(inputs), None]}
                began_ns = time.perf_counter_ns()
                chains[number].run(given)
                ended_ns = time.perf_counter_ns()
                if run >= 0:
                    taken[number].append(ended_ns - began_ns)
    return [np.array(times, dtype=np.int64) for times in taken]


def reported(benchmark: Callable[[], None]) -> int:
    """Run a benchmark; return its exit status, 1 after telling what is missing."""
    try:
        benchmark()
    except (FoundryError, codec.CodecError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
