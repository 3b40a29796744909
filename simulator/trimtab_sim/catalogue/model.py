"""What a catalogue is in memory, and what readers hand over to make one."""

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.domain.family import Family, Profile
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import Source
from trimtab_sim.catalogue.options import LATENCY_SPREAD, LOAD_BYTES_PER_S


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a file worth telling; line 0 is the file as a whole, no column the whole line."""

    file: str
    line: int
    column: str
    message: str

    def __str__(self) -> str:
        """Return ``file:line: column: message``, leaving out what there is not."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.column, self.message) if part)


class CatalogueError(ValueError):
    """A catalogue cannot be used; ``problems`` lists everything found, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Families, the processors they were measured on, and profiles by task.

    ``reported`` names each row of the file that was left out, or in which something had to be assumed, and why.
    """

    families: tuple[Family, ...]
    processors: tuple[Processor, ...]
    profiles: Mapping[str, tuple[Profile, ...]]
    reported: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """One variant as a file describes it; zeros stand for "not told", as in manifests."""

    task: str
    name: str
    accuracy_frac: float
    precision: str = ""
    parameters: int = 0
    macs: int = 0
    artefact_bytes: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One network on one processor, in the project's units; ``None`` stands for what the file does not tell.

    ``line`` is where the file tells of it; ``source`` holds for all that is told.
    """

    line: int
    network: Network
    processor: Processor
    latency_ns: int
    latency_spread: float | None = None
    latency_ns_p95: int | None = None
    energy_uj: float | None = None
    load_ns: int | None = None
    load_energy_uj: float | None = None
    resident_bytes: int | None = None
    source: Source = Source.PUBLISHED


@dataclass(frozen=True, slots=True)
class Task:
    """What a family is called and where its figures come from."""

    name: str
    title: str
    source: str
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What stands in for figures a file does not tell; everything made with them is tagged assumed.

    ``latency_spread`` is the standard deviation of ln(latency); a variant is loaded at ``load_bytes_per_s``.
    """

    latency_spread: float = LATENCY_SPREAD
    load_bytes_per_s: float = LOAD_BYTES_PER_S
