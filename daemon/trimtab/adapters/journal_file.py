"""The journal's SQLite file: schema, opening, bounding its size, setting a corrupt one aside."""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
KINDS = ("event", "command", "checkpoint")

SCHEMA = """
CREATE TABLE sessions (
  session INTEGER PRIMARY KEY AUTOINCREMENT,
  started_unix_ns INTEGER NOT NULL,
  program TEXT NOT NULL,
  closed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  session INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  type TEXT NOT NULL,
  request_id TEXT,
  body BLOB NOT NULL
);
CREATE UNIQUE INDEX entries_by_seq ON entries (session, seq);
CREATE INDEX entries_by_request ON entries (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX entries_checkpoints ON entries (id) WHERE kind = 2;
"""

Row = tuple[int, int, int, int, str, str | None, bytes]


class JournalError(Exception):
    """The journal cannot be opened, read or written; the message names the file."""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open or create the journal; a corrupt file is moved aside with a warning. Raise ``JournalError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise
            kept = _set_aside(path)
            log.warning("%s: corrupt journal (%s), kept as %s; a new one begins", path, error, kept.name)
            return _open(path)
    except (OSError, sqlite3.Error) as error:
        raise JournalError(f"{path}: cannot open the journal: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it names apps and requests: owner only
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = read_version(connection, path)
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_size_limit = 4194304")
    if version == 0:
        connection.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
    elif not _last_session_closed(connection):
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))


def read_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema version, 0 for an empty file; raise ``JournalError`` for a newer one."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"{path}: journal of version {version}, this trimtab reads up to {SCHEMA_VERSION}; "
            "use a newer trimtab or another file"
        )
    return version


def _last_session_closed(connection: sqlite3.Connection) -> bool:
    row = connection.execute("SELECT closed FROM sessions ORDER BY session DESC LIMIT 1").fetchone()
    return row is None or bool(row[0])


def _set_aside(path: Path) -> Path:
    """Rename the file and its side files to the first free ``.corrupt-<n>``; return the new name."""
    number = 1
    while (kept := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    path.rename(kept)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    return kept


def begin_session(connection: sqlite3.Connection, program: str) -> int:
    """Return the number of a new session."""
    cursor = connection.execute(
        "INSERT INTO sessions (started_unix_ns, program) VALUES (?, ?)", (time.time_ns(), program)
    )
    return int(cursor.lastrowid or 0)


def end_session(connection: sqlite3.Connection, session: int) -> None:
    """Note that a session ended cleanly."""
    connection.execute("UPDATE sessions SET closed = 1 WHERE session = ?", (session,))


def write_rows(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Write rows in one transaction; on an error none of them is written."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(
            "INSERT INTO entries (session, seq, at_ns, kind, type, request_id, body) VALUES (?,?,?,?,?,?,?)",
            rows,
        )
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes of the pages in use."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def shrink(connection: sqlite3.Connection, fraction: float) -> int:
    """Delete about the oldest ``fraction`` of the rows and give the space back; return how many went.

    What stays begins at a checkpoint or at the start of a session, where a replay can begin. With neither
    near enough nothing is deleted.
    """
    first, last = connection.execute("SELECT min(id), max(id) FROM entries").fetchone()
    if first is None:
        return 0
    aim = first + int((last - first) * fraction)
    boundary = connection.execute(
        "SELECT min(id) FROM entries WHERE id >= ? AND (kind = 2 OR seq = 1)", (aim,)
    ).fetchone()[0]
    if boundary is None:
        boundary = connection.execute(
            "SELECT max(id) FROM entries WHERE id > ? AND (kind = 2 OR seq = 1)", (first,)
        ).fetchone()[0]
    if boundary is None:
        return 0
    gone = connection.execute("DELETE FROM entries WHERE id < ?", (boundary,)).rowcount
    connection.execute("DELETE FROM sessions WHERE session < (SELECT min(session) FROM entries)")
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return int(gone)
