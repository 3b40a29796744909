"""Which late requests another candidate would have answered in time, in the queue as it was.

A request is *late* when it was answered after its deadline, expired, or was refused for lack of time
(``LATE_CAUSES``); one refused because the battery is at its reserve, or that failed, is not. It counts as
*avoidable* when, at the moment it was first decided (or refused), some other candidate

- was allowed by the policy and by the request (pinned variant);
- is as accurate as the floor in force, or as the candidate chosen if that was below the floor; and takes no
  more energy than the limit in force, or than the candidate chosen if that was above it;
- would have finished by the deadline: ``max(wait, load) + latency <= deadline - then``.

``wait`` is what really was ahead of it on that candidate's processor and on any that shares a core with it:
the rest of the run in progress and the later stages of that request, and the runs, as long as they really
took, of requests decided before it with a rank (class, deadline) not behind its own. ``latency`` is the
profile's times the slow-down the request met. ``load`` is 0 for a variant in memory, else the profile's load
time times that slow-down, or what was left of a load if that is less; a variant that was not in memory and would
not have fitted beside the last resorts is no candidate.

What cannot be known is left out, so that the count errs on the high side: later arrivals that would have gone
first, what the request would have done to others, variants resting after a failure, memory full of variants in
use, queue limits and the driver's own overhead.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimtab.core.queueing import LATE_CLASS, class_of, resources
from trimtab.domain.decision import Candidate, Cause, Decision, Outcome, Result
from trimtab.domain.policy import Settings
from trimtab.domain.processor import Processor
from trimtab.domain.settings import allows
from trimtab_sim.offers import Array, Offers

LATE_CAUSES: Final = frozenset({Cause.GOALS, Cause.OVERLOAD, Cause.DEADLINE})
"""Refusals for one of these count as late: a candidate in time might have been chosen."""
STAYS: Final = 8
"""So many stays in memory are remembered of each variant."""


def is_late(result: Result) -> bool:
    """Return whether a request that ended counts as late."""
    if result.outcome is Outcome.DONE:
        return not result.on_time
    return result.outcome in (Outcome.EXPIRED, Outcome.REJECTED) and result.cause in LATE_CAUSES


@dataclass(slots=True)
class Job:
    """A request as the queue sees it: the ``order``-th that was decided.

    ``priority`` is known once it ended, ``last`` says that its deadline was given up.
    """

    order: int
    deadline_ns: int
    last: bool = False
    priority: int = 0
    began_ns: int | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """Return its place in the queue: class, then deadline; the lower goes first."""
        return (LATE_CLASS if self.last else class_of(self.priority), self.deadline_ns)


class _Run(NamedTuple):
    job: Job
    start_ns: int
    end_ns: int
    occupied: tuple[str, ...]


class Backlog:
    """The runs of late, from which the wait for each processor at a moment follows."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        """Watch these processors; waits are told in their order."""
        self._owned = {processor.name: resources(processor) for processor in processors}
        self._runs: deque[_Run] = deque()

    def __len__(self) -> int:
        return len(self._runs)

    def ran(self, job: Job, processor: str, start_ns: int, run_ns: int) -> None:
        """Note a stage that starts now, with what it will take."""
        if job.began_ns is None:
            job.began_ns = start_ns
        self._runs.append(_Run(job, start_ns, start_ns + run_ns, self._owned[processor]))

    def forget(self, before_ns: int) -> None:
        """Forget runs that ended before a moment; nobody may ask about an earlier one again."""
        while self._runs and self._runs[0].end_ns < before_ns:
            self._runs.popleft()

    def waits_ns(self, job: Job, then_ns: int) -> Array:
        """Return each processor's wait for a request that was decided at ``then_ns``."""
        ahead: dict[str, int] = {}
        rank = (class_of(job.priority), job.deadline_ns)
        for run in self._runs:
            other = run.job
            if other.order >= job.order or run.end_ns <= then_ns or other.began_ns is None:
                continue
            if other.began_ns <= then_ns or other.rank <= rank:
                left_ns = run.end_ns - max(run.start_ns, then_ns)
                for resource in run.occupied:
                    ahead[resource] = ahead.get(resource, 0) + left_ns
        waits = [max((ahead.get(one, 0) for one in owned), default=0) for owned in self._owned.values()]
        return np.array(waits, float)


