"""All that the scheduler remembers, as plain data: it can be written to a journal and read back."""

from dataclasses import dataclass, field

import msgspec

from trimtab.domain.decision import Candidate, Decision
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import Goal, Held, Policy, Settings
from trimtab.domain.processor import Processor
from trimtab.domain.record import Word
from trimtab.domain.request import Prefer, Request


class Phase(Word):
    """Where a request in flight stands; ``core.lifecycle`` holds the legal transitions."""

    NEW = "new"
    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    ABANDONED = "abandoned"


class Holding(Word):
    """Where a variant's memory stands."""

    LOADING = "loading"
    RESIDENT = "resident"
    EVICTING = "evicting"


@dataclass(slots=True)
class Residence:
    """A variant in (or on its way into or out of) memory. ``users`` are requests that count on it.

    One that is ``doomed`` leaves as soon as it is idle; no further request may count on it.
    """

    task: str
    variant: str
    pool: str
    holding: Holding
    resident_bytes: int
    ready_ns: int
    last_used_ns: int
    users: int = 0
    uses: int = 0
    doomed: bool = False


class Live(msgspec.Struct):
    """A request in flight. ``rank`` is its place in the queue: (class, deadline, seq).

    ``committed_uj`` is the most energy its candidate may still use: it counts against the reserve, as
    ``committed_nusd`` (billionths of a dollar) does against the budget of money.
    """

    request: Request
    seq: int
    phase: Phase
    arrived_ns: int
    deadline_ns: int
    settings: Settings
    rules: tuple[str, ...]
    policy: str
    rank: tuple[int, int, int] = (0, 0, 0)
    candidate: Candidate | None = None
    residence: str = ""
    decision: Decision | None = None
    given_up: tuple[Goal, ...] = ()
    attempts: int = 0
    error: str = ""
    stage: int = -1
    queued_ns: int = 0
    load_ns: int = 0
    started_ns: int = 0
    dispatched_ns: int = 0
    expires_ns: int = 0
    run_ns: int = 0
    energy_uj: float = 0.0
    committed_uj: int = 0
    cost_usd: float = 0.0
    committed_nusd: int = 0


class Occupation(msgspec.Struct):
    """What a processor is doing, and until when as far as is known."""

    request_id: str
    dispatched_ns: int
    expected_end_ns: int
    processor: str = ""


@dataclass(slots=True)
class Link:
    """Whether a server can be reached, since when, and how long it could and could not before that.

    ``up_s``, ``down_s`` and ``outages`` (how many there were) are exponentially forgotten; ``round_trip_ns`` is 0
    where nobody measured it.
    """

    reachable: bool = True
    since_ns: int = 0
    up_s: float = 0.0
    down_s: float = 0.0
    outages: float = 0.0
    round_trip_ns: int = 0


@dataclass(slots=True)
class Tail:
    """Residuals of late, in standard deviations: forgotten counts by bin (``core.tails``); ``weight`` is the last one's."""

    counts: list[float] = field(default_factory=list)
    total: float = 0.0
    weight: float = 1.0


@dataclass(slots=True)
class Tie:
    """How far what moves another processor moves this one: the regression ``product / square``.

    ``error`` is the sum of squares of what it missed. All three forget.
    """

    product: float = 0.0
    square: float = 1.0
    error: float = 1.0


