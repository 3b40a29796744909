"""Finds the processors of this machine: core sets with thread counts, and other execution providers.

Which ones, per cluster of equal cores (``cpu``, or ``cpu-big``/``cpu-mid``/``cpu-little``), until the limit:
the first core, all cores, the second core, two halves, then more single cores. One hardware thread per
physical core: a second one on the same core would only slow the first. A CPU quota of a container leaves the
fastest cores that it pays for. Gangs stop at eight cores: a network at batch 1 gains nothing from more.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from trimtab.adapters.affinity import allowed_cores
from trimtab.adapters.cgroup import Cgroup
from trimtab.adapters.sysfs import SYSFS, core_capacities, physical_cores
from trimtab.domain.processor import Processor

MAX_PROCESSORS = 8
MAX_GANG = 8

CLUSTER_NAMES = {1: ("cpu",), 2: ("cpu-big", "cpu-little"), 3: ("cpu-big", "cpu-mid", "cpu-little")}

PROVIDERS: tuple[tuple[str, str, str], ...] = (
    ("CUDAExecutionProvider", "gpu", "gpu:cuda"),
    ("TensorrtExecutionProvider", "gpu", "gpu:tensorrt"),
    ("ROCMExecutionProvider", "gpu", "gpu:rocm"),
    ("MIGraphXExecutionProvider", "gpu", "gpu:migraphx"),
    ("DmlExecutionProvider", "gpu", "gpu:directml"),
    ("WebGpuExecutionProvider", "gpu", "gpu:webgpu"),
    ("QNNExecutionProvider", "npu", "npu:qnn"),
    ("CoreMLExecutionProvider", "npu", "npu:coreml"),
    ("NnapiExecutionProvider", "npu", "npu:nnapi"),
    ("VitisAIExecutionProvider", "npu", "npu:vitisai"),
    ("OpenVINOExecutionProvider", "openvino", "openvino:cpu"),
    ("XnnpackExecutionProvider", "xnnpack", "xnnpack:cpu"),
)
"""(execution provider, kind, processor name), preferred first; one processor per kind."""


ON_CORES = ("openvino", "xnnpack")
"""Kinds of other providers that run on the CPU's cores."""


def discover_processors(
    sysfs: Path = SYSFS,
    *,
    affinity: Sequence[int] | None = None,
    cpu_quota: float | None = None,
    providers: Sequence[str] | None = None,
    limit: int = MAX_PROCESSORS,
) -> tuple[Processor, ...]:
    """Return this machine's processors, narrow before wide, in the order that breaks ties.

    ``affinity``, ``cpu_quota`` (CPUs' worth of time) and ``providers`` default to what this process has.
    """
    cores = tuple(sorted(affinity)) if affinity is not None else allowed_cores()
    quota = Cgroup().cpu_quota() if cpu_quota is None and affinity is None else cpu_quota
    clusters = _clusters(cores, quota, sysfs)
    share = max(1, limit // max(1, len(clusters)))
    found = [p for name, members in clusters for p in _cpu_processors(name, members, share)]
    found.sort(key=lambda p: p.threads)
    every = tuple(core for _, members in clusters for core in members)
    return (*found, *_accelerators(_available() if providers is None else providers, every))


def _clusters(cores: tuple[int, ...], quota: float | None, sysfs: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Return (name, cores) of each group of equally fast cores, fastest first, within the quota."""
    usable = physical_cores(cores, sysfs)
    capacity = core_capacities(usable, sysfs)
    if quota is not None:
        fastest = sorted(usable, key=lambda core: (-capacity[core], core))
        usable = tuple(sorted(fastest[: max(1, math.floor(quota + 0.01))]))
    levels = sorted({capacity[core] for core in usable}, reverse=True)
    if len(levels) > 3:  # one outlier per core (measured capacities): keep the fastest apart from the rest
        levels = [levels[0], levels[-1]]
    groups = [tuple(c for c in usable if _nearest(capacity[c], levels) == level) for level in levels]
    return list(zip(CLUSTER_NAMES[len(groups)], groups, strict=True))


def _nearest(capacity: int, levels: list[int]) -> int:
    return min(levels, key=lambda level: (abs(level - capacity), -level))


def _cpu_processors(name: str, cores: tuple[int, ...], limit: int) -> list[Processor]:
    """Return up to ``limit`` core sets of one cluster, by the order the module's text gives."""
    gang, half = cores[:MAX_GANG], len(cores[:MAX_GANG]) // 2
    sets: list[tuple[int, ...]] = [cores[:1]]
    if len(gang) > 1:
        sets += [gang, cores[1:2]]
    if half > 1 and len(sets) + 2 <= limit:
        sets += [gang[:half], gang[half : 2 * half]]
    sets += [(core,) for core in cores[2:]]
    return [_cpu_processor(name, chosen) for chosen in sorted(sets[:limit], key=lambda s: (len(s), s))]


def _cpu_processor(name: str, cores: tuple[int, ...]) -> Processor:
    return Processor(f"{name}:{_span(cores)}", "cpu", cores, len(cores))


def _span(cores: tuple[int, ...]) -> str:
    """Return ``0-3`` for a run of cores, else ``0,2,4``."""
    if len(cores) > 1 and cores == tuple(range(cores[0], cores[-1] + 1)):
        return f"{cores[0]}-{cores[-1]}"
    return ",".join(str(core) for core in cores)


def _accelerators(providers: Sequence[str], cores: tuple[int, ...]) -> list[Processor]:
    """Return one processor per kind of accelerator; OpenVINO and XNNPACK run on all cores."""
    found: dict[str, Processor] = {}
    for provider, kind, name in PROVIDERS:
        if provider in providers and kind not in found:
            owns = cores if kind in ON_CORES else ()
            found[kind] = Processor(name, kind, owns, max(1, len(owns)), provider=provider)
    return list(found.values())


def _available() -> Sequence[str]:
    import onnxruntime  # here, so that core sets can be found without it

    names: list[str] = onnxruntime.get_available_providers()
    return names
