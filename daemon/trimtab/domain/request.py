"""A request for one inference and the goals its caller set."""

from trimtab.domain.record import Record, Word


class Prefer(Word):
    """What the caller would rather have when several candidates meet every goal."""

    VALUE = "value"
    ACCURACY = "accuracy"
    ENERGY = "energy"
    LATENCY = "latency"


class Request(Record, frozen=True):
    """One unit of work. Goals left ``None`` come from the policy.

    ``latency_budget_ns`` counts from arrival. ``priority`` follows Triton: 1 is the most urgent class,
    0 means "the default class". ``variant`` pins one variant by name (empty: trimtab chooses).
    ``batch`` is the number of samples; profiles are for one, latency and energy are taken as proportional.
    ``processor`` asks for one (a name or shell-style pattern): no other serves when ``strict``, else another one may
    where that one cannot meet every goal.
    """

    request_id: str
    task: str
    app: str = ""
    latency_budget_ns: int | None = None
    min_accuracy_frac: float | None = None
    max_energy_uj: float | None = None
    priority: int = 0
    prefer: Prefer = Prefer.VALUE
    variant: str = ""
    batch: int = 1
    processor: str = ""
    strict: bool = False
