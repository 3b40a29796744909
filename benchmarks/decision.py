"""Measure how long a decision takes in-process: ``handle(RequestArrived)`` with 64 candidates.

Run ``python benchmarks/decision.py [--json] [--candidates 64] [--decisions 20000]``. Three situations: an
idle device, one with 8 requests waiting, and an idle one with a battery horizon (prices move, tables are
rebuilt). Times are also given as a ratio to a fixed loop of Python arithmetic timed in between, so that
noisy or slow machines compare. Garbage collection stays on; what setup allocated is frozen first, as a
daemon should do once it is ready (``gc.freeze``).
"""

import argparse
import gc
import json
import platform
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "daemon"))

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.scheduler import Scheduler
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Dataset, ExitRule, Family, Profile, Stage, TensorSpec, Variant
from trimtab.domain.policy import BatteryGoal, Policy, Settings
from trimtab.domain.processor import Processor
from trimtab.domain.request import Request
from trimtab.strategies import strategy_named

MS = 1_000_000
PROCESSORS = (
    Processor("cpu:0", "cpu", (0,), 1),
    Processor("cpu:1", "cpu", (1,), 1),
    Processor("cpu:0-1", "cpu", (0, 1), 2),
    Processor("gpu:0", "gpu", (), 1, provider="CUDAExecutionProvider"),
)
SPEED = {"cpu:0": 1.0, "cpu:1": 1.0, "cpu:0-1": 1.7, "gpu:0": 4.0}
POWER_W = {"cpu:0": 1.8, "cpu:1": 1.8, "cpu:0-1": 3.3, "gpu:0": 9.0}
SETTINGS = Settings(energy_price_per_j=0.5, latency_price_per_s=0.05, memory_price_per_mib=1e-4)


def family(variants: int) -> tuple[Family, tuple[Profile, ...]]:
    """Return a family whose accuracy saturates while its cost grows, and its profiles."""
    made, profiles = [], []
    for index in range(variants):
        name, size = f"v{index:02}", 1.3**index
        accuracy = 0.93 - 0.09 * 0.8**index
        stage = Stage(
            "m.onnx", "", int(3e4 * size), ("image",), ("logits",), "logits", int(1e5 * size), 10_000
        )
        rule = ExitRule("full", 0.0, (1.0,), (accuracy,))
        made.append(Variant(name, ("prune",), (stage,), (rule,), accuracy, 1, 1, "fp32"))
        for processor in PROCESSORS:
            latency_ns = int(90_000 * size / SPEED[processor.name]) + 20_000
            energy_uj = latency_ns * POWER_W[processor.name] * 1e-3
            resident = int(2e6 + 4e4 * size)
            profiles.append(
                Profile(name, processor.name, (latency_ns,), 0.06, (energy_uj,), 9 * MS, 15_000.0, resident)
            )
    image, logits = TensorSpec("image", "FP32", (-1, 1, 28, 28)), TensorSpec("logits", "FP32", (-1, 10))
    return (
        Family(
            task="bench",
            title="benchmark",
            inputs=(image,),
            outputs=(logits,),
            labels=(),
            variants=tuple(made),
            reference=made[-1].name,
            last_resort=made[0].name,
            dataset=Dataset("", "", "", 1, 1),
        ),
        tuple(profiles),
    )


