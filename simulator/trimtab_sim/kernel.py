"""The event kernel: what happens next, in integer nanoseconds and in a total order.

The heap's key is (time, priority, sequence number), after SimPy's ``core.py``: at one moment the smaller
priority goes first, and among equals what was pushed first. Items themselves are never compared.
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class TimeTravelError(ValueError):
    """Something was to happen before now."""


class Kernel(Generic[T]):
    """A clock and the items that are due on it; also a ``trimtab.ports.Clock``."""

    __slots__ = ("_heap", "_seq", "time_ns")

    def __init__(self, start_ns: int = 0) -> None:
        """Start empty at ``start_ns``."""
        self._heap: list[tuple[int, int, int, T]] = []
        self.time_ns = start_ns
        """What ``now_ns`` returns."""
        self._seq = 0

    def now_ns(self) -> int:
        """Return the time of the item handed out last."""
        return self.time_ns

    def thread_cpu_ns(self) -> int:
        """Return the same: here nobody takes the processor away."""
        return self.now_ns()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, at_ns: int, item: T, priority: int = 0) -> None:
        """Let ``item`` happen at ``at_ns``; raise ``TimeTravelError`` for a moment that has passed."""
        if at_ns < self.time_ns:
            raise TimeTravelError(f"{item!r} at {at_ns} ns is {self.time_ns - at_ns} ns in the past")
        self._seq = seq = self._seq + 1
        heappush(self._heap, (at_ns, priority, seq, item))

    def peek(self) -> int | None:
        """Return when the next item is due; ``None`` when there is none."""
        return self._heap[0][0] if self._heap else None

    def step(self) -> T:
        """Move on to the next item and return it; raise ``IndexError`` when there is none."""
        self.time_ns, _, _, item = heappop(self._heap)
        return item

    def run(self, until_ns: int | None = None) -> Iterator[T]:
        """Yield items as they come due, those pushed meanwhile included; end at ``until_ns``.

        What is due at ``until_ns`` itself stays for the next run. Without it, run until nothing is left.
        """
        if until_ns is None:
            while self._heap:
                yield self.step()
            return
        if until_ns < self.time_ns:
            raise TimeTravelError(f"{until_ns} ns is {self.time_ns - until_ns} ns in the past")
        while self._heap and self._heap[0][0] < until_ns:
            yield self.step()
        self.time_ns = until_ns
