"""A run as a Chrome trace, to look at in ui.perfetto.dev or chrome://tracing.

The file is the JSON Object Format of the Trace Event Format (Nat Duca and Dominic Cooney, Google, 2016), written
while the run happens: one track per processor with the stages that ran, one with the loads, instants for
requests that were missed, counters for battery, temperature, memory, load and queue. Times are microseconds of
the driver's clock, as that format wants them; ``otherData`` tells which of them is the scenario's time zero.
"""

import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, cast

from msgspec.json import encode

from trimtab.domain.decision import Decision
from trimtab.domain.device import DeviceState
from trimtab.domain.processor import Processor
from trimtab_sim.arrivals import Arrival
from trimtab_sim.report import Served
from trimtab_sim.results.trial import Observer, RunResult, Trial

BUFFER_BYTES: Final = 1 << 18
PROCESSORS: Final = 1
DEVICE: Final = 2
"""The two "processes" of the trace: what runs where, and how the device fares."""
LOADER: Final = 1
REQUESTS: Final = 2
FIRST_PROCESSOR: Final = 3
"""Tracks of the first: loads, requests that ended without an answer in time, then one per processor."""


@dataclass(slots=True)
class _Flight:
    """A request that was decided: why, and by when it should be answered."""

    decision: Decision
    deadline_ns: int
    started: bool = False


