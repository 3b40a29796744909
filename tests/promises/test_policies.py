"""Every shipped policy serves the shipped family in simulation: all requests end, invariants hold, reserves too."""

import pytest

from trimtab.adapters.family_store import load_family, shipped_families
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS
from trimtab.domain.request import Request
from trimtab.policy import load_policy_file, resolve_name, shipped_policy_names
from trimtab_sim import (
    Battery,
    DriverSettings,
    ModelledRuntime,
    SimulatedDriver,
    World,
    poisson,
)

REQUESTS = 400
START_NS = 1_000_000_000


@pytest.mark.parametrize("level_frac", [1.0, 0.15])
@pytest.mark.parametrize("name", shipped_policy_names())
def test_a_shipped_policy_serves_the_shipped_family(name: str, level_frac: float) -> None:
    family = load_family(shipped_families() / "fashion").family
    assert family.profiles is not None
    profiles = family.profiles.profiles
    processors = tuple(
        Processor(p, "cpu", cores, len(cores))
        for p, cores in (("cpu:0", (0,)), ("cpu:1", (1,)), ("cpu:0-1", (0, 1)))
    )
    kinds = [
        Request("", "fashion", app, latency_budget_ns=ms * NS_PER_MS) for app, ms in (("a", 10), ("b", 100))
    ]
    world = World(processors, (family,), {"fashion": profiles})
    runtime = ModelledRuntime((family,), {"fashion": profiles}, seed=3)
    battery = Battery(40_000.0, level_frac, 500.0, start_ns=START_NS)
    settings = DriverSettings(start_ns=START_NS, checked=True)
    driver = SimulatedDriver(world, load_policy_file(resolve_name(name)), runtime, battery, settings)
    ready_ns = driver.start()
    report = driver.run(poisson(3, 40.0, REQUESTS, kinds, start_ns=ready_ns))
    assert report.requests == len(report.served) == REQUESTS
    assert report.on_time_frac > 0.9
    assert report.accuracy is not None
    assert report.accuracy > 0.8
