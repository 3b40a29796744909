"""A session of a daemon's journal as input for a simulation, and what it came to.

``Account`` adds up steps, whether a journal gives them or a ``SimulatedDriver``'s ``record``, so that both
are counted by the same rule.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trimtab.adapters.journal_file import JournalError
from trimtab.adapters.journal_reader import JournalReader, Session
from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.codec import CodecError, decode_value
from trimtab.core.commands import Command
from trimtab.core.events import Event
from trimtab.core.replay import Step, steps
from trimtab.core.state import Holding, State
from trimtab.domain.decision import Decision, Outcome, Result
from trimtab.domain.device import DeviceState
from trimtab.domain.family import ExitRule, Family
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import UJ_PER_J
from trimtab.domain.request import Request
from trimtab.ports import Entry
from trimtab_sim.arrivals import Arrival
from trimtab_sim.driver import World
from trimtab_sim.fidelity import Observed
from trimtab_sim.replay_journal import REPORT_EVERY, Progress, chosen_sessions, rows_of
from trimtab_sim.totals import Histogram

Rules = dict[tuple[str, str, str], ExitRule]
"""Exit rules by task, variant and name."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the sensors told at a moment, and what the daemon had used and held by then."""

    at_ns: int
    state: DeviceState
    own_uj: float
    held_bytes: int


