"""Which kinds of requests come how often: what the plan for memory is made for. Bounded whatever the traffic."""

from math import exp, log2

from trimtab.core.forecast import expected, hours_ahead, local_s
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
FAINT = 1e-12
"""The least weight of a kind that was ever asked for: days later it still says what its task is asked for."""
LEAST_RATE = 1e-4
"""Kinds that come more rarely (per second) are not worth a load."""
AHEAD_S = 300.0
"""The plan is for the demand of so long."""

CAP_STEPS = 8
"""Energy limits within a factor of 2 ** (1 / CAP_STEPS) are of one kind."""

Key = tuple[str, tuple[str, ...], Prefer, int, float | None, str, int]


def cap_of(max_energy_uj: float | None) -> int:
    """Return the class of an energy limit; -1 stands for none."""
    return -1 if max_energy_uj is None else int(CAP_STEPS * log2(1.0 + max_energy_uj))


class Kinds:
    """Counts requests by kind: task, rules in force, preference, budget (within a factor of two), floor, pin, cap."""

    def __init__(self, state: State) -> None:
        """Count in ``state``."""
        self._state = state
        self._known: dict[Key, Kind] = {}

    def count(self, request: Request, rules: tuple[str, ...], budget_ns: int, now_ns: int) -> bool:
        """Count one request; return whether its kind is new, and not just one of too many to be told apart."""
        floor_frac, bucket = request.min_accuracy_frac, budget_ns.bit_length()
        cap_uj = request.max_energy_uj
        cap = -1 if cap_uj is None else cap_of(cap_uj)
        key = (request.task, rules, request.prefer, bucket, floor_frac, request.variant, cap)
        kind = self._known.get(key)
        if kind is not None:
            kind.fresh += request.batch
            if budget_ns < kind.budget_ns:
                kind.budget_ns = budget_ns
            return False
        return self._begin(key, request, budget_ns, now_ns)

    def _begin(self, key: Key, request: Request, budget_ns: int, now_ns: int) -> bool:
        kinds = self._state.kinds
        full = len(kinds) >= MAX_KINDS
        if full:
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
            request.max_energy_uj,
        )
        kind.first_ns = kind.settled_ns = now_ns
        kind.fresh = request.batch
        kinds.append(kind)
        self._known[key] = kind
        return not full

    def settle(self, now_ns: int) -> None:
        """Fold what was counted into the remembered weights."""
        for kind in self._state.kinds:
            elapsed_s = (now_ns - kind.settled_ns) / NS_PER_S
            memory_s = min(max(MEMORY_S[0], SAMPLE / rate_per_s(kind)), MEMORY_S[1])
            keep = exp(-elapsed_s / memory_s)
            kind.weight = max(kind.weight * keep, FAINT) + kind.fresh
            kind.seen_s = kind.seen_s * keep + elapsed_s
            kind.fresh, kind.settled_ns = 0, now_ns

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
                cap_of(kind.max_energy_uj),
            ): kind
            for kind in self._state.kinds
        }


def rate_per_s(kind: Kind) -> float:
    """Return the arrival rate of a kind when it was settled last."""
    return max(kind.weight, FAINT) / (kind.seen_s + PRIOR_S)


def coming(state: State, task: str, now_ns: int) -> tuple[list[Kind], list[float]]:
    """Return the kinds of requests of a task that are to be planned for, and their rates in the next minutes.

    Where days have taught how much is asked at this time of day, and that is more than what comes now, the kinds
    known share the rest as they shared what came.
    """
    kinds = [kind for kind in state.kinds if kind.task == task]
    rates = [rate_per_s(kind) for kind in kinds]
    forecast, ahead = state.forecast, hours_ahead(local_s(state, now_ns), AHEAD_S)
    flows = [one.flow for one in forecast.streams.values() if one.task == task and one.flow.hours]
    more = sum([expected(forecast, flow, ahead, AHEAD_S) for flow in flows]) / AHEAD_S - sum(rates)
    if more > 0.0:
        known = sum([kind.weight for kind in kinds])
        rates = [rate + more * kind.weight / known for kind, rate in zip(kinds, rates, strict=True)]
    planned = [pair for pair in zip(kinds, rates, strict=True) if pair[1] >= LEAST_RATE]
    return [kind for kind, _ in planned], [rate for _, rate in planned]
