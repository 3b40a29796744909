"""Reads Qualcomm AI Hub's published figures (quic/ai-hub-models, BSD-3-Clause): latency, memory and accuracy.

Three files: latencies of each release's ``perf.yaml``, models' sizes of ``info.yaml``, and accuracies on the
device of ``numerics.yaml``, which exist for some models, precisions and runtimes only; the rest is reported and
left out. Scores that are no share (dB, degrees, SSIM) are left out too. One family per data set.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS
from trimtab_sim.catalogue.build import plain_name
from trimtab_sim.catalogue.collection import Collection, Detail
from trimtab_sim.catalogue.measurements import UNITS, Measurement, Model, Setup
from trimtab_sim.catalogue.model import Network, Task
from trimtab_sim.catalogue.places import place_of
from trimtab_sim.catalogue.table import Cells, Findings, read_rows
from trimtab_sim.catalogue.units import above_zero, count, not_negative, whole
from trimtab_sim.device.profile import DeviceProfile

COLUMNS: Final = (
    "release",
    "model",
    "component",
    "precision",
    "device",
    "runtime",
    "unit",
    "latency_ms",
    "mem_max_mb",
)
MODEL_COLUMNS: Final = ("model", "params", "sizes")
ACCURACY_COLUMNS: Final = ("model", "dataset", "metric", "unit", "precision", "runtime", "on_device")
SHARES: Final = ("%", "mAP", "mAP@0.5:0.95", "mIOU")
"""Units of scores that are hundredths of one; with others a difference of 0.1 means something else."""
MIB: Final = 2**20
"""AI Hub's MB: a network of 11.7 M float weights (46.8e6 bytes) is told as 44.6 MB."""
SIZE: Final = re.compile(r"Model size \((\w+)\)=~?([\d.]+) (KB|MB|GB)")
SIZE_BYTES: Final = {"KB": 2**10, "MB": MIB, "GB": 2**30}
CPU_THREADS: Final = 4
"""Threads on the CPU are not published; TensorFlow Lite's and ONNX Runtime's usual choice on phones."""


@dataclass(frozen=True, slots=True)
class AihubFiles:
    """Where the three files are; ``beside`` finds them in the folder of the first."""

    perf: Path
    models: Path
    accuracy: Path

    @classmethod
    def beside(cls, perf: Path) -> "AihubFiles":
        """Return the files called as in the collection, in the folder of the latencies."""
        return cls(perf, perf.parent / "aihub_models.csv", perf.parent / "aihub_accuracy.csv")


def read_aihub(files: AihubFiles) -> Collection:
    """Return what the three files tell; raise ``CatalogueError``. Of several releases the newest row is taken."""
    collection = read_latencies(files.perf)
    sizes = _sizes(files.models, collection.findings)
    for told in _accuracies(files.accuracy, collection.findings):
        network = _network(told, *sizes.get(told.model, (0, {})))
        collection.tell(Model(told.model, told.precision), network, told.line, told.runtime)
    return collection


def read_latencies(path: Path) -> Collection:
    """Return the latencies alone, which is all that predicting needs; raise ``CatalogueError``."""
    collection = Collection(Findings(str(path)))
    rows = list(read_rows(path, COLUMNS, collection.findings))
    rows.sort(key=lambda cells: _version(cells.text("release")), reverse=True)
    parts = _parts(rows)
    for cells in rows:
        _add(cells, collection, parts)
    collection.findings.raise_any()
    return collection


def aihub_place(setup: Setup, profile: DeviceProfile | None) -> Processor:
    """Return the processor of a setup of this file."""
    return place_of(setup.unit, CPU_THREADS, "cpu", "ai-hub", profile)


def aihub_tasks(collection: Collection) -> dict[str, Task]:
    """Return the tasks (data sets) by name."""
    names = dict.fromkeys(network.task for network in collection.networks.values())
    source = "quic/ai-hub-models: perf.yaml, info.yaml, numerics.yaml"
    return {name: Task(name, f"AI Hub models on {name}", source, "BSD-3-Clause") for name in names}


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release)[:4])


