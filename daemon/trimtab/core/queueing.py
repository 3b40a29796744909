"""The queue: earliest deadline first within a class, over processors that may share cores."""

from bisect import bisect_left
from math import exp

from trimtab.core.estimator import variance_at
from trimtab.core.selection import Lane
from trimtab.core.state import Live, Phase, State
from trimtab.domain.processor import Processor

LATE_CLASS = 1 << 20
"""The class of requests whose deadline was given up: served only when nobody else waits."""
DEFAULT_CLASS = 1 << 10

_Loading = tuple[int, int, tuple[str, ...]]
"""A queued request whose variant is loading: time until it is ready, its run, what it occupies."""


def class_of(priority: int) -> int:
    """Return the class of a Triton priority: 1 is the most urgent, 0 stands for the default."""
    return DEFAULT_CLASS if priority == 0 else min(max(1, priority), LATE_CLASS - 1)


def resources(processor: Processor) -> tuple[str, ...]:
    """Return what a processor occupies while it runs: its cores, or itself when it has none."""
    return tuple(f"core:{c}" for c in processor.cores) or (processor.name,)


def survey(
    state: State, owned: dict[str, tuple[str, ...]], rank: tuple[int, int, int], now_ns: int
) -> tuple[Lane, ...]:
    """Return each processor as a request of this ``rank`` sees it: the wait behind what runs and is before it."""
    factors = {name: exp(estimate.mean) for name, estimate in state.estimates.items()}
    free = _occupied(state, owned, now_ns) if state.running else {}
    counts: dict[str, int] = {}
    cold = free
    if state.queue:
        counts, loading = _line_up(state, owned, rank, factors, free, now_ns)
        cold = _behind(loading, free) if loading else free
    limit, lanes = state.policy.queue_limit, []
    for name, estimate in state.estimates.items():
        wait_ns = _free_at(free, owned[name]) if free else 0
        cold_ns = wait_ns if cold is free else _free_at(cold, owned[name])
        full = bool(counts) and counts.get(name, 0) >= limit
        variance = variance_at(estimate, now_ns)
        lanes.append(Lane(wait_ns, cold_ns, estimate.mean, variance, estimate.noise, full, factors[name]))
    return tuple(lanes)


def _occupied(state: State, owned: dict[str, tuple[str, ...]], now_ns: int) -> dict[str, int]:
    """Return when each busy resource is free. A run that is overdue is expected to take as long again."""
    free: dict[str, int] = {}
    for name, occupation in state.running.items():
        left_ns = abs(occupation.expected_end_ns - now_ns)
        for resource in owned[name]:
            free[resource] = left_ns
    return free


def _line_up(
    state: State,
    owned: dict[str, tuple[str, ...]],
    rank: tuple[int, int, int],
    factors: dict[str, float],
    free: dict[str, int],
    now_ns: int,
) -> tuple[dict[str, int], list[_Loading]]:
    """Move ``free`` behind what is queued before ``rank``; return the queue lengths and who is passed by.

    A request whose variant is still loading holds nothing: those behind it pass until it is ready.
    """
    counts: dict[str, int] = {}
    loading: list[_Loading] = []
    overhead_ns = state.overhead_ns
    for entry in state.queue:
        live = state.live[entry[3]]
        candidate = live.candidate
        assert candidate is not None
        name = candidate.processor
        if entry[0] < LATE_CLASS:
            counts[name] = counts.get(name, 0) + 1
        if entry >= rank:
            continue
        mine = owned[name]
        run_ns = int(candidate.expected_latency_ns * live.request.batch * factors[name] + overhead_ns)
        if live.phase is Phase.LOADING:
            loading.append((state.residences[live.residence].ready_ns - now_ns, run_ns, mine))
        else:
            _take(free, mine, run_ns)
    passed = []
    for ready_ns, run_ns, mine in loading:
        if ready_ns <= _free_at(free, mine):
            _take(free, mine, run_ns)
        else:
            passed.append((ready_ns, run_ns, mine))
    return counts, passed


def _behind(loading: list[_Loading], free: dict[str, int]) -> dict[str, int]:
    """Return when each resource is free for a request that lets these go first."""
    cold = dict(free)
    for ready_ns, run_ns, mine in loading:
        _take(cold, mine, run_ns, ready_ns)
    return cold


def _take(free: dict[str, int], mine: tuple[str, ...], run_ns: int, ready_ns: int = 0) -> None:
    end_ns = _free_at(free, mine, ready_ns) + run_ns
    for resource in mine:
        free[resource] = end_ns


def _free_at(free: dict[str, int], mine: tuple[str, ...], at_ns: int = 0) -> int:
    """Return when all of a processor's resources are free, ``at_ns`` at the earliest."""
    for resource in mine:
        busy_ns = free.get(resource, 0)
        if busy_ns > at_ns:
            at_ns = busy_ns
    return at_ns


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
        if live.phase is not Phase.QUEUED:
            continue
        assert live.candidate is not None
        mine = owned[live.candidate.processor]
        if not any(resource in taken for resource in mine):
            return live
        for resource in mine:
            taken[resource] = True
    return None


def late_count(state: State) -> int:
    """Return how many queued requests have given up their deadline."""
    return len(state.queue) - bisect_left(state.queue, (LATE_CLASS - 1, 1 << 62, 0, ""))


def queued_on(state: State, processor: str) -> int:
    """Return how many requests wait for a processor."""
    candidates = [state.live[entry[3]].candidate for entry in state.queue]
    return sum(1 for candidate in candidates if candidate is not None and candidate.processor == processor)
