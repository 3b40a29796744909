"""What changes for whom when one policy takes another's place: both run on the same requests, told side by side."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trimtab.domain.decision import Decision, Outcome, Result, candidate_name
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import UJ_PER_J
from trimtab_sim.arrivals import Arrival
from trimtab_sim.report import Served
from trimtab_sim.results.summary import Summary
from trimtab_sim.results.trial import Observer, RunResult, Trial
from trimtab_sim.scenario import Prepared
from trimtab_sim.simulate import START_NS, simulate

BY: Final = ("app", "stream", "task")
"""What requests are grouped by."""
_Pair = tuple[Mapping[str, Any], Mapping[str, Any]]
LOST: Final = "lost: device off"
FIGURES: Final = (
    "on_time_frac", "accuracy_mean", "energy_j", "overdraft_j", "battery_frac_end", "lifetime_s", "loads",
)  # fmt: skip
"""Figures of a whole run that are told."""


@dataclass(slots=True)
class Group:
    """Requests of one app, stream or task under one policy; energy is that of their runs, loads left out."""

    requests: int = 0
    on_time: int = 0
    accuracy: float = 0.0
    energy_uj: float = 0.0
    variants: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, Any]:
        """Return shares and means over all its requests; one missed counts 0 in accuracy."""
        whole, answers = max(1, self.requests), max(1, self.variants.total())
        order = sorted(self.variants.items(), key=lambda one: (-one[1], one[0]))
        return {
            "requests": self.requests,
            "on_time_frac": self.on_time / whole,
            "accuracy_mean": self.accuracy / whole,
            "run_energy_j": self.energy_uj / UJ_PER_J,
            "share_by_variant": {name: count / answers for name, count in order},
        }


@dataclass(frozen=True, slots=True)
class Ending:
    """How one request ended: who served it or why nobody did, whether in time, and the reason in a sentence."""

    choice: str
    on_time: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """A kind of change: requests of ``task`` that A gave to ``a`` and B to ``b``, and one of them as example."""

    task: str
    a: str
    b: str
    count: int
    on_time_a: int
    on_time_b: int
    example: str
    at_ns: int
    reason_a: str
    reason_b: str


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """Two policies on the same requests; ``groups`` are by kind (app, stream, task), then name, then policy."""

    labels: tuple[str, str]
    requests: int
    different: int
    earned: int
    lost: int
    figures: tuple[Mapping[str, Any], Mapping[str, Any]]
    groups: Mapping[str, Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]]
    changes: tuple[Change, ...]


def policy_diff(
    prepared: Prepared,
    policies: tuple[Policy, Policy],
    *,
    labels: tuple[str, str],
    most: int = 10,
) -> PolicyDiff:
    """Run both policies on the scenario's requests and compare, request by request.

    ``most`` limits the kinds of change that are told, most frequent first. ``earned`` and ``lost`` count requests
    on time under B only, and under A only. Memory grows with the number of requests.
    """
    logs: list[_Log] = []
    results: list[RunResult] = []
    for policy in policies:
        logs.append(_Log(prepared))
        results += simulate(
            prepared,
            [Trial(policy, prepared.scenario.seed)],
            lambda _trial: logs[-1:],
            bounds=False,
        )
    return _compared(labels, logs, results, most)


class _Log(Observer):
    """Notes how each request ended, and what each group of them came to."""

    def __init__(self, prepared: Prepared) -> None:
        self._expected = Summary(prepared.world.families).expected
        self.endings: dict[str, Ending] = {}
        self.about: dict[str, tuple[str, int]] = {}
        self.groups: dict[str, dict[str, Group]] = {kind: {} for kind in BY}

    def served(self, one: Served) -> None:
        """Note a request that ended."""
        decision, result = one.decision, one.result
        self._note(one.arrival, Ending(_choice(decision, result), result.on_time, _reason(decision, result)))
        for group in self._groups(one.arrival):
            group.requests += 1
            group.on_time += result.on_time
            group.energy_uj += result.energy_uj
            group.accuracy += result.worth_frac * (self._expected(one) or 0.0)
            if one.answered:
                group.variants[result.variant] += 1

    def lost(self, arrival: Arrival) -> None:
        """Note a request that came when the device was off."""
        self._note(arrival, Ending(LOST, False, "the battery was empty and the device off"))
        for group in self._groups(arrival):
            group.requests += 1

    def _note(self, arrival: Arrival, ending: Ending) -> None:
        self.endings[arrival.request.request_id] = ending
        self.about[arrival.request.request_id] = (arrival.request.task, arrival.at_ns - START_NS)

    def _groups(self, arrival: Arrival) -> Iterable[Group]:
        request = arrival.request
        names = (request.app or "(no app)", request.request_id.rpartition("-")[0], request.task)
        for kind, name in zip(BY, names, strict=True):
            yield self.groups[kind].setdefault(name, Group())


def _choice(decision: Decision | None, result: Result) -> str:
    """Return who answered, or how the request ended without an answer."""
    if result.outcome is not Outcome.DONE:
        return f"{result.outcome}: {result.cause}" if result.cause.value else str(result.outcome)
    rule = "full" if decision is None else decision.exit_rule
    return candidate_name(result.variant, result.processor, rule)


def _reason(decision: Decision | None, result: Result) -> str:
    """Return the decision's own sentence, with the rules in force, or why there was no answer."""
    if decision is None:
        return result.reason or str(result.cause or result.outcome)
    rules = f"; rules: {', '.join(decision.rules)}" if decision.rules else ""
    ended = "" if result.outcome is Outcome.DONE else f"; {result.reason or result.cause or result.outcome}"
    return f"{decision.summary}{rules}{ended}"


def _compared(labels: tuple[str, str], logs: list[_Log], results: list[RunResult], most: int) -> PolicyDiff:
    first, second = logs
    both = [name for name in first.endings if name in second.endings]
    kinds: dict[tuple[str, str, str], list[str]] = {}
    earned = lost = 0
    for name in both:
        a, b = first.endings[name], second.endings[name]
        earned += b.on_time and not a.on_time
        lost += a.on_time and not b.on_time
        if a.choice != b.choice:
            kinds.setdefault((first.about[name][0], a.choice, b.choice), []).append(name)
    order = sorted(kinds.items(), key=lambda one: (-len(one[1]), one[0]))
    known = [{key: one.figures[key] for key in FIGURES} for one in results]
    return PolicyDiff(
        labels, len(both), sum(map(len, kinds.values())), earned, lost, (known[0], known[1]), _groups(first, second),
        tuple(_change(first, second, key, names) for key, names in order[:most]),
    )  # fmt: skip


def _groups(first: _Log, second: _Log) -> dict[str, dict[str, _Pair]]:
    found: dict[str, dict[str, _Pair]] = {}
    for kind in BY:
        a, b = first.groups[kind], second.groups[kind]
        names = dict.fromkeys((*a, *b))
        found[kind] = {
            name: (a.get(name, Group()).figures(), b.get(name, Group()).figures()) for name in sorted(names)
        }
    return found


def _change(first: _Log, second: _Log, key: tuple[str, str, str], names: list[str]) -> Change:
    """Return one kind of change, its example from the middle of those it happened to."""
    example = names[len(names) // 2]
    in_time_a, in_time_b = (sum(log.endings[name].on_time for name in names) for log in (first, second))
    at_ns, reasons = first.about[example][1], [log.endings[example].reason for log in (first, second)]
    return Change(*key, len(names), in_time_a, in_time_b, example, at_ns, *reasons)
