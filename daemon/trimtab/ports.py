"""Floor 2: what the engine needs from the outside, as protocols. Adapters implement them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from trimtab.core.commands import Command
from trimtab.core.events import Event
from trimtab.core.knowledge import Knowledge
from trimtab.domain.decision import Verdict
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Variant
from trimtab.domain.grounds import Grounds
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import Source

Array = npt.NDArray[np.generic]
Tensors = Mapping[str, Array]


class Clock(Protocol):
    """A monotonic clock, and the calling thread's CPU time, in integer nanoseconds."""

    def now_ns(self) -> int:
        """Return nanoseconds since an arbitrary fixed moment."""

    def thread_cpu_ns(self) -> int:
        """Return the CPU time that the calling thread has used since an arbitrary fixed moment."""


class DeviceSensors(Protocol):
    """Everything that describes the device's condition."""

    def read(self) -> DeviceState:
        """Return the present state; a figure no sensor gives is ``None``. Never raises for a lost sensor."""


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """Energy used by one run, above idle, and how it was obtained."""

    energy_uj: float
    source: Source


class EnergyMeter(Protocol):
    """Tells what a run cost: from a meter where the machine has one, else from a stated power model."""

    @property
    def description(self) -> str:
        """Return one line that says which meter or model this is, with its constants."""

    @property
    def source(self) -> Source:
        """Return whether figures are measured or assumed."""

    def run_energy(self, processor: Processor, run_ns: int) -> EnergyReading:
        """Return the energy above idle of ``run_ns`` of work on ``processor``."""


class RuntimeFailure(Exception):  # noqa: N818 - RuntimeError is Python's own
    """A variant could not be loaded or run; the message names the artefact or tensor."""


class LinkFailure(RuntimeFailure):
    """A server could not be reached, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What loading took: wall time and resident memory (measured where the system can tell)."""

    load_ns: int
    resident_bytes: int


class Runtime(Protocol):
    """Software that executes variants. Methods block; the engine calls them from worker threads."""

    @property
    def name(self) -> str:
        """Return the name processors refer to, e.g. ``onnxruntime``."""

    @property
    def description(self) -> str:
        """Return name, version and settings in one line."""

    def load(self, task: str, variant: Variant, folder: Path, processor: Processor) -> Loaded:
        """Make every stage of ``variant`` ready on ``processor``'s pool, warmed up; raise ``RuntimeFailure``."""

    def run(
        self, task: str, variant: str, processor: Processor, stage: int, tensors: Tensors
    ) -> dict[str, Array]:
        """Run one stage on arrays by tensor name and return its outputs by name; raise ``RuntimeFailure``."""

    def evict(self, task: str, variant: str, pool: str) -> None:
        """Drop a variant and give its memory back to the system; unknown ones are ignored."""

    def close(self) -> None:
        """Drop everything."""


@runtime_checkable
class ServerRuntime(Runtime, Protocol):
    """A runtime that executes variants elsewhere."""

    def run_within(
        self,
        task: str,
        variant: str,
        processor: Processor,
        stage: int,
        tensors: Tensors,
        budget_ns: int,
    ) -> dict[str, Array]:
        """Run like ``run`` with ``budget_ns`` left until the deadline; raise ``LinkFailure`` for no answer."""

    def look(self) -> tuple[bool, int]:
        """Return whether the server can be reached, and the time there and back in ns. May block for a second."""


@dataclass(frozen=True, slots=True)
class StoredFamily:
    """A family and the folder its artefacts lie in."""

    family: Family
    folder: Path


class VariantStore(Protocol):
    """Where families come from."""

    def families(self) -> Sequence[StoredFamily]:
        """Return all families, verified (checksums, formats), ordered by task."""


class EstimateStore(Protocol):
    """Where what was learned outlives the daemon."""

    def load(self) -> tuple[Knowledge, int] | None:
        """Return what was known and how long ago (ns); ``None``, with a warning, when that is no use."""

    def save(self, knowledge: Knowledge) -> None:
        """Keep this from now on; raise ``OSError``."""


class PolicySource(Protocol):
    """Where the policy comes from, and how it changes."""

    @property
    def source(self) -> str:
        """Return where the policy comes from, as an operator would name it."""

    @property
    def text(self) -> str:
        """Return the YAML of the last good version."""

    def load(self) -> Policy:
        """Return the policy now; raise ``trimtab.policy.PolicyError`` naming file, line and path."""

    def poll(self, force: bool = False) -> Policy | None:
        """Return a new valid version if there is one; raise ``PolicyError`` once per invalid version."""


@dataclass(frozen=True, slots=True)
class Story:
    """All the journal knows of one request, in order, plus every candidate's verdict at each decision.

    ``grounds`` tell for each of these what it stood on: prices, estimates and what was asked.
    """

    request_id: str
    entries: tuple["Entry", ...]
    verdicts: tuple[tuple[Verdict, ...], ...]
    grounds: tuple[Grounds, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the journal."""

    seq: int
    at_ns: int
    item: Event | Command


class Journal(Protocol):
    """The ordered record of events and commands. ``append`` waits for storage only when far behind."""

    @property
    def session(self) -> int:
        """Return the number of this daemon start, unique within the journal."""

    def append(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        """Record an event and the commands it led to, in order."""

    def wants_checkpoint(self) -> bool:
        """Return whether enough was recorded since the last checkpoint."""

    def checkpoint(self, at_ns: int, state: bytes) -> None:
        """Record the scheduler's whole state, so that a replay can begin here."""

    def flush(self) -> None:
        """Block until everything appended so far is safe from a crash of this process."""

    def close(self) -> None:
        """Flush and release; later appends are an error."""


class History(Protocol):
    """Tells the story of a past request."""

    def story(self, request_id: str) -> Story:
        """Return what happened to a request (empty id: the latest one), with every candidate's verdict.

        Raises ``KeyError`` when the journal does not hold it. May take a second; call it from a thread.
        """


@runtime_checkable
class Observer(Protocol):
    """Sees each event with its commands after they were carried out; must return quickly."""

    def saw(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        """Take note."""
