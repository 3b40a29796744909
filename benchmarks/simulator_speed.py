"""Measure how fast the simulator is: requests per second on one core, a day at 1 request/s, memory.

Run ``python benchmarks/simulator_speed.py [--json] [--requests 100000]``. The full scheduler decides among 32
candidates (8 variants on 4 processors, two of which share their cores with a third); nothing is kept but totals.

- *idle*: Poisson arrivals at 50/s on an idle device, budgets and accuracy floors mixed, on mains.
- *battery*: the same on a battery with a horizon: the price of energy is solved again each second.
- *busy*: 250/s on the battery, so that requests queue.
- *exits*: every variant has three exits, which are run stage by stage.
- *day* and *day with a horizon*: 86,400 requests, one a second on average; the sensors are read each second.

``per_s`` is by the wall clock, ``cpu_per_s`` by the time this process had a processor: on a machine that does
something else too only the latter tells anything. ``loops`` is the CPU time of a request in turns of a fixed
loop of Python arithmetic, timed in between, so that machines compare. Memory is the peak of a process of its
own, for one length of trace and for eight times that length.
"""

import argparse
import gc
import json
import platform
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "daemon"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "simulator"))

from trimtab.domain.family import Dataset, ExitRule, Family, Profile, Stage, TensorSpec, Variant
from trimtab.domain.policy import BatteryGoal, Policy, Settings
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab_sim import Battery, ModelledRuntime, Plugged, RunReport, SimulatedDriver, World, poisson
from trimtab_sim.battery import Device

PROCESSORS = (
    Processor("cpu:0", "cpu", (0,), 1),
    Processor("cpu:1", "cpu", (1,), 1),
    Processor("cpu:0-1", "cpu", (0, 1), 2),
    Processor("gpu:0", "gpu", (), 1, provider="CUDAExecutionProvider"),
)
SPEED = {"cpu:0": 1.0, "cpu:1": 1.0, "cpu:0-1": 1.7, "gpu:0": 4.0}
POWER_W = {"cpu:0": 1.8, "cpu:1": 1.8, "cpu:0-1": 3.3, "gpu:0": 9.0}
VARIANTS = 8
SETTINGS = Settings(energy_price_per_j=0.5, latency_price_per_s=0.05, memory_price_per_mib=1e-4)
KINDS = [
    Request("", "bench", app, budget_ms * NS_PER_MS, floor)
    for app in ("camera", "keyboard")
    for budget_ms in (4, 12, 40, 200)
    for floor in (None, None, 0.80, 0.90)
]
SPARSE = [Request("", "bench", "camera", 200 * NS_PER_MS, floor) for floor in (None, None, 0.80, 0.90)]
DAY_REQUESTS = 86_400
LENGTHS = 8
"""The longer of the two traces whose memory is compared is so many times the shorter one."""


def world(exits: int = 1) -> World:
    """Return a family whose accuracy saturates while its cost doubles from variant to variant."""
    variants, profiles = [], []
    for index in range(VARIANTS):
        size, top = 1.9**index, 0.93 - 0.14 * 0.7**index
        accuracy = tuple([top - 0.03 * (exits - 1 - e) for e in range(exits)])
        share = (0.5, 0.3, 0.2)[:exits] if exits > 1 else (1.0,)
        stage = Stage("m.onnx", "", 1, ("image",), ("logits",), "logits", 1, 1)
        rule = ExitRule("full" if exits == 1 else "patient", 0.0 if exits == 1 else 0.8, share, accuracy)
        variants.append(Variant(f"v{index}", (), (stage,) * exits, (rule,), top, 1, 1, "fp32"))
        for processor in PROCESSORS:
            stage_ns = int((250_000 * size / SPEED[processor.name] + 50_000) / exits)
            stage_uj = stage_ns * POWER_W[processor.name] * 1e-3
            profiles.append(
                Profile(
                    variant=f"v{index}",
                    processor=processor.name,
                    stage_latency_ns=(stage_ns,) * exits,
                    latency_spread=0.08,
                    stage_energy_uj=(stage_uj,) * exits,
                    load_ns=20 * NS_PER_MS,
                    load_energy_uj=15_000.0,
                    resident_bytes=int(2e6 + 1e5 * size),
                )
            )
    image, logits = TensorSpec("image", "FP32", (-1, 4)), TensorSpec("logits", "FP32", (-1, 2))
    family = Family(
        task="bench",
        title="benchmark",
        inputs=(image,),
        outputs=(logits,),
        labels=(),
        variants=tuple(variants),
        reference=variants[-1].name,
        last_resort=variants[0].name,
        dataset=Dataset("", "", "", 1, 1),
    )
    return World(PROCESSORS, (family,), {"bench": tuple(profiles)})


