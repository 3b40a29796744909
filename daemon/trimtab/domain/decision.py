"""What was decided for a request, and why every other candidate lost."""

from dataclasses import dataclass
from enum import StrEnum

from trimtab.domain.policy import Goal


class Why(StrEnum):
    """Why a candidate won or lost, most fundamental first."""

    CHOSEN = "chosen"
    NOT_PINNED = "the request pinned another variant"
    VARIANT_DENIED = "the policy does not allow this variant"
    PROCESSOR_DENIED = "the policy does not allow this processor"
    UNHEALTHY = "it failed to load or run and is resting"
    NO_MEMORY = "it does not fit into memory"
    RESERVE = "the battery is at its reserve and a cheaper candidate exists"
    QUEUE_FULL = "its processor's queue is full"
    ACCURACY = "below the accuracy floor"
    ENERGY = "above the energy limit of the request"
    DEADLINE = "too likely to miss the deadline"
    VALUE = "worth less after paying for what it uses"
    TIE = "worth the same, but lost on energy, latency or name"


class Outcome(StrEnum):
    """How a request's story can end."""

    DONE = "done"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant on a processor under an exit rule, with the profile figures a decision needs.

    Latencies and energies are cumulative per exit: entry ``e`` is the cost of reaching exit ``e``.
    ``expected_*`` weigh them by the share of samples that leave at each exit.
    """

    variant: str
    processor: str
    exit_rule: str
    threshold: float
    share_frac: tuple[float, ...]
    accuracy_frac: tuple[float, ...]
    latency_ns: tuple[int, ...]
    energy_uj: tuple[float, ...]
    latency_spread: float
    expected_latency_ns: int
    expected_energy_uj: float
    load_ns: int
    load_energy_uj: float
    resident_bytes: int

    @property
    def name(self) -> str:
        """Return ``variant@processor`` and, where exits differ, ``/rule``."""
        suffix = "" if self.exit_rule == "full" else f"/{self.exit_rule}"
        return f"{self.variant}@{self.processor}{suffix}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One candidate's figures in one decision; ``value`` is its net value (utility after prices)."""

    candidate: str
    why: Why
    value: float
    accuracy_frac: float
    on_time_prob: float
    wait_ns: int
    load_ns: int
    latency_ns: int
    energy_uj: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The choice for one request: who serves it, what was predicted, and which goals were given up.

    ``finish_ns`` is the predicted completion on the driver's clock, ``latency_ns`` the predicted time from
    now until then (wait + load + run). ``given_up`` is empty when every goal is expected to be met.
    """

    request_id: str
    task: str
    candidate: str
    variant: str
    processor: str
    exit_rule: str
    value: float
    accuracy_frac: float
    on_time_prob: float
    wait_ns: int
    load_ns: int
    latency_ns: int
    energy_uj: float
    finish_ns: int
    given_up: tuple[Goal, ...]
    policy: str
    rules: tuple[str, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Result:
    """How a request ended, with what really happened: all durations measured by the driver."""

    request_id: str
    outcome: Outcome
    reason: str = ""
    variant: str = ""
    processor: str = ""
    exit_index: int = -1
    confidence: float = 0.0
    queue_ns: int = 0
    load_ns: int = 0
    run_ns: int = 0
    energy_uj: float = 0.0
    on_time: bool = False
    given_up: tuple[Goal, ...] = ()
