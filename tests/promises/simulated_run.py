"""Run one eventful simulation and write its journal to standard output: ``python simulated_run.py SEED``."""

import sys
from collections.abc import Sequence

from trimtab.core import events as ev
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import BatteryGoal, MemoryGoal, Policy
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab.testing import tiny_family, tiny_processors
from trimtab_sim import (
    Battery,
    DriverSettings,
    JournalRecord,
    ModelledRuntime,
    SimulatedDriver,
    Surroundings,
    World,
    poisson,
)

MIB = 1 << 20
LATENCY_NS = {"large": 3_000_000, "small": 400_000, "staged": 800_000}


def profiles(family: Family, processors: Sequence[Processor]) -> tuple[Profile, ...]:
    return tuple(
        Profile(
            variant=variant.name,
            processor=processor.name,
            stage_latency_ns=(LATENCY_NS[variant.name] // processor.threads,) * len(variant.stages),
            latency_spread=0.2,
            stage_energy_uj=(LATENCY_NS[variant.name] * 2e-3,) * len(variant.stages),
            load_ns=5 * NS_PER_MS,
            load_energy_uj=3000.0,
            resident_bytes=4 * MIB,
        )
        for variant in family.variants
        for processor in processors
    )


def run(seed: int, count: int = 1500) -> bytes:
    processors, families = tiny_processors(), (tiny_family("digits"), tiny_family("scenes"))
    known = {family.task: profiles(family, processors) for family in families}
    kinds = [
        Request("", task, app, budget_ms * NS_PER_MS, floor, priority=priority)
        for task in known
        for app, budget_ms, floor, priority in (("a", 3, None, 1), ("b", 20, 0.84, 0), ("c", 200, 0.9, 0))
    ]
    squeezes = [
        (second * NS_PER_S, DeviceState(memory_available_bytes=mib * MIB, local_time_s=86_390))
        for second, mib in ((0, 100), (3, 2), (5, 20))
    ]
    goal = BatteryGoal(0.1, last_for_ns=20 * NS_PER_S)
    policy = Policy("first", battery=goal, memory=MemoryGoal(keep_available_bytes=MIB), queue_limit=8)
    record = JournalRecord()
    driver = SimulatedDriver(
        World(processors, families, known),
        policy,
        ModelledRuntime(families, known, seed, lambda name, ns: 1.5 if ns > 4 * NS_PER_S else 1.0),
        Battery(6.0, 0.8, 100.0, start_ns=NS_PER_S, surroundings=Surroundings(squeezes)),
        DriverSettings(dispatch_ns=80_000, checked=True),
        record=record.append,
    )
    start_ns = driver.start()
    arrivals = list(poisson(seed, 250.0, count, kinds, start_ns))
    gone = [(a.at_ns + NS_PER_MS, ev.RequestCancelled(a.request.request_id)) for a in arrivals[::9]]
    later = [
        (3 * NS_PER_S, ev.PolicyReplaced(Policy("second", battery=goal))),
        (6 * NS_PER_S, ev.Checkpointed()),
    ]
    driver.run(arrivals, [*gone, *later])
    return record.to_bytes()


if __name__ == "__main__":
    sys.stdout.buffer.write(run(int(sys.argv[1])))
