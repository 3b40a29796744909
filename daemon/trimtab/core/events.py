"""Everything that can happen to the scheduler. Times come beside the event, as ``now_ns``."""

from trimtab.core.knowledge import Knowledge
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.record import Record
from trimtab.domain.request import Request


class Event(Record, frozen=True):
    """Base of all events; each has exactly one handler in the scheduler."""


class ProcessorsFound(Event, frozen=True):
    """The device has these processors, in the order that breaks ties."""

    processors: tuple[Processor, ...]


class FamilyAdded(Event, frozen=True):
    """A task can be served from now on (again: replaces the family of that task)."""

    family: Family


class ProfilesReplaced(Event, frozen=True):
    """These are the profiles of ``task`` on this device; they replace all earlier ones of that task."""

    task: str
    profiles: tuple[Profile, ...]


class PolicyReplaced(Event, frozen=True):
    """A validated policy takes effect for requests that arrive from now on."""

    policy: Policy


class EstimatesRestored(Event, frozen=True):
    """Before the first request: what was learned until ``age_ns`` ago, when the daemon was still running."""

    knowledge: Knowledge
    age_ns: int


class DeviceChanged(Event, frozen=True):
    """The sensors report a new state."""

    device: DeviceState


class ConnectivityChanged(Event, frozen=True):
    """A server can be reached from now on, or no longer; ``round_trip_ns`` is 0 where nobody measured it."""

    processor: str
    reachable: bool
    round_trip_ns: int = 0


class RequestArrived(Event, frozen=True):
    """An app asks for one inference. ``elapsed_ns`` of its budget was spent before it got here."""

    request: Request
    elapsed_ns: int = 0


class RequestCancelled(Event, frozen=True):
    """The caller went away."""

    request_id: str


class LoadFinished(Event, frozen=True):
    """A variant is resident in a pool; figures are as measured."""

    task: str
    variant: str
    pool: str
    load_ns: int
    resident_bytes: int
    energy_uj: float = 0.0


class LoadFailed(Event, frozen=True):
    """A variant could not be loaded; ``fault`` is "link" when a server could not be reached, else "variant"."""

    task: str
    variant: str
    pool: str
    error: str
    fault: str = "variant"


class EvictFinished(Event, frozen=True):
    """A variant's memory was given back."""

    task: str
    variant: str
    pool: str


class StageFinished(Event, frozen=True):
    """A stage ran: measured time and energy, and the confidence (max softmax, 0..1) at its exit.

    ``cost_usd`` is what a server charged for it.
    """

    request_id: str
    stage: int
    run_ns: int
    energy_uj: float
    confidence: float
    cost_usd: float = 0.0


class RunFailed(Event, frozen=True):
    """A stage raised an error.

    ``fault`` is "request" when the input caused it, "link" when a server could not be reached or did not
    answer in time, else "variant".
    """

    request_id: str
    stage: int
    error: str
    fault: str = "variant"


class TimerFired(Event, frozen=True):
    """The time asked for by the last ``SetTimer`` has come."""


class DrainStarted(Event, frozen=True):
    """Finish what was admitted, admit nothing new."""


class Checkpointed(Event, frozen=True):
    """The state is being written down: everything derived from it starts afresh, here and in a replay."""
