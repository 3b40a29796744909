"""What a decision stood on: the prices in force, what was expected of each processor, what was asked.

Made again from the journal when somebody asks why (docs/adr/0002), never stored beside a decision.
"""

from trimtab.domain.record import Record


class Part(Record, frozen=True):
    """What one thing adds to a candidate's net value, in utility; what is paid is negative."""

    name: str
    utility: float


class Price(Record, frozen=True):
    """Utility per unit of a scarce resource, and where that price comes from."""

    resource: str
    utility: float
    unit: str
    source: str


class Outlook(Record, frozen=True):
    """What a request was expected to meet on one processor.

    Runs take ``slowdown`` times the profile's latency (a median); ``sigma`` is the spread of ln of that factor,
    and ``observations`` the runs it was learned from. ``cold_wait_ns`` is the wait of what has to be loaded first.
    """

    processor: str
    slowdown: float
    sigma: float
    observations: int
    wait_ns: int
    cold_wait_ns: int
    full: bool


class Grounds(Record, frozen=True):
    """All that one decision depended on besides the candidates; ``None`` where there was no limit.

    ``time_ns`` is what was left until the deadline with the own ``overhead_ns`` taken off; ``spare_uj`` the energy
    above the battery's reserve that was not promised to anybody.
    """

    time_ns: int
    overhead_ns: int
    floor_frac: float
    confidence: float
    weight: float
    max_energy_uj: float | None = None
    spare_uj: float | None = None
    prices: tuple[Price, ...] = ()
    processors: tuple[Outlook, ...] = ()