@dataclass
class Bench:
    """A scheduler fed by hand; loads finish at once, runs when asked."""

    candidates: int
    battery: BatteryGoal
    now_ns: int = 1_000 * MS
    count: int = 0
    timed_ns: list[int] = field(default_factory=list)
    running: dict[str, cm.RunStage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made, profiles = family(self.candidates // len(PROCESSORS))
        self.latency_ns = {(p.variant, p.processor): p.stage_latency_ns[0] for p in profiles}
        self.energy_uj = {(p.variant, p.processor): p.stage_energy_uj[0] for p in profiles}
        self.random = random.Random(7)
        self.scheduler = Scheduler(strategy_named)
        device = DeviceState(1.0, 2_500.0, memory_available_bytes=512 << 20)
        self.feed(ev.PolicyReplaced(Policy("bench", defaults=SETTINGS, battery=self.battery)))
        self.feed(ev.ProcessorsFound(PROCESSORS))
        self.feed(ev.DeviceChanged(device))
        self.feed(ev.FamilyAdded(made))
        self.feed(ev.ProfilesReplaced("bench", profiles))

    def feed(self, event: ev.Event) -> None:
        for command in self.scheduler.handle(event, self.now_ns):
            match command:
                case cm.Load():
                    self.feed(ev.LoadFinished(command.task, command.variant, command.pool, 9 * MS, 3_000_000))
                case cm.RunStage():
                    self.running[command.request_id] = command
                case cm.Finish():
                    self.running.pop(command.result.request_id, None)

    def arrival(self) -> ev.RequestArrived:
        self.count += 1
        budget_ms = self.random.choice((4, 8, 20, 100))
        floor = self.random.choice((None, None, 0.88, 0.91))
        return ev.RequestArrived(Request(f"r{self.count}", "bench", "app", budget_ms * MS, floor))

    def timed(self, event: ev.RequestArrived) -> list[cm.Command]:
        began_ns = time.perf_counter_ns()
        commands = self.scheduler.handle(event, self.now_ns)
        self.timed_ns.append(time.perf_counter_ns() - began_ns)
        for command in commands:
            match command:
                case cm.RunStage():
                    self.running[command.request_id] = command
                case cm.Load():
                    self.feed(ev.LoadFinished(command.task, command.variant, command.pool, 9 * MS, 3_000_000))
        return commands

    def finish_all(self) -> None:
        for run in list(self.running.values()):
            key = (run.variant, run.processor)
            run_ns = int(self.latency_ns[key] * self.random.lognormvariate(0.0, 0.06))
            self.now_ns += run_ns + 100_000
            self.feed(ev.StageFinished(run.request_id, 0, run_ns, self.energy_uj[key], 0.9))

    def idle(self) -> None:
        self.now_ns += self.random.randrange(2 * MS)
        self.timed(self.arrival())
        self.finish_all()

    def loaded(self) -> None:
        """Time an arrival behind 8 waiting requests, then take it back; time moves on, but slowly."""
        while len(self.scheduler.state.queue) < 8:
            self.count += 1
            self.feed(ev.RequestArrived(Request(f"r{self.count}", "bench", "app", 60_000 * MS)))
        self.now_ns += 100
        event = self.arrival()
        self.timed(event)
        self.feed(ev.RequestCancelled(event.request.request_id))


def reference() -> int:
    """Time a fixed loop of Python arithmetic, in ns: the yardstick."""
    began_ns = time.perf_counter_ns()
    total = 0.0
    for index in range(1_000):
        total += index * 0.5 - total * 0.25
    return time.perf_counter_ns() - began_ns


def percentile(values: list[int], share: float) -> float:
    """Return a percentile in us."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] / 1e3


def measure(name: str, candidates: int, decisions: int) -> dict[str, float]:
    """Run one situation and return its figures."""
    horizon = BatteryGoal(0.1, last_for_ns=3_600_000 * MS) if name == "horizon" else BatteryGoal()
    bench = Bench(candidates, horizon)
    step = bench.loaded if name == "loaded" else bench.idle
    for _ in range(200):
        step()
    bench.timed_ns.clear()
    gc.collect()
    gc.freeze()
    yardstick = []
    for index in range(decisions):
        step()
        if index % 20 == 0:
            yardstick.append(reference())
    gc.unfreeze()
    p50, loop = percentile(bench.timed_ns, 0.5), percentile(yardstick, 0.5)
    return {
        "p50_us": p50,
        "p99_us": percentile(bench.timed_ns, 0.99),
        "max_us": max(bench.timed_ns) / 1e3,
        "reference_us": loop,
        "p50_ratio": p50 / loop,
        "p99_ratio": percentile(bench.timed_ns, 0.99) / loop,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--candidates", type=int, default=64, help="a multiple of 4")
    parser.add_argument("--decisions", type=int, default=20_000)
    arguments = parser.parse_args()
    figures = {
        name: measure(name, arguments.candidates, arguments.decisions)
        for name in ("idle", "loaded", "horizon")
    }
    if arguments.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        print(json.dumps({"candidates": arguments.candidates, "machine": machine, "decision": figures}))
        return
    print(f"{'':10}{'p50 us':>10}{'p99 us':>10}{'max us':>10}{'loop us':>10}{'p50/loop':>10}{'p99/loop':>10}")
    for name, row in figures.items():
        print(f"{name:10}" + "".join(f"{value:10.2f}" for value in row.values()))


if __name__ == "__main__":
    main()
