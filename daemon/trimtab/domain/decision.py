"""What was decided for a request, and why every other candidate lost."""

from dataclasses import dataclass

from trimtab.domain.grounds import Part
from trimtab.domain.policy import Goal
from trimtab.domain.record import Record, Word


class Why(Word):
    """Why a candidate won or lost, most fundamental first."""

    CHOSEN = "chosen"
    NOT_PINNED = "the request pinned another variant"
    VARIANT_DENIED = "the policy does not allow this variant"
    PROCESSOR_DENIED = "the policy does not allow this processor"
    NOT_ASKED = "the request asked for another processor"
    PRIVATE = "the policy keeps this request on the device"
    UNREACHABLE = "its server cannot be reached"
    UNHEALTHY = "it failed to load or run and is resting"
    NO_MEMORY = "it does not fit into memory"
    RESERVE = "the battery is at its reserve and a cheaper candidate exists"
    MONEY = "it costs more than is left of the money"
    QUEUE_FULL = "its processor's queue is full"
    ACCURACY = "below the accuracy floor"
    ENERGY = "above the energy limit of the request"
    DEADLINE = "too likely to miss the deadline"
    VALUE = "worth less after paying for what it uses"
    TIE = "worth the same, but lost on energy, latency or name"


class Outcome(Word):
    """How a request's story can end."""

    DONE = "done"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


def candidate_name(variant: str, processor: str, exit_rule: str) -> str:
    """Return ``variant@processor`` and, where the variant has several exits, ``/rule``."""
    return f"{variant}@{processor}" if exit_rule == "full" else f"{variant}@{processor}/{exit_rule}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant on a processor under an exit rule, with the profile figures a decision needs.

    Latencies and energies are cumulative per exit: entry ``e`` is the cost of reaching exit ``e``.
    ``expected_*`` weigh them by the share of samples that leave at each exit. ``cost_usd`` is what a server
    charges for reaching the last one, ``worst_usd`` what it may charge at most; ``remote`` says that the request
    leaves the device.
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
    cost_usd: float = 0.0
    worst_usd: float = 0.0
    remote: bool = False

    @property
    def name(self) -> str:
        """Return the name people read: ``variant@processor`` or ``variant@processor/rule``."""
        return candidate_name(self.variant, self.processor, self.exit_rule)


class Verdict(Record, frozen=True):
    """One candidate's figures in one decision; ``value`` is its net value, of which ``parts`` are the sum."""

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
    parts: tuple[Part, ...] = ()


class Decision(Record, frozen=True):
    """The choice for one request: who serves it, what was predicted, and which goals were given up.

    ``finish_ns`` is the predicted completion on the driver's clock, ``latency_ns`` the predicted time from
    now until then (wait or load, then run). ``given_up`` is empty when every goal is expected to be met.
    ``instead_of`` is the most accurate candidate when another was chosen, ``instead_why`` why it lost.
    A ``probe`` runs where nothing has run for long, because that costs this request next to nothing.
    """

    request_id: str
    task: str
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
    budget_ns: int
    energy_price_per_j: float
    given_up: tuple[Goal, ...]
    policy: str
    rules: tuple[str, ...]
    instead_of: str = ""
    instead_why: Why | None = None
    cost_usd: float = 0.0
    money_price_per_usd: float = 0.0
    probe: bool = False

    @property
    def candidate(self) -> str:
        """Return the chosen candidate's name."""
        return candidate_name(self.variant, self.processor, self.exit_rule)

    @property
    def summary(self) -> str:
        """Return the reason in one sentence."""
        text = (
            f"{self.candidate}: {self.accuracy_frac:.1%} accuracy, {self.latency_ns / 1e6:.2f} of "
            f"{self.budget_ns / 1e6:.4g} ms, {self.energy_uj / 1e3:.3g} mJ at {self.energy_price_per_j:.3g}/J"
        )
        if self.cost_usd:
            text += f" for ${self.cost_usd:.3g} at {self.money_price_per_usd:.3g}/$"
        if self.probe:
            text += f"; a probe of {self.processor}"
        if self.instead_why is not None:
            text += f"; not {self.instead_of}: {self.instead_why.value}"
        if self.given_up:
            text += f"; gave up {', '.join(goal.value for goal in self.given_up)}"
        return text


class Cause(Word):
    """Why a request ended without an answer."""

    NONE = ""
    DRAINING = "draining"
    NOT_READY = "not ready"
    UNKNOWN_TASK = "unknown task"
    UNKNOWN_VARIANT = "unknown variant"
    GOALS = "no candidate meets the goals"
    RESERVE = "the battery is at its reserve"
    MONEY = "the money is spent"
    OVERLOAD = "overload"
    DEADLINE = "the deadline passed"
    CALLER = "the caller went away"
    INPUT = "the input could not be processed"
    VARIANT = "the variant failed"


class Result(Record, frozen=True, omit_defaults=True):
    """How a request ended, with what really happened: all durations measured by the driver.

    ``late_worth_frac`` is what was left of the worth of an answer after a soft deadline.
    ``queue_ns`` runs from arrival to the first stage, without the part spent on a load.
    """

    request_id: str
    outcome: Outcome
    cause: Cause = Cause.NONE
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
    cost_usd: float = 0.0
    late_worth_frac: float = 0.0

    @property
    def worth_frac(self) -> float:
        """Return what the answer was worth when it came: all of it in time, nothing where there was none."""
        return 1.0 if self.on_time else self.late_worth_frac
