"""Requests to a daemon over real sockets: sent at their times (open loop) or as fast as answers come (closed).

Messages are serialized beforehand, answers are not parsed, so that as little of the machine as possible goes
to the caller.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

METHOD = "/inference.GRPCInferenceService/ModelInfer"
SAMPLES = 16
"""So many different samples per task are sent in turn."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: when (seconds from the start), for which task, with which goals."""

    at_s: float
    task: str
    goals: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None


class Magazine:
    """Serialized requests by task, goals and sample."""

    def __init__(self, samples: Mapping[str, Mapping[str, Any]]) -> None:
        """Send these samples (input arrays by name, per task)."""
        self._samples = samples
        self._bodies: dict[tuple[Any, ...], bytes] = {}
        self._count = 0

    def body(self, shot: Shot) -> bytes:
        """Return the bytes of a request."""
        from trimtab.client import request_for

        self._count += 1
        sample = self._count % SAMPLES
        key = (shot.task, sample, tuple(shot.goals.items()))
        if key not in self._bodies:
            inputs = {name: rows[sample : sample + 1] for name, rows in self._samples[shot.task].items()}
            self._bodies[key] = request_for(shot.task, inputs, dict(shot.goals)).SerializeToString()
        return self._bodies[key]


def samples_of(tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return some shipped test samples of each task."""
    from trimtab.adapters.family_store import load_family, load_samples, shipped_families

    found = {}
    for task in tasks:
        arrays, _ = load_samples(load_family(shipped_families() / task))
        found[task] = {name: np.ascontiguousarray(rows[:SAMPLES]) for name, rows in arrays.items()}
    return found


async def _ask(call: Any, body: bytes, timeout_s: float | None, codes: Counter[str]) -> None:
    try:
        await call(body, timeout=timeout_s)
        codes["OK"] += 1
    except grpc.aio.AioRpcError as error:
        codes[error.code().name] += 1


async def open_loop(address: str, shots: Sequence[Shot], magazine: Magazine) -> Counter[str]:
    """Send each request at its time, whether or not earlier ones were answered; return counts by status."""
    codes: Counter[str] = Counter()
    bodies = [magazine.body(shot) for shot in shots]
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(METHOD)
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for shot, body in zip(shots, bodies, strict=True):
                await asyncio.sleep(max(0.0, began_s + shot.at_s - time.perf_counter()))
                group.create_task(_ask(call, body, shot.timeout_s, codes))
    return codes


async def closed_loop(
    address: str, shots: Iterable[Shot], magazine: Magazine, in_flight: int
) -> Counter[str]:
    """Keep so many requests in flight until all were sent; return counts by status."""
    codes: Counter[str] = Counter()
    left = iter(shots)

    async def caller() -> None:
        for shot in left:
            await _ask(call, magazine.body(shot), shot.timeout_s, codes)

    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(METHOD)
        await asyncio.gather(*(caller() for _ in range(in_flight)))
    return codes


def poisson(rng: random.Random, rate_per_s: float, begin_s: float, end_s: float) -> Iterator[float]:
    """Yield the times of Poisson arrivals between two moments."""
    at_s = begin_s + rng.expovariate(rate_per_s)
    while at_s < end_s:
        yield at_s
        at_s += rng.expovariate(rate_per_s)
