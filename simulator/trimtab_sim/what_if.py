"""What if another policy had been in force: a recording's requests again, under the same device.

Arrivals, goals, cancellations and what the sensors told are as recorded. How long runs and loads take is
modelled, and so is what a different choice does to battery and memory.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from trimtab.core import events as ev
from trimtab.core.memory_budget import held_bytes
from trimtab.core.state import State
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab_sim.arrivals import Arrival
from trimtab_sim.battery import STEP_FRAC, Device, Surroundings
from trimtab_sim.driver import DriverSettings, SimulatedDriver
from trimtab_sim.fidelity import Drawn, EmpiricalRuntime
from trimtab_sim.recording import Account, Exact, Recording, Told, rules_of

NEAREST: Final = 48
"""A simulated run is drawn from so many recorded ones nearest in time: a slow hour stays a slow hour."""
REPORT_EVERY: Final = 500
Progress = Callable[[int, int], None]
"""Told the requests done and the requests there are."""


class RecordedDevice:
    """The device as its sensors told it, less what another choice takes out of battery and memory.

    With L the recorded level, C the capacity, E what the recorded daemon had used by then and S what the
    simulated one has, the level is (L C + E - S) / C. Between two readings L C + E, which no choice changes,
    runs straight. Available memory is the recorded one plus what variants held then, less what they hold now.
    Figures that the sensors did not give stay unknown.
    """

    def __init__(self, readings: Sequence[Told], begin_ns: int, own_uj_begin: float) -> None:
        """Tell these readings; until ``begin_ns`` as much was used as recorded, whatever is drawn."""
        readings = readings or (Told(0, DeviceState(), 0.0, 0),)
        self._readings = readings
        self._times = [told.at_ns for told in readings]
        self._surroundings = Surroundings([(told.at_ns, told.state) for told in readings])
        self._begin_ns = begin_ns
        self._used_uj = own_uj_begin
        self._level: float | None = None
        self._state: State | None = None

    def attach(self, state: State) -> None:
        """Look at this scheduler's state for what variants hold."""
        self._state = state

    def draw(self, energy_uj: float, now_ns: int) -> None:
        """Take the energy of a run or load out."""
        if now_ns >= self._begin_ns:
            self._used_uj += energy_uj

    def reading(self, now_ns: int) -> DeviceState:
        """Return what the sensors would tell."""
        told = self._readings[self._index(now_ns)]
        state = self._surroundings.at(now_ns)
        if state.battery_frac is not None and state.battery_capacity_j:
            state = replace(state, battery_frac=self._steady(self._level_frac(now_ns)))
        if state.memory_available_bytes is not None and self._state is not None:
            others = state.memory_available_bytes + told.held_bytes
            state = replace(state, memory_available_bytes=max(0, others - held_bytes(self._state)))
        return state

    def _index(self, now_ns: int) -> int:
        return max(0, bisect_right(self._times, now_ns) - 1)

    def _level_frac(self, now_ns: int) -> float:
        index = self._index(now_ns)
        told = self._readings[index]
        capacity_uj = (told.state.battery_capacity_j or 0.0) * UJ_PER_J
        left_uj = _without_us_uj(told)
        if index + 1 < len(self._readings) and now_ns > told.at_ns:
            later = self._readings[index + 1]
            if later.state.battery_frac is not None and later.state.battery_capacity_j:
                part = (now_ns - told.at_ns) / (later.at_ns - told.at_ns)
                left_uj += part * (_without_us_uj(later) - left_uj)
        return min(1.0, max(0.0, (left_uj - self._used_uj) / capacity_uj))

    def _steady(self, level_frac: float) -> float:
        """Return the level as a gauge tells it: it moves when a whole step away, as the daemon's sensors do."""
        if self._level is None or abs(level_frac - self._level) >= STEP_FRAC * 0.999999:
            self._level = round(round(level_frac / STEP_FRAC) * STEP_FRAC, 6)
        return self._level


def _without_us_uj(told: Told) -> float:
    """Return what the battery would hold had the daemon used nothing."""
    return (told.state.battery_frac or 0.0) * (told.state.battery_capacity_j or 0.0) * UJ_PER_J + told.own_uj


@dataclass(frozen=True, slots=True)
class Played:
    """A recording played again: what it came to, where its runs came from, and how many arrivals were moved.

    An arrival is moved when it came before the simulated daemon was ready.
    """

    account: Account
    drawn: Drawn
    moved: int


