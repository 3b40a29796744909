"""Which processor a published measurement was made on: names and core numbers for units and thread counts.

With a device profile cores and names are those of the device, so its physics applies to them. Without one,
core numbers are assumed: little cores from 0, big ones from 4, as on most phones with eight cores.
"""

from typing import Final

from trimtab.domain.processor import Processor
from trimtab_sim.device.profile import Cluster, DeviceProfile

FIRST_CORE: Final = {"cpu-little": 0, "cpu-big": 4, "cpu": 0}
ACCELERATORS: Final = {"GPU": "gpu", "NPU": "npu"}


def place_of(
    unit: str, threads: int, cores: str, runtime: str, profile: DeviceProfile | None = None
) -> Processor:
    """Return the processor for ``unit`` (CPU, GPU, NPU); ``cores`` is ``cpu-big``, ``cpu-little`` or ``cpu``.

    On ``cpu`` (no core set asked for) threads run on the fastest cores. More threads than cores of a cluster
    take cores of the next slower one too.
    """
    if unit in ACCELERATORS:
        return _accelerator(ACCELERATORS[unit], runtime, profile)
    if profile is not None:
        return _on_device(threads, cores, runtime, profile)
    first = FIRST_CORE[cores]
    taken = tuple(range(first, first + threads))
    return Processor(f"{cores}:{span(taken)}", "cpu", taken, threads, runtime)


def span(cores: tuple[int, ...]) -> str:
    """Return ``4-7`` for a run of cores, ``0-1,6-7`` for several."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and runs[-1][-1] == core - 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _accelerator(kind: str, runtime: str, profile: DeviceProfile | None) -> Processor:
    """Return the device's own GPU or NPU, or one that is assumed to be there."""
    for processor in profile.processors if profile else ():
        if processor.kind == kind:
            return processor
    return Processor(kind, kind, (), 1, runtime, provider=kind)


def _on_device(threads: int, cores: str, runtime: str, profile: DeviceProfile) -> Processor:
    """Return the cores of a device that ``threads`` threads run on."""
    fastest = sorted(profile.cpu.clusters, key=_speed, reverse=cores != "cpu-little")
    wanted = [core for cluster in fastest for core in cluster.cores]
    taken = tuple(sorted(wanted[:threads]))
    owner = next((one.name for one in fastest if set(taken) <= set(one.cores)), "cpu")
    name = f"{owner}:{span(taken)}"
    known = {processor.name: processor for processor in profile.processors}
    return known.get(name) or Processor(name, "cpu", taken, len(taken), runtime)


def _speed(cluster: Cluster) -> tuple[float, float]:
    """Return what makes a cluster the faster one: its clock, then what a core of it may draw."""
    return cluster.khz[-1], cluster.core_ma[-1]
