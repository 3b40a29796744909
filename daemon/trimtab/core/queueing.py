"""The queue: earliest deadline first within a class, over processors that may share cores."""

from bisect import bisect_left

from trimtab.core.estimator import slowdown, variance_at
from trimtab.core.selection import Lane
from trimtab.core.state import Estimate, Live, Phase, State
from trimtab.domain.processor import Processor

LATE_CLASS = 1 << 20
"""The class of requests whose deadline was given up: served only when nobody else waits."""
DEFAULT_CLASS = 1 << 10


def class_of(priority: int) -> int:
    """Return the class of a Triton priority: 1 is the most urgent, 0 stands for the default."""
    return DEFAULT_CLASS if priority == 0 else priority


def resources(processor: Processor) -> tuple[str, ...]:
    """Return what a processor occupies while it runs: its cores, or itself when it has none."""
    return tuple(f"core:{c}" for c in processor.cores) or (processor.name,)


def expected_run_ns(live: Live, estimates: dict[str, Estimate], overhead_ns: float) -> int:
    """Return the expected occupation of a queued request's processor."""
    candidate = live.candidate
    if candidate is None:
        return 0
    factor = slowdown(estimates[candidate.processor])
    return int(candidate.expected_latency_ns * live.request.batch * factor + overhead_ns)


def survey(
    state: State, owned: dict[str, tuple[str, ...]], rank: tuple[int, int, int], now_ns: int
) -> tuple[Lane, ...]:
    """Return each processor as a request of this ``rank`` sees it: the wait behind what runs and is before it."""
    free, counts = _occupied(state, owned, now_ns), dict.fromkeys(state.processors, 0)
    for entry in state.queue:
        live = state.live[entry[3]]
        if live.candidate is None:
            continue
        if entry[0] < LATE_CLASS:
            counts[live.candidate.processor] += 1
        if entry[:3] < rank:
            _enqueue(state, live, owned[live.candidate.processor], free, now_ns)
    limit, lanes = state.policy.queue_limit, []
    for name, estimate in state.estimates.items():
        wait_ns = 0
        for resource in owned[name]:
            wait_ns = max(wait_ns, free.get(resource, 0))
        variance = variance_at(estimate, now_ns)
        lanes.append(Lane(wait_ns, estimate.mean, variance, estimate.noise, counts[name] >= limit))
    return tuple(lanes)


def _occupied(state: State, owned: dict[str, tuple[str, ...]], now_ns: int) -> dict[str, int]:
    free: dict[str, int] = {}
    for name, occupation in state.running.items():
        left_ns = max(0, occupation.expected_end_ns - now_ns)
        for resource in owned[name]:
            free[resource] = left_ns
    return free


def _enqueue(state: State, live: Live, mine: tuple[str, ...], free: dict[str, int], now_ns: int) -> None:
    start = max(free.get(resource, 0) for resource in mine)
    if live.phase is Phase.LOADING:
        start = max(start, state.residences[live.residence].ready_ns - now_ns)
    end = start + expected_run_ns(live, state.estimates, state.overhead_ns)
    for resource in mine:
        free[resource] = end


def next_dispatchable(state: State, owned: dict[str, tuple[str, ...]], resource_count: int) -> Live | None:
    """Return the first queued request, in queue order, whose processor is free.

    A request that waits for a busy core keeps its other cores from those behind it, so that a wide
    processor is never starved by narrow ones. One that waits for a load keeps nothing.
    """
    if not state.queue:
        return None
    taken = {resource: True for name in state.running for resource in owned[name]}
    for entry in state.queue:
        if len(taken) >= resource_count:
            return None
        live = state.live[entry[3]]
        if live.phase is not Phase.QUEUED or live.candidate is None:
            continue
        mine = owned[live.candidate.processor]
        if not any(resource in taken for resource in mine):
            return live
        for resource in mine:
            taken[resource] = True
    return None


def late_count(state: State) -> int:
    """Return how many queued requests have given up their deadline."""
    return len(state.queue) - bisect_left(state.queue, (LATE_CLASS, 0, 0, ""))


def queued_on(state: State, processor: str) -> int:
    """Return how many requests wait for a processor."""
    candidates = [state.live[entry[3]].candidate for entry in state.queue]
    return sum(1 for candidate in candidates if candidate is not None and candidate.processor == processor)
