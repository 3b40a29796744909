"""A policy file that may change while the daemon runs: cheap polling, no thread and no timer of its own.

A poll is one ``stat`` that follows links, so it sees an editor's rename over the file, a swapped symlink (as
Kubernetes does for config maps) and a write in place alike. So that a half-written file is not taken for a
policy, a new version is read only once it was left alone for half a second, or two polls in a row saw it the
same (which also serves where file times cannot be trusted).
"""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_S
from trimtab.policy import PolicyError, Problem, load_policy
from trimtab.policy.document import MAX_BYTES
from trimtab.policy.load import decode

SETTLE_S: Final = 0.5


class Identity(NamedTuple):
    """What tells two versions of a file apart."""

    device: int
    inode: int
    size_bytes: int
    written_ns: int
    changed_ns: int
    mode: int


Signature = Identity | None
"""``None``: there is no file to be seen."""


class WatchedPolicy:
    """Loads a policy file and notices when it changes. Every method may be called from any thread."""

    def __init__(self, path: str | Path, wall_time_s: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._wall_time_s = wall_time_s
        self._lock = threading.Lock()
        self._text = ""
        self._reported = b""  # digest of the version last returned or raised
        self._judged: Signature = None  # the file as it was when that version was read
        self._seen: Signature = None  # the file as the poll before saw it

    @property
    def source(self) -> str:
        """Return the file's path as it was given."""
        return str(self._path)

    @property
    def text(self) -> str:
        """Return the YAML of the last good version; empty before the first."""
        return self._text

    def load(self) -> Policy:
        """Return the file's policy now, changed or not; raise ``PolicyError``."""
        with self._lock:
            policy = self._read(again=True)
        assert policy is not None
        return policy

    def poll(self, force: bool = False) -> Policy | None:
        """Return the policy if there is a new valid version, else ``None``.

        Raise ``PolicyError`` once for each invalid version. ``force`` reads at once and reports the
        version even if it was reported before: for an operator's SIGHUP.
        """
        if force:
            return self.load()
        with self._lock:
            now = _signature(self._path)
            settled = now == self._seen or self._left_alone(now)
            self._seen = now
            if not settled or now == self._judged:
                return None
            return self._read(again=False)

    def _left_alone(self, now: Signature) -> bool:
        """Return whether the file was last written long enough ago to be whole."""
        return now is not None and self._wall_time_s() - now.written_ns / NS_PER_S >= SETTLE_S

    def _read(self, again: bool) -> Policy | None:
        """Read and parse; ``None`` for a version already reported unless ``again``."""
        try:
            raw, self._judged = _content(self._path)
        except OSError as error:
            # The signature keeps saying what was there, so that the file's return is noticed.
            self._judged = _signature(self._path)
            digest = f"unreadable: {error.errno}".encode()
            reason = error.strerror or type(error).__name__
            problem: Problem | None = Problem(self.source, 0, 0, "", f"cannot be read: {reason}")
            raw = b""
        else:
            digest, problem = hashlib.sha256(raw).digest(), None
        if digest == self._reported and not again:
            return None
        self._reported, self._seen = digest, self._judged
        if problem is not None:
            raise PolicyError([problem])
        text = decode(raw, self.source)
        policy = load_policy(text, self.source)
        self._text = text
        return policy


def _signature(path: Path) -> Signature:
    """Return what changes when the file does; ``None`` when there is none to be seen."""
    try:
        return _identity(path.stat())
    except OSError:
        return None


def _identity(found: os.stat_result) -> Identity:
    """Return the figures that tell two versions of a file apart."""
    return Identity(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode
    )


def _content(path: Path) -> tuple[bytes, Signature]:
    """Return at most one byte more than a policy may have, and the identity of the file before reading."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "not a regular file")
    with path.open("rb") as file:
        identity = _identity(os.fstat(file.fileno()))
        return file.read(MAX_BYTES + 1), identity
