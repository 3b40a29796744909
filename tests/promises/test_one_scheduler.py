"""One scheduler, two drivers: the daemon's engine and the simulator decide the same, request by request.

The real engine runs with its real threads and event loop, but in virtual time: the clock moves only when all
threads wait for it, straight to the next thing that is due. So both drivers see the same inputs at the same
nanosecond, and their journals must be equal from the first entry to the last.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trimtab.adapters.battery_drain import BatteryDrain
from trimtab.adapters.device import CompositeSensors
from trimtab.adapters.virtual_device import VirtualBattery
from trimtab.confidence import confidence_of
from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.domain.decision import Decision, Outcome, Result
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Profile, Variant
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab.engine.api import Answer, Call
from trimtab.engine.engine import Engine, EngineSettings, Parts
from trimtab.policy import load_policy
from trimtab.ports import Array, Loaded, RuntimeFailure, StoredFamily, Tensors
from trimtab.testing import (
    FakeMeter,
    FakePolicySource,
    MemoryJournal,
    tiny_family,
    tiny_processors,
)
from trimtab_sim import (
    Arrival,
    Battery,
    DriverSettings,
    JournalRecord,
    RunReport,
    SimulatedDriver,
    Surroundings,
    World,
)
from trimtab_sim.runtime import Loading, Run, Running

if TYPE_CHECKING:
    from tests.promises.conftest import Main, VirtualTime

START_NS = NS_PER_S
MIB = 1 << 20
EVICT_NS = 700_001
FAMILY, PROCESSORS, METER = tiny_family(), tiny_processors(), FakeMeter(1500.0)
BASE_NS = {"large": 2_500_000, "small": 400_000, "staged": 900_000}

POLICY = """
version: 1
name: first
battery: {reserve: 10%, last_for: 2 min}
memory: {keep_available: 8 MiB}
defaults: {energy_price_per_j: 1.0, min_accuracy: 0.8}
rules:
  - {name: low, when: {battery: {below: 60%}}, then: {energy_price_per_j: 8.0}}
"""
NEXT_POLICY = POLICY.replace("first", "second").replace("1.0", "0.2")


# ---- the same timing for both drivers --------------------------------------------------------------------


def usual_ns(variant: str, processor: Processor) -> int:
    return BASE_NS[variant] // (2 if processor.threads > 1 else 1)


def duration_ns(variant: str, processor: Processor, stage: int, sample: int) -> int:
    """Return how long a run takes; raise ``RuntimeFailure`` where it fails."""
    if variant == "large" and sample % 61 == 60:
        raise RuntimeFailure(f"sample {sample} is too much for {variant}")
    rng = random.Random(f"{variant} {processor.name} {stage} {sample}")
    return round(usual_ns(variant, processor) * rng.lognormvariate(0.0, 0.15))


def logits(variant: str, stage: int, sample: int) -> Array:
    top = random.Random(f"{variant} {stage} {sample}").uniform(0.0, 2.5)
    return np.array([[0.0, top, 0.5]], dtype=np.float32)


def load_ns(variant: str, processor: Processor) -> int:
    """Return how long a load takes; raise ``RuntimeFailure`` where it fails."""
    if variant == "staged" and processor.threads > 1:
        raise RuntimeFailure("staged variants do not load on a gang")
    return 3_000_017 + 1_000_003 * processor.threads


class ThreadedRuntime:
    """For the engine: blocks the processor's thread in virtual time. The input says which sample it is."""

    name = "onnxruntime"
    description = "takes its time"

    def __init__(self, clock: "VirtualTime") -> None:
        self._clock = clock

    def load(self, task: str, variant: Variant, folder: Path, processor: Processor) -> Loaded:
        took_ns = load_ns(variant.name, processor)
        self._clock.sleep(took_ns)
        return Loaded(took_ns, 3 * MIB)

    def run(
        self, task: str, variant: str, processor: Processor, stage: int, tensors: Tensors
    ) -> dict[str, Array]:
        sample = int(tensors["x"][0, 0])
        self._clock.sleep(duration_ns(variant, processor, stage, sample))
        outputs = FAMILY.variant(variant).stages[stage].outputs
        return {name: logits(variant, stage, sample) for name in outputs}

    def evict(self, task: str, variant: str, pool: str) -> None:
        self._clock.sleep(EVICT_NS)

    def close(self) -> None:
        pass