class TraceWriter(Observer):
    """Writes a run's trace event by event, gzipped if the name ends in ``.gz``; use it as a context.

    Events are in order of time. Memory holds the requests and loads in flight and nothing else. The same run gives
    the same bytes.
    """

    def __init__(self, path: Path, processors: Sequence[Processor]) -> None:
        """Begin the file anew with a track for each processor; raise ``OSError``."""
        self._origin_ns = 0
        self._tracks = {one.name: FIRST_PROCESSOR + place for place, one in enumerate(processors)}
        self._flights: dict[str, _Flight] = {}
        self._waiting = 0
        self._counters: dict[str, float] = {}
        self._later: list[tuple[float, int, dict[str, Any]]] = []
        self._written = 0
        stream: IO[Any] = path.open("wb")
        self._files: list[IO[Any]] = [stream]
        if path.suffix == ".gz":  # neither name nor time in the header
            stream = cast("IO[Any]", gzip.GzipFile("", "wb", 6, stream, mtime=0))
            self._files.append(stream)
        self._stream = io.BufferedWriter(cast("io.RawIOBase", stream), BUFFER_BYTES)
        self._files.append(self._stream)
        self._before = b'{"displayTimeUnit":"ms","traceEvents":[\n'
        self._name_tracks(processors)

    def __enter__(self) -> "TraceWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the file; again does nothing."""
        if self._stream.closed:
            return
        self._flush(inf)
        self._stream.write(b'\n],"otherData":%s}\n' % encode({"origin_us": self._origin_ns / 1e3}))
        for file in reversed(self._files):
            file.close()

    # ---- what the simulation tells -----------------------------------------------------------------------

    def begins(self, trial: Trial, origin_ns: int, resident_bytes: Callable[[], int]) -> None:
        """Name the trace after the trial."""
        del resident_bytes
        title = f"processors: {trial.label}, seed {trial.seed}"
        self._write({"ph": "M", "name": "process_name", "pid": PROCESSORS, "args": {"name": title}})
        self._origin_ns = origin_ns

    def ends(self, result: RunResult) -> None:
        """End the file."""
        del result
        self.close()

    def decided(self, now_ns: int, decision: Decision) -> None:
        """Note why and by when; a request decided for the first time joins the queue."""
        flight = self._flights.get(decision.request_id)
        if flight is None:
            self._flights[decision.request_id] = _Flight(decision, now_ns + decision.budget_ns)
            self._queue(now_ns, 1)
        else:
            flight.decision = decision

    def started(
        self,
        now_ns: int,
        request_id: str,
        *,
        task: str,
        variant: str,
        processor: str,
        stage: int,
        run_ns: int,
        energy_uj: float,
    ) -> None:
        """Write a stage on its processor's track."""
        flight = self._flights[request_id]
        if not flight.started:
            flight.started = True
            self._queue(now_ns, -1)
        self._write(
            {
                "ph": "X",
                "name": f"{task}/{variant}" if stage == 0 else f"{task}/{variant}#{stage}",
                "cat": "run",
                "pid": PROCESSORS,
                "tid": self._tracks[processor],
                "ts": now_ns / 1e3,
                "dur": run_ns / 1e3,
                "args": {
                    "request": request_id,
                    "stage": stage,
                    "exit_rule": flight.decision.exit_rule,
                    "deadline_us": flight.deadline_ns / 1e3,
                    "energy_uj": energy_uj,
                    "reason": flight.decision.summary,
                },
            }
        )

    def loaded(self, now_ns: int, task: str, variant: str, pool: str, load_ns: int) -> None:
        """Write a load on the loader's track; it may have to wait for the one before."""
        self._write_later(
            {
                "ph": "X",
                "name": f"load {task}/{variant}",
                "cat": "load",
                "pid": PROCESSORS,
                "tid": LOADER,
                "ts": now_ns / 1e3,
                "dur": load_ns / 1e3,
                "args": {"pool": pool},
            }
        )

    def served(self, one: Served) -> None:
        """Forget a request that ended; write an instant if it was not answered in time."""
        result, flight = one.result, self._flights.pop(one.arrival.request.request_id, None)
        if flight is not None and not flight.started:
            self._queue(one.finished_ns, -1)
        if not result.on_time:
            name = "late" if one.answered else str(result.outcome)
            args = {"request": result.request_id, "cause": str(result.cause), "reason": result.reason}
            self._missed(one.finished_ns, name, args)

    def lost(self, arrival: Arrival) -> None:
        """Write an instant for a request that the device was off for."""
        flight = self._flights.pop(arrival.request.request_id, None)
        if flight is not None and not flight.started:
            self._queue(arrival.at_ns, -1)
        self._missed(arrival.at_ns, "device off", {"request": arrival.request.request_id})

    def device(self, now_ns: int, state: DeviceState) -> None:
        """Write the counters that changed."""
        if state.battery_frac is not None:
            self._count(now_ns, "battery", "percent", round(100 * state.battery_frac, 6))
        if state.temperature_mc is not None:
            self._count(now_ns, "temperature", "celsius", state.temperature_mc / 1000)
        if state.memory_available_bytes is not None:
            self._count(now_ns, "memory available", "bytes", state.memory_available_bytes)
        if state.cpu_load_frac is not None:
            self._count(now_ns, "cpu load", "percent", round(100 * state.cpu_load_frac, 6))

    # ---- events ------------------------------------------------------------------------------------------

    def _write(self, event: dict[str, Any]) -> None:
        """Write an event after those that begin before it: times only rise, which some viewers rely on."""
        if "ts" in event:
            self._flush(event["ts"])
        self._put(event)

    def _write_later(self, event: dict[str, Any]) -> None:
        """Write an event that begins in the future once it is its turn."""
        self._written += 1
        heappush(self._later, (event["ts"], self._written, event))

    def _flush(self, until_us: float) -> None:
        while self._later and self._later[0][0] <= until_us:
            self._put(heappop(self._later)[2])

    def _put(self, event: dict[str, Any]) -> None:
        self._stream.write(self._before + encode(event))
        self._before = b",\n"

    def _name_tracks(self, processors: Sequence[Processor]) -> None:
        for pid, title in ((PROCESSORS, "processors"), (DEVICE, "device")):
            self._write({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": title}})
            self._write({"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}})
        titles = {LOADER: "loads", REQUESTS: "missed requests"}
        titles |= {self._tracks[one.name]: one.name for one in processors}
        for tid, title in titles.items():
            track = {"ph": "M", "pid": PROCESSORS, "tid": tid}
            self._write(track | {"name": "thread_name", "args": {"name": title}})
            self._write(track | {"name": "thread_sort_index", "args": {"sort_index": tid}})

    def _missed(self, at_ns: int, name: str, args: dict[str, Any]) -> None:
        track = {"pid": PROCESSORS, "tid": REQUESTS, "s": "t"}
        self._write({"ph": "i", "name": name, "cat": "missed", **track, "ts": at_ns / 1e3, "args": args})

    def _queue(self, now_ns: int, change: int) -> None:
        self._waiting += change
        self._count(now_ns, "queue", "requests", self._waiting)

    def _count(self, now_ns: int, name: str, unit: str, value: float) -> None:
        if self._counters.get(name) != value:
            self._counters[name] = value
            self._write({"ph": "C", "name": name, "pid": DEVICE, "ts": now_ns / 1e3, "args": {unit: value}})