def _spelling(cells: Cells) -> tuple[str, str]:
    """Return model and component; old releases had quantised networks as models of their own."""
    component = re.sub("-?Quantized$", "", cells.text("component"))
    return cells.needed("model").removesuffix("_quantized"), component


def _parts(rows: list[Cells]) -> dict[str, set[str]]:
    """Return the components of each model."""
    parts: dict[str, set[str]] = {}
    for name, component in map(_spelling, rows):
        parts.setdefault(name, set()).add(component)
    return parts


def _add(cells: Cells, collection: Collection, parts: dict[str, set[str]]) -> None:
    """Add a row. A model of several components is none that could answer a request: each has a name of its own."""
    unit, latency_ms = cells.needed("unit"), cells.read("latency_ms", not_negative)
    if unit not in UNITS:
        cells.findings.report(
            cells.line, "unit", f"{unit!r} is not one of {', '.join(UNITS)}; the row is left out"
        )
        return
    if not latency_ms:
        collection.findings.report(cells.line, "latency_ms", "is empty or 0; the row is left out")
        return
    name, component = _spelling(cells)
    if len(parts[name]) > 1:
        name = f"{name}/{component}"
    setup = Setup(cells.needed("device"), unit, "", cells.needed("runtime"))
    model = Model(name, cells.needed("precision"))
    memory = cells.read_if("mem_max_mb", not_negative)
    detail = Detail(resident_bytes=round(memory * MIB) if memory else None)
    collection.add(Measurement(setup, model, whole(latency_ms, NS_PER_MS, 1), cells.line), detail)


def _sizes(path: Path, findings: Findings) -> dict[str, tuple[int, dict[str, int]]]:
    """Return parameters and the file's bytes by precision of each model."""
    found: dict[str, tuple[int, dict[str, int]]] = {}
    told = Findings(str(path))
    for cells in read_rows(path, MODEL_COLUMNS, told):
        sizes = {
            precision: round(Fraction(size) * SIZE_BYTES[unit])
            for precision, size, unit in SIZE.findall(cells.text("sizes"))
        }
        found[cells.needed("model")] = (cells.read_if("params", count) or 0, sizes)
    told.raise_any()
    findings.reported += told.reported
    return found


@dataclass(frozen=True, slots=True)
class _Accuracy:
    line: int
    model: str
    precision: str
    runtime: str
    task: str
    metric: str
    score: Fraction


def _accuracies(path: Path, findings: Findings) -> Iterator[_Accuracy]:
    """Yield the accuracies that are shares of one; the others are reported and left out."""
    told = Findings(str(path))
    rows = list(read_rows(path, ACCURACY_COLUMNS, told))
    metrics: dict[str, set[str]] = {}
    for cells in rows:
        metrics.setdefault(cells.text("dataset"), set()).add(cells.text("metric"))
    for cells in rows:
        score = cells.read("on_device", above_zero) if cells.text("on_device") not in ("0", "0.0") else None
        if cells.text("unit") not in SHARES:
            told.report(cells.line, "unit", f"{cells.text('metric')} is no share of one; the row is left out")
        elif score is None:
            told.report(cells.line, "on_device", "is empty or 0; the row is left out")
        elif score > 100:
            told.problem(cells.line, "on_device", "is above 100 %")
        else:
            dataset, metric = cells.needed("dataset"), cells.text("metric")
            name = dataset if len(metrics[dataset]) == 1 else f"{dataset}-{metric}"
            model, precision, runtime = (cells.needed(column) for column in ("model", "precision", "runtime"))
            yield _Accuracy(cells.line, model, precision, runtime, plain_name(name), metric, score / 100)
    told.raise_any()
    findings.reported += told.reported


def _network(told: _Accuracy, parameters: int, sizes: dict[str, int]) -> Network:
    return Network(
        task=told.task,
        name=plain_name(f"{told.model}-{told.precision}"),
        accuracy_frac=float(told.score),
        precision=told.precision,
        parameters=parameters,
        artefact_bytes=sizes.get(told.precision, 0),
        note=f"{told.metric}; {told.runtime}",
    )
