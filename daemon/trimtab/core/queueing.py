"""The queue: earliest deadline first within a class, over processors that may share cores."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import exp, inf, log

from trimtab.core.selection import IDLE, NO_ROOM, Lane
from trimtab.core.state import Estimate, Live, Occupation, Phase, State
from trimtab.domain.processor import Processor

LATE_CLASS = 1 << 20
"""The class of requests whose deadline was given up: served only when nobody else waits."""
DEFAULT_CLASS = 1 << 10
LOOK_BEHIND = 4
"""So many of those that would have to let a request pass are looked at."""

_QUEUED, _LOADING = Phase.QUEUED, Phase.LOADING

_Loading = tuple[int, int, tuple[int, ...]]
"""A queued request whose variant is loading: time until it is ready, its run, what it occupies."""


def class_of(priority: int) -> int:
    """Return the class of a Triton priority: 1 is the most urgent, 0 stands for the default."""
    return DEFAULT_CLASS if priority == 0 else min(max(1, priority), LATE_CLASS - 1)


def resources(processor: Processor) -> tuple[str, ...]:
    """Return what a processor occupies while it runs: its cores, or itself when it has none.

    A server that takes several requests at once is occupied by none of them.
    """
    if processor.concurrent != 1:
        return ()
    return tuple(f"core:{c}" for c in processor.cores) or (processor.name,)


class Sharing:
    """Which processors exclude each other: what each occupies, as numbers and as the bits of a mask.

    ``owned`` tells by name what a processor occupies, ``masks`` the same as bits, and ``mask`` is all there
    is; ``excluded`` are the lanes that wait while it runs, and ``idle`` the lanes when nothing does.
    ``limits`` tells how many requests servers take at once, those that take any number left out. ``wide`` are
    the lanes that occupy what narrower ones do: a lane, those, and how many times as much it occupies.
    """

    __slots__ = ("count", "excluded", "idle", "limits", "mask", "masks", "open", "owned", "wide")

    def __init__(self, processors: Iterable[Processor]) -> None:
        """Give each processor and each thing that one occupies a number."""
        numbers: dict[str, int] = {}
        self.owned: dict[str, tuple[int, ...]] = {}
        self.limits: dict[str, int] = {}
        for processor in processors:
            if processor.concurrent > 1:
                self.limits[processor.name] = processor.concurrent
            found = [numbers.setdefault(name, len(numbers)) for name in resources(processor)]
            self.owned[processor.name] = tuple(found)
        self.count = len(numbers)
        self.masks = {name: sum([1 << one for one in mine]) for name, mine in self.owned.items()}
        self.mask = (1 << self.count) - 1
        self.open = not all(self.masks.values())
        """Whether some processor may be free while every core is taken."""
        self.excluded = {
            name: tuple([lane for lane, other in enumerate(self.masks.values()) if other & mask])
            for name, mask in self.masks.items()
        }
        self.idle = [IDLE] * len(self.owned)
        self.wide = tuple(self._wide())

    def _wide(self) -> Iterator[tuple[int, tuple[int, ...], float]]:
        """Yield each lane with the narrowest ones inside it, and its width over theirs together."""
        lanes = list(enumerate(self.masks.values()))
        for lane, mask in lanes:
            inside = [
                (one, other) for one, other in lanes if other and other != mask and other & mask == other
            ]
            narrow = [
                (one, other)
                for one, other in inside
                if not any(third != other and third & other == third for _, third in inside)
            ]
            if narrow:
                width = sum([other.bit_count() for _, other in narrow])
                yield lane, tuple([one for one, _ in narrow]), mask.bit_count() / width

    def is_free(self, processor: str, running: Iterable[str]) -> bool:
        """Return whether a processor could start now, given those that are ``running``."""
        taken = 0
        for other in running:
            taken |= self.masks[other]
        return not taken & self.masks[processor]

    def has_place(self, processor: str, away: Mapping[str, Occupation]) -> bool:
        """Return whether a server that takes only so many requests at once could take one more."""
        limit = self.limits.get(processor)
        return limit is None or sum([o.processor == processor for o in away.values()]) < limit


def lanes_of(state: State, sharing: Sharing, live: Live, now_ns: int) -> list[Lane]:
    """Return each processor as a request sees it: the waits behind what runs and is queued before it."""
    if not state.queue:
        return _behind_runs(state, sharing, now_ns)
    free = _occupied(state, sharing, now_ns)
    fills = [0.0] * sharing.count
    loading = _line_up(state, sharing, live.rank, free, fills, now_ns)
    cold = _behind(loading, free) if loading else free
    full = _full(state)
    lanes = []
    for name, mine in sharing.owned.items():
        if len(mine) == 1:
            (one,) = mine
            lanes.append(Lane(free[one], cold[one], name in full, fills[one]))
        else:
            fill = max([fills[one] for one in mine], default=0.0)
            lanes.append(Lane(_free_at(free, mine), _free_at(cold, mine), name in full, fill))
    return lanes


def _full(state: State) -> tuple[str, ...]:
    """Return the processors that as many requests wait for as the policy allows, late ones left out."""
    queue, limit = state.queue, state.policy.queue_limit
    if len(queue) < limit:
        return ()
    candidates = [state.live[entry[3]].candidate for entry in queue if entry[0] < LATE_CLASS]
    counts = Counter([candidate.processor for candidate in candidates if candidate is not None])
    return tuple([name for name, count in counts.items() if count >= limit])


def rooms_of(
    estimates: Sequence[Estimate], lanes: Sequence[Lane], time_ns: int, ln_batch: float, kept_ns: int = 0
) -> list[float]:
    """Return ``Situation.ln_room`` of a request that has ``time_ns`` left; ``ln_batch`` is ln of its batch.

    Where it has to wait, ``kept_ns`` of that time are left to others.
    """
    if time_ns <= 0:
        return [NO_ROOM] * len(lanes)
    ln_time, rooms = log(time_ns), []
    for estimate, lane in zip(estimates, lanes):  # noqa: B905  one each
        wait_ns = lane.wait_ns
        if wait_ns:
            wait_ns += kept_ns
        ln_room = ln_time if wait_ns == 0 else log(time_ns - wait_ns) if time_ns > wait_ns else -inf
        rooms.append(ln_room - (estimate.mean + ln_batch))
    return rooms


def _behind_runs(state: State, sharing: Sharing, now_ns: int) -> list[Lane]:
    """Return the lanes when nobody waits. A run that is overdue is expected to take as long again."""
    lanes = sharing.idle.copy()
    for name, occupation in state.running.items():
        left_ns = abs(occupation.expected_end_ns - now_ns)
        for lane in sharing.excluded[name]:
            if left_ns > lanes[lane].wait_ns:
                lanes[lane] = Lane(left_ns, left_ns, False)
    return lanes


def _occupied(state: State, sharing: Sharing, now_ns: int) -> list[int]:
    """Return when each resource is free. A run that is overdue is expected to take as long again."""
    free = [0] * sharing.count
    for name, occupation in state.running.items():
        left_ns = abs(occupation.expected_end_ns - now_ns)
        for resource in sharing.owned[name]:
            free[resource] = left_ns
    return free


def _line_up(
    state: State,
    sharing: Sharing,
    rank: tuple[int, int, int],
    free: list[int],
    fills: list[float],
    now_ns: int,
) -> list[_Loading]:
    """Move ``free`` behind what is queued before ``rank``, and return who is passed by.

    ``fills`` become the largest share of the time until its deadline that one who waits needs of each resource;
    of those behind, the first ``LOOK_BEHIND`` count. A request whose variant is still loading holds nothing:
    those behind it pass until it is ready.
    """
    queue, lives, owned, overhead_ns = state.queue, state.live, sharing.owned, state.overhead_ns
    factors = {name: exp(estimate.mean) for name, estimate in state.estimates.items()}
    loading: list[_Loading] = []
    ends, place = free, bisect_left(queue, rank)
    for index, entry in enumerate(queue[: place + LOOK_BEHIND]):
        if entry[0] >= LATE_CLASS:
            break
        if index == place:
            ends = free.copy()
        live = lives[entry[3]]
        candidate = live.candidate
        assert candidate is not None
        name = candidate.processor
        mine = owned[name]
        run_ns = int(candidate.expected_latency_ns * live.request.batch * factors[name] + overhead_ns)
        if live.phase is _LOADING:
            if index < place:
                loading.append((state.residences[live.residence].ready_ns - now_ns, run_ns, mine))
            continue
        if len(mine) == 1:
            ends[mine[0]] += run_ns
        else:
            _take(ends, mine, run_ns)
        left_ns = live.deadline_ns - now_ns
        for one in mine:
            if left_ns > 0 and ends[one] > fills[one] * left_ns:
                fills[one] = ends[one] / left_ns
    passed = []
    for ready_ns, run_ns, mine in loading:
        if ready_ns <= _free_at(free, mine):
            _take(free, mine, run_ns)
        else:
            passed.append((ready_ns, run_ns, mine))
    return passed


def _behind(loading: list[_Loading], free: list[int]) -> list[int]:
    """Return when each resource is free for a request that lets these go first."""
    cold = free.copy()
    for ready_ns, run_ns, mine in loading:
        _take(cold, mine, run_ns, ready_ns)
    return cold


def _take(free: list[int], mine: tuple[int, ...], run_ns: int, ready_ns: int = 0) -> None:
    end_ns = _free_at(free, mine, ready_ns) + run_ns
    for resource in mine:
        free[resource] = end_ns


def _free_at(free: list[int], mine: tuple[int, ...], at_ns: int = 0) -> int:
    """Return when all of a processor's resources are free, ``at_ns`` at the earliest."""
    for resource in mine:
        if free[resource] > at_ns:
            at_ns = free[resource]
    return at_ns


