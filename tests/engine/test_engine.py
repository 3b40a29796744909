"""The engine on fake ports: who is answered when callers leave, runs fail, loads fail, and the end comes."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.confidence import confidence_of
from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.replay import replay, steps
from trimtab.core.scheduler import Scheduler
from trimtab.domain.decision import Cause, Outcome
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_MS
from trimtab.domain.request import Prefer
from trimtab.engine.api import Answer, Call
from trimtab.engine.engine import Engine, EngineSettings, Parts
from trimtab.policy import PolicyError, Problem
from trimtab.ports import StoredFamily
from trimtab.strategies import strategy_named
from trimtab.testing import (
    FakeMeter,
    FakePolicySource,
    FakeRuntime,
    FakeSensors,
    MemoryJournal,
    RecordingObserver,
    tiny_family,
    tiny_processors,
)

PROCESSORS = tiny_processors(2)
X = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)


class Clock:
    def now_ns(self) -> int:
        return time.monotonic_ns()

    def thread_cpu_ns(self) -> int:
        """Return the same: here nobody takes the processor away."""
        return self.now_ns()


def profiles(family: Family, latency_ns: int = NS_PER_MS) -> tuple[Profile, ...]:
    return tuple(
        Profile(v.name, p.name, (latency_ns,) * len(v.stages), 0.1, (50.0,) * len(v.stages), NS_PER_MS, 5.0, 4096)
        for v in family.variants
        for p in PROCESSORS
    )  # fmt: skip


class Noting(RecordingObserver):
    """Calls ``hook`` for each event, while it is being handled."""

    def __init__(self) -> None:
        super().__init__()
        self.hook: Callable[[ev.Event], object] = lambda event: None

    def saw(self, at_ns: int, event: ev.Event, commands: Sequence[cm.Command]) -> None:
        super().saw(at_ns, event, commands)
        self.hook(event)


class Bench:
    """An engine and everything it is wired to."""

    def __init__(self, settings: EngineSettings | None = None, checkpoint_every: int = 2000) -> None:
        self.family = tiny_family()
        self.runtime = FakeRuntime(inputs=self.family.inputs)
        self.sensors = FakeSensors(DeviceState(memory_available_bytes=1 << 30))
        self.policies = FakePolicySource()
        self.journal = MemoryJournal(checkpoint_every=checkpoint_every)
        self.observer = Noting()
        self.engine = Engine(
            Parts(
                clock=Clock(),
                sensors=self.sensors,
                meter=FakeMeter(),
                runtimes={"onnxruntime": self.runtime},
                policies=self.policies,
                journal=self.journal,
                processors=PROCESSORS,
                families=(StoredFamily(self.family, Path("nowhere")),),
                profiles={"tiny": profiles(self.family)},
                observers=(self.observer,),
            ),
            settings,
        )

    async def ask(self, **goals: Any) -> Answer:
        call = Call("tiny", {"x": X}, latency_budget_ns=2_000 * NS_PER_MS)
        return await self.engine.infer(replace(call, **goals))

    def finishes(self) -> list[cm.Finish]:
        return [e.item for e in self.journal.entries if isinstance(e.item, cm.Finish)]

    def events(self, *kinds: type[ev.Event]) -> list[ev.Event]:
        return [e.item for e in self.journal.entries if isinstance(e.item, kinds)]


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Bench]:
    bench = Bench(**settings)
    await bench.engine.start()
    try:
        yield bench
    finally:
        await bench.engine.close()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


class Gate:
    """Holds a fake runtime's runs until it is opened."""

    def __init__(self, runtime: FakeRuntime, variants: Iterable[str] = ("large", "small", "staged")) -> None:
        self.opened = threading.Event()
        self.reached = threading.Semaphore(0)
        runtime.latency_ns = {(v, s): 1 for v in variants for s in (0, 1)}
        runtime._sleep = self._wait

    def _wait(self, seconds: float) -> None:
        if seconds == 1e-9:
            self.reached.release()
            assert self.opened.wait(5)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self.reached.acquire, timeout=5)


def threads() -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("trimtab-"))


