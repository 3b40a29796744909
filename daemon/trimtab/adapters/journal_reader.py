"""Reads a journal, also while a daemon writes it: sessions, entries, checkpoints, one request's story."""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trimtab.adapters.journal_file import JournalError, read_version
from trimtab.core import codec
from trimtab.ports import Entry

CHECKPOINT = 2
ENTRY_COLUMNS = "seq, at_ns, type, body"


@dataclass(frozen=True, slots=True)
class Session:
    """One start of the daemon: wall-clock start, program version, whether it ended cleanly, its rows."""

    session: int
    started_unix_ns: int
    program: str
    closed: bool
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The scheduler's whole state after everything up to ``seq`` was handled."""

    seq: int
    at_ns: int
    state: bytes


class JournalReader:
    """A read-only view of a journal file. May be used from any one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise JournalError(f"{path}: no journal there")
        try:
            uri = f"file:{quote(str(path.absolute()))}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, timeout=5.0, check_same_thread=False)
            if read_version(self._connection, path) == 0:
                raise JournalError(f"{path}: not a journal")
        except sqlite3.Error as error:
            raise JournalError(f"{path}: cannot read the journal: {error}") from error

    def sessions(self) -> tuple[Session, ...]:
        """Return all sessions, oldest first; ``last_seq`` is 0 for one without rows."""
        rows = self._all(
            "SELECT s.session, s.started_unix_ns, s.program, s.closed,"
            " coalesce((SELECT min(seq) FROM entries e WHERE e.session = s.session), 0),"
            " coalesce((SELECT max(seq) FROM entries e WHERE e.session = s.session), 0)"
            " FROM sessions s ORDER BY s.session"
        )
        return tuple(Session(r[0], r[1], r[2], bool(r[3]), r[4], r[5]) for r in rows)

    def entries(self, session: int, from_seq: int = 0, to_seq: int | None = None) -> Iterator[Entry]:
        """Yield events and commands with ``from_seq <= seq <= to_seq`` in order, checkpoints left out."""
        limit = (1 << 62) if to_seq is None else to_seq
        rows = self._rows(
            f"SELECT {ENTRY_COLUMNS} FROM entries"  # noqa: S608  a constant
            " WHERE session = ? AND seq BETWEEN ? AND ? AND kind <> 2 ORDER BY seq",
            (session, from_seq, limit),
        )
        with closing(rows):  # now, and not when somebody forgets the error of a bad row
            for row in rows:
                yield self._entry(row)

    def checkpoints(self, session: int) -> tuple[Checkpoint, ...]:
        """Return the checkpoints of a session, oldest first."""
        return self._checkpoints("session = ? AND seq > ? ORDER BY seq", (session, 0))

    def latest_checkpoint_before(self, session: int, seq: int) -> Checkpoint | None:
        """Return the last checkpoint whose number is below ``seq``, or ``None``: begin from nothing."""
        found = self._checkpoints("session = ? AND seq < ? ORDER BY seq DESC LIMIT 1", (session, seq))
        return found[0] if found else None

    def first_checkpoint_after(self, session: int, seq: int) -> Checkpoint | None:
        """Return the first checkpoint whose number is above ``seq``, or ``None``."""
        found = self._checkpoints("session = ? AND seq > ? ORDER BY seq LIMIT 1", (session, seq))
        return found[0] if found else None

    def request_session(self, request_id: str) -> int | None:
        """Return the latest session that knows a request, or ``None``."""
        row = self._all("SELECT max(session) FROM entries WHERE request_id = ?", (request_id,))[0]
        return None if row[0] is None else int(row[0])

    def request_entries(self, request_id: str) -> tuple[Entry, ...]:
        """Return all entries about a request in its latest session, in order; nothing if unknown."""
        rows = self._all(
            f"SELECT {ENTRY_COLUMNS} FROM entries WHERE request_id = ? AND session ="  # noqa: S608
            " (SELECT max(session) FROM entries WHERE request_id = ?) ORDER BY seq",
            (request_id, request_id),
        )
        return tuple(self._entry(row) for row in rows)

    def latest_request_id(self) -> str | None:
        """Return the request that the newest row about one is about."""
        rows = self._all(
            "SELECT request_id FROM entries WHERE request_id IS NOT NULL ORDER BY id DESC LIMIT 1"
        )
        return str(rows[0][0]) if rows else None

    def tail(self, count: int) -> tuple[Entry, ...]:
        """Return the newest ``count`` events and commands, oldest of them first."""
        rows = self._all(
            f"SELECT {ENTRY_COLUMNS} FROM entries WHERE kind <> 2 ORDER BY id DESC LIMIT ?",  # noqa: S608
            (count,),
        )
        return tuple(self._entry(row) for row in reversed(rows))

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def __enter__(self) -> "JournalReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _checkpoints(self, where: str, values: tuple[int, int]) -> tuple[Checkpoint, ...]:
        rows = self._all(
            f"SELECT seq, at_ns, body FROM entries WHERE kind = 2 AND {where}",  # noqa: S608  constants
            values,
        )
        return tuple(Checkpoint(seq, at_ns, bytes(body)) for seq, at_ns, body in rows)

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        seq, at_ns, name, body = row
        try:
            return Entry(seq, at_ns, codec.decode(name, body))
        except codec.CodecError as error:
            raise JournalError(f"{self._path}: row {seq}: {error}") from error

    def _all(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        return list(self._rows(query, values))

    def _rows(self, query: str, values: tuple[object, ...]) -> Generator[tuple[Any, ...], None, None]:
        try:
            with closing(self._connection.execute(query, values)) as cursor:
                yield from cursor
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: cannot read the journal: {error}") from error
