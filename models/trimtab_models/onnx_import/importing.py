"""From an ONNX file and samples to a family the daemon serves at once."""

import hashlib
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.family import Dataset, ExitRule, Family, Stage, TensorSpec, Variant
from trimtab_models.compress import CompressError, compress_onnx, decompress_to_onnx
from trimtab_models.counting import count
from trimtab_models.measure import ONNX, PACKED, count_parameters, peak_activation_bytes
from trimtab_models.onnx_import.errors import ImportFailure, NotMade
from trimtab_models.onnx_import.make import Material, make
from trimtab_models.onnx_import.network import (
    LOGITS,
    Network,
    answers,
    input_types,
    make_network,
    read_model,
    session,
)
from trimtab_models.onnx_import.samples import LABEL, Given, halves, read_given, read_labels
from trimtab_models.onnx_import.settings import (
    DEFAULT_PLAN,
    FLOAT,
    ImportedVariant,
    Plan,
    ShareWeights,
    WeightInt8,
)
from trimtab_models.publish import publish, staging

AGREEMENT: Final = "agreement with the original"
_SUFFIXES: Final = {ONNX: ".onnx", PACKED: ".ttdc"}
_TASK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BATCH: Final = 16
_WARM_UP_RUNS, _MOST_RUNS, _MOST_SECONDS = 3, 50, 1.0
SHIPPED_BYTES: Final = 4 << 20
"""Most bytes of samples that ship, before compression."""


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """What to import, and how strictly. ``max_drop_points`` are percentage points below the original."""

    model: Path
    calibrate: Path
    task: str
    out: Path
    labels: Path | None = None
    output: str = ""
    plan: Plan = DEFAULT_PLAN
    max_drop_points: float = 5.0
    ship_samples: int = 32
    seed: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A variant that was not written, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import wrote: the family, median latency (batch 1, one thread) by variant, what was left out."""

    family: Family
    folder: Path
    measure: str
    samples: int
    latency_ns: Mapping[str, int]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """One variant in memory: what ships, what the runtime runs, and what to count on."""

    artefact: bytes
    runnable: bytes
    counted: bytes
    format: str = ONNX


@dataclass(frozen=True, slots=True, eq=False)
class _Exam:
    """The samples to measure on; ``truth`` is their labels, or the original's answers."""

    tensors: Mapping[str, NDArray[Any]]
    truth: NDArray[np.int64]
    batch: int
    labelled: bool

    def mark(self, model: bytes) -> float:
        """Return the share of samples answered as ``truth`` says."""
        found = answers(model, self.tensors, self.batch).argmax(axis=1)
        return float((found == self.truth).mean())


@dataclass(slots=True)
class _Harvest:
    """What came of the variants so far."""

    made: list[tuple[ImportedVariant | None, _Made, float]] = field(default_factory=list)
    latency_ns: dict[str, int] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)


def import_onnx(settings: ImportSettings, say: Callable[[str], None] = lambda _: None) -> Imported:
    """Make, measure and write a family of the ONNX file; raise ``ImportFailure``.

    The folder ``out/task`` holds the old family, if there was one, until the new one is complete.
    """
    _check(settings)
    model = read_model(settings.model)
    given = read_given(settings.calibrate, input_types(model, settings.model))
    network = make_network(model, given, settings.model, settings.output)
    names = _class_names(settings, network)
    calibration, test = halves(given, settings.seed)
    exam = _exam(network, test, settings)
    harvest = _make_all(settings, network, calibration, exam, say)
    folder = settings.out / settings.task
    with staging(folder) as staged:
        variants = tuple(_write(variant, made, mark, exam, staged) for variant, made, mark in harvest.made)
        shipped = _ship(test, exam, settings.ship_samples)
        if shipped:
            np.savez_compressed(staged / "samples.npz", allow_pickle=False, **shipped)
        family = _family(settings, network, names, variants, exam)
        written = publish(family, staged, folder)
    return Imported(
        written, folder, "accuracy" if exam.labelled else AGREEMENT, len(exam.truth),
        harvest.latency_ns, tuple(harvest.dropped), network.notes,
    )  # fmt: skip


def _check(settings: ImportSettings) -> None:
    if not _TASK.fullmatch(settings.task):
        raise ImportFailure(f"task {settings.task!r} is no name: letters, digits, '.', '_', '-', at most 100")
    if not settings.max_drop_points >= 0:
        raise ImportFailure(f"max drop of {settings.max_drop_points} points: must not be negative")


def _class_names(settings: ImportSettings, network: Network) -> tuple[str, ...]:
    if settings.labels is not None:
        return read_labels(settings.labels, network.classes)
    return tuple(f"class {number}" for number in range(network.classes))


def _exam(network: Network, test: Given, settings: ImportSettings) -> _Exam:
    tensors = test.tensors(network.types)
    batch = 1 if network.batch == 1 else _BATCH
    if test.labels is None:
        truth = answers(network.onnx, tensors, batch).argmax(axis=1)
        return _Exam(tensors, truth.astype(np.int64), batch, labelled=False)
    if test.labels.max() >= network.classes:
        raise ImportFailure(
            f"{settings.calibrate}: label {int(test.labels.max())}, but the network has {network.classes} classes"
        )
    return _Exam(tensors, test.labels, batch, labelled=True)