async def test_an_answer_carries_outputs_decision_and_source() -> None:
    async with running() as bench:
        assert bench.engine.ready
        answer = await bench.ask(variant="large")
        assert answer.result.outcome is Outcome.DONE
        assert answer.result.on_time
        assert answer.decision is not None
        assert (answer.decision.variant, answer.energy_source) == ("large", "assumed")
        assert list(answer.outputs) == ["logits"]
        assert answer.result.request_id == "1-1"
        assert bench.engine.statistics("tiny")["large"].success.count == 1
        assert bench.engine.status().outcomes["done"] == 1
    assert bench.journal.closed
    assert not threads()


async def test_a_staged_variant_answers_from_the_exit_it_reached() -> None:
    async with running() as bench:
        sure = np.array([[9.0, 0.0, 0.0]], np.float32)
        unsure = np.array([[0.1, 0.0, 0.0]], np.float32)
        bench.runtime.logits = {("staged", 0): unsure, ("staged", 1): sure}
        answer = await bench.ask(variant="staged", min_accuracy_frac=0.9)
        assert answer.result.exit_index == 1
        assert np.array_equal(answer.outputs["logits"], sure)
        assert answer.result.confidence == pytest.approx(confidence_of(sure))


async def test_a_caller_who_leaves_the_queue_is_forgotten() -> None:
    async with running() as bench:
        gate = Gate(bench.runtime)
        busy = [asyncio.create_task(bench.ask(variant="small")) for _ in range(2)]
        for _ in busy:
            await gate.entered()
        waiting = asyncio.create_task(bench.ask(variant="small"))
        await until(lambda: bench.engine.status().in_flight == 3)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert bench.engine.status().in_flight == 2
        gate.opened.set()
        assert {a.result.outcome for a in await asyncio.gather(*busy)} == {Outcome.DONE}
    assert [f.result.outcome for f in bench.finishes()].count(Outcome.CANCELLED) == 1


async def test_a_caller_who_leaves_a_run_blocks_only_its_processor() -> None:
    async with running() as bench:
        gate = Gate(bench.runtime)
        task = asyncio.create_task(bench.ask(variant="staged"))
        await gate.entered()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        drained = asyncio.create_task(bench.engine.drain())
        await asyncio.sleep(0.02)
        assert not drained.done()  # the abandoned run still has a processor
        gate.opened.set()
        await asyncio.wait_for(drained, 5)
    assert len(bench.events(ev.StageFinished)) == 1  # nobody asked for the second stage
    assert [f.result.cause for f in bench.finishes()] == [Cause.CALLER]


async def test_leaving_after_the_answer_is_no_event() -> None:
    async with running() as bench:
        task = asyncio.create_task(bench.ask())
        bench.observer.hook = lambda event: isinstance(event, ev.StageFinished) and task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not bench.events(ev.RequestCancelled)


async def test_a_failing_variant_is_replaced_by_another() -> None:
    async with running() as bench:
        bench.runtime.run_failures = {"large": "out of luck"}
        answer = await bench.ask(prefer=Prefer.ACCURACY)
        assert answer.result.outcome is Outcome.DONE
        assert answer.result.variant != "large"
        assert bench.events(ev.RunFailed)


async def test_when_everything_fails_the_request_fails_and_threads_live_on() -> None:
    async with running() as bench:
        bench.runtime.run_failures = {v.name: "broken" for v in bench.family.variants}
        answer = await bench.ask()
        assert answer.result.outcome in (Outcome.FAILED, Outcome.REJECTED)
        assert answer.outputs == {}
        assert len(threads()) == len(PROCESSORS) + 1


async def test_a_runtime_that_breaks_in_any_way_is_a_failed_run() -> None:
    async with running() as bench:
        bench.runtime.logits = {("large", 0): np.zeros((0,), np.float32)}  # no confidence can be had of this
        answer = await bench.ask(variant="large")
        assert answer.result.outcome is not Outcome.DONE
        (failed, *_) = bench.events(ev.RunFailed)
        assert isinstance(failed, ev.RunFailed)
        assert failed.error


async def test_a_variant_that_cannot_be_loaded_is_avoided() -> None:
    async with running() as bench:
        bench.runtime.load_failures = {"large": "no such file"}
        answer = await bench.ask(prefer=Prefer.ACCURACY, min_accuracy_frac=0.9)
        assert answer.result.outcome is Outcome.DONE
        assert answer.result.variant != "large"