def next_dispatchable(state: State, sharing: Sharing) -> Live | None:
    """Return the first queued request, in queue order, whose processor is free.

    A request that waits for a busy core keeps its other cores from those behind it, so that a wide
    processor is never starved by narrow ones. One that waits for a load keeps nothing.
    """
    taken, masks, everything = 0, sharing.masks, sharing.mask
    for name in state.running:
        taken |= masks[name]
    for entry in state.queue:
        if taken == everything and not sharing.open:
            return None
        live = state.live[entry[3]]
        if live.phase is not _QUEUED:
            continue
        assert live.candidate is not None
        name = live.candidate.processor
        mine = masks[name]
        if not mine & taken and (mine or sharing.has_place(name, state.away)):
            return live
        taken |= mine
    return None


def leave_queue(state: State, live: Live) -> None:
    """Take a request out of the queue; raise ``ValueError`` when it is not there."""
    place = (*live.rank, live.request.request_id)
    index = bisect_left(state.queue, place)
    if index == len(state.queue) or state.queue[index] != place:
        raise ValueError(f"{live.request.request_id} is not queued")
    del state.queue[index]


def late_count(state: State) -> int:
    """Return how many queued requests have given up their deadline."""
    return len(state.queue) - bisect_left(state.queue, (LATE_CLASS - 1, 1 << 62, 0, ""))


def queued_on(state: State, processor: str) -> int:
    """Return how many requests wait for a processor."""
    candidates = [state.live[entry[3]].candidate for entry in state.queue]
    return sum(1 for candidate in candidates if candidate is not None and candidate.processor == processor)
