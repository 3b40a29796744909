"""The system's monotonic clock."""

import time


class MonotonicClock:
    """Nanoseconds that never go back; nothing about the time of day."""

    def now_ns(self) -> int:
        """Return nanoseconds since an arbitrary fixed moment."""
        return time.monotonic_ns()
