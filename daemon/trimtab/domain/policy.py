"""A policy: what to optimise and within which limits, as one immutable value."""

from dataclasses import dataclass

from trimtab.domain.quantities import NS_PER_MS
from trimtab.domain.record import Word


class Goal(Word):
    """A goal that may be given up when no candidate meets all of them."""

    ENERGY = "energy"
    ACCURACY = "accuracy"
    DEADLINE = "deadline"


class WhenImpossible(Word):
    """What happens to a request that no candidate can serve with every goal met."""

    SERVE = "serve"
    REJECT = "reject"


class BelowReserve(Word):
    """What happens to requests once the battery is at its reserve."""

    CHEAPEST = "cheapest"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Range:
    """True when ``above < reading < below``; false when no sensor gives the reading.

    With hysteresis it goes on to hold, once it does, until the reading is above ``until_above``, or below
    ``until_below``: ends further out than ``below`` and ``above``, which they stand in for.
    """

    below: float | None = None
    above: float | None = None
    until_above: float | None = None
    until_below: float | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A range with hysteresis that the last reading lay in; ``reading`` is the condition's field."""

    reading: str
    limits: Range


@dataclass(frozen=True, slots=True)
class DayTime:
    """True from ``start_s`` until ``end_s`` after local midnight; wraps over midnight when start > end."""

    start_s: int
    end_s: int


@dataclass(frozen=True, slots=True)
class Span:
    """True on these days (0 is Monday; none given: on all) from ``start_s`` until ``end_s`` after local midnight.

    Equal ends stand for the whole day. A span that wraps over midnight belongs to the day on which it begins.
    """

    days: tuple[int, ...] = ()
    start_s: int = 0
    end_s: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Named times: true while one of the spans runs."""

    name: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """True when every part that is given holds; an empty condition always does.

    One of the ``schedules`` must be running. ``apps`` and ``tasks`` are shell-style patterns of which one must match. ``any_of`` needs one true
    member, ``none_of`` needs all of its members false.
    """

    battery_frac: Range | None = None
    temperature_c: Range | None = None
    memory_available_bytes: Range | None = None
    cpu_load_frac: Range | None = None
    charging: bool | None = None
    time: DayTime | None = None
    apps: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    any_of: "tuple[Condition, ...]" = ()
    none_of: "tuple[Condition, ...]" = ()
    schedules: tuple[Schedule, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Names allowed and denied, shell-style patterns; an empty ``allow`` allows all, deny wins."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class Worth(Word):
    """How the worth of an answer falls once its deadline has passed."""

    NONE = "none"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True)
class AfterDeadline:
    """An answer is worth less and less after its deadline, and nothing from ``until_ns`` later on."""

    worth: Worth = Worth.NONE
    until_ns: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for one request once every matching rule is applied.

    ``weight`` is the utility of one full point of accuracy (1.0 = 100 %); prices are in the same unit.
    ``energy_price_per_j`` is the floor of the energy price; the battery horizon can only raise it,
    ``energy_price_factor`` scales the result. ``deadline_confidence`` is the least probability of being
    on time. ``give_up`` lists which goals are given up, first one first; a goal left out never is.
    ``after_deadline`` makes the deadline soft; without it a late answer is worth nothing.
    ``allow_remote`` lets requests leave the device. ``money_price_per_usd`` is the floor of the price of money.
    """

    latency_budget_ns: int = 100 * NS_PER_MS
    min_accuracy_frac: float = 0.0
    max_energy_uj: float | None = None
    weight: float = 1.0
    energy_price_per_j: float = 0.0
    energy_price_factor: float = 1.0
    memory_price_per_mib: float = 0.0
    latency_price_per_s: float = 0.0
    deadline_confidence: float = 0.95
    give_up: tuple[Goal, ...] = (Goal.ENERGY, Goal.ACCURACY, Goal.DEADLINE)
    when_impossible: WhenImpossible = WhenImpossible.SERVE
    variants: Filter = Filter()
    processors: Filter = Filter()
    allow_remote: bool = False
    money_price_per_usd: float = 0.0
    after_deadline: AfterDeadline = AfterDeadline()


@dataclass(frozen=True, slots=True)
class Change:
    """Settings a rule or task overrides; ``None`` leaves a setting as it was.

    Filters add to those already in force: denies accumulate, a non-empty allow replaces.
    """

    latency_budget_ns: int | None = None
    min_accuracy_frac: float | None = None
    max_energy_uj: float | None = None
    weight: float | None = None
    energy_price_per_j: float | None = None
    energy_price_factor: float | None = None
    memory_price_per_mib: float | None = None
    latency_price_per_s: float | None = None
    deadline_confidence: float | None = None
    give_up: tuple[Goal, ...] | None = None
    when_impossible: WhenImpossible | None = None
    variants: Filter | None = None
    processors: Filter | None = None
    allow_remote: bool | None = None
    money_price_per_usd: float | None = None
    after_deadline: AfterDeadline | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A named change that applies while its condition holds; later rules win over earlier ones."""

    name: str
    when: Condition
    then: Change


@dataclass(frozen=True, slots=True)
class BatteryGoal:
    """Keep ``reserve_frac`` until the horizon: a time of day, or a duration from when the policy began.

    With neither ``last_until_s`` nor ``last_for_ns`` there is no horizon, only the reserve. ``power_budget_mw``
    is the mean power that runs and loads may take, also on a charger.
    """

    reserve_frac: float = 0.0
    last_until_s: int | None = None
    last_for_ns: int | None = None
    below_reserve: BelowReserve = BelowReserve.CHEAPEST
    power_budget_mw: float | None = None


@dataclass(frozen=True, slots=True)
class ThermalGoal:
    """Stay below ``limit_c`` at the hottest sensor, by taking less power before it is reached."""

    limit_c: float


@dataclass(frozen=True, slots=True)
class MemoryGoal:
    """Upper limit of what loaded variants may hold, and what must stay available to other apps."""

    limit_bytes: int | None = None
    keep_available_bytes: int = 0


@dataclass(frozen=True, slots=True)
class MoneyGoal:
    """Spend at most ``budget_usd`` on servers: each day until a time of day, or once over a duration.

    With neither ``last_until_s`` nor ``last_for_ns`` the budget holds for as long as the policy does.
    """

    budget_usd: float
    last_until_s: int | None = None
    last_for_ns: int | None = None


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What one task changes of the defaults."""

    task: str
    change: Change


@dataclass(frozen=True, slots=True)
class Policy:
    """One validated policy document."""

    name: str
    description: str = ""
    strategy: str = "value"
    defaults: Settings = Settings()
    tasks: tuple[TaskSettings, ...] = ()
    battery: BatteryGoal = BatteryGoal()
    memory: MemoryGoal = MemoryGoal()
    thermal: ThermalGoal | None = None
    queue_limit: int = 64
    rules: tuple[Rule, ...] = ()
    version: int = 1
    money: MoneyGoal | None = None
