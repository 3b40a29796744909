"""On which cores the calling thread may run."""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


def allowed_cores() -> tuple[int, ...]:
    """Return the cores this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def pin(cores: Iterable[int]) -> bool:
    """Bind the calling thread to ``cores``; return whether the system did. No cores: leave it where it is."""
    wanted = set(cores)
    if not wanted or not hasattr(os, "sched_setaffinity"):
        return False
    try:
        os.sched_setaffinity(threading.get_native_id(), wanted)
    except OSError:  # a core went offline, or the cpuset shrank
        return False
    return True


@contextmanager
def pinned(cores: Iterable[int]) -> Iterator[bool]:
    """Bind the calling thread to ``cores`` inside the block, and restore it after."""
    if not hasattr(os, "sched_getaffinity"):
        yield False
        return
    thread = threading.get_native_id()
    before = os.sched_getaffinity(thread)
    done = pin(cores)
    try:
        yield done
    finally:
        if done:
            pin(before)
