"""Threads that block so that the event loop does not: one per processor, and one for loads."""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

log = logging.getLogger(__name__)

Job = Callable[[], None]


class Worker:
    """Runs jobs one after the other on its own thread (or several), pinned to ``cores`` when there are any."""

    def __init__(self, name: str, cores: tuple[int, ...] = (), threads: int = 1) -> None:
        """Start the threads: more than one where jobs only wait for an answer from elsewhere."""
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._cores = cores
        self._threads = [
            threading.Thread(target=self._work, name=f"trimtab-{name}", daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Run ``job`` after those before it. A job that raises is a bug: it is logged."""
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread after the jobs submitted so far."""
        for _ in self._threads:
            self._jobs.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        ends_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, ends_s - time.monotonic()))

    def _work(self) -> None:
        if self._cores and hasattr(os, "sched_setaffinity"):
            with suppress(OSError):  # a cpuset may forbid it: the run is right all the same
                os.sched_setaffinity(threading.get_native_id(), self._cores)
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("a job on %s broke", threading.current_thread().name)
            job = None  # what it held must not live until the next one comes
