"""Reads ncnn's published benchmark (Tencent/ncnn, benchmark/README.md): many networks on boards and phones.

It tells no accuracy (its weights are random), so accuracies come from a second file; networks without one
are reported and left out. ``powersave`` 0 is all cores, 1 the little ones, 2 the big ones.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Final

from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS
from trimtab_sim.catalogue.build import plain_name
from trimtab_sim.catalogue.collection import Collection, Detail
from trimtab_sim.catalogue.measurements import Measurement, Model, Setup
from trimtab_sim.catalogue.model import Network
from trimtab_sim.catalogue.places import place_of
from trimtab_sim.catalogue.table import Cells, Findings, read_rows
from trimtab_sim.catalogue.units import above_zero, count, not_negative, whole
from trimtab_sim.device.profile import DeviceProfile

COLUMNS: Final = (
    "device",
    "unit",
    "threads",
    "powersave",
    "gpu_device",
    "model",
    "precision",
    "min_ms",
    "max_ms",
    "avg_ms",
)
CORES: Final[Mapping[str, str]] = {"cpu_all": "cpu", "cpu_little": "cpu-little", "cpu_big": "cpu-big"}
VULKAN: Final = "gpu_vulkan"
ACCURACY_COLUMNS: Final = ("task", "model", "precision", "accuracy_pct", "params_m", "source")
RANGE_SPREADS: Final = 4.0
"""Minimum and maximum of ten or so runs lie about four standard deviations of ln(latency) apart (three for ten
runs, five for a hundred, if it is normal)."""
BYTES_PER_WEIGHT: Final = {"fp": 4, "int8": 1}


def read_ncnn(path: Path, accuracy: Path | None = None) -> Collection:
    """Return what the benchmark tells, with accuracies from a second file; raise ``CatalogueError``."""
    collection = Collection(Findings(str(path)))
    for cells in read_rows(path, COLUMNS, collection.findings):
        _add(cells, collection)
    collection.findings.raise_any()
    if accuracy is not None:
        told = Collection(Findings(str(accuracy)))
        for cells in read_rows(accuracy, ACCURACY_COLUMNS, told.findings):
            told.tell(_model(cells), _network(cells), cells.line)
        told.findings.raise_any()
        collection.networks.update(told.networks)
        collection.findings.reported += told.findings.reported
    return collection


def ncnn_place(setup: Setup, profile: DeviceProfile | None) -> Processor:
    """Return the processor of a setup of this file."""
    cores, _, threads = setup.cores.partition(" x")
    return place_of(setup.unit, int(threads or 1), cores or "cpu", "ncnn", profile)


def _add(cells: Cells, collection: Collection) -> None:
    """Add a row; one that took no time at all is reported and left out."""
    unit, threads = cells.needed("unit"), cells.read_needed("threads", count, 1)
    model, average = _model(cells), cells.read_needed("avg_ms", not_negative, Fraction(0))
    if unit not in (*CORES, VULKAN):
        known = ", ".join((*CORES, VULKAN))
        cells.findings.report(cells.line, "unit", f"{unit!r} is not one of {known}; the row is left out")
        return
    if not average:
        cells.findings.report(cells.line, "avg_ms", "is 0; the row is left out")
        return
    if unit == VULKAN:
        setup = Setup(cells.needed("device"), "GPU", f"gpu {cells.text('gpu_device')}", "ncnn")
    else:
        setup = Setup(cells.needed("device"), "CPU", f"{CORES[unit]} x{threads}", "ncnn")
    row = Measurement(setup, model, whole(average, NS_PER_MS, 1), cells.line)
    collection.add(row, Detail(latency_spread=_spread(cells)))


def _model(cells: Cells) -> Model:
    """Return the model under one spelling: some entries write ``squeezenet-int8`` and ``mobilenet-ssd``."""
    name, precision = cells.needed("model"), cells.needed("precision")
    if name.endswith(("-int8", "_int8")):
        return Model(_spelling(name[: -len("-int8")]), "int8")
    return Model(_spelling(name), precision)


def _spelling(name: str) -> str:
    return name.replace("-ssd", "_ssd").replace("-yolo", "_yolo") if name[:3] in ("squ", "mob") else name


def _spread(cells: Cells) -> float | None:
    """Return the standard deviation of ln(latency) from the range of the runs."""
    least, most = cells.read("min_ms", not_negative), cells.read("max_ms", not_negative)
    if not least or not most or most < least:
        return None
    return math.log(most / least) / RANGE_SPREADS


def _network(cells: Cells) -> Network:
    """Return a network of the accuracy file."""
    accuracy = cells.read_needed("accuracy_pct", not_negative, Fraction(0))
    if accuracy > 100:
        cells.findings.problem(cells.line, "accuracy_pct", "is above 100 %")
    precision = cells.needed("precision")
    parameters = round((cells.read("params_m", above_zero) or Fraction(0)) * 10**6)
    return Network(
        task=plain_name(cells.needed("task")),
        name=plain_name(f"{cells.text('model')}-{precision}"),
        accuracy_frac=float(accuracy / 100),
        precision=precision,
        parameters=parameters,
        artefact_bytes=parameters * BYTES_PER_WEIGHT.get(precision, 4),
        note=cells.text("source"),
    )
