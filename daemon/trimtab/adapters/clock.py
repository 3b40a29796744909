"""The system's clocks."""

import time


class MonotonicClock:
    """Nanoseconds that never go back; nothing about the time of day."""

    def now_ns(self) -> int:
        """Return nanoseconds since an arbitrary fixed moment."""
        return time.monotonic_ns()

    def thread_cpu_ns(self) -> int:
        """Return the CPU time that the calling thread has used."""
        return time.thread_time_ns()
