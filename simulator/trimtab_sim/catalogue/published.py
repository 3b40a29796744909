"""Reads published accuracies and latencies of MobileNet, MnasNet, EfficientNet-Lite ... (``published_variants.csv``).

The figures are from TensorFlow's documentation; the column ``source`` names repository, commit and page of each.
All networks classify ImageNet, so they make one family.
"""

from fractions import Fraction
from pathlib import Path
from typing import Final

from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS
from trimtab_sim.catalogue.build import plain_name
from trimtab_sim.catalogue.collection import Collection
from trimtab_sim.catalogue.measurements import Measurement, Model, Setup, Trait
from trimtab_sim.catalogue.model import Network
from trimtab_sim.catalogue.places import place_of
from trimtab_sim.catalogue.table import Cells, Findings, read_rows
from trimtab_sim.catalogue.units import above_zero, count, not_negative, whole
from trimtab_sim.device.profile import DeviceProfile

COLUMNS: Final = ("family", "variant", "precision", "top1_pct", "device", "unit", "threads", "latency_ms")
TASK: Final = "imagenet"
UNITS: Final = {"CPU": "CPU", "CPU_big": "CPU", "GPU": "GPU", "NNAPI": "NPU", "EdgeTPU": "NPU"}
"""What a unit of the file is. Which chip NNAPI chose is not told; on these phones mostly the DSP."""
MB: Final = 10**6
MOBILENET_M: Final = 300


def read_published(path: Path, families: tuple[str, ...] = ()) -> Collection:
    """Return what the file tells of all families or those named; raise ``CatalogueError``.

    Rows without a latency are reported and left out.
    """
    collection = Collection(Findings(str(path)))
    for cells in read_rows(path, COLUMNS, collection.findings):
        if families and cells.text("family") not in families:
            continue
        model = Model(cells.needed("variant"), cells.text("precision"))
        network = _network(cells)
        if network is not None:
            collection.tell(model, network, cells.line)
        _add_trait(cells, collection)
        setup, latency_ms = _setup(cells), cells.read("latency_ms", above_zero)
        if latency_ms is None:
            collection.findings.report(cells.line, "latency_ms", "is empty; the row is left out")
        elif setup is not None:
            collection.add(Measurement(setup, model, whole(latency_ms, NS_PER_MS, 1), cells.line))
    collection.findings.raise_any()
    return collection


def _add_trait(cells: Cells, collection: Collection) -> None:
    """Note what a network is a size of and how much it computes.

    Convolutions' work goes with the square of width and of resolution, so that stands in for untold MACs, in the
    proportion of MobileNet (300 M at width 1 and 224 pixels).
    """
    name, macs_m = cells.text("variant"), cells.read("macs_m", above_zero)
    pixels, width = cells.read("input_px", above_zero), cells.read("width", above_zero)
    if macs_m is None and pixels is None and name in collection.traits:
        return
    guessed_m = MOBILENET_M * (pixels or Fraction(224)) ** 2 / 224**2 * (width or Fraction(1)) ** 2
    told = collection.traits.get(name)
    if told is None or macs_m is not None:
        collection.traits[name] = Trait(cells.text("family"), float((macs_m or guessed_m) * 10**6))


def published_place(setup: Setup, profile: DeviceProfile | None) -> Processor:
    """Return the processor of a setup of this file."""
    cores, _, threads = setup.cores.partition(" x")
    return place_of(setup.unit, int(threads or 1), cores or "cpu", "tflite", profile)


def _setup(cells: Cells) -> Setup | None:
    unit, threads = cells.needed("unit"), cells.read("threads", count) or 1
    if unit not in UNITS:
        if unit:
            told = f"{unit!r} is not one of {', '.join(UNITS)}; the row is left out"
            cells.findings.report(cells.line, "unit", told)
        return None
    kind = UNITS[unit]
    cores = {"CPU": f"cpu x{threads}", "CPU_big": f"cpu-big x{threads}"}.get(unit, "")
    return Setup(cells.needed("device"), kind, cores, unit.lower() if kind == "NPU" else "")


def _network(cells: Cells) -> Network | None:
    """Return the network of a row; ``None`` when its accuracy is not told."""
    accuracy = cells.read("top1_pct", not_negative)
    if accuracy is None:
        return None
    if accuracy > 100:
        cells.findings.problem(cells.line, "top1_pct", "is above 100 %")
    size_mb = cells.read("size_mb", above_zero) or Fraction(0)
    return Network(
        task=TASK,
        name=plain_name(f"{cells.text('variant')}-{cells.text('precision')}"),
        accuracy_frac=float(accuracy / 100),
        precision=cells.text("precision"),
        parameters=round((cells.read("params_m", above_zero) or 0) * 10**6),
        macs=round((cells.read("macs_m", above_zero) or 0) * 10**6),
        artefact_bytes=round(size_mb * MB),
        note=cells.text("source"),
    )
