"""Reads the project's own catalogue CSV: one row per variant and processor, units in the column names.

The format is documented in docs/catalogues.md.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from trimtab.domain.processor import Processor
from trimtab.domain.quantities import Source
from trimtab.policy.structure import nearest
from trimtab_sim.catalogue.build import Basis, build
from trimtab_sim.catalogue.model import Catalogue, Network, Run
from trimtab_sim.catalogue.table import Cells, Findings, header_of, read_rows
from trimtab_sim.catalogue.units import (
    ENERGY_UJ,
    SHARE_FRAC,
    SIZE_BYTES,
    TIME_NS,
    above_zero,
    count,
    not_negative,
    whole,
)
from trimtab_sim.device.profile import DeviceProfile

NEEDED: Final = ("task", "variant", "processor")
PLAIN: Final = (
    "kind",
    "cores",
    "threads",
    "runtime",
    "precision",
    "latency_spread",
    "parameters",
    "macs",
    "note",
    "source",
)
FIGURES: Final[Mapping[str, Mapping[str, int | Fraction]]] = {
    "accuracy": SHARE_FRAC,
    "latency": TIME_NS,
    "latency_p95": TIME_NS,
    "energy": ENERGY_UJ,
    "load": TIME_NS,
    "load_energy": ENERGY_UJ,
    "memory": SIZE_BYTES,
    "size": SIZE_BYTES,
}
KINDS: Final = ("cpu", "gpu", "npu", "remote")
MAX_CORES: Final = 1024


@dataclass(frozen=True, slots=True)
class _Unit:
    """The column that holds a figure, and the factor to the project's unit."""

    column: str
    factor: int | Fraction


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What holds for all rows of a file."""

    units: Mapping[str, _Unit]
    profile: DeviceProfile | None


def read_own(path: Path, basis: Basis, profile: DeviceProfile | None = None) -> Catalogue:
    """Return the catalogue in a CSV of the project's own format; raise ``CatalogueError``.

    With ``profile`` a processor without cores in the file is the device's processor of that name.
    """
    findings = Findings(str(path))
    sheet = _Sheet(_units(header_of(path), findings), profile)
    findings.raise_any()
    runs = [_run(cells, sheet) for cells in read_rows(path, NEEDED, findings)]
    return build(runs, basis, findings)


def _units(header: Sequence[str], findings: Findings) -> dict[str, _Unit]:
    """Return where each figure is; a column of another name or a second unit of a figure is a problem."""
    units: dict[str, _Unit] = {}
    spelled = {
        f"{stem}_{unit}": (stem, factor) for stem, by in FIGURES.items() for unit, factor in by.items()
    }
    for column in header:
        if column in spelled:
            stem, factor = spelled[column]
            if stem in units:
                findings.problem(1, column, f"{units[stem].column} tells the same")
            units[stem] = _Unit(column, factor)
        elif column not in (*NEEDED, *PLAIN):
            known = [*NEEDED, *PLAIN, *spelled]
            findings.problem(1, column, f"is not a column of a catalogue{nearest(column, known)}")
    for stem in ("accuracy", "latency"):
        if stem not in units:
            choices = " or ".join(f"{stem}_{unit}" for unit in FIGURES[stem])
            findings.problem(1, "", f"the header has no {choices}")
    return units


def _run(cells: Cells, sheet: _Sheet) -> Run:
    """Return what a row tells; cells that make no sense are noted as problems."""
    figure = _figures(cells, sheet)
    processor = _processor(cells, sheet.profile)
    energy = figure("energy", not_negative)
    if processor.kind == "remote" and energy is None:
        cells.findings.problem(
            cells.line, "energy", "a remote processor needs one: what sending costs the device"
        )
    load_energy = figure("load_energy", not_negative)
    return Run(
        line=cells.line,
        network=_network(cells, figure),
        processor=processor,
        latency_ns=_needed_ns(cells, sheet, figure),
        latency_spread=cells.read("latency_spread", _spread),
        latency_ns_p95=_whole(figure("latency_p95", above_zero)),
        energy_uj=None if energy is None else float(energy),
        load_ns=_whole(figure("load", not_negative)),
        load_energy_uj=None if load_energy is None else float(load_energy),
        resident_bytes=_whole(figure("memory", not_negative)),
        source=cells.read("source", _source) or Source.PUBLISHED,
    )


_Figure = Callable[[str, Callable[[str], Fraction]], Fraction | None]


def _figures(cells: Cells, sheet: _Sheet) -> _Figure:
    """Return what reads a figure of the row, exactly and in the project's unit."""

    def figure(stem: str, parse: Callable[[str], Fraction]) -> Fraction | None:
        unit = sheet.units.get(stem)
        value = cells.read(unit.column, parse) if unit else None
        return None if value is None or unit is None else value * unit.factor

    return figure


