"""Makes families, processors and profiles of what a reader found."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trimtab.adapters.energy import PowerModel
from trimtab.domain.family import Dataset, ExitRule, Family, Profile, Stage, TensorSpec, Variant
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_S, Source, energy_uj
from trimtab_sim.catalogue.model import Assumptions, Catalogue, Network, Run, Task
from trimtab_sim.catalogue.power import Power
from trimtab_sim.catalogue.table import Findings

NO_DIGEST: Final = "0" * 64
"""Nothing lies behind the artefacts of a catalogue's variants: they are for simulation only."""
NAME_LENGTH: Final = 100
ORDER: Final = ("cpu", "gpu", "npu", "remote")


@dataclass(frozen=True, slots=True)
class Basis:
    """What completes what a file tells: assumptions, the power of processors, and tasks' titles by name."""

    assumptions: Assumptions = field(default_factory=Assumptions)
    power: Power = field(default_factory=PowerModel)
    tasks: Mapping[str, Task] = field(default_factory=dict)


def build(runs: Iterable[Run], basis: Basis, findings: Findings) -> Catalogue:
    """Return the catalogue of these runs; raise ``CatalogueError`` with every problem found so far.

    Problems are: no run at all, two of one variant on one processor, a variant described in two ways.
    """
    kept = list(runs)
    networks = _networks(kept, findings)
    _check_twice(kept, findings)
    findings.raise_any()
    _report_sizeless(kept, findings)
    if not kept:
        raise findings.nothing_left()
    profiles: dict[str, list[Profile]] = {}
    for run in kept:
        profiles.setdefault(run.network.task, []).append(_profile(run, basis))
    families = tuple(
        _family(basis.tasks.get(task) or Task(task, task, findings.file), several, profiles[task], kept)
        for task, several in networks.items()
    )
    processors = {run.processor.name: run.processor for run in kept}
    ordered = sorted(processors.values(), key=_rank)
    tabled = {task: tuple(several) for task, several in profiles.items()}
    return Catalogue(families, tuple(ordered), tabled, tuple(findings.reported))


def plain_name(text: str) -> str:
    """Return ``text`` as a name of letters, digits, ``.``, ``_`` and ``-``: ``SVD-3(1k,1k)`` is ``SVD-3-1k-1k``."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    return name[:NAME_LENGTH] or "unnamed"


def size_bytes(network: Network) -> int:
    """Return a network's file size, from its parameters where it is not told; 0 when those are not either."""
    return network.artefact_bytes or network.parameters * (
        1 if "8" in network.precision else 2 if "16" in network.precision else 4
    )


def _rank(processor: Processor) -> tuple[int, int, str]:
    """Return the order that breaks ties: narrow cores first, accelerators later, the server last."""
    known = ORDER.index(processor.kind) if processor.kind in ORDER else len(ORDER)
    return known, processor.threads, processor.name


def _networks(runs: Sequence[Run], findings: Findings) -> dict[str, dict[str, Network]]:
    """Return networks by task and name, in the file's order; a variant told in two ways is a problem."""
    found: dict[str, dict[str, Network]] = {}
    lines: dict[tuple[str, str], int] = {}
    for run in runs:
        network = run.network
        known = found.setdefault(network.task, {}).setdefault(network.name, network)
        first = lines.setdefault((network.task, network.name), run.line)
        if known != network:
            what = next(name for name in Network.__slots__ if getattr(known, name) != getattr(network, name))
            told, before = getattr(network, what), getattr(known, what)
            message = f"{network.task}/{network.name} has {told}, but {before} at line {first}"
            findings.problem(run.line, what, message)
    return found


