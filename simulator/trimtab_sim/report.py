"""What a simulated run came to: every request, and the totals."""

from collections import Counter
from dataclasses import dataclass, field

from trimtab.domain.decision import Decision, Outcome, Result
from trimtab.domain.quantities import UJ_PER_J
from trimtab_sim.arrivals import Arrival


@dataclass(frozen=True, slots=True)
class Served:
    """One request that ended; ``correct`` is ``None`` without an answer, or a label to judge it by."""

    arrival: Arrival
    finished_ns: int
    decision: Decision | None
    result: Result
    correct: bool | None

    @property
    def latency_ns(self) -> int:
        """Return the time from arrival to answer."""
        return self.finished_ns - self.arrival.at_ns

    @property
    def answered(self) -> bool:
        """Return whether there was an answer at all."""
        return self.result.outcome is Outcome.DONE


@dataclass(slots=True)
class RunReport:
    """A run from ``started_ns`` to ``ended_ns`` in simulated time.

    ``served`` is in order of completion, ``decisions`` are (time, decision) as made, several per request when
    it was decided again, ``battery`` is (time, level 0..1) as told to the scheduler. Energy is above idle.
    """

    started_ns: int = 0
    ended_ns: int = 0
    served: list[Served] = field(default_factory=list)
    decisions: list[tuple[int, Decision]] = field(default_factory=list)
    battery: list[tuple[int, float]] = field(default_factory=list)
    battery_empty_ns: int | None = None
    run_energy_uj: float = 0.0
    load_energy_uj: float = 0.0
    loads: int = 0
    evictions: int = 0
    unfinished: int = 0
    drained: bool = False

    @property
    def requests(self) -> int:
        """Return how many requests arrived."""
        return len(self.served) + self.unfinished

    @property
    def energy_j(self) -> float:
        """Return the energy of all runs and loads in joules."""
        return (self.run_energy_uj + self.load_energy_uj) / UJ_PER_J

    @property
    def on_time_frac(self) -> float:
        """Return the share of all requests answered by their deadline."""
        return _frac(sum(one.result.on_time for one in self.served), self.requests)

    @property
    def accuracy(self) -> float | None:
        """Return the share of correct answers among the answers whose correctness is known."""
        known = [one.correct for one in self.served if one.answered and one.correct is not None]
        return _frac(sum(known), len(known)) if known else None

    @property
    def accuracy_all(self) -> float | None:
        """Return the share of all requests answered correctly and on time; unknown when ``accuracy`` is."""
        if self.accuracy is None:
            return None
        return _frac(sum(bool(one.correct) and one.result.on_time for one in self.served), self.requests)

    @property
    def battery_end_frac(self) -> float | None:
        """Return the level told last."""
        return self.battery[-1][1] if self.battery else None

    def share(self) -> dict[str, float]:
        """Return each variant's share of the answers, most used first."""
        counts = Counter(one.result.variant for one in self.served if one.answered)
        order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return {variant: count / counts.total() for variant, count in order}

    def outcomes(self) -> dict[str, int]:
        """Return how many requests ended how, every outcome listed."""
        counts = Counter(one.result.outcome for one in self.served)
        return {outcome.value: counts[outcome] for outcome in Outcome}


def _frac(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
