"""Memory pressure as the kernel tells it (PSI): the share of time in which some task waits for memory.

Of the process's own control group where version 2 tells it, else of the whole machine (docs.kernel.org,
accounting/psi). It rises before anything is killed, while "available" may still look fine.
"""

from pathlib import Path

from trimtab.adapters.cgroup import Cgroup
from trimtab.adapters.sysfs import read_text
from trimtab.domain.device import DeviceState

SYSTEM_FILE = Path("/proc/pressure/memory")


class PressureSensors:
    """Memory pressure over the last ten seconds; files are injected by tests."""

    def __init__(self, cgroup: Cgroup, system_file: Path = SYSTEM_FILE) -> None:
        self._files = (
            *((folder / "memory.pressure", "cgroup:psi") for folder in cgroup.folders()[:1]),
            (system_file, "psi"),
        )

    def read(self) -> DeviceState:
        """Return the pressure, or nothing where the kernel does not tell."""
        for path, source in self._files:
            pressure_frac = some_avg10(read_text(path) or "")
            if pressure_frac is not None:
                return DeviceState(memory_pressure_frac=pressure_frac, sources=(("memory_pressure", source),))
        return DeviceState()


def some_avg10(text: str) -> float | None:
    """Return ``some avg10`` of a pressure file as a share of time (0..1); ``None`` when it is not there."""
    for line in text.splitlines():
        kind, _, figures = line.partition(" ")
        for figure in figures.split():
            name, _, percent = figure.partition("=")
            if kind == "some" and name == "avg10":
                try:
                    return min(1.0, max(0.0, float(percent) / 100.0))
                except ValueError:
                    return None
    return None
