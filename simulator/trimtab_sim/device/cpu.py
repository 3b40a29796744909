"""What processors draw and how fast they are at each step: the power profile's currents as power.

The formula is that of Android's power profiles (source.android.com/docs/core/power/values):

    CPU = suspend + idle + active (any core busy) + cluster (any of its cores busy) + cores x core(step)

Suspend and idle are drawn anyway and belong to the background; the power of a run is what it adds.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trimtab.domain.processor import Processor
from trimtab_sim.device.profile import Accelerator, Cluster, Cpu, DeviceProfile

STOPPED_FACTOR: Final = 1000.0
"""How much slower a processor is that its thermal policy has stopped: its work waits until it has cooled."""
USUAL_CLOCK_FRAC: Final = 0.5
"""Share of the top clock at which other apps' work is taken to run (assumed)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a thermal policy can limit: clocks (kHz, rising), power of all of it when busy at each (mW)."""

    name: str
    khz: tuple[float, ...]
    power_mw: tuple[float, ...]

    def slowdown(self, cap_khz: float) -> float:
        """Return how many times longer a run takes when the clock is at most ``cap_khz``.

        Runs are taken to be bound by the clock: waits for memory, which do not stretch, are not told apart.
        """
        if cap_khz <= 0.0:
            return STOPPED_FACTOR
        return self.khz[-1] / self.khz[step_at(self.khz, cap_khz)]

    def power_factor(self, cap_khz: float) -> float:
        """Return the power at that clock as a share of the power at the top clock."""
        return self.power_mw[step_at(self.khz, cap_khz)] / self.power_mw[-1]


def step_at(khz: Sequence[float], cap_khz: float) -> int:
    """Return the index of the fastest step of at most ``cap_khz``; the slowest if all are faster."""
    return max(0, bisect_right(khz, cap_khz) - 1)


def cluster_power_mw(cpu: Cpu, cluster: Cluster, cores: float, step: int = -1) -> float:
    """Return what ``cores`` busy cores of a cluster add at a frequency step (index; the last is the fastest)."""
    if cores <= 0:
        return 0.0
    return (cpu.active_ma + cluster.cluster_ma + cores * cluster.core_ma[step]) * cpu.voltage_mv / 1000


def processor_power_mw(profile: DeviceProfile, processor: Processor, cap_khz: float = float("inf")) -> float:
    """Return the power a run adds on a processor at the fastest clock of at most ``cap_khz``.

    Raises ``KeyError`` for a processor that the device does not have.
    """
    cluster, accelerator = profile.cluster_of(processor), profile.accelerator_of(processor)
    if cluster is not None:
        busy = min(len(processor.cores), processor.threads)
        return cluster_power_mw(profile.cpu, cluster, busy, step_at(cluster.khz, cap_khz))
    if accelerator is None:
        raise KeyError(processor.name)
    return accelerator.power_mw[step_at(accelerator.khz, cap_khz)]


def load_power_mw(cpu: Cpu, load_frac: float) -> float:
    """Return what other apps draw that keep a share of all cores busy, evenly, at ``USUAL_CLOCK_FRAC``."""
    if load_frac <= 0.0:
        return 0.0
    current_ma = cpu.active_ma
    for cluster in cpu.clusters:
        step = step_at(cluster.khz, USUAL_CLOCK_FRAC * cluster.khz[-1])
        busy = load_frac * len(cluster.cores)
        current_ma += min(1.0, busy) * cluster.cluster_ma + busy * cluster.core_ma[step]
    return current_ma * cpu.voltage_mv / 1000


def targets(profile: DeviceProfile) -> dict[str, Target]:
    """Return everything of a device that a thermal policy can limit, by name."""
    found = {cluster.name: _cluster_target(profile.cpu, cluster) for cluster in profile.cpu.clusters}
    for name, accelerator in (("gpu", profile.gpu), ("npu", profile.npu)):
        if accelerator is not None:
            found[name] = _accelerator_target(name, accelerator)
    return found


def target_of(profile: DeviceProfile, processor: Processor) -> str:
    """Return the name of the target that limits a processor; raise ``KeyError`` for one the device lacks."""
    cluster = profile.cluster_of(processor)
    if cluster is not None:
        return cluster.name
    if profile.accelerator_of(processor) is None:
        raise KeyError(processor.name)
    return processor.kind


def _cluster_target(cpu: Cpu, cluster: Cluster) -> Target:
    """Return a cluster's power per step, as the thermal policy states it where it does."""
    cores = len(cluster.cores)
    power = [cluster_power_mw(cpu, cluster, cores, step) for step in range(len(cluster.khz))]
    for state, stated_mw in enumerate(cluster.state_mw):
        power[-1 - state] = stated_mw
    return Target(cluster.name, cluster.khz, tuple(power))


def _accelerator_target(name: str, accelerator: Accelerator) -> Target:
    return Target(name, accelerator.khz, accelerator.power_mw)
