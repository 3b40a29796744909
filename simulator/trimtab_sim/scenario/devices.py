"""The device of a scenario: which profile it is, and a fresh phone or board for each run."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from trimtab.policy.errors import Path as Place
from trimtab.policy.errors import Problem
from trimtab.policy.structure import nearest
from trimtab_sim.device.background import AWAKE, Background, Draw, of_series, of_states
from trimtab_sim.device.cell import Cell
from trimtab_sim.device.memory import RecordedMemory
from trimtab_sim.device.phone import Conditions, SimulatedPhone
from trimtab_sim.device.profile import DeviceProfile
from trimtab_sim.device.profile_load import DeviceError, load_device, parse_device, shipped_devices
from trimtab_sim.runtime import Contention
from trimtab_sim.scenario.model import BatterySpec, Scenario
from trimtab_sim.scenario.surroundings import Condition
from trimtab_sim.traces import Series


def device_file(name: str, folder: Path) -> str | Path:
    """Return a shipped device's name as it is, anything else as a path that starts from ``folder``."""
    return name if name in shipped_devices() else folder / Path(name).expanduser()


def scenario_device(scenario: Scenario, problems: list[Problem]) -> DeviceProfile | None:
    """Return the device's profile, ``None`` without one; what is wrong is added to ``problems``."""
    choice, document = scenario.device, scenario.document
    if choice is None:
        return None
    given = document.root.plain()
    short = isinstance(given, dict) and isinstance(given.get("device"), str)
    place: Place = ("device",) if short else ("device", "profile")
    try:
        if isinstance(choice.profile, str):
            path = device_file(choice.profile, document.folder)
            if isinstance(path, Path) and not path.exists():
                hint = nearest(choice.profile, list(shipped_devices()))
                raise DeviceError((Problem(str(path), 0, 0, "", f"{path}: no such device or file{hint}"),))
            device = load_device(path)
        else:
            device = parse_device(yaml.safe_dump(dict(choice.profile)), "")
    except DeviceError as error:
        for problem in error.problems:
            if problem.line and problem.file:  # the file is there, and says itself where it is wrong
                problems.append(problem)
            else:
                message = ": ".join(part for part in (problem.path, problem.message) if part)
                problems.append(document.problem(place, message))
        return None
    faults = _battery_faults(device, scenario.battery or BatterySpec())
    problems += [document.problem(("battery", key), message, True) for key, message in faults]
    return device


def _battery_faults(device: DeviceProfile, battery: BatterySpec) -> Iterator[tuple[str, str]]:
    """Yield what a scenario says about a battery that this device cannot have."""
    cell = with_battery(device, battery).battery
    told = {
        "capacity_j": battery.capacity_j,
        "energy_j": battery.energy_j,
        "level": battery.level_frac,
        "health": battery.health_frac,
    }
    if cell is None:
        for key, value in told.items():
            if value is not None:
                yield key, f"{device.title} has no battery"
    elif battery.energy_j is not None and battery.energy_j > (whole_j := Cell(cell).capacity_j):
        yield "energy_j", f"{battery.energy_j:g} J do not fit into the {whole_j:.0f} J of {device.title}"


def phone_condition(
    profile: DeviceProfile,
    scenario: Scenario,
    states: Series | None,
    slowdown: Contention,
    *,
    seed: int,
    start_ns: int,
    resident_bytes: Callable[[], int],
) -> Condition:
    """Return a fresh device of a profile in its scenario; ``states`` are what it lives through.

    Its throttling multiplies the scenario's contention. A server is no part of it and is never throttled.
    """
    battery, choice = scenario.battery or BatterySpec(), scenario.device
    sized = with_battery(profile, battery)
    conditions = Conditions(
        level_frac=_level_frac(sized, battery),
        local_time_s=scenario.start_s,
        weekday=scenario.weekday,
        ambient_c=None if choice is None else choice.ambient_c,
        background=_background(sized, states, battery.background_mw),
        pressure=_pressure(states, start_ns),
        seed=seed,
    )
    phone = SimulatedPhone(sized, conditions, start_ns=start_ns, resident_bytes=resident_bytes)
    own = {processor.name for processor in profile.processors}

    def factor(processor: str, now_ns: int) -> float:
        throttled = phone.slowdown(processor, now_ns) if processor in own else 1.0
        return throttled * slowdown(processor, now_ns)

    def power(processor: str, now_ns: int) -> float:
        return phone.power_factor(processor, now_ns) if processor in own else 1.0

    return Condition(phone, factor, power)


def with_battery(profile: DeviceProfile, battery: BatterySpec) -> DeviceProfile:
    """Return the profile with the capacity and health that a scenario asks for."""
    cell = profile.battery
    if cell is None:
        return profile
    if battery.health_frac is not None:
        cell = replace(cell, health_frac=battery.health_frac)
    if battery.capacity_j is not None:
        cell = replace(cell, capacity_mah=cell.capacity_mah * battery.capacity_j / Cell(cell).capacity_j)
    return replace(profile, battery=cell)


def _level_frac(profile: DeviceProfile, battery: BatterySpec) -> float:
    """Return the state of charge at the start."""
    if battery.energy_j is not None and profile.battery is not None:
        return min(1.0, battery.energy_j / Cell(profile.battery).capacity_j)
    return 1.0 if battery.level_frac is None else battery.level_frac


def _background(profile: DeviceProfile, states: Series | None, more_mw: float) -> Background:
    """Return what the device draws by itself over time: by its recorded states, and a constant on top."""
    found = of_states(profile, AWAKE) if states is None else of_series(profile, states)
    return found if not more_mw else Raised(found, more_mw)


class Raised(Background):
    """A background with a constant draw in the chip on top."""

    def __init__(self, under: Background, more_mw: float) -> None:
        """Add ``more_mw`` to ``under``."""
        super().__init__([0], [Draw(more_mw, 0.0)])
        self._under, self._more_mw = under, more_mw

    def at(self, since_ns: int) -> tuple[Draw, int]:
        """Return the draw at a time since the beginning, and when it ends."""
        draw, ends_ns = self._under.at(since_ns)
        return replace(draw, soc_mw=draw.soc_mw + self._more_mw), ends_ns


def _pressure(states: Series | None, start_ns: int) -> RecordedMemory | None:
    """Return the memory recorded, ``None`` when nothing was: then apps come and go by themselves."""
    if states is None or not len(states.known("memory_available_bytes")[0]):
        return None
    return RecordedMemory.of(states, start_ns)