def _make_all(
    settings: ImportSettings, network: Network, calibration: Given, exam: _Exam, say: Callable[[str], None]
) -> _Harvest:
    """Make and measure every variant; drop those that cannot be made or lose too much."""
    harvest = _Harvest()
    original = _Made(network.onnx, network.onnx, network.onnx)
    best = exam.mark(network.onnx)
    harvest.made.append((None, original, best))
    harvest.latency_ns[FLOAT] = _latency_ns(network.onnx, exam.tensors)
    say(f"{FLOAT}: {best:.2%}")
    material = Material(calibration.tensors(network.types), network.batch)
    for variant in settings.plan.variants:
        try:
            made = _make(network.onnx, variant, material)
            mark = exam.mark(made.runnable)
            lost = 100 * (best - mark)
            if lost > settings.max_drop_points:
                raise NotMade(
                    f"loses {lost:.1f} points ({best:.2%} to {mark:.2%}), more than {settings.max_drop_points:g}"
                )
        except NotMade as reason:
            harvest.dropped.append(Dropped(variant.name, str(reason)))
            say(f"{variant.name}: dropped: {reason}")
            continue
        harvest.made.append((variant, made, mark))
        harvest.latency_ns[variant.name] = _latency_ns(made.runnable, exam.tensors)
        say(f"{variant.name}: {mark:.2%}, {len(made.artefact)} bytes")
    return harvest


def _make(original: bytes, variant: ImportedVariant, material: Material) -> _Made:
    """Return a variant; raise ``NotMade``."""
    model = make(original, variant.recipe, material)
    last = variant.recipe[-1]
    try:
        session(model)
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise NotMade(f"ONNX Runtime cannot run it: {str(error).partition(chr(10))[0]}") from error
    if isinstance(last, WeightInt8):  # its weights are floats once loaded
        return _Made(model, model, make(original, variant.recipe[:-1], material))
    if not isinstance(last, ShareWeights):
        return _Made(model, model, model)
    try:
        packed = compress_onnx(model)
    except CompressError as error:
        raise NotMade(f"cannot be packed: {error}") from error
    unpacked = decompress_to_onnx(packed)
    return _Made(packed, unpacked, unpacked, PACKED)


def _latency_ns(model: bytes, tensors: Mapping[str, NDArray[Any]]) -> int:
    """Return the median time of one sample in one thread on this machine, as it is loaded now."""
    opened = session(model)
    feed = {name: values[:1] for name, values in tensors.items()}
    times: list[int] = []
    begin = time.monotonic()
    for number in range(_WARM_UP_RUNS + _MOST_RUNS):
        start = time.perf_counter_ns()
        opened.run(None, feed)
        if number >= _WARM_UP_RUNS:
            times.append(time.perf_counter_ns() - start)
        if times and time.monotonic() - begin > _MOST_SECONDS:
            break
    return int(statistics.median(times))


def _write(variant: ImportedVariant | None, made: _Made, mark: float, exam: _Exam, staged: Path) -> Variant:
    """Write one artefact and return its description."""
    name = FLOAT if variant is None else variant.name
    file = f"{name}{_SUFFIXES[made.format]}"
    (staged / file).write_bytes(made.artefact)
    counts = count(made.counted)
    total, nonzero = count_parameters(made.counted)
    stage = Stage(
        artefact=file,
        sha256=hashlib.sha256(made.artefact).hexdigest(),
        artefact_bytes=len(made.artefact),
        inputs=tuple(exam.tensors),
        outputs=(LOGITS,),
        logits=LOGITS,
        macs=counts.macs,
        peak_activation_bytes=peak_activation_bytes(made.counted),
        nonzero_macs=counts.nonzero_macs,
        weight_bytes=counts.weight_bytes,
        traffic_bytes=counts.traffic_bytes,
    )
    note = "the network as it came, simplified" if variant is None else variant.note
    return Variant(
        name=name,
        transforms=() if variant is None else variant.steps,
        stages=(stage,),
        exit_rules=(ExitRule("full", 0.0, (1.0,), (mark,)),),
        accuracy_frac=mark,
        parameters=total,
        nonzero_parameters=nonzero,
        precision=FLOAT if variant is None else variant.precision,
        format=made.format,
        note=note if exam.labelled else f"{note}; accuracy is {AGREEMENT}".lstrip("; "),
    )


def _ship(test: Given, exam: _Exam, wanted: int) -> dict[str, NDArray[Any]]:
    """Return the samples that ship: as many as wanted and ``SHIPPED_BYTES`` allow, with their truth as labels."""
    each = sum(values[:1].nbytes for values in test.stored.values())
    number = min(wanted, len(test), SHIPPED_BYTES // max(each, 1))
    if number < 1:
        return {}
    rows = np.arange(number)
    truth = exam.truth[:number]
    return {**test.take(rows).arrays(), LABEL: truth.astype(np.uint8 if truth.max() < 256 else np.uint16)}


def _family(
    settings: ImportSettings,
    network: Network,
    names: tuple[str, ...],
    variants: tuple[Variant, ...],
    exam: _Exam,
) -> Family:
    data = settings.calibrate.name
    count_of = len(exam.truth)
    said = data if exam.labelled else f"{data} without labels: accuracy is {AGREEMENT}"
    remarks = "" if exam.labelled else f"accuracy figures are {AGREEMENT} on {count_of} samples"
    return Family(
        task=settings.task,
        title=settings.title or f"{settings.model.name}, imported",
        inputs=network.inputs,
        outputs=(TensorSpec(LOGITS, "FP32", (network.batch, network.classes)),),
        labels=names,
        variants=variants,
        reference=FLOAT,
        last_resort=min(variants, key=lambda variant: variant.artefact_bytes).name,
        dataset=Dataset(said, "not stated", data, 0, count_of),
        preprocessing="; ".join(
            ("as the original network expects it", *network.notes, *filter(None, [remarks]))
        ),
    )