@dataclass(slots=True)
class Estimate:
    """A log-domain filter of one processor: ln(measured / profile) ~ N(mean, variance + noise), of latency or energy.

    The variance grows from ``since_ns`` on; at ``vouched_ns`` this one told others last that nothing happened.
    ``other`` is the mean of the regime before this one (none: nan is not JSON, so ``regimes`` counts them).
    ``doubt`` is a residual that may have been a new regime or an accident, ``before`` the mean before it, and
    ``change_odds`` the share of such that turned out to be new regimes. ``seen`` is the mean at the processor's
    own last run, ``told`` and ``told_ns`` what the others know and since when, ``heard`` who told it of a move since
    its own last run, ``heard_move`` how far that one moved, and ``heard_doubt`` the variance due to its own doubt.
    """

    mean: float = 0.0
    variance: float = 0.04
    noise: float = 0.01
    streak: int = 0
    observations: int = 0
    updated_ns: int = 0
    since_ns: int = 0
    vouched_ns: int = 0
    regimes: int = 0
    other: float = 0.0
    doubt: float = 0.0
    before: float = 0.0
    change_odds: float = 0.5
    seen: float = 0.0
    told: float = 0.0
    told_ns: int = 0
    heard: str = ""
    heard_move: float = 0.0
    heard_doubt: float = 0.0
    ties: dict[str, Tie] = field(default_factory=dict)
    tail: Tail = field(default_factory=Tail)


@dataclass(slots=True)
class Bias:
    """What a profile got wrong about one candidate's latency: ln(measured / profile) beyond its processor's level."""

    mean: float = 0.0
    variance: float = 0.0009
    told: float = 0.0


@dataclass(slots=True)
class EnergyBias:
    """What profiles got wrong about energy: mean of ln(energy / profile) of one variant in one pool.

    It is counted beyond the level of the processor at the moment (``State.energy_estimates``).
    """

    mean: float = 0.0
    runs: int = 0
    variance: float = 0.25
    told: float = 0.0


@dataclass(slots=True)
class EnergyRatio:
    """Energy taken and energy profiled of all recent runs together: what to expect of what never ran."""

    taken_uj: float = 0.0
    profiled_uj: float = 0.0


@dataclass(slots=True)
class Demand:
    """Exponentially forgotten arrivals of one task."""

    weight: float = 0.0
    first_ns: int = 0
    last_ns: int = 0


@dataclass(slots=True)
class Flow:
    """How much of something came: since the last look, in decayed sums, in this spell, hour and by hour of the day.

    ``spread`` is the variance of what comes in a spell, ``streak`` how many in a row were out of the ordinary.
    """

    fresh: float = 0.0
    recent: float = 0.0
    late: float = 0.0
    spell: float = 0.0
    last_spell: float = 0.0
    spread: float = 0.0
    streak: int = 0
    hour: float = 0.0
    hours: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Stream:
    """Requests that are forecast together: of one task, of one app where rules tell apps apart, with one floor.

    ``floor_frac`` is the accuracy that they ask for themselves, negative when they leave it to the policy.
    """

    task: str
    app: str = ""
    floor_frac: float = -1.0
    flow: Flow = field(default_factory=Flow)


@dataclass(slots=True)
class Forecast:
    """What demand and drain were like, and the time over which that was seen: decayed as the sums of flows, and all.

    ``drain`` counts joules that the battery lost beyond our runs.
    """

    at_ns: int = -1
    recent_s: float = 0.0
    late_s: float = 0.0
    seen_s: float = 0.0
    spell_s: float = 0.0
    hour: int = -1
    hour_s: float = 0.0
    hours_s: list[float] = field(default_factory=list)
    by_app: bool = False
    streams: dict[str, Stream] = field(default_factory=dict)
    drain: Flow = field(default_factory=Flow)


@dataclass(slots=True)
class Kind:
    """Requests that want the same: their goals, the least budget among them, and how many came.

    ``weight`` are arrivals up to ``settled_ns``, exponentially forgotten as is the time ``seen_s`` in which they came;
    ``fresh`` are those since.
    """

    task: str
    app: str
    rules: tuple[str, ...]
    prefer: Prefer
    budget_ns: int
    min_accuracy_frac: float | None
    variant: str
    max_energy_uj: float | None = None
    weight: float = 0.0
    seen_s: float = 0.0
    fresh: int = 0
    first_ns: int = 0
    settled_ns: int = 0


