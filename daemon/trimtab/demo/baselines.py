"""The demo's requests again under strategies that never adapt: hardware in the loop, idle time skipped."""

from collections.abc import Sequence
from typing import Any

from trimtab.adapters.affinity import pin
from trimtab.adapters.family_store import load_samples
from trimtab.app import Machinery
from trimtab.cli.output import plain
from trimtab.demo.scenario import APPS, BatteryPlan, Shot, policy_yaml
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request
from trimtab.policy import load_policy
from trimtab.ports import StoredFamily
from trimtab_sim.arrivals import Arrival
from trimtab_sim.battery import Battery
from trimtab_sim.compare import compare
from trimtab_sim.driver import DriverSettings, World
from trimtab_sim.hardware import HardwareInTheLoop, Samples

STRATEGIES = ("largest", "smallest")


def replay_fixed(
    stored: StoredFamily, machinery: Machinery, shots: Sequence[Shot], battery: BatteryPlan, seconds: float
) -> dict[str, dict[str, Any]]:
    """Return a row for each fixed strategy on the same requests, samples and battery.

    Every inference really runs; only the time between requests is skipped. Without sockets, clients and a
    neighbour on the cores this flatters the fixed strategies.
    """
    task = stored.family.task
    arrays, labels = load_samples(stored)
    profiles = machinery.profiles[task].profiles
    world = World(machinery.processors, (stored.family,), {task: profiles})
    samples = {task: Samples(arrays, labels)}
    rows = compare(
        STRATEGIES,
        _arrivals(task, shots),
        world,
        load_policy(policy_yaml(seconds)),
        lambda: HardwareInTheLoop((stored,), machinery.runtimes, machinery.meter, samples, pin=pin),
        device=lambda start_ns: Battery(
            battery.capacity_j, background_mw=battery.background_mw, start_ns=start_ns
        ),
        settings=DriverSettings(sensor_ns=NS_PER_S // 4),
    )
    found: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        fields = plain(row)
        assert isinstance(fields, dict)
        found[name] = fields
    return found


def _arrivals(task: str, shots: Sequence[Shot]) -> list[Arrival]:
    priority = {app.name: app.priority for app in APPS}
    return [
        Arrival(
            shot.at_ns,
            Request(request_id=f"d{index}", task=task, app=shot.app, priority=priority[shot.app]),
            shot.sample,
        )
        for index, shot in enumerate(shots)
    ]
