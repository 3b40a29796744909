"""Keeps what the scheduler learned in one small file, so that it starts as wise as it ended."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trimtab.adapters.whole_file import write_whole
from trimtab.core import codec
from trimtab.core.knowledge import Knowledge, faults

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Kept:
    machine: str
    saved_unix_ns: int
    knowledge: Knowledge
    format_version: int = FORMAT_VERSION


class FileEstimates:
    """What was learned on one machine, in the file ``path``."""

    def __init__(self, path: Path, machine: str, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Keep it in ``path``; what another ``machine`` learned is not used. ``clock_ns`` tells the time of day."""
        self._path = path
        self._machine = machine
        self._clock_ns = clock_ns

    def load(self) -> tuple[Knowledge, int] | None:
        """Return what was known and how long ago (ns); ``None``, with a warning, for a file that is no use."""
        try:
            kept = codec.decode_value(_Kept, self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, codec.CodecError) as error:
            log.warning("%s: cannot be read, estimates start afresh: %s", self._path, error)
            return None
        wrong = next(faults(kept.knowledge), "")
        if kept.format_version != FORMAT_VERSION:
            wrong = f"it has format {kept.format_version}, not {FORMAT_VERSION}"
        elif kept.machine != self._machine:
            wrong = f"it is of another machine ({kept.machine})"
        if wrong:
            log.warning("%s: not used, estimates start afresh: %s", self._path, wrong)
            return None
        return kept.knowledge, max(0, self._clock_ns() - kept.saved_unix_ns)

    def save(self, knowledge: Knowledge) -> None:
        """Write it down in one move; raise ``OSError``."""
        body = codec.encode_value(_Kept(self._machine, self._clock_ns(), knowledge))
        write_whole(self._path, body)
