"""A journal recorded by the real engine, replayed through a fresh scheduler, gives the same commands."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from trimtab.adapters.clock import MonotonicClock
from trimtab.adapters.journal_reader import JournalReader
from trimtab.adapters.sqlite_journal import SqliteJournal
from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.codec import decode_value
from trimtab.core.invariants import check
from trimtab.core.replay import replay, steps
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import State
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import MemoryGoal, Policy, Settings
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.engine.api import Answer, Call
from trimtab.engine.engine import Engine, EngineSettings, Parts
from trimtab.ports import Array, Entry, RuntimeFailure, StoredFamily, Tensors
from trimtab.strategies import strategy_named
from trimtab.testing import (
    FakeMeter,
    FakePolicySource,
    FakeRuntime,
    FakeSensors,
    tiny_family,
    tiny_processors,
)

MIB = 1 << 20
REQUESTS = 600
UNLUCKY = 1_000_000
"""This sample's run fails on every variant."""
LATENCY_NS = {"large": 2 * NS_PER_MS, "small": NS_PER_MS // 4, "staged": NS_PER_MS // 2}
POLICY = Policy(
    "recorded",
    defaults=Settings(energy_price_per_j=0.5),
    memory=MemoryGoal(keep_available_bytes=8 * MIB),
    queue_limit=16,
)
PROCESSORS = (Processor("npu", "npu", (), 1), *tiny_processors())
"""Not in alphabetical order, because order breaks ties and must survive a checkpoint."""
FAMILIES = (tiny_family("tiny"), tiny_family("other"))


class Moody(FakeRuntime):
    """Takes what its profile says, more or less, and fails now and then."""

    def run(
        self, task: str, variant: str, processor: Processor, stage: int, tensors: Tensors
    ) -> dict[str, Array]:
        sample = int(tensors["x"][0, 0])
        if sample == UNLUCKY or (sample % 60 == 20 and variant != "small"):
            raise RuntimeFailure(f"no luck with sample {sample}")
        mood = random.Random(sample).random()
        self._sleep(LATENCY_NS[variant] * (0.7 + mood) / NS_PER_S)
        outputs = super().run(task, variant, processor, stage, tensors)
        logits = np.array([[0.0, mood, 2.0 * mood]], dtype=np.float32)
        return {name: logits if name == "logits" else array for name, array in outputs.items()}


def profiles(family: Family) -> tuple[Profile, ...]:
    return tuple(
        Profile(
            variant.name,
            processor.name,
            (LATENCY_NS[variant.name],) * len(variant.stages),
            0.2,
            (LATENCY_NS[variant.name] * 1e-3,) * len(variant.stages),
            2 * NS_PER_MS,
            500.0,
            4 * MIB,
        )
        for variant in family.variants
        for processor in PROCESSORS
    )


def make_parts(journal: SqliteJournal, sensors: FakeSensors, policies: FakePolicySource) -> Parts:
    return Parts(
        clock=MonotonicClock(),
        sensors=sensors,
        meter=FakeMeter(),
        runtimes={"onnxruntime": Moody()},
        policies=policies,
        journal=journal,
        processors=PROCESSORS,
        families=tuple(StoredFamily(family, Path("nowhere")) for family in FAMILIES),
        profiles={family.task: profiles(family) for family in FAMILIES},
    )


async def ask(engine: Engine, rng: random.Random, index: int) -> Answer | None:
    """Send one request; some fail, some are staged, and some are too slow for who waits for them."""
    await asyncio.sleep(index * 0.0015)
    call = Call(
        task=rng.choice(("tiny", "other")),
        tensors={"x": np.full((1, 4), index, dtype=np.float32)},
        app=rng.choice(("camera", "keyboard")),
        latency_budget_ns=rng.choice((2, 10, 50)) * NS_PER_MS,
        min_accuracy_frac=rng.choice((None, 0.84, 0.9)),
        priority=rng.choice((0, 1)),
        variant={5: "large", 8: "staged"}.get(index % 12, ""),
    )
    patience_s = 0.001 if index % 12 in (5, 7) else 30.0
    try:
        async with asyncio.timeout(patience_s):
            return await engine.infer(call)
    except TimeoutError:
        return None


async def disturb(engine: Engine, sensors: FakeSensors, policies: FakePolicySource) -> None:
    """Squeeze the memory, drain the battery and change the policy under load."""
    for number, mib in enumerate((200, 100, 60, 30, 4, 2)):
        await asyncio.sleep(0.13)
        sensors.set(memory_available_bytes=mib * MIB, battery_frac=0.9 - number / 10)
        if number % 2:
            strategy = "value" if number == 3 else "largest"
            policies.replace(replace(POLICY, name=f"change {number}", strategy=strategy))
        await engine.refresh()


async def record(path: Path) -> list[Answer | None]:
    """Serve several hundred requests at the same time and keep the journal at ``path``."""
    rng = random.Random(3)
    sensors = FakeSensors(
        DeviceState(battery_frac=0.9, battery_capacity_j=1e4, memory_available_bytes=200 * MIB)
    )
    policies, journal = FakePolicySource(POLICY), SqliteJournal(path, checkpoint_every=200)
    engine = Engine(make_parts(journal, sensors, policies), EngineSettings(sensor_s=0.05))
    await engine.start()
    requests = [ask(engine, rng, index) for index in range(REQUESTS)]
    answers = await asyncio.gather(*requests, disturb(engine, sensors, policies))
    policies.replace(replace(POLICY, name="quiet"))
    await engine.refresh()
    unlucky = Call("tiny", {"x": np.full((1, 4), UNLUCKY, dtype=np.float32)}, latency_budget_ns=60 * NS_PER_S)
    await engine.infer(unlucky)  # when all is quiet and any variant may serve: it is run for sure
    await engine.drain()
    await engine.close()
    return answers[:-1]


def differences(scheduler: Scheduler, entries: list[Entry]) -> list[str]:
    rows = ((entry.at_ns, entry.item) for entry in entries)
    found = replay(scheduler, steps(rows), lambda _step: check(scheduler.state))
    return [f"{d.index}: {d.step.event} gave {d.step.commands}, replayed {d.replayed}" for d in found]


async def test_replayed_from_the_start_and_from_every_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    answers = await record(path)
    assert len(answers) == REQUESTS
    with JournalReader(path) as reader:
        (session,) = reader.sessions()
        entries = list(reader.entries(session.session))
        _assert_eventful(entries)
        assert differences(Scheduler(strategy_named), entries) == []
        checkpoints = reader.checkpoints(session.session)
        assert len(checkpoints) >= 5
        for checkpoint in checkpoints:
            state = decode_value(State, checkpoint.state)
            later = list(reader.entries(session.session, checkpoint.seq + 1))
            assert differences(Scheduler(strategy_named, state), later) == []


def _assert_eventful(entries: list[Entry]) -> None:
    """Require that the recording holds nearly everything that can happen."""
    seen = Counter(type(entry.item) for entry in entries)
    expected = (
        ev.RequestCancelled,
        ev.PolicyReplaced,
        ev.DeviceChanged,
        ev.LoadFinished,
        ev.EvictFinished,
        ev.RunFailed,
        ev.Checkpointed,
        ev.DrainStarted,
        cm.Evict,
        cm.SetTimer,
        cm.Drained,
    )
    assert not [cls.__name__ for cls in expected if not seen[cls]]
    assert seen[cm.Finish] == seen[ev.RequestArrived] >= REQUESTS
    stages = [e.item.stage for e in entries if isinstance(e.item, cm.RunStage)]
    assert max(stages) == 1
