"""Measures every variant on every processor of this machine: latency, its spread, load time, memory, energy.

Visits go round robin over processors and variants in slices of a few milliseconds, so that a clock that
drifts or a neighbour that wakes hits all of them alike. While a processor is visited the measuring thread is
bound to its cores, as a worker of the daemon is.
"""

import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from trimtab.adapters.affinity import allowed_cores, pinned
from trimtab.adapters.energy import Calibrating
from trimtab.adapters.family_store import FamilyError, load_samples
from trimtab.domain.family import Family, Machine, Profile, ProfileSet, TensorSpec, Variant
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S, Source
from trimtab.ports import Array, EnergyMeter, Loaded, Runtime, RuntimeFailure, StoredFamily

log = logging.getLogger(__name__)

SLICE_NS = 5 * NS_PER_MS
MIN_RUNS_PER_VISIT = 2
MIN_SPREAD = 0.01
"""No machine repeats itself to better than about 1 %; fewer samples than that takes would claim it does."""

Progress = Callable[[float, str], None]
"""Told the fraction done (0..1) and what is being measured."""

DTYPES: Mapping[str, type[np.generic]] = {
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "UINT16": np.uint16,
    "INT32": np.int32,
    "UINT32": np.uint32,
    "INT64": np.int64,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
}


class ProfilingError(Exception):
    """Nothing could be measured; the message says why."""


@dataclass(slots=True)
class _Cell:
    """One variant on one processor: what loading took, and every run's stage times."""

    variant: Variant
    processor: Processor
    runtime: Runtime
    loaded: Loaded
    runs: list[tuple[int, ...]] = field(default_factory=list)


def profile_family(
    stored: StoredFamily,
    processors: Sequence[Processor],
    runtimes: Mapping[str, Runtime],
    meter: EnergyMeter,
    *,
    budget_s: float = 5.0,
    progress: Progress | None = None,
) -> ProfileSet:
    """Measure all variants on all processors in about ``budget_s`` seconds; raise ``ProfilingError``.

    A variant that a processor cannot load or run gets no profile there and a warning. ``runtimes`` are by the
    name processors refer to; what was loaded is evicted at the end. A meter that calibrates does so first, on
    top of the budget.
    """
    report = progress or (lambda _frac, _what: None)
    inputs = _inputs(stored)
    cells: list[_Cell] = []
    try:
        cells = _load_all(stored, processors, runtimes, report)
        cells = _first_runs(stored.family.task, cells, inputs)
        if not cells:
            raise ProfilingError(
                f"{stored.folder}: no variant of {stored.family.task!r} runs on this machine"
            )
        _calibrate(stored.family.task, cells, inputs, meter, report)
        _measure(stored.family.task, cells, inputs, budget_s, report)
    finally:
        for variant, processor in _by_pool(stored.family, processors):
            if processor.runtime in runtimes:
                runtimes[processor.runtime].evict(stored.family.task, variant.name, processor.pool)
    narrow = {p.kind: p for p in sorted(processors, key=lambda p: -p.threads)}  # loading takes one thread
    profiles = tuple(_profile(cell, meter, narrow[cell.processor.kind]) for cell in cells)
    used = {cell.runtime.description for cell in cells}
    report(1.0, "done")
    return ProfileSet(stored.family.task, describe_machine(", ".join(sorted(used)), meter), profiles)


def describe_machine(runtime: str, meter: EnergyMeter) -> Machine:
    """Return on which machine, with which runtime (its description) and meter, figures are obtained."""
    return Machine(
        cpu=_cpu_name(),
        cores=len(allowed_cores()),
        memory_bytes=int(psutil.virtual_memory().total),
        system=f"{platform.system()} {platform.machine()}",
        runtime=runtime,
        power_model=meter.description,
    )


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for wanted in ("model name", "Hardware", "Model"):
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == wanted:
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _by_pool(family: Family, processors: Sequence[Processor]) -> Iterator[tuple[Variant, Processor]]:
    """Yield each variant with the first processor of each pool."""
    first = {p.pool: p for p in reversed(processors)}
    for processor in first.values():
        for variant in family.variants:
            yield variant, processor


def _load_all(
    stored: StoredFamily, processors: Sequence[Processor], runtimes: Mapping[str, Runtime], report: Progress
) -> list[_Cell]:
    """Load every variant once per pool and return the cells that can be measured."""
    task, todo = stored.family.task, list(_by_pool(stored.family, processors))
    _throw_away(stored, todo, runtimes)
    loaded: dict[tuple[str, str], Loaded] = {}
    for index, (variant, processor) in enumerate(todo):
        report(0.2 * index / len(todo), f"loading {variant.name}")
        runtime = runtimes.get(processor.runtime)
        if runtime is None:
            continue
        try:
            loaded[variant.name, processor.pool] = runtime.load(task, variant, stored.folder, processor)
        except RuntimeFailure as error:
            log.warning("%s@%s gets no profile: %s", variant.name, processor.name, error)
    return [
        _Cell(variant, p, runtimes[p.runtime], loaded[variant.name, p.pool])
        for p in processors
        for variant in stored.family.variants
        if (variant.name, p.pool) in loaded
    ]


