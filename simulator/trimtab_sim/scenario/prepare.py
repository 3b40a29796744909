"""From a scenario to what can be run: every file it names is read, and everything is checked first."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.settings import allows
from trimtab.policy import Inventory
from trimtab.policy.errors import Path as Place
from trimtab.policy.errors import Problem
from trimtab.policy.structure import nearest
from trimtab_sim.arrivals import Arrival
from trimtab_sim.device.profile import DeviceProfile
from trimtab_sim.driver import World
from trimtab_sim.scenario.contention import contention
from trimtab_sim.scenario.devices import phone_condition, scenario_device
from trimtab_sim.scenario.families import scenario_world
from trimtab_sim.scenario.load import load_scenario_file, refuse
from trimtab_sim.scenario.model import MAX_NOTES, Scenario, Stream
from trimtab_sim.scenario.policies import check_strategies, scenario_policies
from trimtab_sim.scenario.surroundings import (
    Condition,
    Recorded,
    RecordedSurroundings,
    lived,
    plain_device,
    reachable,
)
from trimtab_sim.scenario.workload import ENDLESS_NS, Source, Span, merged
from trimtab_sim.traces import ArrivalReading, ArrivalTrace, Reading, TraceError, load_arrivals, load_series

MAX_LATENCY_NS: Final = 3600 * NS_PER_S
"""A network that takes longer for one request is a mistake in a table, and its run would not end."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A scenario with everything it refers to; runs of it change nothing of it.

    ``notes`` tell what was odd about the files but did not keep them from being used.
    """

    scenario: Scenario
    device: DeviceProfile | None
    world: World
    policies: tuple[Policy, ...]
    sources: tuple[Source, ...]
    traces: tuple[Recorded, ...]
    duration_ns: int
    notes: tuple[str, ...] = ()

    @property
    def off_when_empty(self) -> bool:
        """Return whether an empty battery turns the device off."""
        battery = self.scenario.battery
        return battery is None or battery.off_when_empty

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the requests of a seed, at ns since the scenario began."""
        return merged(self.sources, Span(self.duration_ns, self.scenario.start_s, seed))

    def condition(self, seed: int, start_ns: int, resident_bytes: Callable[[], int] = lambda: 0) -> Condition:
        """Return a fresh device and what slows it down, for a run that begins at ``start_ns``.

        ``resident_bytes`` tells what trimtab holds in memory when it is asked.
        """
        scenario = self.scenario
        names = [processor.name for processor in self.world.processors]
        slowdown = contention(scenario.contention, names, seed, start_ns)
        reached = reachable(self.traces, start_ns)
        if self.device is None:
            surroundings = RecordedSurroundings(
                self.traces, scenario.start_s, start_ns, resident_bytes, scenario.weekday
            )
            device = plain_device(scenario.battery, surroundings, start_ns)
            return Condition(device, slowdown, reachable=reached)
        condition = phone_condition(
            self.device,
            scenario,
            lived(self.traces, self.duration_ns),
            slowdown,
            seed=seed,
            start_ns=start_ns,
            resident_bytes=resident_bytes,
        )
        return replace(condition, reachable=reached)


def prepare_file(path: str | Path) -> Prepared:
    """Return the scenario in a file, ready to run; raise ``ScenarioError`` with everything wrong with it."""
    return prepare(load_scenario_file(path))


def prepare(scenario: Scenario) -> Prepared:
    """Read what a scenario refers to; raise ``ScenarioError`` with everything wrong with it."""
    problems: list[Problem] = []
    notes: list[str] = []
    device = scenario_device(scenario, problems)
    world = None if problems else scenario_world(scenario, device, problems, notes)
    policies = scenario_policies(scenario, problems)
    traces = _traces(scenario, problems, notes)
    sources = _sources(scenario, world, problems, notes)
    if world is not None:
        _check_world(scenario, world, problems)
        check_strategies(scenario.strategies, inventory_of(world), scenario.document, problems)
    refuse(tuple(problems))
    assert world is not None
    duration_ns = _duration_ns(scenario, sources)
    notes += [
        f"workload[{index}]: begins when the scenario has ended, so it asks for nothing"
        for index, stream in enumerate(scenario.streams)
        if stream.begin_ns >= duration_ns
    ]
    return Prepared(scenario, device, world, policies, sources, traces, duration_ns, tuple(notes))


def inventory_of(world: World) -> Inventory:
    """Return what policies and strategies may name."""
    variants = {family.task: tuple(v.name for v in family.variants) for family in world.families}
    return Inventory(variants, tuple(processor.name for processor in world.processors))


def _check_world(scenario: Scenario, world: World, problems: list[Problem]) -> None:
    """Add what the processors and profiles at hand make impossible."""
    names = [processor.name for processor in world.processors]
    for index, slowdown in enumerate(scenario.contention):
        if not any(allows(slowdown.processors, name) for name in names):
            message = f"matches no processor; known here: {', '.join(names)}"
            problems.append(scenario.document.problem(("contention", index, "processor"), message))
    for task, profiles in world.profiles.items():
        slow = next((one for one in profiles if sum(one.stage_latency_ns) > MAX_LATENCY_NS), None)
        if slow is not None:
            hours = sum(slow.stage_latency_ns) / MAX_LATENCY_NS
            message = (
                f"{task}/{slow.variant} takes {hours:.3g} h on {slow.processor}; at most 1 h can be simulated"
            )
            problems.append(scenario.document.problem(("family",), message))


