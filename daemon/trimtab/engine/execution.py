"""The commands that take time, on worker threads: one thread per processor, and one for loads and evictions.

Nothing here decides or waits; every job reports back to the event loop with exactly one event.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from trimtab.confidence import confidence_of
from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.domain.family import Stage
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import Source
from trimtab.engine.workers import Worker
from trimtab.ports import (
    Array,
    Clock,
    EnergyMeter,
    LinkFailure,
    Runtime,
    RuntimeFailure,
    ServerRuntime,
    StoredFamily,
    Tensors,
)

log = logging.getLogger(__name__)

Report = Callable[[ev.Event, Mapping[str, Array]], None]
"""Told on the event loop what happened, and what a stage returned."""

STOP_S = 10.0
MOST_AWAY = 16
"""So many requests to one server are waited for at once; more wait here for a thread."""
NOTHING: Mapping[str, Array] = {}


class Execution:
    """Carries out ``RunStage``, ``Load`` and ``Evict`` for one engine."""

    def __init__(
        self,
        processors: tuple[Processor, ...],
        runtimes: Mapping[str, Runtime],
        families: Mapping[str, StoredFamily],
        meter: EnergyMeter,
        clock: Clock,
        report: Report,
    ) -> None:
        """Prepare for the running event loop; threads begin with ``start``."""
        self._processors = {p.name: p for p in processors}
        self._pools = {p.pool: p for p in reversed(processors)}
        self._runtimes = runtimes
        self._families = families
        self._meter = meter
        self._clock = clock
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._workers: dict[str, Worker] = {}
        self._loader: Worker | None = None

    def start(self) -> None:
        """Start the threads."""
        self._workers = {
            p.name: Worker(p.name, p.cores, min(p.concurrent or MOST_AWAY, MOST_AWAY))
            for p in self._processors.values()
        }
        self._loader = Worker("loader")

    def close(self) -> None:
        """Let what was submitted finish, but do not wait longer than ten seconds for it; drop all variants."""
        threads = [*self._workers.values(), *([self._loader] if self._loader else [])]
        for thread in threads:
            thread.stop()
        give_up_s = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, give_up_s - time.monotonic()))
        for runtime in self._runtimes.values():
            runtime.close()

    def run(self, command: cm.RunStage, tensors: Tensors) -> None:
        """Run one stage on its processor's thread."""
        self._workers[command.processor].submit(lambda: self._run(command, tensors))

    def load(self, command: cm.Load) -> None:
        """Load a variant."""
        self._on_loader(lambda: self._load(command))

    def evict(self, command: cm.Evict) -> None:
        """Give a variant's memory back."""
        self._on_loader(lambda: self._evict(command))

    def energy_source(self, processor: str) -> Source:
        """Return how a processor's energy figures are obtained; the meter's best for none."""
        found = self._processors.get(processor)
        return self._meter.source if found is None else self._meter.run_energy(found, 0).source

    def stage(self, task: str, variant: str, number: int) -> Stage:
        """Return what the manifest says of a stage."""
        return self._families[task].family.variant(variant).stages[number]

    # ---- on the threads ------------------------------------------------------------------------------

    def _run(self, command: cm.RunStage, tensors: Tensors) -> None:
        outputs = NOTHING
        event: ev.Event
        try:
            processor = self._processors[command.processor]
            runtime, clock = self._runtimes[processor.runtime], self._clock
            began_ns, began_cpu_ns = clock.now_ns(), clock.thread_cpu_ns()
            job = (command.task, command.variant, processor, command.stage, tensors)
            if isinstance(runtime, ServerRuntime):
                outputs = runtime.run_within(*job, command.budget_ns)
            else:
                outputs = runtime.run(*job)
            run_ns, cpu_ns = clock.now_ns() - began_ns, clock.thread_cpu_ns() - began_cpu_ns
            used_uj = self._meter.run_energy(processor, processor.charged_ns(run_ns, cpu_ns)).energy_uj
            logits = self.stage(command.task, command.variant, command.stage).logits
            confidence = confidence_of(outputs[logits])
            cost_usd = processor.charge_usd(run_ns) if processor.is_remote else 0.0
            event = ev.StageFinished(command.request_id, command.stage, run_ns, used_uj, confidence, cost_usd)
        except Exception as error:  # a runtime must not take its processor's thread down with it
            log.warning(
                "%s stage %d on %s failed: %s", command.variant, command.stage, command.processor, error
            )
            event = ev.RunFailed(command.request_id, command.stage, _told(error), _fault_of(error))
        self._tell(event, outputs)

    def _load(self, command: cm.Load) -> None:
        event: ev.Event
        try:
            stored, processor = self._families[command.task], self._pools[command.pool]
            variant = stored.family.variant(command.variant)
            loaded = self._runtimes[processor.runtime].load(command.task, variant, stored.folder, processor)
            used_uj = self._meter.run_energy(processor, loaded.load_ns).energy_uj
            event = ev.LoadFinished(
                command.task, command.variant, command.pool, loaded.load_ns, loaded.resident_bytes, used_uj
            )
        except Exception as error:
            log.warning("%s/%s cannot be loaded: %s", command.task, command.variant, error)
            event = ev.LoadFailed(command.task, command.variant, command.pool, _told(error), _fault_of(error))
        self._tell(event)

    def _evict(self, command: cm.Evict) -> None:
        try:
            processor = self._pools[command.pool]
            self._runtimes[processor.runtime].evict(command.task, command.variant, command.pool)
        except Exception:  # its memory may be lost, the loader's thread must not be
            log.exception("%s/%s could not be evicted", command.task, command.variant)
        self._tell(ev.EvictFinished(command.task, command.variant, command.pool))

    def _on_loader(self, job: Callable[[], None]) -> None:
        assert self._loader is not None, "the engine was not started"
        self._loader.submit(job)

    def _tell(self, event: ev.Event, outputs: Mapping[str, Array] = NOTHING) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._report, event, outputs)


def _fault_of(error: Exception) -> str:
    return "link" if isinstance(error, LinkFailure) else "variant"


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, RuntimeFailure) else f"{type(error).__name__}: {error}"
