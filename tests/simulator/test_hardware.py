from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trimtab.domain.policy import MemoryGoal, Policy, Settings
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab.ports import Array, RuntimeFailure, StoredFamily, Tensors
from trimtab.testing import FakeMeter, FakeRuntime, ManualClock, tiny_family
from trimtab_sim import (
    Arrival,
    DriverSettings,
    HardwareInTheLoop,
    RunReport,
    Samples,
    SimulatedDriver,
    World,
)


class Classifier(FakeRuntime):
    """Answers with the class the input is about; ``small`` mistakes class 2 for class 0."""

    def run(self, task, variant, processor, stage, tensors: Tensors) -> dict[str, Array]:  # type: ignore[no-untyped-def]
        outputs = super().run(task, variant, processor, stage, tensors)
        given = tensors["x"].argmax(axis=1)
        guess = np.where((given == 2) & (variant == "small"), 0, given)
        outputs["logits"] = np.eye(3, dtype=np.float32)[guess] * 5
        return outputs


class Bench:
    """A fake runtime on a clock that moves only while it works, in the loop of the simulator."""

    def __init__(self, world: World) -> None:
        self.world, self.clock = world, ManualClock(5)
        self.runtime = Classifier(sleep=lambda s: self._pass(s))
        self.runtime.latency_ns = {("large", 0): 3 * NS_PER_MS, ("staged", 0): 1, ("staged", 1): NS_PER_MS}
        self.pinned: list[tuple[int, ...]] = []
        rows = np.eye(4, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
        self.loop = HardwareInTheLoop(
            [StoredFamily(tiny_family(), Path("nowhere"))],
            {"onnxruntime": self.runtime},
            FakeMeter(1000.0),
            {"tiny": Samples({"x": rows}, np.array([0, 1, 2, 0, 1, 2]))},
            pin=self.pinned.append,
            clock_ns=self.clock.now_ns,
        )

    def _pass(self, seconds: float) -> None:
        self.clock.advance(round(seconds * NS_PER_S))

    def serve(self, *requests: Request, policy: Policy | None = None) -> RunReport:
        driver = SimulatedDriver(
            self.world, policy or Policy("p"), self.loop, settings=DriverSettings(checked=True)
        )
        start_ns = driver.start()
        arrivals = [Arrival(start_ns + (n + 1) * NS_PER_S, r, n) for n, r in enumerate(requests)]
        return driver.run(arrivals)


@pytest.fixture
def bench(world: World) -> Iterator[Bench]:
    bench = Bench(world)
    yield bench
    bench.loop.close()


def pinned_to(variant: str, count: int = 6) -> list[Request]:
    return [Request(f"r{n}", "tiny", variant=variant, latency_budget_ns=50 * NS_PER_MS) for n in range(count)]


def test_simulated_time_advances_by_what_was_measured(bench: Bench) -> None:
    report = bench.serve(*pinned_to("large"))
    assert {one.result.run_ns for one in report.served} == {3 * NS_PER_MS}
    processors = {p.name: p for p in bench.world.processors}
    for one in report.served:
        threads = processors[one.result.processor].threads
        assert one.result.energy_uj == pytest.approx(3000.0 * threads)
        assert one.latency_ns == one.result.load_ns + one.result.queue_ns + 3 * NS_PER_MS
    assert bench.clock.now_ns() < NS_PER_S < report.ended_ns - report.started_ns


def test_answers_are_judged_by_their_labels(bench: Bench) -> None:
    assert bench.serve(*pinned_to("large")).accuracy == 1.0
    assert bench.serve(*pinned_to("small")).accuracy == pytest.approx(4 / 6)


def test_batches_count_when_every_answer_is_right(bench: Bench) -> None:
    batches = [Request(f"b{n}", "tiny", variant="small", batch=2) for n in range(3)]
    served = sorted(bench.serve(*batches).served, key=lambda one: one.arrival.sample)
    assert [one.correct for one in served] == [True, False, False]


def test_stages_hand_their_tensors_on(bench: Bench) -> None:
    requests = [Request("r", "tiny", variant="staged", min_accuracy_frac=0.9)]
    (served,) = bench.serve(*requests).served
    assert served.result.exit_index == 1
    assert served.correct is True
    assert ("run", "tiny", "staged", served.result.processor, "1") in bench.runtime.calls


def test_loads_and_evictions_are_real(bench: Bench) -> None:
    small = Policy("p", memory=MemoryGoal(limit_bytes=5 << 20), defaults=Settings(latency_budget_ns=NS_PER_S))
    bench.runtime.resident_bytes = dict.fromkeys(("large", "small", "staged"), 2 << 20)
    report = bench.serve(*pinned_to("large", 2), *pinned_to("staged", 0), policy=small)
    assert report.loads == sum(call[0] == "load" for call in bench.runtime.calls)
    assert bench.runtime.loaded
    bench.loop.close()
    assert not bench.runtime.loaded


def test_each_processor_is_pinned_once(bench: Bench) -> None:
    report = bench.serve(*pinned_to("small"))
    used = {one.result.processor for one in report.served}
    cores = {p.name: p.cores for p in bench.world.processors}
    assert sorted(bench.pinned) == sorted(cores[name] for name in used)


def test_failures_stay_failures(bench: Bench) -> None:
    bench.runtime.run_failures["large"] = "smoke"
    report = bench.serve(*pinned_to("large", 2))
    assert {one.correct for one in report.served} == {None}
    with pytest.raises(RuntimeFailure):
        bench.runtime.run("tiny", "large", bench.world.processors[0], 0, {})