@dataclass(frozen=True, slots=True, eq=False)
class Suspect:
    """A late request: what could have served it, what was asked, and what was chosen when it was decided.

    ``latency_ns`` and ``energy_uj`` are what each offer would really have taken; ``slowdown`` is how much longer
    than profiled its variant would have taken to load, ``spare_bytes`` what a variant not in memory might hold.
    """

    job: Job
    then_ns: int
    task: str
    offers: Offers
    latency_ns: Array
    energy_uj: Array
    slowdown: Array
    floor_frac: float
    cap_uj: float
    settings: Settings
    chosen: Decision | None
    spare_bytes: float = inf


class Lateness:
    """Counts late requests and those among them that were avoidable; forgets what is settled."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        """Start with nothing late."""
        self.backlog = Backlog(processors)
        self.late = self.avoidable = 0
        self._pools = [processor.pool for processor in processors]
        self._stays: dict[tuple[str, str, str], deque[tuple[int, float]]] = {}
        self._suspects: list[tuple[int, int, Suspect]] = []
        self._allowed: dict[tuple[Settings, Offers], NDArray[np.bool_]] = {}

    def loads(self, task: str, variant: str, pool: str, ready_ns: int) -> None:
        """Note when a variant will be in a pool's memory."""
        self._stays.setdefault((task, variant, pool), deque(maxlen=STAYS)).append((ready_ns, inf))

    def leaves(self, task: str, variant: str, pool: str, now_ns: int) -> None:
        """Note that a variant leaves a pool's memory."""
        stays = self._stays[task, variant, pool]
        stays[-1] = (stays[-1][0], now_ns)

    def suspect(self, suspect: Suspect) -> None:
        """Take in a late request; it is judged once its deadline has passed and all ahead of it is known."""
        self.late += 1
        heappush(self._suspects, (suspect.job.deadline_ns, suspect.job.order, suspect))

    def judge(self, now_ns: int, since_ns: int) -> None:
        """Judge those whose deadline has passed; no later one will have been decided before ``since_ns``."""
        suspects = self._suspects
        while suspects and suspects[0][0] < now_ns:
            self.avoidable += self._is_avoidable(heappop(suspects)[2])
        self.backlog.forget(min([since_ns, *(suspect.then_ns for _, _, suspect in suspects)]))

    def judge_all(self) -> None:
        """Judge the rest, at the end of a run."""
        while self._suspects:
            self.avoidable += self._is_avoidable(heappop(self._suspects)[2])

    def _is_avoidable(self, one: Suspect) -> bool:
        offers = one.offers
        floor_frac, cap_uj = one.floor_frac, one.cap_uj
        others = self._allowed_by(one.settings, offers)
        if one.chosen is not None:
            chosen = one.chosen
            same = np.array([_is_chosen(each, chosen) for each in offers.candidates], bool)
            others = others & ~same
            floor_frac = min(floor_frac, float(offers.accuracy_frac[same].max(initial=0.0)))
            cap_uj = max(cap_uj, chosen.energy_uj)
        fits = others & (offers.accuracy_frac >= floor_frac) & (one.energy_uj <= cap_uj)
        if not fits.any():
            return False
        waits = self.backlog.waits_ns(one.job, one.then_ns)[offers.processor]
        ends = np.maximum(waits, self._load_ns(one)) + one.latency_ns
        return bool((fits & (ends <= one.job.deadline_ns - one.then_ns)).any())

    def _load_ns(self, one: Suspect) -> Array:
        """Return how long each offer's variant would have been on its way into memory; forever without room."""
        offers, left = one.offers, []
        for candidate, place, slow in zip(offers.candidates, offers.processor, one.slowdown, strict=True):
            stays = self._stays.get((one.task, candidate.variant, self._pools[place]), ())
            ready_ns = next((ready for ready, gone in stays if gone > one.then_ns), inf)
            load_ns = candidate.load_ns * slow if candidate.resident_bytes <= one.spare_bytes else inf
            left.append(min(load_ns, max(0.0, ready_ns - one.then_ns)))
        return np.array(left, float)

    def _allowed_by(self, settings: Settings, offers: Offers) -> NDArray[np.bool_]:
        """Return which offers the policy allows."""
        allowed = self._allowed.get((settings, offers))
        if allowed is None:
            each = [
                allows(settings.variants, one.variant) and allows(settings.processors, one.processor)
                for one in offers.candidates
            ]
            allowed = self._allowed[settings, offers] = np.array(each, bool)
        return allowed


def _is_chosen(candidate: Candidate, chosen: Decision) -> bool:
    return (candidate.variant, candidate.processor, candidate.exit_rule) == (
        chosen.variant,
        chosen.processor,
        chosen.exit_rule,
    )
