"""What a simulated run came to: every request, and the totals; and who watches it happen."""

from dataclasses import dataclass, field

from trimtab.domain.decision import Decision, Outcome, Result
from trimtab.domain.device import DeviceState
from trimtab.domain.quantities import UJ_PER_J
from trimtab.domain.record import Record
from trimtab_sim.arrivals import Arrival
from trimtab_sim.totals import Totals

_DONE = Outcome.DONE


class Served(Record, frozen=True):
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


class Watcher:
    """Is told what happens in a run while it happens; override what you need. Times are simulated ns.

    With a watcher nothing has to be kept, so a run of any length can be looked at in little memory.
    """

    def served(self, one: Served) -> None:
        """Take a request that ended."""

    def decided(self, now_ns: int, decision: Decision) -> None:
        """Take a decision, repeated ones included."""

    def device(self, now_ns: int, state: DeviceState) -> None:
        """Take the device's state as told to the scheduler."""

    def started(
        self,
        now_ns: int,
        request_id: str,
        *,
        task: str,
        variant: str,
        processor: str,
        stage: int,
        run_ns: int,
        energy_uj: float,
    ) -> None:
        """Take a stage that begins, with what it will take; one that fails at once is not told."""

    def loaded(self, now_ns: int, task: str, variant: str, pool: str, load_ns: int) -> None:
        """Take a load that begins at ``now_ns`` and will take ``load_ns``; one that fails is not told."""

    def evicted(self, now_ns: int, task: str, variant: str, pool: str) -> None:
        """Take a variant that is told to leave memory."""


@dataclass(slots=True)
class RunReport:
    """A run from ``started_ns`` to ``ended_ns`` in simulated time.

    ``served`` is in order of completion, ``decisions`` are (time, decision) as made, several per request when
    it was decided again, ``battery`` is (time, level 0..1) as told to the scheduler. A driver told not to keep
    them leaves all three empty; everything else comes from ``totals``. Energy is above idle.
    """

    started_ns: int = 0
    ended_ns: int = 0
    served: list[Served] = field(default_factory=list)
    decisions: list[tuple[int, Decision]] = field(default_factory=list)
    battery: list[tuple[int, float]] = field(default_factory=list)
    battery_end_frac: float | None = None
    """The level told last."""
    battery_empty_ns: int | None = None
    run_energy_uj: float = 0.0
    load_energy_uj: float = 0.0
    cost_usd: float = 0.0
    loads: int = 0
    evictions: int = 0
    unfinished: int = 0
    drained: bool = False
    totals: Totals = field(default_factory=Totals)

    def note(self, one: Served) -> None:
        """Add a request that ended to the totals."""
        totals, result = self.totals, one.result
        outcome = result.outcome
        totals.outcomes[outcome] += 1
        totals.queue_ns += result.queue_ns
        totals.load_ns += result.load_ns
        totals.run_ns += result.run_ns
        totals.energy_uj += result.energy_uj
        if outcome is not _DONE:
            return
        if result.given_up:
            totals.given_up += 1
        arrival, answers = one.arrival, totals.answers
        key = (arrival.request.task, result.variant, result.processor, result.on_time, one.correct)
        answers[key] = answers.get(key, 0) + 1
        totals.latency_ns.add(one.finished_ns - arrival.at_ns)

    @property
    def requests(self) -> int:
        """Return how many requests arrived."""
        return self.totals.ended + self.unfinished

    @property
    def energy_j(self) -> float:
        """Return the energy of all runs and loads in joules."""
        return (self.run_energy_uj + self.load_energy_uj) / UJ_PER_J

    @property
    def on_time_frac(self) -> float:
        """Return the share of all requests answered by their deadline."""
        return _frac(self.totals.on_time, self.requests)

    @property
    def accuracy(self) -> float | None:
        """Return the share of correct answers among the answers whose correctness is known."""
        return _frac(self.totals.correct, self.totals.judged) if self.totals.judged else None

    @property
    def accuracy_all(self) -> float | None:
        """Return the share of all requests answered correctly and on time; unknown when ``accuracy`` is."""
        return _frac(self.totals.correct_on_time, self.requests) if self.totals.judged else None

    def share(self) -> dict[str, float]:
        """Return each variant's share of the answers, most used first."""
        counts = self.totals.by_variant()
        order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return {variant: count / sum(counts.values()) for variant, count in order}

    def outcomes(self) -> dict[str, int]:
        """Return how many requests ended how, every outcome listed."""
        return {outcome.value: count for outcome, count in self.totals.outcomes.items()}


def _frac(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
