"""Published latencies as one table: which network took how long where. What predictions are learned from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from trimtab.policy.structure import nearest
from trimtab_sim.catalogue.model import Problem

UNITS: Final = ("CPU", "GPU", "NPU")


@dataclass(frozen=True, slots=True)
class Setup:
    """Where something ran: a device, its unit (CPU, GPU or NPU), which cores and threads, which runtime.

    ``cores`` is of the device (``cpu-big x4``), so it means something else on another one; ``runtime`` is software
    and means the same everywhere.
    """

    device: str
    unit: str
    cores: str = ""
    runtime: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """What ran: a network and the precision of its weights (and activations)."""

    name: str
    precision: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One published latency; ``line`` is where the file tells it."""

    setup: Setup
    model: Model
    latency_ns: int
    line: int = 0


@dataclass(frozen=True, slots=True)
class Trait:
    """What is known of a network besides its latencies: what it is a size of, and how much it computes.

    ``work`` is in multiply-accumulates, or anything in proportion to them among networks of one ``kin``.
    """

    kin: str
    work: float


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Measurements of many networks on many devices, at most one per setup and model.

    ``traits`` are by network's name; ``reported`` names the file's rows that were left out.
    """

    rows: tuple[Measurement, ...]
    traits: Mapping[str, Trait] = field(default_factory=dict)
    reported: tuple[Problem, ...] = ()

    def devices(self) -> tuple[str, ...]:
        """Return all devices in the table's order."""
        return tuple(dict.fromkeys(row.setup.device for row in self.rows))

    def of_device(self, device: str) -> tuple[Measurement, ...]:
        """Return the rows of one device."""
        return tuple(row for row in self.rows if row.setup.device == device)

    def find_device(self, name: str) -> str:
        """Return the device called ``name``, or the only one whose name begins so (in small or capital letters).

        Raises ``ValueError`` naming what is near or all there are.
        """
        known = self.devices()
        if name in known:
            return name
        begins = [one for one in known if one.lower().startswith(name.lower())]
        if len(begins) == 1:
            return begins[0]
        if not name:
            raise ValueError(f"which one? There are {', '.join(known)}")
        if begins:
            raise ValueError(f"{name!r} may be {' or '.join(begins)}")
        raise ValueError(f"no rows of a device {name!r}{nearest(name, list(known))}")
