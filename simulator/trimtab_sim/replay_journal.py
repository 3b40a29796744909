"""Make every decision of a daemon again from its journal and compare, in memory that does not grow with it.

A session is replayed from its first row, or from its first checkpoint once the older rows were dropped. At
each further checkpoint the state is compared as well. Where rows are missing, or the replay went another way
than the record, it goes on from the recorded state of the next checkpoint, so that one difference is not
counted again in everything that follows from it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from trimtab import __version__
from trimtab.adapters.journal_file import JournalError
from trimtab.adapters.journal_reader import Checkpoint, JournalReader, Session
from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.codec import CodecError, decode_value, encode_value
from trimtab.core.commands import Command
from trimtab.core.events import Event
from trimtab.core.replay import Step, replay
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import State
from trimtab.ports import Entry
from trimtab.strategies import strategy_named

OWN: Final = f"trimtab {__version__}"
REPORT_EVERY: Final = 1000
"""Rows between two reports of progress."""

Progress = Callable[[int, int], None]
"""Told the rows done and the rows there are."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """A step at which the replay did something else than the record says; ``seq`` is the row of its event.

    ``error`` says why the replay could not take the event at all, or what is wrong with a checkpoint.
    """

    session: int
    seq: int
    at_ns: int
    event: Event
    recorded: tuple[Command, ...] = ()
    replayed: tuple[Command, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Hole:
    """Rows that could not be replayed, both ends included, and why."""

    session: int
    first_seq: int
    last_seq: int
    why: str


@dataclass(slots=True)
class Tally:
    """How many there are in the record, and how many of them the replay made again."""

    recorded: int = 0
    remade: int = 0

    @property
    def frac(self) -> float:
        """Return the share made again; 1 of nothing."""
        return self.remade / self.recorded if self.recorded else 1.0


@dataclass(slots=True)
class Remade:
    """What a replay came to. ``divergences`` are the first ones only, ``differing_steps`` counts all.

    ``programs`` are the versions that recorded the sessions, ``sessions`` those that hold rows.
    ``interrupted`` says that somebody stopped the replay: figures are of what was replayed until then.
    """

    sessions: list[int] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    rows: int = 0
    events: int = 0
    requests: int = 0
    decisions: Tally = field(default_factory=Tally)
    answers: Tally = field(default_factory=Tally)
    commands: Tally = field(default_factory=Tally)
    checkpoints: Tally = field(default_factory=Tally)
    differing_steps: int = 0
    divergences: list[Divergence] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    interrupted: bool = False

    @property
    def exact(self) -> bool:
        """Return whether all that was recorded was made again."""
        if self.interrupted or self.differing_steps or self.holes:
            return False
        return all(tally.remade == tally.recorded for tally in (self.commands, self.checkpoints))

    @property
    def foreign(self) -> tuple[str, ...]:
        """Return the programs of another version than this one."""
        return tuple(sorted({program for program in self.programs if program != OWN}))

    def count_event(self, event: Event) -> None:
        """Count an event of the record."""
        self.events += 1
        self.requests += isinstance(event, ev.RequestArrived)

    def count(self, recorded: tuple[Command, ...], replayed: tuple[Command, ...]) -> None:
        """Count a step's commands; a command is made again when the replay gave the same one, in any place."""
        left = list(replayed) if recorded != replayed else None
        for command in recorded:
            made = True
            if left is not None:
                made = command in left
                if made:
                    left.remove(command)
            for tally in self._tallies(command):
                tally.recorded += 1
                tally.remade += made

    def _tallies(self, command: Command) -> Iterator[Tally]:
        yield self.commands
        if isinstance(command, cm.Decided):
            yield self.decisions
        elif isinstance(command, cm.Finish):
            yield self.answers


def replay_journal(
    path: Path, session: int | None = None, *, keep: int = 5, progress: Progress | None = None
) -> Remade:
    """Replay one session of the journal at ``path``, or all, and return what it came to.

    The first ``keep`` differences are kept in full. Ctrl-C ends it with what was replayed until then. Raises ``JournalError``, naming file and row, for a
    journal that cannot be read or a session that is not there.
    """
    remade = Remade()
    with JournalReader(path) as reader:
        todo = chosen_sessions(reader, path, session)
        total, done = sum(rows_of(one) for one in todo), 0
        for one in todo:
            remade.sessions.append(one.session)
            remade.programs.append(one.program)
            base = done
            tell = (lambda _: None) if progress is None else _teller(progress, base, total)
            try:
                _Replay(path, reader, one, remade, _Limits(keep, tell)).run()
            except KeyboardInterrupt:
                remade.interrupted = True
                break
            done += rows_of(one)
        remade.rows = total
        if progress is not None and not remade.interrupted:
            progress(total, total)
    return remade


