"""Reads trimtab's own journal: the requests that arrived, with their goals, and what the device's sensors told.

Sessions (starts of the daemon) are put on one line of time by the wall clock. In place of a line number,
findings name the number of the row within its session.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

import numpy as np

from trimtab.adapters.journal_file import JournalError
from trimtab.adapters.journal_reader import JournalReader, Session
from trimtab.core.events import DeviceChanged, Event, RequestArrived
from trimtab.domain.device import DeviceState
from trimtab_sim.traces.findings import Findings, stem
from trimtab_sim.traces.order import in_order, span
from trimtab_sim.traces.series import (
    ArrivalReading,
    ArrivalTrace,
    Labels,
    Reading,
    Series,
    TraceError,
)

E = TypeVar("E", bound=Event)

FIGURES: Final = {
    "battery": "battery_frac",
    "battery_capacity": "battery_capacity_j",
    "charging": "charging",
    "memory": "memory_available_bytes",
    "memory_total": "memory_total_bytes",
    "memory_pressure": "memory_pressure_frac",
    "cpu_load": "cpu_load_frac",
    "temperature": "temperature_mc",
}
"""A figure's name among a state's sources, and its column."""
GOALS: Final[dict[str, Callable[[RequestArrived], float | None]]] = {
    "latency_budget_ns": lambda event: event.request.latency_budget_ns,
    "min_accuracy_frac": lambda event: event.request.min_accuracy_frac,
    "max_energy_uj": lambda event: event.request.max_energy_uj,
    "priority": lambda event: event.request.priority,
    "batch": lambda event: event.request.batch,
    "elapsed_ns": lambda event: event.elapsed_ns,
}
WORDS: Final[dict[str, Callable[[RequestArrived], str]]] = {
    "task": lambda event: event.request.task,
    "app": lambda event: event.request.app,
    "variant": lambda event: event.request.variant,
    "prefer": lambda event: event.request.prefer.value,
}


@dataclass(frozen=True, slots=True)
class _Row(Generic[E]):
    at_ns: int
    seq: int
    event: E


def read_journal_arrivals(path: Path, session: int | None = None) -> ArrivalReading:
    """Read the requests of a journal (of one session, or of all); raise ``TraceError`` for none."""
    findings = Findings(path)
    rows, epoch_ns = _read(path, session, RequestArrived, findings)
    if not rows:
        raise findings.refuse("the journal holds no requests")
    at_ns = np.array([row.at_ns for row in rows], np.int64)
    keep = in_order(at_ns, np.array([row.seq for row in rows], np.int64), findings, repeats=True)
    events = [rows[i].event for i in np.flatnonzero(keep)]
    columns = {name: _column([goal(event) for event in events]) for name, goal in GOALS.items()}
    columns = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    labels = {name: _labels([word(event) for event in events]) for name, word in WORDS.items()}
    labels = {name: words for name, words in labels.items() if words.names != ("",)}
    trace = ArrivalTrace(stem(path), at_ns[keep], columns, labels, epoch_ns)
    return ArrivalReading(trace, findings.all(), findings.count, len(rows), "journal")


def read_journal_device(path: Path, session: int | None = None) -> Reading:
    """Read what a journal's sensors told (of one session, or of all); raise ``TraceError`` for nothing."""
    findings = Findings(path)
    rows, epoch_ns = _read(path, session, DeviceChanged, findings)
    if not rows:
        raise findings.refuse("the journal holds no state of the device")
    at_ns = np.array([row.at_ns for row in rows], np.int64)
    keep = in_order(at_ns, np.array([row.seq for row in rows], np.int64), findings, repeats=False)
    states = [state_figures(rows[i].event.device) for i in np.flatnonzero(keep)]
    columns = {column: _column([state.get(column) for state in states]) for column in FIGURES.values()}
    columns = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    series = Series(stem(path), at_ns[keep], columns, epoch_ns)
    return Reading(series, findings.all(), findings.count, len(rows), "journal")


def state_figures(state: DeviceState) -> dict[str, float]:
    """Return the columns that a state of the device fills.

    Whether it charges is not known where there are sources and none tells of it.
    """
    told = {figure for figure, _ in state.sources} or {"charging"}
    values = {
        name: getattr(state, name)
        for figure, name in FIGURES.items()
        if figure != "charging" or figure in told
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def _read(path: Path, session: int | None, kind: type[E], findings: Findings) -> tuple[list[_Row[E]], int]:
    """Return the events of a kind with times from the first session's start, and when that was."""
    try:
        with JournalReader(path) as reader:
            sessions = [s for s in reader.sessions() if s.last_seq and session in (None, s.session)]
            if not sessions:
                known = "no entries" if session is None else f"no session {session} with entries"
                raise findings.refuse(f"the journal has {known}")
            epoch_ns = sessions[0].started_unix_ns
            return [*_placed(reader, sessions, kind, findings)], epoch_ns
    except JournalError as error:
        raise TraceError(str(error)) from error


def _placed(
    reader: JournalReader, sessions: Sequence[Session], kind: type[E], findings: Findings
) -> Iterator[_Row[E]]:
    ended_ns = 0
    for session in sessions:
        begins_ns = session.started_unix_ns - sessions[0].started_unix_ns
        if begins_ns < ended_ns:
            findings.note(
                session.first_seq,
                f"session {session.session} begins {span(ended_ns - begins_ns)} before the one before it"
                " ends by the wall clock; put right behind",
            )
            begins_ns = ended_ns
        first_ns: int | None = None
        entries = reader.entries(session.session)
        try:
            for entry in entries:
                first_ns = entry.at_ns if first_ns is None else first_ns
                ended_ns = max(ended_ns, begins_ns + entry.at_ns - first_ns)
                if isinstance(entry.item, kind):
                    yield _Row(begins_ns + entry.at_ns - first_ns, entry.seq, entry.item)
        except JournalError as error:
            findings.problem(session.first_seq, f"the rest of session {session.session} is left out: {error}")


def _column(values: list[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _labels(words: list[str]) -> Labels:
    known: dict[str, int] = {}
    codes = [known.setdefault(word, len(known)) for word in words]
    return Labels(tuple(known), np.array(codes, np.int32))