def _throw_away(
    stored: StoredFamily, todo: Sequence[tuple[Variant, Processor]], runtimes: Mapping[str, Runtime]
) -> None:
    """Load and evict one variant per pool: a runtime's own first start is not the variant's."""
    seen: set[str] = set()
    for variant, processor in todo:
        runtime = runtimes.get(processor.runtime)
        if runtime is None or processor.pool in seen:
            continue
        try:
            runtime.load(stored.family.task, variant, stored.folder, processor)
        except RuntimeFailure:
            continue  # measured loading will report it
        runtime.evict(stored.family.task, variant.name, processor.pool)
        seen.add(processor.pool)


def _first_runs(task: str, cells: list[_Cell], inputs: Mapping[str, Array]) -> list[_Cell]:
    """Return the cells that can run; warn about the others."""
    able: list[_Cell] = []
    for cell in cells:
        try:
            with pinned(cell.processor.cores):
                _run(task, cell, inputs)
            able.append(cell)
        except RuntimeFailure as error:
            log.warning("%s@%s gets no profile: %s", cell.variant.name, cell.processor.name, error)
    return able


def _run(task: str, cell: _Cell, inputs: Mapping[str, Array]) -> tuple[int, ...]:
    """Run all stages in a chain and return how long each took."""
    tensors, times = dict(inputs), []
    for stage in range(len(cell.variant.stages)):
        begin = time.perf_counter_ns()
        outputs = cell.runtime.run(task, cell.variant.name, cell.processor, stage, tensors)
        times.append(time.perf_counter_ns() - begin)
        tensors.update(outputs)
    return tuple(times)


def _calibrate(
    task: str, cells: list[_Cell], inputs: Mapping[str, Array], meter: EnergyMeter, report: Progress
) -> None:
    """Let a meter learn each processor's power, with the variant of most multiplications as the work."""
    if not isinstance(meter, Calibrating):
        return
    heaviest: dict[str, _Cell] = {}
    for cell in cells:
        held = heaviest.get(cell.processor.name)
        if held is None or cell.variant.macs > held.variant.macs:
            heaviest[cell.processor.name] = cell
    for name, cell in heaviest.items():
        report(0.2, f"power of {name}")
        with pinned(cell.processor.cores):
            meter.calibrate(cell.processor, lambda cell=cell: _run(task, cell, inputs))  # type: ignore[misc]


def _measure(
    task: str, cells: list[_Cell], inputs: Mapping[str, Array], budget_s: float, report: Progress
) -> None:
    """Visit all cells again and again until the budget is spent; each is visited at least once."""
    begin = time.perf_counter_ns()
    budget_ns = int(budget_s * NS_PER_S)
    first = True
    while first or time.perf_counter_ns() - begin < budget_ns:
        for cell in cells:
            passed = time.perf_counter_ns() - begin
            if passed >= budget_ns and not first:
                return
            report(
                min(0.99, 0.2 + 0.8 * passed / max(1, budget_ns)),
                f"{cell.variant.name}@{cell.processor.name}",
            )
            with pinned(cell.processor.cores):
                _visit(task, cell, inputs)
        first = False


def _visit(task: str, cell: _Cell, inputs: Mapping[str, Array]) -> None:
    end = time.perf_counter_ns() + SLICE_NS
    runs = 0
    while runs < MIN_RUNS_PER_VISIT or time.perf_counter_ns() < end:
        cell.runs.append(_run(task, cell, inputs))
        runs += 1


def _profile(cell: _Cell, meter: EnergyMeter, loader: Processor) -> Profile:
    times = np.asarray(cell.runs, np.float64)
    totals = times.sum(axis=1)
    medians = tuple(int(value) for value in np.median(times, axis=0))
    energies = [meter.run_energy(cell.processor, ns) for ns in medians]
    return Profile(
        variant=cell.variant.name,
        processor=cell.processor.name,
        stage_latency_ns=medians,
        latency_spread=latency_spread(totals),
        stage_energy_uj=tuple(reading.energy_uj for reading in energies),
        load_ns=cell.loaded.load_ns,
        load_energy_uj=meter.run_energy(loader, cell.loaded.load_ns).energy_uj,
        resident_bytes=cell.loaded.resident_bytes,
        latency_ns_p95=int(np.percentile(totals, 95)),
        latency_source=Source.MEASURED,
        energy_source=energies[0].source,
        memory_source=Source.MEASURED,
    )


def latency_spread(latencies: "np.typing.NDArray[np.float64]") -> float:
    """Return the standard deviation of ln(latency) as its middle and its tail suggest, the larger of both.

    The middle is the interquartile range over 1.349, the tail ln(p95 / p50) over 1.645: both equal sigma for
    a log-normal latency, and neither is carried away by a single preempted run.
    """
    quarter, half, three, tail = np.log(np.percentile(np.maximum(latencies, 1.0), (25, 50, 75, 95)))
    return float(max(MIN_SPREAD, (three - quarter) / 1.349, (tail - half) / 1.645))


def _inputs(stored: StoredFamily) -> dict[str, Array]:
    """Return the first labelled sample as a batch of one, or noise where the family has no samples."""
    try:
        arrays, _ = load_samples(stored)
        return {name: np.ascontiguousarray(array[:1]) for name, array in arrays.items()}
    except FamilyError as error:
        log.info("profiling with noise: %s", error)
        return {spec.name: _noise(spec) for spec in stored.family.inputs}


def _noise(spec: TensorSpec) -> Array:
    shape = [size if size > 0 else 1 for size in spec.shape]
    dtype = DTYPES.get(spec.datatype, np.float32)
    values = np.random.default_rng(0).random(shape)
    return (values * (1 if np.issubdtype(dtype, np.floating) else 2)).astype(dtype)
