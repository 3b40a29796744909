"""What a transport sees of the engine: calls in, answers out, and a look at the state."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from trimtab.domain.decision import Decision, Result
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.request import Prefer
from trimtab.ports import Array, StoredFamily, Story


@dataclass(frozen=True, slots=True)
class Call:
    """One inference as a caller asked for it; goals left ``None`` come from the policy.

    ``tensors`` maps input names to arrays that already match the task's specification; their first
    dimension is the ``batch``.
    """

    task: str
    tensors: dict[str, Array]
    app: str = ""
    latency_budget_ns: int | None = None
    elapsed_ns: int = 0
    min_accuracy_frac: float | None = None
    max_energy_uj: float | None = None
    priority: int = 0
    prefer: Prefer = Prefer.VALUE
    variant: str = ""
    batch: int = 1
    processor: str = ""
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended. ``outputs`` is empty unless ``result.outcome`` is ``done``.

    ``decision`` is the last one made (``None`` when the request was refused before any).
    ``energy_source`` says how the energy figures were obtained: measured, published or assumed.
    """

    result: Result
    decision: Decision | None
    outputs: dict[str, Array]
    energy_source: str


@dataclass(frozen=True, slots=True)
class Residency:
    """A variant held in memory."""

    task: str
    variant: str
    pool: str
    phase: str
    resident_bytes: int
    uses: int


@dataclass(frozen=True, slots=True)
class ProcessorStatus:
    """A processor, its learned slow-down (1.0 = as profiled) and what it is doing.

    ``reachable`` and ``round_trip_ns`` (0: nobody measured it) are about the way to a server.
    """

    processor: Processor
    slowdown: float
    busy: bool
    queued: int
    served: int
    reachable: bool = True
    round_trip_ns: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of the daemon; prices in utility (1.0 = accuracy from 0 to 100 %) per unit.

    ``energy_used_uj`` is that of all runs and loads of this session, above idle, ``cost_usd`` what servers charged.
    """

    version: str
    session: int
    uptime_ns: int
    ready: bool
    draining: bool
    device: DeviceState
    energy_meter: str
    policy: str
    policy_reload_error: str
    active_rules: tuple[str, ...]
    energy_price_per_j: float
    memory_limit_bytes: int
    memory_used_bytes: int
    rss_bytes: int
    in_flight: int
    processors: tuple[ProcessorStatus, ...]
    resident: tuple[Residency, ...]
    outcomes: dict[str, int]
    on_time: int
    energy_used_uj: float = 0.0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """One finished request with its decision, as ``WatchDecisions`` streams it."""

    at_ns: int
    task: str
    app: str
    decision: Decision | None
    result: Result
    battery_frac: float | None
    memory_used_bytes: int
    in_flight: int


@dataclass(slots=True)
class Counter:
    """Triton-style duration counters: how often and how many nanoseconds together."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more event of ``ns`` nanoseconds."""
        self.count += 1
        self.ns += ns


@dataclass(slots=True)
class Statistics:
    """Counters of one variant since the daemon started."""

    success: Counter = field(default_factory=Counter)
    fail: Counter = field(default_factory=Counter)
    queue: Counter = field(default_factory=Counter)
    load: Counter = field(default_factory=Counter)
    run: Counter = field(default_factory=Counter)
    inferences: int = 0
    executions: int = 0
    last_inference_ms: int = 0


@dataclass(frozen=True, slots=True)
class PolicyText:
    """The policy in force and the YAML it came from."""

    policy: Policy
    yaml: str
    source: str


class Inference(Protocol):
    """The engine as servicers use it."""

    @property
    def ready(self) -> bool:
        """Return whether requests would be admitted now."""

    def families(self) -> dict[str, StoredFamily]:
        """Return the families by task."""

    async def infer(self, call: Call) -> Answer:
        """Serve one call. Cancelling the awaiting task cancels the request. Never raises for a refusal."""

    def status(self) -> Status:
        """Return a snapshot."""

    def statistics(self, task: str) -> dict[str, Statistics]:
        """Return counters by variant name."""

    def watch(self) -> AsyncIterator[Record]:
        """Yield each request that ends from now on; a slow reader loses the oldest records, not the newest."""

    async def explain(self, request_id: str) -> Story:
        """Return the story of a request (empty id: the latest); raise ``KeyError`` when the journal has none."""

    def policy(self) -> PolicyText:
        """Return the policy in force."""

    async def validate_policy(self, yaml: str) -> Policy:
        """Parse and check without using it; raise ``PolicyError``."""

    async def set_policy(self, yaml: str) -> Policy:
        """Put a policy in force until the next reload or restart; raise ``PolicyError`` and keep the old one."""
