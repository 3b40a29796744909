"""What the engine tells about finished requests: streams of records and counters per variant."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from trimtab.domain.decision import Outcome, Result
from trimtab.engine.api import Record, Statistics

BACKLOG = 1024
"""Records kept for a reader that is slower than the requests; beyond it the oldest are lost."""


class Feed:
    """Hands every record to every reader that is listening."""

    def __init__(self) -> None:
        """Start without readers."""
        self._readers: list[tuple[deque[Record], asyncio.Event]] = []
        self._closed = False

    @property
    def listened_to(self) -> bool:
        """Return whether anybody is reading."""
        return bool(self._readers)

    def publish(self, record: Record) -> None:
        """Give a record to each reader."""
        for backlog, arrived in self._readers:
            backlog.append(record)
            arrived.set()

    def close(self) -> None:
        """End every reader's iteration once it has read what is there."""
        self._closed = True
        for _, arrived in self._readers:
            arrived.set()

    async def read(self) -> AsyncIterator[Record]:
        """Yield records from now on until the feed closes."""
        reader = (deque[Record](maxlen=BACKLOG), asyncio.Event())
        backlog, arrived = reader
        self._readers.append(reader)
        try:
            while True:
                while backlog:
                    yield backlog.popleft()
                if self._closed:
                    return
                arrived.clear()
                await arrived.wait()
        finally:
            self._readers.remove(reader)


class Tally:
    """Counters by task and variant, and of outcomes over all."""

    def __init__(self) -> None:
        """Start at zero."""
        self.outcomes: dict[str, int] = {outcome.value: 0 for outcome in Outcome}
        self.on_time = 0
        self.cost_usd = 0.0
        self.served: dict[str, int] = {}
        self._by_variant: dict[str, dict[str, Statistics]] = {}

    def count(self, task: str, result: Result, batch: int, at_ms: int) -> None:
        """Count one result; ``at_ms`` is milliseconds since the epoch."""
        self.outcomes[result.outcome.value] += 1
        self.on_time += result.on_time
        self.cost_usd += result.cost_usd
        if not result.variant:
            return
        statistics = self._by_variant.setdefault(task, {}).setdefault(result.variant, Statistics())
        total_ns = result.queue_ns + result.load_ns + result.run_ns
        if result.outcome is not Outcome.DONE:
            statistics.fail.add(total_ns)
            return
        self.served[result.processor] = self.served.get(result.processor, 0) + 1
        statistics.success.add(total_ns)
        statistics.queue.add(result.queue_ns)
        statistics.run.add(result.run_ns)
        statistics.inferences += batch
        statistics.executions += 1
        statistics.last_inference_ms = at_ms
        if result.load_ns:
            statistics.load.add(result.load_ns)

    def of(self, task: str) -> dict[str, Statistics]:
        """Return the counters of a task's variants."""
        return self._by_variant.get(task, {})
