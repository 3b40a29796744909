"""Requests as the streams of a scenario ask for them: one merged, ordered flow of arrivals."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain, count, islice, takewhile
from typing import Any, Final

from msgspec import structs

from trimtab.domain.request import Prefer, Request
from trimtab_sim.arrivals import Arrival, numbering
from trimtab_sim.scenario.generators import generated
from trimtab_sim.scenario.model import Stream
from trimtab_sim.traces import ArrivalTrace

ENDLESS_NS: Final = 1 << 62
_Row = tuple[int, int]
"""When a request comes, and which row of the trace it is (-1: a generator's)."""


@dataclass(frozen=True, slots=True)
class Span:
    """A scenario's time: its length, the local time of day at its beginning, and the run's seed."""

    duration_ns: int
    start_s: int
    seed: int


@dataclass(frozen=True, slots=True)
class Source:
    """A stream with the tasks it may ask for, and the trace it repeats if it does."""

    stream: Stream
    tasks: tuple[str, ...]
    trace: ArrivalTrace | None = None

    def arrivals(self, span: Span) -> Iterator[Arrival]:
        """Yield the stream's requests in order of time; the same seed gives the same ones."""
        stream, trace = self.stream, self.trace
        until_ns = min(span.duration_ns, ENDLESS_NS if stream.until_ns is None else stream.until_ns)
        rows: Iterator[_Row]
        if trace is None:
            rows = ((at_ns, -1) for at_ns in generated(stream, until_ns, span.start_s, span.seed))
        else:
            rows = _replayed(stream, trace)
        inside = takewhile(lambda row: row[0] < until_ns, rows)
        return self._requests(islice(inside, stream.limit), span.seed)

    def _requests(self, rows: Iterable[_Row], seed: int) -> Iterator[Arrival]:
        stream = self.stream
        rng = random.Random(f"{seed}/{stream.name}/requests")  # noqa: S311  a simulation, not a secret
        made = _Maker(stream.request, self.trace)
        samples = stream.samples
        for number, (at_ns, row) in enumerate(rows):
            task = self.tasks[0] if len(self.tasks) == 1 else rng.choice(self.tasks)
            request, sample = made.request(f"{stream.name}-{number + 1}", task, row)
            if sample is None:
                sample = number
                if samples:
                    sample = rng.randrange(samples) if stream.random_samples else number % samples
            yield Arrival(at_ns, request, sample)


class _Maker:
    """Makes requests like one, with what a trace says about each in place of its own figures."""

    def __init__(self, like: Request, trace: ArrivalTrace | None) -> None:
        columns: Mapping[str, Any] = {} if trace is None else trace.columns
        labels: Mapping[str, Any] = {} if trace is None else trace.labels
        self._like = like
        self._makers: dict[str, Callable[[str], Request]] = {}
        self._numbers = [
            (field, columns[field], convert) for field, convert in _NUMBERS.items() if field in columns
        ]
        self._words = [
            (field, labels[field]) for field in ("task", "app", "variant", "prefer") if field in labels
        ]
        self._elapsed = columns.get("elapsed_ns")
        self._sample = columns.get("sample", columns.get("identity"))

    def request(self, request_id: str, task: str, row: int) -> tuple[Request, int | None]:
        """Return a request and the sample the trace names for it, ``None`` when it names none."""
        maker = self._makers.get(task)
        if maker is None:
            maker = self._makers[task] = numbering(replace(self._like, task=task))
        request = maker(request_id)
        if row < 0:
            return request, None
        told = self._told(row)
        sample = float("nan") if self._sample is None else self._sample[row]
        known = sample == sample  # NaN: the trace does not say
        return (structs.replace(request, **told) if told else request), (int(sample) if known else None)

    def _told(self, row: int) -> dict[str, Any]:
        """Return what a row says about its request, by field."""
        told: dict[str, Any] = {}
        for field, values, convert in self._numbers:
            value = values[row]
            if value == value:
                told[field] = convert(value)
        for field, names in self._words:
            if names[row]:
                told[field] = Prefer(names[row]) if field == "prefer" else names[row]
        budget_ns = told.get("latency_budget_ns", self._like.latency_budget_ns)
        if self._elapsed is not None and budget_ns is not None and self._elapsed[row] > 0:
            told["latency_budget_ns"] = max(1, budget_ns - round(self._elapsed[row]))
        return told


_NUMBERS: Final[Mapping[str, Callable[[float], Any]]] = {
    "latency_budget_ns": round,
    "min_accuracy_frac": float,
    "max_energy_uj": float,
    "priority": round,
    "batch": round,
}
"""What a trace can say about a request in numbers, and what it becomes."""


def _replayed(stream: Stream, trace: ArrivalTrace) -> Iterator[_Row]:
    """Yield a trace's rows from the stream's beginning on, as fast as asked, again and again if wanted.

    A trace starts over after its last row's time and one mean gap.
    """
    at_ns = trace.at_ns
    if not len(at_ns):
        return
    first_ns = int(at_ns[0]) if stream.repeat else 0
    gap_ns = max(1, trace.duration_ns // max(1, len(at_ns) - 1))
    lap_ns = trace.duration_ns + gap_ns
    for lap in count() if stream.repeat else range(1):
        for row, time_ns in enumerate(at_ns.tolist()):
            yield stream.begin_ns + round((time_ns - first_ns + lap * lap_ns) / stream.speed), row


def merged(sources: Sequence[Source], span: Span) -> Iterator[Arrival]:
    """Yield all streams' arrivals in order of time; at the same time in the order of the document."""
    flows = [source.arrivals(span) for source in sources]
    return merge(*flows, key=lambda arrival: arrival.at_ns) if len(flows) > 1 else chain(*flows)
