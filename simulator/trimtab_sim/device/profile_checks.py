"""What has to fit together in a device profile beyond its structure."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from trimtab.policy.errors import Path as At
from trimtab.policy.structure import Finding, nearest
from trimtab_sim.device.profile import SEVERITIES, Accelerator, Battery, DeviceProfile, Thermal

AMBIENT = "ambient"


def cross_findings(profile: DeviceProfile) -> Iterator[Finding]:
    """Yield what does not fit together in a profile."""
    yield from _cpu(profile)
    for name, accelerator in (("gpu", profile.gpu), ("npu", profile.npu)):
        if accelerator is not None:
            yield from _accelerator(accelerator, (name,))
    if profile.battery is not None:
        yield from _battery(profile.battery)
    if profile.memory.system_mib + profile.memory.low_mib >= profile.memory.total_mib:
        yield ("memory",), True, "the system and the low-memory mark leave nothing of the total"
    yield from _thermal(profile.thermal)
    yield from _targets(profile)


def _cpu(profile: DeviceProfile) -> Iterator[Finding]:
    """Yield what is wrong with clusters: names or cores used twice, steps that do not match."""
    seen_names: set[str] = set()
    seen_cores: set[int] = set()
    for index, cluster in enumerate(profile.cpu.clusters):
        at: At = ("cpu", "clusters", index)
        if cluster.name in seen_names:
            yield (*at, "name"), False, f"{cluster.name} is the name of an earlier cluster"
        if seen_cores & set(cluster.cores) or len(set(cluster.cores)) < len(cluster.cores):
            yield (*at, "cores"), False, "a core stands here or in an earlier cluster already"
        seen_names.add(cluster.name)
        seen_cores |= set(cluster.cores)
        yield from _steps(cluster.khz, cluster.core_ma, (*at, "khz"), (*at, "core_ma"))
        if len(cluster.state_mw) > len(cluster.khz):
            yield (*at, "state_mw"), False, f"more states than the {len(cluster.khz)} frequency steps"


def _accelerator(accelerator: Accelerator, at: At) -> Iterator[Finding]:
    yield from _steps(accelerator.khz, accelerator.power_mw, (*at, "khz"), (*at, "power_mw"))


def _steps(khz: Sequence[float], draws: Sequence[float], khz_at: At, draws_at: At) -> Iterator[Finding]:
    """Yield what is wrong with frequency steps and what is drawn at each."""
    if not _rises(khz):
        yield khz_at, False, "frequencies have to rise"
    if len(khz) != len(draws):
        yield draws_at, False, f"{len(draws)} values for {len(khz)} frequencies"
    if min(draws) <= 0:
        yield draws_at, False, "a step draws nothing once what all cores share is taken off"


def _battery(battery: Battery) -> Iterator[Finding]:
    """Yield what is wrong with a cell's tables and limits."""
    for share, values in (("charge_frac", "ocv_mv"), ("resistance_frac", "resistance_mohm")):
        shares, numbers = getattr(battery, share), getattr(battery, values)
        if not _rises(shares) or shares[0] != 0.0 or shares[-1] != 1.0:
            yield ("battery", share), False, "charge has to rise from 0 to 1"
        if len(shares) != len(numbers):
            yield ("battery", values), False, f"{len(numbers)} values for {len(shares)} charges"
    if not _rises(battery.ocv_mv):
        yield ("battery", "ocv_mv"), False, "open-circuit voltage has to rise with charge"
    if battery.charge_mv < battery.ocv_mv[-1]:
        yield ("battery", "charge_mv"), False, "lower than the voltage of a full cell; it would never be full"
    if battery.cutoff_mv >= battery.ocv_mv[-1]:
        yield ("battery", "cutoff_mv"), False, "higher than the voltage of a full cell"


def _thermal(thermal: Thermal) -> Iterator[Finding]:
    """Yield what is wrong with the network, sensors and the order of thresholds."""
    nodes = [node.name for node in thermal.nodes]
    for index, link in enumerate(thermal.links):
        for end in link.ends:
            if end not in (*nodes, AMBIENT):
                yield ("thermal", "links", index, "ends"), False, f"no node {end}{nearest(end, nodes)}"
    if not any(AMBIENT in link.ends for link in thermal.links):
        yield ("thermal", "links"), True, "no link leads to ambient; heat would stay for ever"
    for index, sensor in enumerate(thermal.sensors):
        at: At = ("thermal", "sensors", index)
        if sensor.node not in nodes:
            yield (*at, "node"), False, f"no node {sensor.node}{nearest(sensor.node, nodes)}"
        for key in ("hot_c", "hysteresis_c"):
            if len(getattr(sensor, key)) != len(SEVERITIES):
                yield (*at, key), False, f"one value per severity: {', '.join(SEVERITIES)}"


def _targets(profile: DeviceProfile) -> Iterator[Finding]:
    """Yield throttles and budgets of sensors or targets that the device does not have."""
    sensors = [sensor.name for sensor in profile.thermal.sensors]
    clusters = [cluster.name for cluster in profile.cpu.clusters]
    accelerators = [name for name, one in (("gpu", profile.gpu), ("npu", profile.npu)) if one is not None]
    targets = [*clusters, *accelerators]
    for index, throttle in enumerate(profile.thermal.throttles):
        at: At = ("thermal", "throttles", index)
        yield from _known(throttle.sensor, sensors, (*at, "sensor"))
        yield from _known(throttle.target, [*targets, "device"], (*at, "target"))
        if throttle.clear_c > throttle.set_c:
            yield (*at, "clear_c"), False, "clears above where it sets"
    for index, budget in enumerate(profile.thermal.budgets):
        at = ("thermal", "budgets", index)
        yield from _known(budget.sensor, sensors, (*at, "sensor"))
        for number, share in enumerate(budget.shares):
            yield from _known(share.target, targets, (*at, "shares", number, "target"))
        if budget.min_mw > budget.max_mw:
            yield (*at, "min_mw"), False, "more than max_mw"
    for index, limit in enumerate(profile.thermal.charging):
        if limit.clear_c > limit.set_c:
            yield ("thermal", "charging", index, "clear_c"), False, "clears above where it sets"


def _known(name: str, known: list[str], at: At) -> Iterator[Finding]:
    if name not in known:
        yield at, False, f"there is no {name}{nearest(name, known)}"


def _rises(values: Sequence[float]) -> bool:
    return all(low < high for low, high in pairwise(values))