class Exact:
    """Every value, where a ``Histogram`` is not exact enough; grows with their number."""

    def __init__(self) -> None:
        """Begin with none."""
        self.values: list[int] = []

    def add(self, value: int) -> None:
        """Keep a value."""
        self.values.append(value)

    def quantile(self, share: float) -> float:
        """Return the value that ``share`` (0..1) of all lie at or below, interpolated; 0 of none."""
        if not self.values:
            return 0.0
        ordered = sorted(self.values)
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@dataclass(slots=True)
class Account:
    """What the requests of a run came to, from the first arrival on.

    ``accuracy_served`` is expected, by the test set: the exit rule's accuracy where the answer left.
    ``accuracy_mean`` counts a request without an answer in time as 0. Energy is that of runs and loads.
    """

    rules: Rules
    requests: int = 0
    on_time: int = 0
    accuracy_sum: float = 0.0
    accuracy_on_time_sum: float = 0.0
    energy_uj: float = 0.0
    loads: int = 0
    decisions: int = 0
    given_up: int = 0
    battery_frac_end: float | None = None
    begin_ns: int | None = None
    end_ns: int = 0
    latency_ns: Histogram | Exact = field(default_factory=Histogram)
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    answers: dict[str, int] = field(default_factory=dict)
    """Answers by ``task/variant``."""
    _live: dict[str, tuple[int, Request]] = field(default_factory=dict)
    _decided: dict[str, Decision] = field(default_factory=dict)

    def take(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        """Add a step; shaped like ``trimtab_sim.record.Record``."""
        self.end_ns = at_ns
        match event:
            case ev.RequestArrived():
                self.begin_ns = at_ns if self.begin_ns is None else self.begin_ns
                self.requests += 1
                self._live[event.request.request_id] = (at_ns, event.request)
            case ev.StageFinished() | ev.LoadFinished() if self.begin_ns is not None:
                self.energy_uj += event.energy_uj
                self.loads += isinstance(event, ev.LoadFinished)
            case ev.DeviceChanged() if event.device.battery_frac is not None:
                self.battery_frac_end = event.device.battery_frac
        for command in commands:
            if isinstance(command, cm.Decided):
                self.decisions += 1
                self._decided[command.decision.request_id] = command.decision
            elif isinstance(command, cm.Finish):
                self._ended(at_ns, command.result)

    def _ended(self, at_ns: int, result: Result) -> None:
        decision = self._decided.pop(result.request_id, None)
        if result.request_id not in self._live:  # it arrived before the record begins
            return
        arrived_ns, request = self._live.pop(result.request_id)
        self.outcomes[result.outcome] += 1
        if result.outcome is not Outcome.DONE or decision is None:
            return
        self.latency_ns.add(at_ns - arrived_ns)
        self.on_time += result.on_time
        self.given_up += bool(result.given_up)
        name = f"{request.task}/{result.variant}"
        self.answers[name] = self.answers.get(name, 0) + 1
        accuracy = expected_accuracy(self.rules[request.task, decision.variant, decision.exit_rule], result)
        self.accuracy_sum += accuracy
        self.accuracy_on_time_sum += accuracy * result.worth_frac

    def figures(self) -> dict[str, Any]:
        """Return the figures by name, ready for JSON; a share or mean of nothing is ``None``."""
        answered = self.outcomes[Outcome.DONE]
        order = sorted(self.answers.items(), key=lambda item: (-item[1], item[0]))
        return {
            "requests": self.requests,
            "on_time_frac": _over(self.on_time, self.requests),
            "accuracy_mean": _over(self.accuracy_on_time_sum, self.requests),
            "accuracy_served": _over(self.accuracy_sum, answered),
            "energy_j": self.energy_uj / UJ_PER_J,
            "battery_frac_end": self.battery_frac_end,
            "loads": self.loads,
            "given_up_frac": _over(self.given_up, answered),
            "latency_ms_p50": self.latency_ns.quantile(0.50) / 1e6,
            "latency_ms_p95": self.latency_ns.quantile(0.95) / 1e6,
            "latency_ms_p99": self.latency_ns.quantile(0.99) / 1e6,
            "outcomes": {outcome.value: count for outcome, count in self.outcomes.items()},
            "share": {name: count / answered for name, count in order},
        }


def _over(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def expected_accuracy(rule: ExitRule, result: Result) -> float:
    """Return the accuracy of an answer: the rule's own if it left by confidence or at the end, else its exit's."""
    last = len(rule.share_frac) - 1
    by_rule = result.exit_index == last or result.confidence >= rule.threshold
    return rule.accuracy_frac[last if by_rule else result.exit_index]


def rules_of(families: Iterable[Family]) -> Rules:
    """Return the exit rules of all families."""
    return {
        (family.task, variant.name, rule.name): rule
        for family in families
        for variant in family.variants
        for rule in variant.exit_rules
    }


@dataclass(frozen=True, slots=True)
class Recording:
    """One session, read once; ``arrivals`` reads the requests again, so that no run keeps them all.

    ``policies`` are in order of time, the first one as in force at ``start_ns``. ``readings`` are the device's.
    ``cancelled`` are callers who left, ``drained_ns`` is when the daemon was told to stop. ``own_uj_begin`` is
    what the daemon had used before the first request.
    """

    path: Path
    session: int
    first_seq: int
    world: World
    policies: tuple[tuple[int, Policy], ...]
    readings: tuple[Told, ...]
    cancelled: tuple[tuple[int, str], ...]
    drained_ns: int | None
    start_ns: int
    own_uj_begin: float
    account: Account
    observed: Observed

    def arrivals(self) -> Iterator[Arrival]:
        """Yield the requests as they came, in order of time; sample ``i`` stands for the ``i``-th."""
        with JournalReader(self.path) as reader:
            count = 0
            for entry in reader.entries(self.session, self.first_seq):
                if isinstance(entry.item, ev.RequestArrived):
                    yield Arrival(entry.at_ns, _unspent(entry.item), count)
                    count += 1


def _unspent(event: ev.RequestArrived) -> Request:
    """Return the request with the budget that it still had when it got here."""
    request, spent_ns = event.request, event.elapsed_ns
    if not spent_ns or request.latency_budget_ns is None:
        return request
    return replace(request, latency_budget_ns=max(1, request.latency_budget_ns - spent_ns))


def latest_session(path: Path) -> int:
    """Return the newest session that holds a request; raise ``JournalError``."""
    with JournalReader(path) as reader:
        for session in reversed(chosen_sessions(reader, path, None)):
            for entry in reader.entries(session.session):
                if isinstance(entry.item, ev.RequestArrived):
                    return session.session
    raise JournalError(f"{path}: the journal holds no request")


def read_recording(
    path: Path, session: int | None = None, *, exact: bool = False, progress: Progress | None = None
) -> Recording:
    """Read one session (by default the newest that holds a request); raise ``JournalError``.

    With ``exact`` every latency is kept, else quantiles are within 1 %.
    """
    number = latest_session(path) if session is None else session
    with JournalReader(path) as reader:
        (found,) = chosen_sessions(reader, path, number)
        state, first_seq, start_ns = State(), found.first_seq, None
        if first_seq != 1:
            checkpoint = reader.first_checkpoint_after(number, first_seq - 1)
            if checkpoint is None:
                raise JournalError(
                    f"{path}: session {number}: its beginning is missing, and no checkpoint follows"
                )
            try:
                state = decode_value(State, checkpoint.state)
            except CodecError as error:
                raise JournalError(f"{path}: session {number}: row {checkpoint.seq}: {error}") from error
            first_seq, start_ns = checkpoint.seq + 1, checkpoint.at_ns
        reading = _Reading(state, start_ns, exact)
        try:
            entries = _telling(reader.entries(number, first_seq), found, progress)
            for step in steps((entry.at_ns, entry.item) for entry in entries):
                reading.take(step)
        except ValueError as error:
            raise JournalError(f"{path}: session {number}: {error}") from error
    if not reading.account.requests:
        raise JournalError(f"{path}: session {number} holds no request")
    return reading.recording(path, number, first_seq)


def _telling(entries: Iterator[Entry], session: Session, progress: Progress | None) -> Iterator[Entry]:
    for entry in entries:
        if progress is not None and entry.seq % REPORT_EVERY == 0:
            progress(entry.seq - session.first_seq, rows_of(session))
        yield entry


class _Reading:
    """Gathers a ``Recording`` step by step, from nothing or from a checkpoint's state."""

    def __init__(self, state: State, start_ns: int | None, exact: bool) -> None:
        self._processors = tuple(state.processors.values())
        self._families = dict(state.families)
        self._profiles = dict(state.profiles)
        self._own_uj = 0.0
        self._own_uj_begin = 0.0
        self._held = {
            (one.task, one.variant, one.pool): one.resident_bytes
            for one in state.residences.values()
            if one.holding is not Holding.LOADING
        }
        self._start_ns = start_ns
        self._policies: list[tuple[int, Policy]] = []
        self._readings: list[Told] = []
        if start_ns is not None:
            self._policies.append((state.policy_since_ns, state.policy))
            self._told(state.device_at_ns, state.device)
        self._cancelled: list[tuple[int, str]] = []
        self._drained_ns: int | None = None
        self.account = Account(rules_of(state.families.values()))
        if exact:
            self.account.latency_ns = Exact()
        self._observed = Observed(self._profiles, self._processors)

    def take(self, step: Step) -> None:
        """Add a step."""
        at_ns, event = step.at_ns, step.event
        self._start_ns = at_ns if self._start_ns is None else self._start_ns
        match event:
            case ev.ProcessorsFound():
                self._processors = event.processors
            case ev.FamilyAdded():
                self._families[event.family.task] = event.family
                self.account.rules.update(rules_of((event.family,)))
            case ev.ProfilesReplaced():
                self._profiles[event.task] = event.profiles
                self._observed.use(event.task, event.profiles)
            case ev.PolicyReplaced():
                self._policies.append((at_ns, event.policy))
            case ev.DeviceChanged():
                self._told(at_ns, event.device)
            case ev.RequestCancelled():
                self._cancelled.append((at_ns, event.request_id))
            case ev.DrainStarted():
                self._drained_ns = at_ns
            case ev.RequestArrived() if self.account.begin_ns is None:
                self._own_uj_begin = self._own_uj
            case _:
                self._used(event)
        self._observed.take(at_ns, event, step.commands)
        self.account.take(at_ns, event, step.commands)

    def _used(self, event: Event) -> None:
        """Note energy spent and memory held. Once the battery is empty, nothing can be spent from it."""
        if isinstance(event, ev.StageFinished | ev.LoadFinished):
            empty = bool(self._readings) and self._readings[-1].state.battery_frac == 0.0
            self._own_uj += 0.0 if empty else event.energy_uj
        if isinstance(event, ev.LoadFinished):
            self._held[event.task, event.variant, event.pool] = event.resident_bytes
        elif isinstance(event, ev.EvictFinished):
            self._held.pop((event.task, event.variant, event.pool), None)

    def _told(self, at_ns: int, state: DeviceState) -> None:
        self._readings.append(Told(at_ns, state, self._own_uj, sum(self._held.values())))

    def recording(self, path: Path, session: int, first_seq: int) -> Recording:
        """Return what was gathered."""
        return Recording(
            path,
            session,
            first_seq,
            World(self._processors, tuple(self._families.values()), self._profiles),
            tuple(self._policies) or ((0, Policy("default")),),
            tuple(self._readings),
            tuple(self._cancelled),
            self._drained_ns,
            self._start_ns or 0,
            self._own_uj_begin,
            self.account,
            self._observed,
        )
