"""Where a variant can run: core sets with a thread count, another execution provider, or a server elsewhere."""

from dataclasses import dataclass

from trimtab.domain.quantities import NS_PER_MS

REMOTE = "remote"
"""The kind of processors that are not on this device."""


@dataclass(frozen=True, slots=True)
class Processor:
    """One place that runs one request at a time and owns ``cores`` while it does.

    Two processors that share a core exclude each other. Processors of one ``pool`` share what is loaded:
    a variant is resident per pool (same runtime, provider and thread count), not per core.

    One of kind ``remote`` is a server: its profiles' energy is what sending takes, and ``network_ns`` the part of
    their latency that is spent on the way. It takes ``concurrent`` requests at once (0: any number) and charges
    for each request and for its own time.
    """

    name: str
    kind: str
    cores: tuple[int, ...]
    threads: int
    runtime: str = "onnxruntime"
    provider: str = "CPUExecutionProvider"
    network_ns: int = 0
    usd_per_request: float = 0.0
    usd_per_ms: float = 0.0
    concurrent: int = 1

    @property
    def is_remote(self) -> bool:
        """Return whether requests leave the device for this processor."""
        return self.kind == REMOTE

    def charge_usd(self, run_ns: float) -> float:
        """Return what a server charges for a run that took ``run_ns`` as seen from here."""
        return self.usd_per_request + self.usd_per_ms * max(0.0, run_ns - self.network_ns) / NS_PER_MS

    @property
    def pool(self) -> str:
        """Return the key under which loaded variants are shared, e.g. ``onnxruntime/cpu/1``.

        One-thread sessions run on whichever core calls them; wider ones have threads of their own on their
        cores, and other providers hold their own copy, so these are shared with nobody.
        """
        if self.provider != "CPUExecutionProvider":
            return f"{self.runtime}/{self.name}"
        cores = (
            f":{'-'.join(map(str, (self.cores[0], self.cores[-1])))}"
            if self.threads > 1 and self.cores
            else ""
        )
        return f"{self.runtime}/{self.kind}/{self.threads}{cores}"

    def charged_ns(self, wall_ns: int, thread_cpu_ns: int) -> int:
        """Return the time for which a run's energy counts.

        On one core that is the CPU time of the thread that ran: while somebody else has the core, the energy
        is theirs. Threads of wider processors and accelerators are not the caller's, so there it is wall time.
        """
        return min(wall_ns, thread_cpu_ns) if self.kind == "cpu" and self.threads == 1 else wall_ns