class TimedRuntime:
    """For the simulator: the same timing as numbers."""

    def load(self, task: str, variant: str, processor: Processor, now_ns: int) -> Loading:
        took_ns = load_ns(variant, processor)
        return Loading(took_ns, 3 * MIB, METER.run_energy(processor, took_ns).energy_uj)

    def evict(self, task: str, variant: str, pool: str, now_ns: int) -> int:
        return EVICT_NS

    def run(self, run: Run, now_ns: int) -> Running:
        variant, sample = run.decision.variant, run.arrival.sample
        run_ns = duration_ns(variant, run.processor, run.stage, sample)
        energy_uj = METER.run_energy(run.processor, run_ns).energy_uj
        return Running(run_ns, energy_uj, confidence_of(logits(variant, run.stage, sample)))

    def judge(self, arrival: Arrival, decision: Decision | None, result: Result) -> bool | None:
        return None

    def close(self) -> None:
        pass


# ---- the script both follow ------------------------------------------------------------------------------


@dataclass
class Script:
    """What happens, and when: requests, cancellations of some, a new policy, squeezes of memory, a drain."""

    arrivals: list[Arrival]
    cancels: dict[str, int]
    policy_ns: int
    drain_ns: int
    surroundings: Surroundings
    battery: tuple[float, float, float] = (4.0, 0.9, 20.0)


