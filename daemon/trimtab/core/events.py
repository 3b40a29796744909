"""Everything that can happen to the scheduler. Times come beside the event, as ``now_ns``."""

from dataclasses import dataclass

from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.request import Request


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; each has exactly one handler in the scheduler."""


@dataclass(frozen=True, slots=True)
class ProcessorsFound(Event):
    """The device has these processors, in the order that breaks ties."""

    processors: tuple[Processor, ...]


@dataclass(frozen=True, slots=True)
class FamilyAdded(Event):
    """A task can be served from now on (again: replaces the family of that task)."""

    family: Family


@dataclass(frozen=True, slots=True)
class ProfilesReplaced(Event):
    """These are the profiles of ``task`` on this device; they replace all earlier ones of that task."""

    task: str
    profiles: tuple[Profile, ...]


@dataclass(frozen=True, slots=True)
class PolicyReplaced(Event):
    """A validated policy takes effect for requests that arrive from now on."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class DeviceChanged(Event):
    """The sensors report a new state."""

    device: DeviceState


@dataclass(frozen=True, slots=True)
class RequestArrived(Event):
    """An app asks for one inference. ``elapsed_ns`` of its budget was spent before it got here."""

    request: Request
    elapsed_ns: int = 0


@dataclass(frozen=True, slots=True)
class RequestCancelled(Event):
    """The caller went away."""

    request_id: str


@dataclass(frozen=True, slots=True)
class LoadFinished(Event):
    """A variant is resident in a pool; figures are as measured."""

    task: str
    variant: str
    pool: str
    load_ns: int
    resident_bytes: int
    energy_uj: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadFailed(Event):
    """A variant could not be loaded."""

    task: str
    variant: str
    pool: str
    error: str


@dataclass(frozen=True, slots=True)
class EvictFinished(Event):
    """A variant's memory was given back."""

    task: str
    variant: str
    pool: str


@dataclass(frozen=True, slots=True)
class StageFinished(Event):
    """A stage ran: measured time and energy, and the confidence (max softmax, 0..1) at its exit."""

    request_id: str
    stage: int
    run_ns: int
    energy_uj: float
    confidence: float


@dataclass(frozen=True, slots=True)
class RunFailed(Event):
    """A stage raised an error; ``fault`` is "request" when the input caused it, else "variant"."""

    request_id: str
    stage: int
    error: str
    fault: str = "variant"


@dataclass(frozen=True, slots=True)
class TimerFired(Event):
    """The time asked for by the last ``SetTimer`` has come."""


@dataclass(frozen=True, slots=True)
class DrainStarted(Event):
    """Finish what was admitted, admit nothing new."""


@dataclass(frozen=True, slots=True)
class Checkpointed(Event):
    """The state is being written down: everything derived from it starts afresh, here and in a replay."""
