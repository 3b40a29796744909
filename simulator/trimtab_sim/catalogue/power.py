"""Power of a busy processor, for energy that a file does not tell: energy = power above idle x latency."""

from typing import Protocol

from trimtab.domain.processor import Processor
from trimtab_sim.device.profile import DeviceProfile


class Power(Protocol):
    """Tells the power above idle of a busy processor; ``trimtab.adapters.energy.PowerModel`` is one."""

    @property
    def description(self) -> str:
        """Return where figures come from, in one line."""

    def active_mw(self, processor: Processor) -> float:
        """Return the power above idle while ``processor`` is busy, in milliwatts."""


class ProfilePower:
    """Power at the highest clock by a device's profile: what all cores share + its clusters + its cores.

    ``P = V (I_active + sum of I_cluster + sum of I_core)`` as Android's power profiles define the currents;
    accelerators: power at the highest step less idle. A duration times a power is a model: always assumed.
    """

    def __init__(self, profile: DeviceProfile, otherwise: Power) -> None:
        self._profile = profile
        self._otherwise = otherwise

    @property
    def description(self) -> str:
        """Return which device's profile it is."""
        return f"power profile of {self._profile.title}"

    def active_mw(self, processor: Processor) -> float:
        """Return the power above idle in milliwatts; by ``otherwise`` for what the profile does not have."""
        accelerator = self._profile.accelerator_of(processor)
        if accelerator is not None:
            return accelerator.power_mw[-1] - accelerator.idle_mw
        cpu, ma = self._profile.cpu, 0.0
        for cluster in cpu.clusters:
            busy = len(set(cluster.cores) & set(processor.cores))
            ma += cluster.cluster_ma + busy * cluster.core_ma[-1] if busy else 0.0
        if processor.kind != "cpu" or not ma:
            return self._otherwise.active_mw(processor)
        return (cpu.active_ma + ma) * cpu.voltage_mv / 1000
