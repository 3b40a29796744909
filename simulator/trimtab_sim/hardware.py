"""Hardware in the loop: every load and run really happens, and simulated time advances by what it took.

Only the gaps between requests are skipped, so minutes of sparse requests are re-run in seconds. Runs that
overlap in simulated time happen one after the other for real: what they would do to each other beyond
sharing cores is not felt.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from trimtab.confidence import confidence_of
from trimtab.domain.decision import Decision, Outcome, Result
from trimtab.domain.processor import Processor
from trimtab.ports import Array, EnergyMeter, Runtime, StoredFamily, Tensors
from trimtab_sim.arrivals import Arrival
from trimtab_sim.runtime import Loading, Run, Running

Pin = Callable[[tuple[int, ...]], object]
"""Binds the calling thread to cores, e.g. ``trimtab.adapters.affinity.pin``."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Inputs by tensor name with the samples along the first dimension, and their labels (n,) if known."""

    tensors: Tensors
    labels: Array | None = None

    def take(self, first: int, count: int) -> dict[str, Array]:
        """Return ``count`` samples from row ``first`` on, starting over at the end."""
        return {
            name: np.take(rows, range(first, first + count), 0, mode="wrap")
            for name, rows in self.tensors.items()
        }


@dataclass(slots=True)
class _Held:
    """Tensors of a request in flight and the logits of its last exit."""

    tensors: dict[str, Array]
    logits: Array | None = None


def _nowhere(_cores: tuple[int, ...]) -> None:
    """Leave the thread where it is."""


class HardwareInTheLoop:
    """Executes on real runtimes. Each processor has a thread of its own, pinned once, as in the daemon.

    Runtimes and meter are the caller's and stay open; what was loaded through them is evicted by ``close``.
    """

    def __init__(
        self,
        stored: Iterable[StoredFamily],
        runtimes: Mapping[str, Runtime],
        meter: EnergyMeter,
        samples: Mapping[str, Samples],
        *,
        pin: Pin = _nowhere,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Serve families with runtimes by name and samples by task; ``clock_ns`` measures."""
        self._stored = {one.family.task: one for one in stored}
        self._runtimes = runtimes
        self._meter = meter
        self._samples = samples
        self._pin = pin
        self._clock_ns = clock_ns
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._held: dict[str, _Held] = {}
        self._loaded: dict[tuple[str, str, str], Runtime] = {}

    def load(self, task: str, variant: str, processor: Processor, now_ns: int) -> Loading:
        """Really load; raise ``RuntimeFailure``."""
        del now_ns
        stored, runtime = self._stored[task], self._runtimes[processor.runtime]
        loaded = runtime.load(task, stored.family.variant(variant), stored.folder, processor)
        self._loaded[task, variant, processor.pool] = runtime
        energy = self._meter.run_energy(processor, loaded.load_ns)
        return Loading(loaded.load_ns, loaded.resident_bytes, energy.energy_uj)

    def evict(self, task: str, variant: str, pool: str, now_ns: int) -> int:
        """Really evict."""
        del now_ns
        began_ns = self._clock_ns()
        self._loaded.pop((task, variant, pool)).evict(task, variant, pool)
        return self._clock_ns() - began_ns

    def run(self, run: Run, now_ns: int) -> Running:
        """Really run a stage on the request's tensors; raise ``RuntimeFailure``."""
        del now_ns
        request, variant = run.arrival.request, run.decision.variant
        stage = self._stored[request.task].family.variant(variant).stages[run.stage]
        held = self._held.get(request.request_id)
        if held is None or run.stage == 0:
            held = _Held(self._samples[request.task].take(run.arrival.sample, request.batch))
            self._held[request.request_id] = held
        job = self._thread(run.processor).submit(self._run_blocking, run, held.tensors)
        run_ns, charged_ns, outputs = job.result()
        held.tensors.update(outputs)
        held.logits = outputs[stage.logits]
        energy = self._meter.run_energy(run.processor, charged_ns)
        return Running(run_ns, energy.energy_uj, confidence_of(held.logits))

    def _run_blocking(self, run: Run, tensors: Tensors) -> tuple[int, int, dict[str, Array]]:
        runtime, request = self._runtimes[run.processor.runtime], run.arrival.request
        began_ns, began_cpu_ns = self._clock_ns(), time.thread_time_ns()
        outputs = runtime.run(request.task, run.decision.variant, run.processor, run.stage, tensors)
        run_ns, cpu_ns = self._clock_ns() - began_ns, time.thread_time_ns() - began_cpu_ns
        return run_ns, run.processor.charged_ns(run_ns, cpu_ns), outputs

    def judge(self, arrival: Arrival, decision: Decision | None, result: Result) -> bool | None:
        """Compare the answer (of a batch: every one) with the label."""
        del decision
        held = self._held.pop(arrival.request.request_id, None)
        labels = self._samples[arrival.request.task].labels if arrival.request.task in self._samples else None
        if result.outcome is not Outcome.DONE or held is None or held.logits is None or labels is None:
            return None
        rows = range(arrival.sample, arrival.sample + arrival.request.batch)
        return bool((held.logits.argmax(axis=-1) == np.take(labels, rows, 0, mode="wrap")).all())

    def close(self) -> None:
        """Evict what is still loaded and end the threads."""
        for (task, variant, pool), runtime in self._loaded.items():
            runtime.evict(task, variant, pool)
        self._loaded.clear()
        self._held.clear()
        for thread in self._threads.values():
            thread.shutdown()
        self._threads.clear()

    def _thread(self, processor: Processor) -> ThreadPoolExecutor:
        thread = self._threads.get(processor.name)
        if thread is None:
            thread = ThreadPoolExecutor(1, f"simulated-{processor.name}", self._pin, (processor.cores,))
            self._threads[processor.name] = thread
        return thread