def _teller(progress: Progress, base: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(base + done, total)


def rows_of(session: Session) -> int:
    """Return how many rows a session has in the journal, those lost between them included."""
    return session.last_seq - session.first_seq + 1 if session.last_seq else 0


def chosen_sessions(reader: JournalReader, path: Path, session: int | None) -> list[Session]:
    """Return one session, or all that hold rows; raise ``JournalError`` when there is none."""
    found = [one for one in reader.sessions() if one.last_seq]
    if session is not None:
        known = ", ".join(str(one.session) for one in found) or "none"
        found = [one for one in found if one.session == session]
        if not found:
            raise JournalError(f"{path}: no session {session} with rows; there are: {known}")
    if not found:
        raise JournalError(f"{path}: the journal is empty")
    return found


class _Replay:
    """One session: stretches between holes and wrong turns, each from a state that is known."""

    def __init__(
        self,
        path: Path,
        reader: JournalReader,
        session: Session,
        remade: Remade,
        limits: "_Limits",
    ) -> None:
        self._path = path
        self._reader = reader
        self._session = session
        self._remade = remade
        self._limits = limits
        self._scheduler = Scheduler(strategy_named)
        self._checkpoint = reader.first_checkpoint_after(session.session, session.first_seq - 1)
        self._step: Step | None = None
        self._seq = 0
        """The row of ``_step``'s event: the step that is being replayed."""
        self._odd: tuple[Command, ...] | None = None
        """What the replay did instead of ``_step``'s commands."""
        self._astray = False
        """Whether a difference was found since the state was last known to be right."""
        self._lost_from: int | None = None
        """The first row that this stretch could not replay; ``None`` while all is well."""
        self._why = ""

    def run(self) -> None:
        """Replay everything that can be."""
        session = self._session
        begin: int | None = 1
        if session.first_seq != 1:
            begin = self._resume(session.first_seq, "nothing says what the state was before them")
        while begin is not None:
            self._stretch(begin)
            begin = None if self._lost_from is None else self._resume(self._lost_from, self._why)

    def _resume(self, lost_from: int, why: str) -> int | None:
        """Take the next checkpoint's state over and return the row behind it; note what lies before it."""
        found, session = self._checkpoint, self._session
        last = session.last_seq if found is None else found.seq - 1
        if last >= lost_from:
            self._skip(lost_from, last, why)
        if found is None:
            return None
        self._scheduler = Scheduler(strategy_named, self._state_of(found))
        self._next_checkpoint()
        return found.seq + 1

    def _next_checkpoint(self) -> None:
        assert self._checkpoint is not None
        self._checkpoint = self._reader.first_checkpoint_after(self._session.session, self._checkpoint.seq)

    def _state_of(self, checkpoint: Checkpoint) -> State:
        try:
            return decode_value(State, checkpoint.state)
        except CodecError as error:
            raise self._unreadable(f"row {checkpoint.seq}: {error}") from error

    def _unreadable(self, why: str) -> JournalError:
        by_another = ""
        if self._session.program != OWN:
            by_another = f" (recorded by {self._session.program}, this is {OWN})"
        return JournalError(f"{self._path}: session {self._session.session}: {why}{by_another}")

    def _entries(self, first: int, last: int | None = None) -> Iterator[Entry]:
        try:
            for entry in self._reader.entries(self._session.session, first, last):
                if entry.seq % REPORT_EVERY == 0:
                    self._limits.tell(entry.seq - self._session.first_seq)
                yield entry
        except JournalError as error:
            raise self._unreadable(str(error).removeprefix(f"{self._path}: ")) from error

    def _skip(self, first: int, last: int, why: str) -> None:
        """Count what was recorded in rows that cannot be replayed."""
        remade = self._remade
        remade.holes.append(Hole(self._session.session, first, last, why))
        for entry in self._entries(first, last):
            if isinstance(entry.item, Event):
                remade.count_event(entry.item)
            else:
                remade.count((entry.item,), ())

    # ---- one stretch ---------------------------------------------------------------------------------

    def _stretch(self, begin: int) -> None:
        """Replay from row ``begin`` until the end, a hole or a wrong turn."""
        self._step, self._odd, self._lost_from, self._astray = None, None, None, False
        try:
            for difference in replay(self._scheduler, self._steps(begin), self._done):
                self._odd = difference.replayed
                self._differs(difference.step, difference.replayed, "")
        except JournalError:
            raise
        except Exception as error:  # what a damaged or foreign record makes of a scheduler can be anything
            step = self._step
            assert step is not None
            self._odd = ()
            self._done(step)
            self._differs(step, (), f"{type(error).__name__}: {error}")
            self._lost_from = self._seq + 1 + len(step.commands)
            self._why = f"the scheduler could not take row {self._seq}"

    def _done(self, step: Step) -> None:
        """Count a step that was replayed, one way or the other."""
        self._remade.count_event(step.event)
        self._remade.count(step.commands, step.commands if self._odd is None else self._odd)
        self._odd = None

    def _differs(self, step: Step, replayed: tuple[Command, ...], error: str) -> None:
        self._astray = True
        self._remade.differing_steps += 1
        self._keep(
            Divergence(
                self._session.session, self._seq, step.at_ns, step.event, step.commands, replayed, error
            )
        )

    def _keep(self, divergence: Divergence) -> None:
        if len(self._remade.divergences) < self._limits.keep:
            self._remade.divergences.append(divergence)

    def _steps(self, begin: int) -> Iterator[Step]:
        """Yield the steps from row ``begin`` on; stop, with ``_lost_from`` set, where that makes no sense."""
        event: Entry | None = None
        commands: list[Command] = []
        expected, crossed = begin, False
        for entry in self._entries(begin):
            if entry.seq != expected:
                crossed = self._is_checkpoint(expected) and entry.seq == expected + 1
                if not crossed:
                    self._lost_from = expected if event is None else event.seq
                    self._why = f"rows {expected} to {entry.seq - 1} are missing"
                    return
            expected = entry.seq + 1
            if not isinstance(entry.item, Event):
                if event is None or crossed:
                    raise self._unreadable(f"row {entry.seq}: a command without an event before it")
                commands.append(entry.item)
                continue
            if event is not None:
                yield self._begin(event, commands)
            if crossed and not self._agrees():
                return
            event, commands, crossed = entry, [], False
        if event is not None:
            yield self._begin(event, commands)
        if self._is_checkpoint(expected):
            self._agrees()

    def _begin(self, entry: Entry, commands: list[Command]) -> Step:
        assert isinstance(entry.item, Event)
        self._seq, self._step = entry.seq, Step(entry.at_ns, entry.item, tuple(commands))
        return self._step

    def _is_checkpoint(self, seq: int) -> bool:
        return self._checkpoint is not None and self._checkpoint.seq == seq

    def _agrees(self) -> bool:
        """Return whether the state is that of the checkpoint just passed; where not, it is to be taken over."""
        found = self._checkpoint
        assert found is not None
        tally = self._remade.checkpoints
        tally.recorded += 1
        other = _differing_fields(self._scheduler.state, found, self._state_of)
        if not other:
            tally.remade += 1
            self._next_checkpoint()
            return True
        if not self._astray:
            error = f"the state is not that of the checkpoint; different: {', '.join(other)}"
            self._keep(
                Divergence(self._session.session, found.seq, found.at_ns, ev.Checkpointed(), error=error)
            )
        self._lost_from = found.seq
        return False


def _differing_fields(
    state: State, checkpoint: Checkpoint, decoded: Callable[[Checkpoint], State]
) -> list[str]:
    """Return the fields of ``state`` that a checkpoint has otherwise; bytes are compared first, for speed."""
    if encode_value(state) == checkpoint.state:
        return []
    other = decoded(checkpoint)
    return [one.name for one in fields(state) if getattr(state, one.name) != getattr(other, one.name)]


@dataclass(frozen=True, slots=True)
class _Limits:
    """How many differences to keep, and whom to tell the rows done in this session."""

    keep: int
    tell: Callable[[int], None]