@dataclass(slots=True)
class MemoryBudget:
    """What the device has to spare for variants, those included that it holds.

    ``held_bytes`` is what they held when it was last read. ``rising_bytes`` is the least there was since
    ``rising_since_ns``, from when on it was more than ``device_bytes``; -1 while it is not.
    ``steps`` is how often the limit was lowered for pressure, the last time at ``stepped_ns``, beginning from the
    ``pressed_bytes`` that variants held.
    """

    device_bytes: int = 1 << 62
    held_bytes: int = 0
    rising_bytes: int = 0
    rising_since_ns: int = -1
    steps: int = 0
    pressed_bytes: int = 0
    stepped_ns: int = 0


@dataclass(slots=True)
class Plan:
    """What should be in memory beside the last resorts, most worth per byte first, and what a byte is worth.

    ``price`` is what one more byte would bring a second, ``displaced`` what a byte brings of those that bring the
    least; ``room_bytes`` is what the plan leaves of the memory limit.
    At ``tight_ns`` not everything worth its bytes fitted. ``pause_ns`` after it was made there is another one. ``energy_price_per_j`` is the mean of the horizon's price,
    which a plan is made at, over ``seen_s``.
    """

    keys: tuple[str, ...] = ()
    price: float = 0.0
    displaced: float = 0.0
    value: float = 0.0
    room_bytes: int = 1 << 62
    planned_ns: int = 0
    pause_ns: int = 5_000_000_000
    tight_ns: int = -1
    energy_price_per_j: float = 0.0
    priced_ns: int = -1
    seen_s: float = 0.0


@dataclass(slots=True)
class Share:
    """What an app has had of the processors (exponentially forgotten), its weight, and when it asked last."""

    weight: float = 1.0
    used_ns: float = 0.0
    used_at_ns: int = 0
    asked_ns: int = 0


@dataclass(slots=True)
class Warmth:
    """A fit of temperature to our power at one cooling constant: see ``core.heat``. Degrees, watts, seconds."""

    tau_s: float
    base: float
    rise: float
    base_variance: float
    rise_variance: float
    covariance: float = 0.0
    power_w: float = 0.0
    error: float = 0.0


@dataclass(slots=True)
class Heat:
    """What readings of the temperature taught, and the energy we had used by the last one."""

    at_ns: int = 0
    total_uj: float = 0.0
    temperature_c: float = 0.0
    fits: list[Warmth] = field(default_factory=list)


@dataclass(slots=True)
class Caps:
    """The price that keeps to limits on power and heat, and what the power budget has left over.

    ``bucket_j`` was left at ``bucket_ns``, when ``bucket_uj`` had been used in all.
    """

    price_per_j: float = 0.0
    price_credit: float = 0.0
    bucket_j: float = 0.0
    bucket_ns: int = -1
    bucket_uj: float = 0.0


@dataclass(slots=True)
class Rest:
    """A variant in a pool, or a processor, that failed: ignored until ``until_ns``, longer after each in a row."""

    failures: int
    until_ns: int


@dataclass(slots=True)
class Energy:
    """The battery's account between two readings, and the device's own drain learned from it.

    ``committed_uj`` is what requests in flight may still use; whole microjoules, so that it sums exactly.
    ``own_uj`` was used since the reading last changed, at ``since_ns``; by then our own account was ``ahead_j``
    above it, ``doubt_j`` is by how much more it was off of late, ``overrun_uj`` by how much a request exceeded what
    was set aside for it of late, and ``step_frac`` the gauge's step. ``kept_j``
    is what the device itself is expected to drain until the horizon. Of late requests took ``taken_uj`` where their
    decisions told ``told_uj``.
    """

    own_uj: float = 0.0
    committed_uj: int = 0
    total_uj: float = 0.0
    since_ns: int = 0
    reading_frac: float = -1.0
    background_mw: float = 0.0
    ahead_j: float = 0.0
    doubt_j: float = 0.0
    step_frac: float = 0.0
    kept_j: float = 0.0
    overrun_uj: float = 0.0
    told_uj: float = 0.0
    taken_uj: float = 0.0
    price_per_j: float = 0.0
    price_credit: float = 0.0
    priced_ns: int = 0
    pause_ns: int = 1_000_000_000
    priced_arrivals: int = 0