@dataclass(slots=True)
class _Moving:
    """Hands arrivals on, none before ``ready_ns``, and tells how far it is."""

    ready_ns: int
    total: int
    progress: Progress | None
    moved: int = 0

    def over(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for count, arrival in enumerate(arrivals):
            if self.progress is not None and count % REPORT_EVERY == 0:
                self.progress(count, self.total)
            if arrival.at_ns < self.ready_ns:
                self.moved += 1
                yield replace(arrival, at_ns=self.ready_ns)
            else:
                yield arrival


def play(
    recording: Recording,
    policies: Sequence[tuple[int, Policy]],
    runtime: EmpiricalRuntime,
    device: Device,
    *,
    progress: Progress | None = None,
    exact: bool = False,
) -> Played:
    """Let the recording's requests arrive at a simulated daemon; memory does not grow with their number.

    Policies come into force at their times, the first one at the start. With ``exact`` every latency is kept,
    else quantiles are within 1 %.
    """
    began_ns, policy = policies[0]
    account = Account(rules_of(recording.world.families))
    if exact:
        account.latency_ns = Exact()
    start_ns = recording.start_ns - _head_start_ns(recording)
    driver = SimulatedDriver(
        recording.world,
        _since(policy, start_ns - began_ns),
        runtime,
        device,
        DriverSettings(start_ns=start_ns),
        record=account.take,
        keep=False,
    )
    runtime.attach(driver.scheduler.state)
    if isinstance(device, RecordedDevice):
        device.attach(driver.scheduler.state)
    ready_ns = driver.start()
    moving = _Moving(ready_ns, recording.account.requests, progress)
    driver.run(moving.over(recording.arrivals()), _given(recording, policies[1:], ready_ns))
    end_ns = max(recording.account.end_ns, driver.kernel.now_ns())
    account.battery_frac_end = device.reading(end_ns).battery_frac
    if progress is not None:
        progress(moving.total, moving.total)
    return Played(account, runtime.drawn, moving.moved)


def _head_start_ns(recording: Recording) -> int:
    """Return how long before the record begins to start: no time, unless it begins with requests at once.

    A record that lost its beginning has no start-up in it; the simulated daemon needs one all the same.
    """
    if recording.first_seq == 1:
        return 0
    slowest = [max((p.load_ns for p in some), default=0) for some in recording.world.profiles.values()]
    return min(recording.start_ns, 2 * sum(slowest) * len(recording.world.processors))


def _since(policy: Policy, passed_ns: int) -> Policy:
    """Return the policy with its horizon where it was, had it been in force for ``passed_ns`` already."""
    goal = policy.battery
    if goal.last_for_ns is None or passed_ns <= 0:
        return policy
    return replace(policy, battery=replace(goal, last_for_ns=max(NS_PER_S, goal.last_for_ns - passed_ns)))


def _given(
    recording: Recording, policies: Sequence[tuple[int, Policy]], ready_ns: int
) -> list[tuple[int, ev.Event]]:
    """Return what else happens: policies, callers who leave, the end; nothing before the daemon is ready."""
    given: list[tuple[int, ev.Event]] = [(at_ns, ev.PolicyReplaced(policy)) for at_ns, policy in policies]
    given += [(at_ns, ev.RequestCancelled(request_id)) for at_ns, request_id in recording.cancelled]
    if recording.drained_ns is not None:
        given.append((recording.drained_ns, ev.DrainStarted()))
    return sorted(((max(at_ns, ready_ns), event) for at_ns, event in given), key=lambda one: one[0])


def what_if(
    recording: Recording,
    policy: Policy | None = None,
    strategy: str = "",
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Played:
    """Play a recording under ``policy`` from beginning to end, or (``None``) under those recorded.

    ``strategy`` overrides that of the policies. Runs and loads are drawn from the recording itself.
    """
    policies = recording.policies if policy is None else ((recording.policies[0][0], policy),)
    if strategy:
        policies = tuple((at_ns, replace(one, strategy=strategy)) for at_ns, one in policies)
    world = recording.world
    runtime = EmpiricalRuntime(world.families, world.profiles, recording.observed, seed, nearest=NEAREST)
    device = RecordedDevice(recording.readings, recording.account.begin_ns or 0, recording.own_uj_begin)
    return play(recording, policies, runtime, device, progress=progress)


def provenance(recording: Recording, played: Sequence[Played]) -> dict[str, Any]:
    """Return what of a comparison is recorded and what modelled, in sentences."""
    observed = recording.observed
    drawn = [one.drawn for one in played]
    own, borrowed = sum(d.own for d in drawn), sum(d.borrowed for d in drawn)
    profiled = sum(d.profiled for d in drawn)
    moved = sum(one.moved for one in played)
    modelled = [
        f"run times, energy and hand-over: {own} runs drawn from the {observed.count} recorded ones of the same "
        f"variant and kind of processor, nearest in time; {borrowed} borrowed from the variant nearest in profiled latency; "
        f"{profiled} from profiles alone",
        "load times: recorded loads of the same variant, else its profile",
        "confidence at exits: recorded for the same variant and stage, else the exit rule's share",
        "battery: the recorded level, plus what the recorded choices used, less what these use",
        "available memory: the recorded one, plus what variants held then, less what they hold now",
        "accuracy: expected, from the test set; nobody knows whether the recorded answers were right",
        "callers: they ask the same at the same time, whatever they are answered",
    ]
    if moved:
        modelled.append(f"{moved} arrivals were moved to when the simulated daemon was ready")
    recorded = [
        "arrivals and goals",
        "callers who left",
        "what the sensors told",
        "profiles",
        "policy changes",
    ]
    return {"recorded": recorded, "modelled": modelled}
