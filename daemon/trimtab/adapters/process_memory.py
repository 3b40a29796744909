"""Memory of the running process: how much is resident, and giving freed pages back to the system.

Dropping a session does not lower resident memory by itself (glibc keeps the pages), so whoever evicts must
call ``trim`` and whoever measures must do so before and after.
"""

import ctypes
from collections.abc import Callable

import psutil

_process = psutil.Process()


def resident_bytes() -> int:
    """Return the resident set size of this process in bytes."""
    return int(_process.memory_info().rss)


def _find_trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # no glibc: musl, macOS, Windows
        return None
    return found


_malloc_trim = _find_trim()


def trim() -> bool:
    """Give freed heap pages back to the system; return whether this C library can (0.05 to 1 ms)."""
    if _malloc_trim is None:
        return False
    _malloc_trim(0)
    return True