@dataclass(frozen=True, slots=True)
class Situation:
    """What is simulated: arrivals per second of which kinds, and on which power.

    ``battery_j`` is the energy of the battery per simulated second (0: on mains), ``horizon`` whether it has
    to last until the end of the run.
    """

    name: str
    rate_per_s: float
    battery_j: float = 0.0
    horizon: bool = False
    exits: int = 1
    kinds: tuple[Request, ...] = tuple(KINDS)

    def driver(self, requests: int) -> SimulatedDriver:
        """Return a driver for a run of so many requests."""
        length_ns = int(requests / self.rate_per_s * NS_PER_S)
        goal = BatteryGoal(0.1, last_for_ns=length_ns) if self.horizon else BatteryGoal()
        device: Device = Plugged()
        if self.battery_j:
            device = Battery(self.battery_j * length_ns / NS_PER_S, 1.0, 300.0, start_ns=NS_PER_S)
        where = world(self.exits)
        runtime = ModelledRuntime(where.families, where.profiles, seed=1)
        policy = Policy("bench", defaults=SETTINGS, battery=goal)
        return SimulatedDriver(where, policy, runtime, device, keep=False)


IDLE = Situation("idle", 50.0)
BATTERY = Situation("battery", 50.0, battery_j=0.8, horizon=True)
SITUATIONS = (
    IDLE,
    BATTERY,
    Situation("busy", 250.0, battery_j=2.5, horizon=True),
    Situation("exits", 50.0, exits=3),
)
DAYS = (
    Situation("day", 1.0, battery_j=0.4, kinds=tuple(SPARSE)),
    Situation("day with a horizon", 1.0, battery_j=0.32, horizon=True, kinds=tuple(SPARSE)),
)


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one situation was simulated."""

    requests: int
    wall_s: float
    cpu_s: float
    per_s: float
    cpu_per_s: float
    loops: float
    on_time_frac: float
    accuracy: float
    variants: int
    """How many variants served at least one request in a hundred."""


def turn_s() -> float:
    """Return the CPU time of one turn of the fixed loop: the yardstick."""
    best_s = float("inf")
    for _ in range(20):
        began_s = time.process_time()
        total = 0.0
        for index in range(10_000):
            total += index * 0.5 - total * 0.25
        best_s = min(best_s, time.process_time() - began_s)
    return best_s / 10_000


def run(situation: Situation, requests: int) -> RunReport:
    """Simulate so many requests."""
    driver = situation.driver(requests)
    return driver.run(poisson(1, situation.rate_per_s, requests, situation.kinds, driver.start()))


def measure(situation: Situation, requests: int) -> Speed:
    """Simulate a situation and time it, setting up included."""
    before_s = turn_s()
    gc.collect()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    report = run(situation, requests)
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    loop_s = min(before_s, turn_s())
    assert report.totals.ended == requests, f"{report.totals.ended} of {requests} requests ended"
    return Speed(
        requests=requests,
        wall_s=wall_s,
        cpu_s=cpu_s,
        per_s=requests / wall_s,
        cpu_per_s=requests / cpu_s,
        loops=cpu_s / requests / loop_s,
        on_time_frac=report.on_time_frac,
        accuracy=report.accuracy or 0.0,
        variants=sum(share >= 0.01 for share in report.share().values()),
    )


def peak_kib(requests: int) -> int:
    """Return the peak memory of a process of its own that simulates so many requests."""
    command = [sys.executable, __file__, "--memory-of", str(requests)]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(told.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--requests", type=int, default=100_000, help="per situation")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        run(BATTERY, arguments.memory_of)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    short = arguments.requests // 4
    speeds = {one.name: measure(one, arguments.requests) for one in SITUATIONS}
    speeds |= {one.name: measure(one, min(DAY_REQUESTS, arguments.requests)) for one in DAYS}
    memory_kib = {str(length): peak_kib(length) for length in (short, short * LENGTHS)}
    if arguments.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        told = {name: asdict(speed) for name, speed in speeds.items()}
        headline = {
            "candidates": VARIANTS * len(PROCESSORS),
            "requests_per_s": speeds["idle"].per_s,
            "day_s": DAY_REQUESTS / speeds["day"].per_s,
            "turn_ns": turn_s() * 1e9,
        }
        print(json.dumps({**headline, "machine": machine, "speed": told, "peak_memory_kib": memory_kib}))
        return
    print(
        f"{'':20}{'requests':>9}{'per s':>9}{'per CPU s':>10}{'wall s':>8}{'loops':>7}{'on time':>9}{'right':>7}{'variants':>9}"
    )
    for name, one in speeds.items():
        figures = f"{one.requests:9}{one.per_s:9.0f}{one.cpu_per_s:10.0f}{one.wall_s:8.2f}{one.loops:7.0f}"
        print(f"{name:20}{figures}{one.on_time_frac:9.3f}{one.accuracy:7.3f}{one.variants:9}")
    print(f"one turn of the loop: {turn_s() * 1e9:.1f} ns")
    for length, kib in memory_kib.items():
        print(f"peak memory of {length} requests: {kib} KiB")


if __name__ == "__main__":
    main()
