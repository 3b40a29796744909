"""Journals as a daemon would leave them, written by a simulated run: quick, and the same every time."""

import random
from collections.abc import Sequence
from pathlib import Path

from trimtab.adapters.sqlite_journal import SqliteJournal
from trimtab.core import events as ev
from trimtab.core.codec import encode_value
from trimtab.core.commands import Command
from trimtab.core.events import Event
from trimtab.domain.decision import Decision, Result
from trimtab.domain.family import Profile
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab.testing import tiny_family, tiny_processors
from trimtab_sim import Arrival, Battery, DriverSettings, ModelledRuntime, SimulatedDriver, World, poisson
from trimtab_sim.runtime import Loading, Run, Running, SimulatedRuntime

LATENCY_NS = {"large": 3 * NS_PER_MS, "small": 400_000, "staged": 800_000}
KINDS = (
    Request("", "tiny", "camera", latency_budget_ns=6 * NS_PER_MS),
    Request("", "tiny", "gallery", latency_budget_ns=40 * NS_PER_MS, min_accuracy_frac=0.9),
    Request("", "tiny", "robot", min_accuracy_frac=0.84, priority=1),
)
CAPACITY_J = 60.0


def small_world() -> World:
    """Return one family on two cores and their gang."""
    family, processors = tiny_family(), tiny_processors()
    profiles = tuple(
        Profile(
            variant=variant.name,
            processor=processor.name,
            stage_latency_ns=(LATENCY_NS[variant.name] // processor.threads,) * len(variant.stages),
            latency_spread=0.1,
            stage_energy_uj=(LATENCY_NS[variant.name] * 2e-3,) * len(variant.stages),
            load_ns=4 * NS_PER_MS,
            load_energy_uj=1000.0,
            resident_bytes=2 << 20,
        )
        for variant in family.variants
        for processor in processors
    )
    return World(processors, (family,), {"tiny": profiles})


class Truth:
    """What a machine might really do: slower than profiled by variant, a heavy tail, a hand-over, colder when idle."""

    def __init__(self, world: World, seed: int) -> None:
        self._model = ModelledRuntime(world.families, world.profiles, seed)
        self._profiles = {p.variant + p.processor: p for p in world.profiles["tiny"]}
        self._rng = random.Random(seed)
        self._ended_ns = 0

    def load(self, task: str, variant: str, processor: Processor, now_ns: int) -> Loading:
        return self._model.load(task, variant, processor, now_ns)

    def evict(self, task: str, variant: str, pool: str, now_ns: int) -> int:
        return 0

    def run(self, run: Run, now_ns: int) -> Running:
        rng, profile = self._rng, self._profiles[run.decision.variant + run.processor.name]
        factor = {"large": 1.1, "small": 1.9, "staged": 1.5}[run.decision.variant]
        factor *= rng.lognormvariate(0.0, 0.05) * (rng.uniform(2.0, 4.0) if rng.random() < 0.04 else 1.0)
        factor *= 1.4 if now_ns - self._ended_ns > 20 * NS_PER_MS else 1.0
        run_ns = round(profile.stage_latency_ns[run.stage] * factor)
        around_ns = round(150_000 * rng.lognormvariate(0.0, 0.4))
        self._ended_ns = max(self._ended_ns, now_ns + run_ns + around_ns)
        confidence = self._model.run(run, now_ns).confidence
        return Running(run_ns, profile.stage_energy_uj[run.stage] * factor * 0.9, confidence, around_ns)

    def judge(self, arrival: Arrival, decision: Decision | None, result: Result) -> bool | None:
        return self._model.judge(arrival, decision, result)

    def close(self) -> None:
        """Hold nothing."""


class Recorder:
    """Writes what a driver tells into a real journal, with checkpoints where the journal wants them."""

    def __init__(self, journal: SqliteJournal) -> None:
        self._journal = journal
        self.driver: SimulatedDriver | None = None

    def append(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        self._journal.append(at_ns, event, commands)
        assert self.driver is not None
        if self._journal.wants_checkpoint():
            scheduler = self.driver.scheduler
            assert not scheduler.handle(ev.Checkpointed(), at_ns)
            self._journal.append(at_ns, ev.Checkpointed(), ())
            self._journal.checkpoint(at_ns, encode_value(scheduler.state))


def write_session(
    path: Path,
    seed: int = 1,
    count: int = 300,
    *,
    policy: Policy | None = None,
    rate_per_s: float = 120.0,
    runtime: SimulatedRuntime | None = None,
    checkpoint_every: int = 400,
    begin_ns: int = NS_PER_S,
) -> None:
    """Add a session of a simulated daemon with a battery to the journal at ``path``."""
    world = small_world()
    journal = SqliteJournal(path, checkpoint_every=checkpoint_every)
    recorder = Recorder(journal)
    driver = SimulatedDriver(
        world,
        policy or Policy("recorded"),
        runtime or Truth(world, seed),
        Battery(CAPACITY_J, 0.9, 50.0, start_ns=begin_ns),
        DriverSettings(start_ns=begin_ns),
        record=recorder.append,
    )
    recorder.driver = driver
    try:
        driver.run(poisson(seed, rate_per_s, count, KINDS, driver.start()))
    finally:
        journal.close()
