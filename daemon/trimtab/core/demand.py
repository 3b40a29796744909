"""Which kinds of requests come how often: what the plan for memory is made for. Bounded whatever the traffic."""

from math import exp

from trimtab.core.state import Kind, State
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Prefer, Request

MEMORY_S = (120.0, 1800.0)
"""Demand is forgotten over so long at least, and at most: what is in memory should not follow every burst."""
SAMPLE = 100.0
"""Between the two, over so many requests: fewer say little about a rate."""
PRIOR_S = 10.0
"""So long nothing came, before anything was seen."""
MAX_KINDS = 32
FORGOTTEN = 1e-2
"""A kind of which so few requests are remembered is dropped."""

Key = tuple[str, tuple[str, ...], Prefer, int, float | None, str]


class Kinds:
    """Counts requests by kind: task, rules in force, preference, budget (within a factor of two), floor, pin."""

    def __init__(self, state: State) -> None:
        """Count in ``state``."""
        self._state = state
        self._known: dict[Key, Kind] = {}

    def count(self, request: Request, rules: tuple[str, ...], budget_ns: int, now_ns: int) -> bool:
        """Count one request; return whether its kind is new."""
        floor_frac, bucket = request.min_accuracy_frac, budget_ns.bit_length()
        key = (request.task, rules, request.prefer, bucket, floor_frac, request.variant)
        kind = self._known.get(key)
        if kind is not None:
            kind.fresh += 1
            if budget_ns < kind.budget_ns:
                kind.budget_ns = budget_ns
            return False
        return self._begin(key, request, budget_ns, now_ns)

    def _begin(self, key: Key, request: Request, budget_ns: int, now_ns: int) -> bool:
        kinds = self._state.kinds
        if len(kinds) >= MAX_KINDS:
            self.settle(now_ns)
        if len(kinds) >= MAX_KINDS:
            least = min(kinds, key=lambda kind: (kind.weight, kind.first_ns))
            kinds.remove(least)
            self._known = {known: kind for known, kind in self._known.items() if kind is not least}
        kind = Kind(
            request.task,
            request.app,
            key[1],
            request.prefer,
            budget_ns,
            request.min_accuracy_frac,
            request.variant,
        )
        kind.first_ns = kind.settled_ns = now_ns
        kind.fresh = 1
        kinds.append(kind)
        self._known[key] = kind
        return True

    def settle(self, now_ns: int) -> None:
        """Fold what was counted into the remembered weights, and drop the kinds that nobody asks for."""
        kinds = self._state.kinds
        for kind in kinds:
            elapsed_s = (now_ns - kind.settled_ns) / NS_PER_S
            memory_s = min(max(MEMORY_S[0], SAMPLE / rate_per_s(kind)), MEMORY_S[1])
            keep = exp(-elapsed_s / memory_s)
            kind.weight = kind.weight * keep + kind.fresh
            kind.seen_s = kind.seen_s * keep + elapsed_s
            kind.fresh, kind.settled_ns = 0, now_ns
        if min([kind.weight for kind in kinds], default=1.0) < FORGOTTEN:
            kinds[:] = [kind for kind in kinds if kind.weight >= FORGOTTEN]
            self.forget()

    def forget(self) -> None:
        """Drop what is derived from the state."""
        self._known = {
            (
                kind.task,
                kind.rules,
                kind.prefer,
                kind.budget_ns.bit_length(),
                kind.min_accuracy_frac,
                kind.variant,
            ): kind
            for kind in self._state.kinds
        }


def rate_per_s(kind: Kind) -> float:
    """Return the arrival rate of a kind when it was settled last."""
    return max(kind.weight, FORGOTTEN) / (kind.seen_s + PRIOR_S)