@dataclass(slots=True)
class Money:
    """What servers charged under the present budget, what requests in flight may still cost, and its price.

    ``committed_nusd`` is in billionths of a dollar, so that it sums exactly. ``ends_ns`` is when a daily budget
    is given back, 0 while that is not known; ``total_usd`` is that of the session.
    """

    spent_usd: float = 0.0
    committed_nusd: int = 0
    total_usd: float = 0.0
    since_ns: int = 0
    ends_ns: int = 0
    price_per_usd: float = 0.0
    price_credit: float = 0.0


@dataclass(slots=True)
class Margin:
    """By how much each processor's noise is stretched at one confidence, and after how many runs that was found."""

    runs: int
    stretches: list[float]


@dataclass(slots=True)
class State:
    """The scheduler's whole memory. Dictionaries keep insertion order, which events determine.

    ``sizes`` are resident bytes as measured, by residence; they replace the profile's figure. ``away`` are
    the runs, by request, on servers that take several at once; ``links`` are those of all servers.
    ``margins`` are by deadline confidence, ``latency_biases`` by residence and processor, ``energy_biases`` by residence, ``rests`` by residence or
    processor; from ``probe_due`` arrivals on a request may be a probe. ``notes`` are what the strategy remembers; ``held`` are the ranges of the policy's conditions, of those with
    hysteresis, that hold.
    """

    processors: dict[str, Processor] = field(default_factory=dict)
    families: dict[str, Family] = field(default_factory=dict)
    profiles: dict[str, tuple[Profile, ...]] = field(default_factory=dict)
    policy: Policy = field(default_factory=lambda: Policy(name="default"))
    policy_since_ns: int = 0
    device: DeviceState = field(default_factory=DeviceState)
    device_at_ns: int = 0
    held: list[Held] = field(default_factory=list)
    memory_limit_bytes: int = 1 << 62
    memory: MemoryBudget = field(default_factory=MemoryBudget)
    sizes: dict[str, int] = field(default_factory=dict)
    residences: dict[str, Residence] = field(default_factory=dict)
    live: dict[str, Live] = field(default_factory=dict)
    queue: list[tuple[int, int, int, str]] = field(default_factory=list)
    running: dict[str, Occupation] = field(default_factory=dict)
    away: dict[str, Occupation] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    estimates: dict[str, Estimate] = field(default_factory=dict)
    margins: dict[str, Margin] = field(default_factory=dict)
    latency_biases: dict[str, Bias] = field(default_factory=dict)
    energy_estimates: dict[str, Estimate] = field(default_factory=dict)
    energy_biases: dict[str, EnergyBias] = field(default_factory=dict)
    energy_ratio: EnergyRatio = field(default_factory=EnergyRatio)
    demand: dict[str, Demand] = field(default_factory=dict)
    forecast: Forecast = field(default_factory=Forecast)
    shares: dict[str, Share] = field(default_factory=dict)
    heat: Heat = field(default_factory=Heat)
    caps: Caps = field(default_factory=Caps)
    rests: dict[str, Rest] = field(default_factory=dict)
    kinds: list[Kind] = field(default_factory=list)
    plan: Plan = field(default_factory=Plan)
    energy: Energy = field(default_factory=Energy)
    money: Money = field(default_factory=Money)
    overhead_ns: float = 200_000.0
    arrivals: int = 0
    probe_due: int = 64
    timer_ns: int | None = None
    notes: dict[str, float] = field(default_factory=dict)
    draining: bool = False
    drained: bool = False


def residence_key(task: str, variant: str, pool: str) -> str:
    """Return the key of a variant's memory in ``State.residences`` and ``State.rests``."""
    return f"{task}/{variant}@{pool}"
