"""Runs as a recording observed them instead of as a formula: an empirical runtime, and how to judge it.

A profile says what a run takes in a tight loop on a quiet machine. In service it takes longer by a factor
that depends on the variant (small ones pay for cold caches), has a tail no lognormal has, and is followed by a
hand-over: threads wake, the event loop comes round. ``Observed`` keeps what recorded runs took relative to
their profiles, with their hand-over and with the circumstances at their start; ``EmpiricalRuntime`` draws
whole runs from it, so that all that goes together stays together (a bootstrap: Efron, Annals of Statistics 7,
1979).

A recording used to judge must not be the one drawn from, except to ask "what if" about that very recording.
"""

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Final

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.commands import Command
from trimtab.core.events import Event
from trimtab.core.state import State
from trimtab.domain.decision import Decision, Result
from trimtab.domain.family import Family, Profile
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS
from trimtab_sim.arrivals import Arrival
from trimtab_sim.runtime import Loading, ModelledRuntime, Run, Running

KEPT_RUNS: Final = 8192
"""Runs kept per cell; beyond it every second one is dropped, so that what stays is spread over time."""
KEPT_LOADS: Final = 64
ENOUGH: Final = 24
"""Runs that a circumstance must have been observed with before it is drawn from by itself."""
FEW: Final = 8
"""Runs that a cell must have been observed with before they stand for themselves."""
IDLE_NS: Final = (NS_PER_MS // 4, 2 * NS_PER_MS, 20 * NS_PER_MS)
"""Bounds of how long no run had been under way: caches cool, cores and threads fall asleep."""
CROWD: Final = (1, 3)
"""Bounds of how many other requests were in flight: the event loop has them to see to as well."""

Cell = tuple[str, str, str, int]
"""Task, variant, pool and stage: processors of one pool are alike, and runs are compared with each one's own profile."""
Factor = Callable[[str, int], float]


@dataclass(frozen=True, slots=True)
class Circumstance:
    """What went on when a run began: other runs (0, 1), how long idle and how crowded, as classes."""

    busy: int
    idle: int
    crowd: int

    @classmethod
    def of(cls, others: int, idle_ns: int, in_flight: int) -> "Circumstance":
        """Return the classes of so many other runs, ns without any run, and other requests in flight."""
        idle = 0 if others else sum(idle_ns >= bound for bound in IDLE_NS)
        return cls(min(1, others), idle, sum(in_flight >= bound for bound in CROWD))

    def coarser(self) -> tuple[tuple[int, ...], ...]:
        """Return keys from the finest to the coarsest; the last one is that of every run."""
        return ((self.busy, self.idle, self.crowd), (self.busy, self.idle), (self.busy,), ())


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: its time and energy over its profile's, its hand-over, its confidence, and its circumstance."""

    at_ns: int
    time_factor: float
    energy_factor: float
    around_ns: int
    confidence: float
    when: Circumstance


@dataclass(slots=True)
class Runs:
    """The samples of one cell in order of time, thinned evenly once there are many."""

    profile_ns: int
    samples: list[Sample] = field(default_factory=list)
    seen: int = 0
    _stride: int = 1
    _groups: dict[tuple[int, ...], list[Sample]] | None = None

    def add(self, sample: Sample) -> None:
        """Keep a sample, unless its turn was thinned out."""
        if self.seen % self._stride == 0:
            self.samples.append(sample)
            self._groups = None
        self.seen += 1
        if len(self.samples) > KEPT_RUNS:
            self.samples = self.samples[::2]
            self._stride *= 2

    def draw(self, when: Circumstance, rng: random.Random, at_ns: int, nearest: int) -> Sample:
        """Return a random sample of a like circumstance; with ``nearest``, one of so many nearest in time."""
        group = self._group(when)
        first, count = 0, len(group)
        if 0 < nearest < count:
            middle = bisect_left(group, at_ns, key=lambda sample: sample.at_ns)
            first = min(max(0, middle - nearest // 2), count - nearest)
            count = nearest
        return group[first + int(rng.random() * count)]

    def _group(self, when: Circumstance) -> list[Sample]:
        if self._groups is None:
            self._groups = {}
            for sample in self.samples:
                for key in sample.when.coarser():
                    self._groups.setdefault(key, []).append(sample)
        for key in when.coarser():
            group = self._groups.get(key, [])
            if len(group) >= ENOUGH:
                return group
        return self.samples


@dataclass(frozen=True, slots=True)
class _Dispatched:
    at_ns: int
    command: cm.RunStage
    when: Circumstance


class Observed:
    """What the runs and loads of a recording took; fed step by step by ``take``."""

    def __init__(
        self, profiles: Mapping[str, Iterable[Profile]], processors: Iterable[Processor] = ()
    ) -> None:
        """Begin with nothing observed; ``profiles`` by task are what runs are compared with."""
        self.runs: dict[Cell, Runs] = {}
        self.loads: dict[tuple[str, str, str], list[Loading]] = {}
        self._profiles: dict[tuple[str, str, str], Profile] = {}
        self._pools = {one.name: one.pool for one in processors}
        self._dispatched: dict[str, _Dispatched] = {}
        self._batches: dict[str, int] = {}
        self._ended_ns = 0
        for task, some in profiles.items():
            self.use(task, some)

    @property
    def count(self) -> int:
        """Return how many runs were observed."""
        return sum(runs.seen for runs in self.runs.values())

    def use(self, task: str, profiles: Iterable[Profile]) -> None:
        """Compare with these profiles of a task from now on."""
        self._profiles.update({(task, one.variant, one.processor): one for one in profiles})

    def take(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        """Observe a step; shaped like ``trimtab_sim.record.Record``."""
        idle_since_ns = self._ended_ns
        match event:
            case ev.RequestArrived():
                self._batches[event.request.request_id] = event.request.batch
            case ev.ProcessorsFound():
                self._pools = {one.name: one.pool for one in event.processors}
            case ev.StageFinished():
                self._finished(at_ns, event)
            case ev.RunFailed():
                self._ended_ns = at_ns
                self._dispatched.pop(event.request_id, None)
            case ev.LoadFinished():
                loads = self.loads.setdefault((event.task, event.variant, event.pool), [])
                loads.append(Loading(event.load_ns, event.resident_bytes, event.energy_uj))
                del loads[:-KEPT_LOADS]
        for command in commands:
            if isinstance(command, cm.Finish):
                self._batches.pop(command.result.request_id, None)
        starts = [command for command in commands if isinstance(command, cm.RunStage)]
        others = len(self._dispatched) + len(starts) - 1
        idle_ns = 0 if self._ended_ns == at_ns else at_ns - idle_since_ns
        for start in starts:
            when = Circumstance.of(others, idle_ns, len(self._batches) - 1)
            self._dispatched[start.request_id] = _Dispatched(at_ns, start, when)

    def _finished(self, at_ns: int, event: ev.StageFinished) -> None:
        self._ended_ns = at_ns
        begun = self._dispatched.pop(event.request_id, None)
        if begun is None or self._batches.get(event.request_id, 1) != 1:
            return
        task, variant, stage = begun.command.task, begun.command.variant, begun.command.stage
        processor = begun.command.processor
        profile = self._profiles.get((task, variant, processor))
        if profile is None or profile.stage_latency_ns[stage] <= 0:
            return
        profile_ns, profile_uj = profile.stage_latency_ns[stage], profile.stage_energy_uj[stage]
        sample = Sample(
            begun.at_ns,
            event.run_ns / profile_ns,
            event.energy_uj / profile_uj if profile_uj > 0.0 else 1.0,
            max(0, at_ns - begun.at_ns - event.run_ns),
            event.confidence,
            begun.when,
        )
        cell = (task, variant, self._pools.get(processor, processor), stage)
        self.runs.setdefault(cell, Runs(profile_ns)).add(sample)


@dataclass(slots=True)
class Drawn:
    """Where simulated runs came from: observed runs of the same cell, of the nearest one, or the profile alone."""

    own: int = 0
    borrowed: int = 0
    profiled: int = 0


class EmpiricalRuntime:
    """Draws runs and loads from what was observed; a ``SimulatedRuntime``.

    A cell that was not observed borrows from the one, in the same pool, whose profile is nearest; with
    nothing observed at all it is modelled by its profile. What is drawn scales with the profile, so it fits
    whatever was profiled since. Call ``attach`` with the scheduler's state, which tells the circumstances.
    """

    def __init__(
        self,
        families: Sequence[Family],
        profiles: Mapping[str, Sequence[Profile]],
        observed: Observed,
        seed: int = 0,
        *,
        nearest: int = 0,
        contention: Factor = lambda _processor, _now_ns: 1.0,
    ) -> None:
        """Serve these families; the same seed gives the same run.

        With ``nearest`` only so many observed runs nearest in time are drawn from: for the time that was
        observed. ``contention`` is the factor by which runs take longer than observed.
        """
        self._model = ModelledRuntime(families, profiles, seed, contention)
        self._profiles = {
            (task, one.variant, one.processor): one for task, some in profiles.items() for one in some
        }
        self._observed = observed
        self._rng = random.Random(seed)  # noqa: S311  a simulation, not a secret
        self._nearest = nearest
        self._contention = contention
        self._found: dict[Cell, tuple[Runs, bool] | None] = {}
        self._state: State | None = None
        self._ended_ns = 0
        self.drawn = Drawn()

    def attach(self, state: State) -> None:
        """Look at this scheduler's state for the circumstances of a run."""
        self._state = state

    def load(self, task: str, variant: str, processor: Processor, now_ns: int) -> Loading:
        """Take as long as an observed load of the same variant in the same pool, else what the profile says."""
        observed = self._observed.loads.get((task, variant, processor.pool))
        if not observed:
            return self._model.load(task, variant, processor, now_ns)
        return observed[int(self._rng.random() * len(observed))]

    def evict(self, task: str, variant: str, pool: str, now_ns: int) -> int:
        """Take no time."""
        return self._model.evict(task, variant, pool, now_ns)

    def run(self, run: Run, now_ns: int) -> Running:
        """Take as long as an observed run in a like circumstance, scaled by the profile and the batch."""
        modelled = self._model.run(run, now_ns)
        request, variant = run.arrival.request, run.decision.variant
        profile = self._profiles[request.task, variant, run.processor.name]
        profile_ns = profile.stage_latency_ns[run.stage]
        found = self._runs((request.task, variant, run.processor.pool, run.stage), profile_ns)
        if found is None:
            self.drawn.profiled += 1
            ended_ns = now_ns + modelled.run_ns
            self._ended_ns = max(self._ended_ns, ended_ns)
            return modelled
        runs, own = found
        self.drawn.own += own
        self.drawn.borrowed += not own
        sample = runs.draw(self._circumstance(now_ns), self._rng, now_ns, self._nearest)
        factor = request.batch * self._contention(run.processor.name, now_ns)
        run_ns = max(1, round(profile_ns * sample.time_factor * factor))
        energy_uj = profile.stage_energy_uj[run.stage] * sample.energy_factor * factor
        self._ended_ns = max(self._ended_ns, now_ns + run_ns + sample.around_ns)
        return Running(run_ns, energy_uj, sample.confidence if own else modelled.confidence, sample.around_ns)

    def judge(self, arrival: Arrival, decision: Decision | None, result: Result) -> bool | None:
        """Judge as ``ModelledRuntime`` does."""
        return self._model.judge(arrival, decision, result)

    def close(self) -> None:
        """Hold nothing."""
        self._model.close()

    def _circumstance(self, now_ns: int) -> Circumstance:
        state = self._state
        if state is None:
            return Circumstance.of(0, now_ns - self._ended_ns, 0)
        return Circumstance.of(len(state.running) - 1, max(0, now_ns - self._ended_ns), len(state.live) - 1)

    def _runs(self, cell: Cell, profile_ns: int) -> tuple[Runs, bool] | None:
        """Return what a cell is drawn from, and whether that is its own; ``None`` when nothing was observed."""
        if cell not in self._found:
            self._found[cell] = self._look(cell, profile_ns)
        return self._found[cell]

    def _look(self, cell: Cell, profile_ns: int) -> tuple[Runs, bool] | None:
        runs = self._observed.runs
        own = runs.get(cell)
        if own is not None and len(own.samples) >= FEW:
            return own, True
        ample = [one for one in runs.items() if len(one[1].samples) >= FEW]
        choice = [one for one in ample if one[0][2] == cell[2]] or ample
        if not choice:
            return None if own is None else (own, True)
        wanted = log(max(1, profile_ns))
        return min(choice, key=lambda one: (abs(log(one[1].profile_ns) - wanted), one[0]))[1], False


# ---- how near a simulation came --------------------------------------------------------------------------

LIMITS: Final[Mapping[str, float]] = {
    "latency_ms_p50": 0.05,
    "latency_ms_p95": 0.09,
    "latency_ms_p99": 0.12,
    "energy_j": 0.05,
    "on_time_frac": 0.01,
}
"""The most a simulation may be off by: shares of the recorded figure, and points of ``on_time_frac``."""


def errors(recorded: Mapping[str, float], simulated: Mapping[str, float]) -> dict[str, float]:
    """Return how far off each figure of ``LIMITS`` is, with its sign; 0.01 is one per cent or one point."""
    found = {}
    for name in LIMITS:
        off = simulated[name] - recorded[name]
        found[name] = off if name == "on_time_frac" else off / recorded[name]
    return found


def within(found: Mapping[str, float]) -> bool:
    """Return whether every error keeps its limit."""
    return all(abs(found[name]) <= limit for name, limit in LIMITS.items())
