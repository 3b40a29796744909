"""The journal in SQLite (WAL): appended from the hot path, encoded and written by one thread of its own.

``append`` only queues the frozen objects (about a microsecond). The writer wakes on the first of them,
waits for 50 ms or 500 items, whichever is first, and commits them together; without traffic it sleeps. A
committed row survives a crash of this process; a crash of the machine may take the last commits with it,
never the order.

Should the writer fall more than ``queue_limit`` items behind, ``append`` waits until it has caught up: rows
are never dropped for speed. When storage itself fails (disk full), serving goes on: the rows of that batch
are lost, counted in ``lost_rows`` and logged once, their numbers stay missing, and ``flush`` raises.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from trimtab import __version__
from trimtab.adapters import journal_file
from trimtab.adapters.journal_file import JournalError, Row
from trimtab.core import codec
from trimtab.core.commands import Command
from trimtab.core.events import Event

log = logging.getLogger(__name__)

MIB = 1 << 20
BATCH_S = 0.05
BATCH_ITEMS = 500
MAX_BATCH_ITEMS = 5000
KEEP_FRAC = 0.7
EVENT, COMMAND, CHECKPOINT = range(len(journal_file.KINDS))


@dataclass(slots=True)
class _Flush:
    done: threading.Event = field(default_factory=threading.Event)
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Close:
    pass


_Batch = tuple[int, Event, Sequence[Command]]
_State = tuple[int, bytes]
_Item = _Batch | _State | _Flush | _Close


class SqliteJournal:
    """The ordered record of events and commands in one bounded SQLite file (owner-readable only)."""

    def __init__(
        self,
        path: Path,
        max_bytes: int = 64 * MIB,
        checkpoint_every: int = 2000,
        queue_limit: int = 100_000,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._checkpoint_every = checkpoint_every
        self._queue_limit = queue_limit
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._hurry = threading.Event()
        self._closed = False
        self._since_checkpoint = 0
        self._needs_boundary = False
        self._seq = 0
        self._failure = ""
        self.lost_rows = 0
        self._connection = journal_file.open_for_writing(path)
        try:
            self._session = journal_file.begin_session(self._connection, f"trimtab {__version__}")
        except sqlite3.Error as error:
            self._connection.close()
            raise JournalError(f"{path}: cannot begin a session: {error}") from error
        self._writer = threading.Thread(target=self._write, name="trimtab-journal", daemon=True)
        self._writer.start()

    @property
    def session(self) -> int:
        """Return the number of this daemon start, unique within the journal."""
        return self._session

    @property
    def path(self) -> Path:
        """Return where the file is."""
        return self._path

    def append(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        """Record an event and the commands it led to; raise ``JournalError`` once closed."""
        self._put((at_ns, event, tuple(commands)))
        self._since_checkpoint += 1 + len(commands)

    def wants_checkpoint(self) -> bool:
        """Return whether enough was recorded since the last checkpoint, or old rows wait for one to go."""
        return self._since_checkpoint >= self._checkpoint_every or self._needs_boundary

    def checkpoint(self, at_ns: int, state: bytes) -> None:
        """Record the scheduler's whole state; raise ``JournalError`` once closed."""
        self._put((at_ns, state))
        self._since_checkpoint = 0
        self._needs_boundary = False

    def flush(self) -> None:
        """Block until everything appended is committed; raise ``JournalError`` if any of it was lost."""
        mark = _Flush()
        self._put(mark)
        self._hurry.set()
        while not mark.done.wait(1.0):
            if not self._writer.is_alive():
                raise JournalError(f"{self._path}: the writer of the journal died")
        if mark.error:
            raise JournalError(mark.error)

    def close(self) -> None:
        """Commit what was appended, mark the session as cleanly ended and release the file."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(_Close())
        self._hurry.set()
        self._writer.join()

    def _put(self, item: _Item) -> None:
        if self._closed:
            raise JournalError(f"{self._path}: the journal is closed")
        queued = self._queue.qsize()
        if queued >= BATCH_ITEMS:
            self._hurry.set()
            while queued >= self._queue_limit and self._writer.is_alive():
                time.sleep(0.001)
                queued = self._queue.qsize()
        self._queue.put(item)

    # --- the writer thread ---

    def _write(self) -> None:
        connection = self._connection
        closing = False
        while not closing or self._queue.qsize():  # another thread may have appended just before close
            items = self._collect()
            closing = closing or any(isinstance(item, _Close) for item in items)
            self._commit(connection, items)
            for item in items:
                if isinstance(item, _Flush):
                    item.error, self._failure = self._failure, ""
                    item.done.set()
            self._bound(connection)
        try:
            journal_file.end_session(connection, self._session)
            connection.close()
        except sqlite3.Error as error:
            log.error("%s: cannot close the journal: %s", self._path, error)

    def _collect(self) -> list[_Item]:
        """Wait for a first item, then a moment for more; return all that came."""
        items = [self._queue.get()]
        if not isinstance(items[0], (_Flush, _Close)) and self._queue.qsize() < BATCH_ITEMS:
            self._hurry.wait(BATCH_S)
        self._hurry.clear()
        try:
            while len(items) < MAX_BATCH_ITEMS:
                items.append(self._queue.get_nowait())
            self._hurry.set()  # more is waiting
        except Empty:
            pass
        return items

    def _commit(self, connection: sqlite3.Connection, items: Sequence[_Item]) -> None:
        rows: list[Row] = []
        for item in items:
            rows.extend(self._rows(item))
            time.sleep(0)  # let the event loop have the interpreter: encoding can wait, requests cannot
        if not rows:
            return
        try:
            journal_file.write_rows(connection, rows)
        except sqlite3.Error as error:
            self._lose(len(rows), str(error))

    def _lose(self, count: int, why: str) -> None:
        if not self._failure:
            log.error("%s: %d rows of the journal are lost: %s", self._path, count, why)
        self.lost_rows += count
        self._failure = f"{self._path}: {self.lost_rows} rows lost: {why}"

    def _rows(self, item: _Item) -> Iterator[Row]:
        if isinstance(item, (_Flush, _Close)):
            return
        if len(item) == 2:
            self._seq += 1
            yield (self._session, self._seq, item[0], CHECKPOINT, "", None, item[1])
            return
        at_ns, event, commands = item
        entries: tuple[Event | Command, ...] = (event, *commands)
        for entry in entries:
            self._seq += 1
            kind = EVENT if entry is event else COMMAND
            try:
                name, body = codec.encode(entry)
            except codec.CodecError as error:
                self._lose(1, str(error))
                continue
            yield (self._session, self._seq, at_ns, kind, name, request_id_of(entry), body)

    def _bound(self, connection: sqlite3.Connection) -> None:
        try:
            if journal_file.used_bytes(connection) <= self._max_bytes:
                return
            gone = journal_file.shrink(connection, 1 - KEEP_FRAC)
            self._needs_boundary = gone == 0
        except sqlite3.Error as error:
            log.warning("%s: cannot bound the journal: %s", self._path, error)


def request_id_of(item: Event | Command) -> str | None:
    """Return the request an event or command is about, or ``None``."""
    for holder in (item, *(getattr(item, name, None) for name in ("request", "decision", "result"))):
        found = getattr(holder, "request_id", None)
        if isinstance(found, str) and found:
            return found
    return None