def _check_twice(runs: Sequence[Run], findings: Findings) -> None:
    lines: dict[tuple[str, str, str], int] = {}
    processors: dict[str, Run] = {}
    for run in runs:
        key = (run.network.task, run.network.name, run.processor.name)
        if lines.setdefault(key, run.line) != run.line:
            findings.problem(run.line, "", f"{'/'.join(key[:2])} on {key[2]} stands at line {lines[key]} too")
        other = processors.setdefault(run.processor.name, run)
        if other.processor != run.processor:
            message = f"{run.processor.name} is described otherwise at line {other.line}"
            findings.problem(run.line, "processor", message)


def _report_sizeless(runs: Sequence[Run], findings: Findings) -> None:
    """Report networks whose load and memory are taken as nothing, for want of any size."""
    lines: dict[str, int] = {}
    for run in runs:
        told = run.load_ns is not None and run.resident_bytes is not None
        if not told and not size_bytes(run.network):
            lines.setdefault(f"{run.network.task}/{run.network.name}", run.line)
    for name, line in lines.items():
        findings.report(
            line, "", f"no size of {name} is known: memory or a load that is not told counts as 0"
        )


def _profile(run: Run, basis: Basis) -> Profile:
    """Return a run's profile; what the file does not tell comes from the assumptions and the power."""
    assumed, size = basis.assumptions, size_bytes(run.network)
    active_mw = basis.power.active_mw(run.processor) if run.processor.kind != "remote" else 0.0
    told_ns = run.load_ns
    load_ns = round(size / assumed.load_bytes_per_s * NS_PER_S) if told_ns is None else told_ns
    energy = energy_uj(active_mw, run.latency_ns) if run.energy_uj is None else run.energy_uj
    load_energy = energy_uj(active_mw, load_ns) if run.load_energy_uj is None else run.load_energy_uj
    return Profile(
        variant=run.network.name,
        processor=run.processor.name,
        stage_latency_ns=(run.latency_ns,),
        latency_spread=assumed.latency_spread if run.latency_spread is None else run.latency_spread,
        stage_energy_uj=(energy,),
        load_ns=load_ns,
        load_energy_uj=load_energy,
        resident_bytes=size if run.resident_bytes is None else run.resident_bytes,
        latency_ns_p95=run.latency_ns_p95 or 0,
        latency_source=run.source,
        energy_source=Source.ASSUMED if run.energy_uj is None else run.source,
        memory_source=Source.ASSUMED if run.resident_bytes is None else run.source,
    )


def _family(
    task: Task, networks: Mapping[str, Network], profiles: Sequence[Profile], runs: Sequence[Run]
) -> Family:
    """Return the family of a task: the most accurate variant is the reference, the fastest the last resort.

    Only processors of the device count for the last resort: a server may be out of reach.
    """
    remote = {run.processor.name for run in runs if run.processor.kind == "remote"}
    local = [one for one in profiles if one.processor not in remote] or list(profiles)
    fastest = min(local, key=lambda one: (one.stage_latency_ns[0], one.variant))
    best = max(networks.values(), key=lambda one: (one.accuracy_frac, one.name))
    return Family(
        task=task.name,
        title=task.title,
        inputs=(TensorSpec("input", "FP32", (-1,)),),
        outputs=(TensorSpec("logits", "FP32", (-1,)),),
        labels=(),
        variants=tuple(_variant(network) for network in networks.values()),
        reference=best.name,
        last_resort=fastest.variant,
        dataset=Dataset(task.title, task.licence, task.source, 0, 0),
    )


def _variant(network: Network) -> Variant:
    stage = Stage(
        artefact=f"{network.name}.none",
        sha256=NO_DIGEST,
        artefact_bytes=network.artefact_bytes,
        inputs=("input",),
        outputs=("logits",),
        logits="logits",
        macs=network.macs,
        peak_activation_bytes=0,
    )
    return Variant(
        name=network.name,
        transforms=(),
        stages=(stage,),
        exit_rules=(ExitRule("full", 0.0, (1.0,), (network.accuracy_frac,)),),
        accuracy_frac=network.accuracy_frac,
        parameters=network.parameters,
        nonzero_parameters=network.parameters,
        precision=network.precision,
        note=network.note,
    )
