"""Reads MCDNN's catalogue of approximate networks (Han et al., MobiSys 2016), one family per app.

Columns as its public scheduler has them: load and compute time (ms) and energy (J) on the phone, accuracy (%),
memory, and time on the server. The server becomes a processor of kind ``remote``: network round trip and
computation, for the energy of sending.
"""

from fractions import Fraction
from pathlib import Path
from typing import Final

from trimtab.domain.processor import REMOTE, Processor
from trimtab.domain.quantities import NS_PER_MS, UJ_PER_J, UJ_PER_MJ
from trimtab_sim.catalogue.build import Basis, build, plain_name
from trimtab_sim.catalogue.model import Catalogue, Network, Run
from trimtab_sim.catalogue.options import McdnnOptions
from trimtab_sim.catalogue.table import Cells, Findings, read_rows
from trimtab_sim.catalogue.units import above_zero, count, not_negative, whole
from trimtab_sim.device.profile import DeviceProfile

COLUMNS: Final = ("app", "variant", "load_ms", "compute_ms", "load_j", "compute_j", "accuracy_pct", "memory")
SERVER_COLUMNS: Final = ("server_load_ms", "server_compute_ms")


def read_mcdnn(
    path: Path, options: McdnnOptions, basis: Basis, profile: DeviceProfile | None = None
) -> Catalogue:
    """Return the catalogue of MCDNN's apps; raise ``CatalogueError``."""
    findings = Findings(str(path))
    columns = (*COLUMNS, *SERVER_COLUMNS) if options.server else COLUMNS
    phone = _phone(options, profile, findings)
    runs: list[Run] = []
    for cells in read_rows(path, columns, findings):
        network = _network(cells)
        runs.append(_on_phone(cells, network, phone))
        if options.server:
            runs.append(_on_server(cells, network, options))
    return build(runs, basis, findings)


def _phone(options: McdnnOptions, profile: DeviceProfile | None, findings: Findings) -> Processor:
    """Return the phone's processor: the device's if there is a profile, else one that is assumed."""
    known = {processor.name: processor for processor in profile.processors} if profile else {}
    if known and options.processor not in known:
        raise findings.refuse(f"the device has no processor {options.processor!r}; it has {', '.join(known)}")
    kind = options.processor.partition(":")[0].partition("-")[0]
    cpu = kind == "cpu"
    made = Processor(
        options.processor, kind, (0,) if cpu else (), 1, "mcdnn", "CPUExecutionProvider" if cpu else kind
    )
    return known.get(options.processor, made)


def _network(cells: Cells) -> Network:
    accuracy = cells.read_needed("accuracy_pct", not_negative, Fraction(0)) / 100
    if accuracy > 1:
        cells.findings.problem(cells.line, "accuracy_pct", "is above 100 %")
    return Network(
        task=plain_name(cells.needed("app")),
        name=plain_name(cells.needed("variant")),
        accuracy_frac=float(accuracy),
        note=", ".join(part for part in (cells.text("variant"), cells.text("compute_flop")) if part),
    )


def _on_phone(cells: Cells, network: Network, phone: Processor) -> Run:
    return Run(
        line=cells.line,
        network=network,
        processor=phone,
        latency_ns=_ms(cells, "compute_ms"),
        energy_uj=float(cells.read_needed("compute_j", not_negative, Fraction(0)) * UJ_PER_J),
        load_ns=_ms(cells, "load_ms"),
        load_energy_uj=float(cells.read_needed("load_j", not_negative, Fraction(0)) * UJ_PER_J),
        resident_bytes=cells.read("memory", count),
    )


def _on_server(cells: Cells, network: Network, options: McdnnOptions) -> Run:
    """Return the run on the server. What it holds there is none of the phone's memory."""
    network_ns = round(options.round_trip_ms * NS_PER_MS)
    return Run(
        line=cells.line,
        network=network,
        processor=Processor(
            "remote",
            REMOTE,
            (),
            1,
            "mcdnn",
            REMOTE,
            network_ns=network_ns,
            usd_per_ms=options.server_usd_per_ms,
            concurrent=0,
        ),
        latency_ns=_ms(cells, "server_compute_ms") + network_ns,
        energy_uj=options.send_mj * UJ_PER_MJ,
        load_ns=_ms(cells, "server_load_ms"),
        load_energy_uj=0.0,
        resident_bytes=0,
    )


def _ms(cells: Cells, column: str) -> int:
    return whole(cells.read_needed(column, above_zero, Fraction(1)), NS_PER_MS, 1)