def make_script(seed: int, count: int) -> Script:
    rng = random.Random(seed)
    arrivals, cancels, at_ns = [], {}, START_NS + 100 * NS_PER_MS
    for index in range(count):
        at_ns += 1 + round(_pause_s(rng, index, count) * NS_PER_S)
        request = Request(
            request_id=f"1-{index + 1}",
            task="tiny",
            app=rng.choice(("camera", "keyboard")),
            latency_budget_ns=rng.choice((2, 5, 20, 100)) * NS_PER_MS,
            min_accuracy_frac=rng.choice((None, 0.83, 0.9)),
            priority=rng.choice((0, 0, 1)),
            variant=rng.choice(("", "", "", "", "", "large")),
        )
        arrivals.append(Arrival(at_ns, request, index))
        if index % 7 == 3:
            cancels[request.request_id] = at_ns + rng.randrange(1, 4 * NS_PER_MS)
    third = (at_ns - START_NS) // 3
    memory = [(0, 64), (START_NS + third, 7), (START_NS + third + 4 * NS_PER_S, 40)]
    states = [(ns, DeviceState(memory_available_bytes=mib * MIB, weekday=2)) for ns, mib in memory]
    return Script(arrivals, cancels, START_NS + 2 * third + 1, at_ns + NS_PER_MS // 2, Surroundings(states))


def _pause_s(rng: random.Random, index: int, count: int) -> float:
    """Return the time since the arrival before: bursts, breathers, and one long silence."""
    if index == count // 2:
        return 13.0
    return rng.expovariate(4000.0 if index % 100 < 40 else 250.0) if index % 40 else 0.8


def profiles() -> tuple[Profile, ...]:
    def profile(variant: Variant, processor: Processor) -> Profile:
        latency = [usual_ns(variant.name, processor)] * len(variant.stages)
        energy = [METER.run_energy(processor, ns).energy_uj for ns in latency]
        return Profile(
            variant.name, processor.name, tuple(latency), 0.1, tuple(energy), 4_000_000, 500.0, 3 * MIB
        )

    return tuple(profile(v, p) for v in FAMILY.variants for p in PROCESSORS)


@dataclass
class _Around:
    """The surroundings as a sensor of the engine."""

    clock: "VirtualTime"
    surroundings: Surroundings

    def read(self) -> DeviceState:
        state = self.surroundings.at(self.clock.now_ns())
        return replace(state, sources=tuple((name, "script") for name in ("memory", "local_time", "weekday")))


@dataclass
class Told:
    """What a driver did: its journal, and the result of each request."""

    journal: list[tuple[int, ev.Event | cm.Command]]
    results: dict[str, Result] = field(default_factory=dict)


async def drive_engine(script: Script, clock: "VirtualTime") -> Told:
    battery, journal = VirtualBattery(*script.battery, clock), MemoryJournal(1, 1 << 60)
    parts = Parts(
        clock=clock,
        sensors=CompositeSensors((battery, _Around(clock, script.surroundings))),
        meter=METER,
        runtimes={"onnxruntime": ThreadedRuntime(clock)},
        policies=FakePolicySource(load_policy(POLICY, "first.yaml")),
        journal=journal,
        processors=PROCESSORS,
        families=(StoredFamily(FAMILY, Path("nowhere")),),
        profiles={"tiny": profiles()},
        observers=(clock, BatteryDrain(battery)),
    )
    engine = Engine(parts, EngineSettings())
    await engine.start()
    tasks: dict[str, asyncio.Task[Answer]] = {}
    for at_ns, act in _acts(script, engine, tasks):
        await asyncio.sleep((at_ns - clock.now_ns()) / NS_PER_S)
        assert clock.now_ns() == at_ns
        act()
    await engine.drain()
    answers = await asyncio.gather(*tasks.values(), return_exceptions=True)
    await engine.close()
    told = Told([(entry.at_ns, entry.item) for entry in journal.entries])
    told.results = {a.result.request_id: a.result for a in answers if isinstance(a, Answer)}
    return told


def _acts(
    script: Script, engine: Engine, tasks: dict[str, asyncio.Task[Answer]]
) -> list[tuple[int, Callable[[], object]]]:
    def ask(arrival: Arrival) -> None:
        wanted = arrival.request
        call = Call(
            task=wanted.task,
            tensors={"x": np.full((1, 4), arrival.sample, dtype=np.float32)},
            app=wanted.app,
            latency_budget_ns=wanted.latency_budget_ns,
            min_accuracy_frac=wanted.min_accuracy_frac,
            priority=wanted.priority,
            variant=wanted.variant,
        )
        tasks[wanted.request_id] = asyncio.create_task(engine.infer(call))

    def cancel(name: str) -> None:
        tasks[name].cancel()

    acts: list[tuple[int, Callable[[], object]]] = [(a.at_ns, partial(ask, a)) for a in script.arrivals]
    acts += [(ns, partial(cancel, name)) for name, ns in script.cancels.items()]
    acts.append((script.policy_ns, lambda: asyncio.ensure_future(engine.set_policy(NEXT_POLICY))))
    acts.append((script.drain_ns, lambda: None))
    return sorted(acts, key=lambda act: act[0])


def drive_simulator(script: Script) -> tuple[Told, RunReport]:
    record = JournalRecord()
    driver = SimulatedDriver(
        World(PROCESSORS, (FAMILY,), {"tiny": profiles()}),
        load_policy(POLICY, "first.yaml"),
        TimedRuntime(),
        Battery(*script.battery, start_ns=START_NS, surroundings=script.surroundings),
        DriverSettings(start_ns=START_NS, checked=True),
        record=record.append,
    )
    given: list[tuple[int, ev.Event]] = [
        (ns, ev.RequestCancelled(name)) for name, ns in script.cancels.items()
    ]
    given.append((script.policy_ns, ev.PolicyReplaced(load_policy(NEXT_POLICY, "<request>"))))
    given.append((script.drain_ns, ev.DrainStarted()))
    report = driver.run(script.arrivals, given)
    return Told(record.items, {one.result.request_id: one.result for one in report.served}), report


def comparable(items: list[tuple[int, ev.Event | cm.Command]]) -> list[tuple[int, ev.Event | cm.Command]]:
    """Leave out which sensor told, and cancellations that came too late: an engine's caller keeps those."""
    kept: list[tuple[int, ev.Event | cm.Command]] = []
    ended: set[str] = set()
    for at_ns, item in items:
        if isinstance(item, cm.Finish):
            ended.add(item.result.request_id)
        if isinstance(item, ev.RequestCancelled) and item.request_id in ended:
            continue
        if isinstance(item, ev.DeviceChanged):
            item = ev.DeviceChanged(replace(item.device, sources=()))
        kept.append((at_ns, item))
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_the_engine_and_the_simulator_decide_the_same(
    run_virtually: "Callable[[int, Main], Told]", seed: int
) -> None:
    script = make_script(seed, count=400)
    daemon = run_virtually(START_NS, lambda clock: drive_engine(script, clock))
    simulated, report = drive_simulator(script)

    ours, theirs = comparable(simulated.journal), comparable(daemon.journal)
    for index, (mine, its) in enumerate(zip(ours, theirs, strict=False)):
        assert mine == its, f"entry {index}: the simulator has {mine}, the daemon {its}"
    assert len(ours) == len(theirs)
    answered = {k: v for k, v in simulated.results.items() if v.outcome is not Outcome.CANCELLED}
    assert answered == {k: v for k, v in daemon.results.items() if v.outcome is not Outcome.CANCELLED}
    _assert_eventful(ours, report)


def _assert_eventful(items: list[tuple[int, ev.Event | cm.Command]], report: RunReport) -> None:
    """Require that the script exercises both drivers: else equality would say little."""
    seen = {type(item) for _, item in items}
    every = set(ev.Event.__subclasses__()) | set(cm.Command.__subclasses__())
    missing = {cls.__name__ for cls in every - seen if "__slots__" in vars(cls)}
    assert missing == {"Checkpointed", "ConnectivityChanged", "EstimatesRestored"}
    assert all(count > 0 for name, count in report.outcomes().items() if name not in ("failed", "expired")), (
        report.outcomes()
    )
    assert len({d.candidate for _, d in report.decisions}) >= 5
    assert len(report.battery) > 10