async def test_the_last_resort_may_fail_to_load_at_start() -> None:
    bench = Bench()
    bench.runtime.load_failures = {"small": "no such file"}
    await asyncio.wait_for(bench.engine.start(), 5)
    assert (await bench.ask(variant="large")).result.outcome is Outcome.DONE
    await bench.engine.close()


async def test_evicting_that_breaks_does_not_stop_the_loader(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        await bench.ask(variant="large")

        def broken(task: str, variant: str, pool: str) -> None:
            raise OSError("still mapped")

        bench.runtime.evict = broken  # type: ignore[method-assign]
        await bench.engine.set_policy("version: 1\nname: tight\nmemory: {limit: 3 KiB}\n")
        await until(lambda: bench.events(ev.EvictFinished))
        await bench.engine.set_policy("version: 1\nname: wide\n")
        assert (await bench.ask(variant="large")).result.outcome is Outcome.DONE
    assert "could not be evicted" in caplog.text


async def test_a_request_expires_in_the_queue_by_the_timer() -> None:
    async with running() as bench:
        gate = Gate(bench.runtime)
        busy = [asyncio.create_task(bench.ask(variant="small")) for _ in range(2)]
        for _ in busy:
            await gate.entered()
        answer = await bench.ask(variant="small", latency_budget_ns=NS_PER_MS)
        assert answer.result.outcome in (Outcome.EXPIRED, Outcome.REJECTED)
        gate.opened.set()
        await asyncio.gather(*busy)


async def test_draining_refuses_the_new_and_finishes_the_old() -> None:
    async with running() as bench:
        gate = Gate(bench.runtime)
        old = asyncio.create_task(bench.ask(variant="small"))
        await gate.entered()
        drained = asyncio.create_task(bench.engine.drain())
        await asyncio.sleep(0)
        assert not bench.engine.ready
        assert (await bench.ask()).result.cause is Cause.DRAINING
        gate.opened.set()
        await asyncio.wait_for(drained, 5)
        assert (await old).result.outcome is Outcome.DONE
        await asyncio.wait_for(bench.engine.drain(), 5)  # again is no error


async def test_closing_answers_whoever_is_left_and_journals_it() -> None:
    bench = Bench()
    await bench.engine.start()
    gate = Gate(bench.runtime)
    tasks = [asyncio.create_task(bench.ask(variant="small")) for _ in range(5)]
    await gate.entered()
    closing = asyncio.create_task(bench.engine.close())
    answers = await asyncio.gather(*tasks)
    gate.opened.set()
    await closing
    assert {a.result.outcome for a in answers} == {Outcome.CANCELLED}
    assert len(bench.finishes()) == 5
    assert (await bench.ask()).result.cause is Cause.DRAINING
    await bench.engine.close()
    assert not bench.engine.ready
    assert not threads()


async def test_a_start_that_failed_can_be_closed() -> None:
    bench = Bench()
    bench.policies.replace(Policy("odd", strategy="no such strategy"))
    with pytest.raises(PolicyError, match="strategy"):
        await bench.engine.start()
    await bench.engine.close()
    assert bench.journal.closed
    assert not threads()


async def test_a_new_policy_of_the_source_is_used_and_a_bad_one_told() -> None:
    async with running() as bench:
        bench.policies.replace(Policy("second"), "name: second\n")
        await bench.engine.refresh()
        assert (bench.engine.status().policy, bench.engine.policy().yaml) == ("second", "name: second\n")
        bench.policies.fail(PolicyError([Problem("p.yaml", 3, 1, "defaults", "is odd")]))
        await bench.engine.refresh()
        assert "p.yaml:3:1" in bench.engine.status().policy_reload_error
        bench.policies.replace(Policy("odd", strategy="no such strategy"))
        await bench.engine.refresh()
        assert "no such strategy" in bench.engine.status().policy_reload_error
        assert bench.engine.policy().policy.name == "second"
        await bench.engine.set_policy("version: 1\nname: third\n")
        assert bench.engine.status().policy_reload_error == ""
        with pytest.raises(PolicyError):
            await bench.engine.set_policy("version: 1\n")
        assert bench.engine.status().policy == "third"
    assert len(bench.events(ev.PolicyReplaced)) == 3


async def test_sensors_that_break_are_read_again(caplog: pytest.LogCaptureFixture) -> None:
    async with running(settings=EngineSettings(sensor_s=0.01, idle_s=0.01)) as bench:
        read, bench.sensors.read = bench.sensors.read, _raise  # type: ignore[method-assign]
        await until(lambda: "could not be looked at" in caplog.text)
        bench.sensors.read = read  # type: ignore[method-assign]
        bench.sensors.set(battery_frac=0.5)
        await until(lambda: bench.engine.status().device.battery_frac == 0.5)


def _raise() -> DeviceState:
    raise OSError("gone")


async def test_a_request_wakes_the_sensors_of_an_idle_daemon() -> None:
    async with running(settings=EngineSettings(sensor_s=60, idle_s=60, idle_after_s=0)) as bench:
        await asyncio.sleep(0.02)
        assert bench.sensors.reads == 1
        await bench.ask()
        await until(lambda: bench.sensors.reads == 2)


async def test_a_bug_in_the_scheduler_fails_the_request_it_hits(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        gate = Gate(bench.runtime)
        task = asyncio.create_task(bench.ask(variant="small"))
        await gate.entered()
        bench.engine._scheduler.handle = _bug  # type: ignore[method-assign]
        gate.opened.set()
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(task, 5)
        with pytest.raises(ZeroDivisionError):
            await bench.ask()
        assert not bench.engine._pending
        del bench.engine._scheduler.handle
    assert "StageFinished could not be handled" in caplog.text


def _bug(event: ev.Event, now_ns: int) -> list[cm.Command]:
    raise ZeroDivisionError


async def test_checkpoints_are_taken_and_the_journal_replays() -> None:
    async with running(checkpoint_every=40) as bench:
        await asyncio.gather(*(bench.ask(variant=("", "large", "staged")[i % 3]) for i in range(60)))
    assert len(bench.journal.checkpoints) >= 3
    recorded = list(steps((e.at_ns, e.item) for e in bench.journal.entries))
    assert not list(replay(Scheduler(strategy_named), recorded))
    assert [event for _, event, _ in bench.observer.seen] == [step.event for step in recorded]


async def test_watchers_see_what_ends_until_the_end() -> None:
    async with running() as bench:
        seen: list[str] = []

        async def look() -> None:
            seen.extend([record.result.request_id async for record in bench.engine.watch()])

        watcher = asyncio.create_task(look())
        await asyncio.sleep(0)
        for _ in range(3):
            await bench.ask()
    await asyncio.wait_for(watcher, 5)
    assert seen == ["1-1", "1-2", "1-3"]


async def test_without_history_nothing_can_be_explained() -> None:
    async with running() as bench:
        with pytest.raises(KeyError):
            await bench.engine.explain("1-1")
        assert set(bench.engine.families()) == {"tiny"}
        assert (await bench.engine.validate_policy("version: 1\nname: fine\n")).name == "fine"


async def test_a_thousand_callers_who_come_and_go_leave_nothing() -> None:
    async with running() as bench:
        tasks = []
        for number in range(1000):
            tasks.append(asyncio.create_task(bench.ask(latency_budget_ns=50 * NS_PER_MS)))
            if number % 3 == 0:
                await asyncio.sleep(0)
                tasks[number // 2].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(bench.engine.drain(), 10)
        assert not bench.engine._pending
        assert not bench.engine._scheduler.state.live
    kinds = {type(a) for a in answers}
    assert kinds <= {Answer, asyncio.CancelledError}
    ended = [f.result.request_id for f in bench.finishes()]
    assert len(ended) == len(set(ended)) == 1000


def test_confidence_is_the_largest_softmax_of_the_least_certain() -> None:
    sure, unsure = [10.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    assert confidence_of(np.array([sure, unsure], np.float32)) == pytest.approx(1 / 3)
    assert confidence_of(np.array([sure], np.float32)) > 0.99
    assert confidence_of(np.array([[1e4, -1e4]], np.float32)) == 1.0