def _traces(scenario: Scenario, problems: list[Problem], notes: list[str]) -> tuple[Recorded, ...]:
    """Read the background's traces; what is wrong is added to ``problems``, what is odd to ``notes``."""
    found = []
    for index, use in enumerate(scenario.background):
        place: Place = ("background", index)
        path = scenario.document.folder / Path(use.file).expanduser()
        try:
            reading = load_series(path)
        except (TraceError, OSError) as error:
            problems.append(scenario.document.problem(place, _told(error)))
            continue
        notes += _notes(path, reading)
        series = reading.series
        for column in use.columns:
            if column not in series.columns:
                hint = nearest(column, list(series.columns))
                problems.append(scenario.document.problem(place, f"{path} has no column {column!r}{hint}"))
        found.append(Recorded(use, series))
    return tuple(found)


def _sources(
    scenario: Scenario, world: World | None, problems: list[Problem], notes: list[str]
) -> tuple[Source, ...]:
    """Read the arrivals of every stream and find out what each asks for."""
    served = [] if world is None else [family.task for family in world.families]
    found = []
    for index, stream in enumerate(scenario.streams):
        place: Place = ("workload", index)
        trace = _arrival_trace(scenario, stream, place, problems, notes)
        told = () if trace is None or "task" not in trace.labels else trace.labels["task"].names
        tasks = stream.tasks or (tuple(served) if len(served) == 1 else ())
        if world is not None:
            faults = [*_task_faults(stream, tasks, told, served), *_variant_faults(stream, tasks, world)]
            problems += [scenario.document.problem((*place, *key), message) for key, message in faults]
        found.append(Source(stream, tasks or ("",), trace))
    return tuple(found)


def _arrival_trace(
    scenario: Scenario, stream: Stream, place: Place, problems: list[Problem], notes: list[str]
) -> ArrivalTrace | None:
    """Return the trace of a stream that has one and can be read."""
    if stream.kind != "file":
        return None
    path = scenario.document.folder / Path(stream.figures["file"].strip()).expanduser()
    try:
        reading = load_arrivals(path)
    except (TraceError, OSError) as error:
        problems.append(scenario.document.problem((*place, "arrivals"), _told(error)))
        return None
    notes += _notes(path, reading)
    if not len(reading.arrivals):
        problems.append(scenario.document.problem((*place, "arrivals"), f"{path}: no request in it"))
    elif reading.arrivals.at_ns[0] < 0:
        early_s = -int(reading.arrivals.at_ns[0]) / NS_PER_S
        message = f"{path}: the first request comes {early_s:g} s before the beginning; times count from it"
        problems.append(scenario.document.problem((*place, "arrivals"), message))
    return reading.arrivals


def _task_faults(
    stream: Stream, tasks: tuple[str, ...], told: Iterable[str], served: list[str]
) -> Iterator[tuple[Place, str]]:
    """Yield why what a stream asks for cannot be served."""
    if not tasks and not any(told):
        yield (), f"task is missing; the families serve {', '.join(served)}"
    for task in stream.tasks:
        if task not in served:
            yield ("task",), f"no family serves {task!r}{nearest(task, served)}"
    for task in told:
        if task and task not in served:
            yield ("arrivals",), f"the file asks for {task!r}, which no family serves{nearest(task, served)}"


def _variant_faults(stream: Stream, tasks: tuple[str, ...], world: World) -> Iterator[tuple[Place, str]]:
    """Yield a pinned variant that some task does not have."""
    pinned = stream.request.variant
    for family in world.families:
        names = [variant.name for variant in family.variants]
        if pinned and family.task in tasks and pinned not in names:
            yield ("variant",), f"task {family.task!r} has no variant {pinned!r}{nearest(pinned, names)}"


def _notes(path: Path, reading: Reading | ArrivalReading) -> list[str]:
    """Return what was odd about a file, line by line; of many, the first few and how many there are."""
    told = [f"{path}:{one.line}: {one.message}" for one in reading.problems[:MAX_NOTES]]
    more = reading.problem_count - len(told)
    return [*told, f"{path}: {more} more such lines; see `trimtab trace check {path}`"] if more > 0 else told


def _told(error: Exception) -> str:
    """Return an error of a file in one line."""
    if isinstance(error, OSError):
        return f"{error.filename}: cannot be read: {error.strerror or error}"
    return str(error)


def _duration_ns(scenario: Scenario, sources: Iterable[Source]) -> int:
    """Return how long the scenario lasts: as it says, to its horizon, or until the last request of all."""
    if scenario.duration_ns is not None:
        return scenario.duration_ns
    if scenario.horizon_ns is not None:
        return scenario.horizon_ns
    endless = Span(ENDLESS_NS, scenario.start_s, scenario.seed)
    last = [deque(source.arrivals(endless), maxlen=1) for source in sources]
    return max((flow[0].at_ns for flow in last if flow), default=0) + 1
