"""Virtual time: the real engine, threads and all, on a clock that moves only when everybody waits."""

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any

import pytest

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.domain.quantities import NS_PER_S
from trimtab.testing import ManualClock

Main = Callable[["VirtualTime"], Coroutine[Any, Any, Any]]


class VirtualTime(ManualClock):
    """A clock for an event loop and the threads it waits for; counts, as an observer, the jobs under way."""

    def __init__(self, now_ns: int) -> None:
        super().__init__(now_ns)
        self._lock = threading.Lock()
        self._sleeping: list[tuple[int, threading.Event]] = []
        self._running = 0
        self._loading = 0

    def sleep(self, duration_ns: int) -> None:
        """Block the calling thread until the clock has moved on by ``duration_ns``."""
        woken = threading.Event()
        with self._lock:
            self._sleeping.append((self.now_ns() + duration_ns, woken))
        assert woken.wait(30.0), "virtual time stands still"

    def saw(self, at_ns: int, event: ev.Event, commands: Sequence[cm.Command]) -> None:
        """Count runs, which have a thread each, and loads and evictions, which share one."""
        self._running -= isinstance(event, ev.StageFinished | ev.RunFailed)
        self._loading -= isinstance(event, ev.LoadFinished | ev.LoadFailed | ev.EvictFinished)
        self._running += sum(isinstance(command, cm.RunStage) for command in commands)
        self._loading += sum(isinstance(command, cm.Load | cm.Evict) for command in commands)

    def quiet(self) -> bool:
        """Return whether every thread that has work is asleep."""
        with self._lock:
            return len(self._sleeping) == self._running + (self._loading > 0)

    def move(self, at_most_ns: int | None) -> None:
        """Go to the next sleeper's time, or by ``at_most_ns`` if that is sooner, and wake who is due."""
        with self._lock:
            steps = [wake_ns - self.now_ns() for wake_ns, _ in self._sleeping]
            steps += [] if at_most_ns is None else [at_most_ns]
            assert steps, "nothing is left that could happen"
            self.advance(min(steps))
            for wake_ns, woken in self._sleeping:
                if wake_ns <= self.now_ns():
                    woken.set()
            self._sleeping = [one for one in self._sleeping if not one[1].is_set()]


class VirtualSelector(selectors.DefaultSelector):
    """Where the event loop would wait, it moves virtual time instead."""

    def __init__(self, clock: VirtualTime) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        give_up = time.monotonic() + 30.0
        while not (quiet := self._clock.quiet()):
            ready = super().select(0.001)
            if ready or time.monotonic() > give_up:
                break
        else:
            ready = super().select(0)
        if not ready:
            assert quiet, "a thread neither works nor waits"
            self._clock.move(None if timeout is None else round(timeout * NS_PER_S))
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time; what it would hand to an executor runs at once."""

    def __init__(self, clock: VirtualTime) -> None:
        super().__init__(VirtualSelector(clock))
        self._virtual = clock
        self._clock_resolution = 0.5e-9

    def time(self) -> float:
        return self._virtual.now_ns() / NS_PER_S

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        future.set_result(func(*args))
        return future


@pytest.fixture
def run_virtually() -> Callable[[int, Main], Any]:
    """Return a function that runs a coroutine in virtual time from a given moment and returns its result."""

    def run(start_ns: int, main: Main) -> Any:
        clock = VirtualTime(start_ns)
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
            return runner.run(main(clock))

    return run