def _needed_ns(cells: Cells, sheet: _Sheet, figure: _Figure) -> int:
    cells.needed(sheet.units["latency"].column)
    return whole(figure("latency", above_zero) or Fraction(1), 1, 1)


def _network(cells: Cells, figure: _Figure) -> Network:
    accuracy = figure("accuracy", not_negative)
    if accuracy is None or accuracy > 1:
        cells.findings.problem(cells.line, "accuracy", "is needed, from 0 to 1 (or 100 %)")
    return Network(
        task=cells.read_needed("task", _name, "?"),
        name=cells.read_needed("variant", _name, "?"),
        accuracy_frac=float(accuracy or 0),
        precision=cells.text("precision"),
        parameters=cells.read("parameters", count) or 0,
        macs=cells.read("macs", count) or 0,
        artefact_bytes=_whole(figure("size", not_negative)) or 0,
        note=cells.text("note"),
    )


def _processor(cells: Cells, profile: DeviceProfile | None) -> Processor:
    """Return the processor of a row: of the device, or with the cores and threads that the row or name tells."""
    name = cells.read_needed("processor", _processor_name, "cpu")
    for known in profile.processors if profile else ():
        if known.name == name and not cells.text("cores"):
            return known
    kind = cells.read("kind", _kind) or _kind_of(name)
    told = cells.read("cores", _cores)
    cores = tuple(_cores_or_none(name.partition(":")[2])) if told is None and kind == "cpu" else told or ()
    threads = cells.read("threads", _threads) or max(1, len(cores))
    provider = "CPUExecutionProvider" if kind == "cpu" else kind
    return Processor(name, kind, cores, threads, cells.text("runtime") or "onnxruntime", provider)


def _kind_of(name: str) -> str:
    """Return the kind a processor's name begins with; ``cpu`` for any other."""
    return next((kind for kind in KINDS if name.startswith(kind)), "cpu")


def _cores_or_none(text: str) -> tuple[int, ...]:
    try:
        return _cores(text)
    except ValueError:
        return ()


def _cores(text: str) -> tuple[int, ...]:
    """Return the cores in ``4-7`` or ``0,2-3``; raise ``ValueError``."""
    cores: list[int] = []
    for part in re.split(r"[,;\s]+", text.strip()):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or len(part) > 9:
            raise ValueError(f"{text!r} are not cores such as 4-7 or 0,2")
        cores += range(int(first), min(int(last or first), MAX_CORES) + 1)
    if not cores or len(set(cores)) != len(cores) or max(cores) >= MAX_CORES:
        raise ValueError(f"{text!r} are not different cores below {MAX_CORES}")
    return tuple(sorted(cores))


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ValueError(f"{text[:100]!r} is not a name (letters, digits, '.', '_', '-')")
    return text


def _processor_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:,-]{0,99}", text):
        raise ValueError(f"{text[:100]!r} is not a processor's name such as cpu-big:4-7 or gpu")
    return text


def _kind(text: str) -> str:
    if text not in KINDS:
        raise ValueError(f"{text!r} is not one of {', '.join(KINDS)}")
    return text


def _threads(text: str) -> int:
    if not text.isdigit() or not 0 < int(text[:9]) <= MAX_CORES:
        raise ValueError(f"{text!r} is not a number of threads")
    return int(text)


def _spread(text: str) -> float:
    value = float(not_negative(text))
    if value > 3:
        raise ValueError(f"{text} is not a standard deviation of ln(latency), which is rarely above 0.5")
    return value


def _source(text: str) -> Source:
    try:
        return Source(text)
    except ValueError:
        raise ValueError(f"{text!r} is not one of {', '.join(Source)}") from None


def _whole(value: Fraction | None) -> int | None:
    return None if value is None else round(value)
