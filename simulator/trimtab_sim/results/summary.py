"""What a run came to, gathered while it happens: the figures of one row of the table.

``accuracy_mean`` and ``accuracy_served`` are expected accuracies: each answer counts the accuracy measured
for the exit it left at, not whether this sample happened to be right. They have less noise than the share of
correct answers, which is told beside them as ``accuracy_drawn`` (and is what a labelled test would give).
A request counts in ``accuracy_mean`` only when it was answered by its deadline; else it counts 0.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from trimtab.domain.decision import Outcome
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab_sim.arrivals import Arrival
from trimtab_sim.report import RunReport, Served, Watcher
from trimtab_sim.totals import Histogram

Row = dict[str, Any]


@dataclass(slots=True)
class Tally:
    """Counts and sums over some of the requests; ``accuracy_late`` is that of late answers times what it was worth."""

    requests: int = 0
    on_time: int = 0
    accuracy: float = 0.0
    accuracy_late: float = 0.0
    right: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    latency_ns: Histogram = field(default_factory=Histogram)

    def merge(self, others: "Iterable[Tally]") -> None:
        """Add what others counted."""
        for other in others:
            self.requests += other.requests
            self.on_time += other.on_time
            self.accuracy += other.accuracy
            self.accuracy_late += other.accuracy_late
            self.right += other.right
            self.missed.update(other.missed)
            self.latency_ns.merge((other.latency_ns,))

    def row(self) -> Row:
        """Return the figures that every tally has."""
        served, latency_ns = max(1, self.on_time), self.latency_ns
        answered = bool(latency_ns.counts)
        return {
            "requests": self.requests,
            "on_time_frac": _share(self.on_time, self.requests),
            "accuracy_mean": _share(self.accuracy + self.accuracy_late, self.requests),
            "accuracy_served": self.accuracy / served if self.on_time else None,
            "accuracy_drawn": _share(self.right, self.requests),
            **{
                f"latency_ms_p{share}": latency_ns.quantile(share / 100) / 1e6 if answered else None
                for share in (50, 95, 99)
            },
            "missed": dict(sorted(self.missed.items())),
        }


class Summary(Watcher):
    """Gathers a run's figures in memory that does not grow with it."""

    def __init__(self, families: Iterable[Family]) -> None:
        """Take the families whose exit rules tell how accurate an answer is."""
        self._rules = {
            (family.task, variant.name, rule.name): rule
            for family in families
            for variant in family.variants
            for rule in variant.exit_rules
        }
        self.streams: dict[str, Tally] = {}
        self.answers: Counter[tuple[str, str, str]] = Counter()
        self.given_up = 0
        self.temperature_mc: int | None = None

    def served(self, one: Served) -> None:
        """Count a request that ended."""
        _count(self._stream(one.arrival), one, self.expected(one))
        if one.answered:
            result = one.result
            self.answers[one.arrival.request.task, result.variant, result.processor] += 1
            self.given_up += bool(result.given_up)

    def lost(self, arrival: Arrival) -> None:
        """Count a request that came when the device was off."""
        tally = self._stream(arrival)
        tally.requests += 1
        tally.missed["device off"] += 1

    def device(self, now_ns: int, state: DeviceState) -> None:
        """Note the highest temperature."""
        del now_ns
        if state.temperature_mc is not None:
            self.temperature_mc = max(state.temperature_mc, self.temperature_mc or state.temperature_mc)

    def expected(self, one: Served) -> float | None:
        """Return the accuracy measured for the exit an answer left at; ``None`` without an answer.

        Leaving by confidence is as accurate as the exit rule, being cut short as accurate as the exit.
        """
        if not one.answered or one.decision is None:
            return None
        rule = self._rules[one.arrival.request.task, one.result.variant, one.decision.exit_rule]
        last = len(rule.share_frac) - 1
        by_rule = one.result.exit_index == last or one.result.confidence >= rule.threshold
        return rule.accuracy_frac[last if by_rule else one.result.exit_index]

    def _stream(self, arrival: Arrival) -> Tally:
        name = arrival.request.request_id.rpartition("-")[0]
        tally = self.streams.get(name)
        if tally is None:
            tally = self.streams[name] = Tally()
        return tally

    def rows(self, report: RunReport) -> Row:
        """Return the figures of the whole run; ``report`` has those that the driver counts."""
        lived_ns = None if report.battery_empty_ns is None else report.battery_empty_ns - report.started_ns
        answers, everything = sum(self.answers.values()), Tally()
        everything.merge(self.streams.values())
        return {
            **everything.row(),
            "energy_j": report.energy_j,
            "run_energy_j": report.run_energy_uj / UJ_PER_J,
            "load_energy_j": report.load_energy_uj / UJ_PER_J,
            "cost_usd": report.cost_usd,
            "battery_frac_end": report.battery_end_frac,
            "lifetime_s": None if lived_ns is None else lived_ns / NS_PER_S,
            "temperature_c_max": None if self.temperature_mc is None else self.temperature_mc / 1000,
            "loads": report.loads,
            "evictions": report.evictions,
            "given_up_frac": _share(self.given_up, everything.requests),
            "share_by_variant": dict(_shares(self._by(lambda key: f"{key[0]}/{key[1]}"), answers)),
            "share_by_processor": dict(_shares(self._by(lambda key: key[2]), answers)),
            "streams": {name: tally.row() for name, tally in sorted(self.streams.items())},
            "simulated_s": (report.ended_ns - report.started_ns) / NS_PER_S,
        }

    def _by(self, name: Any) -> Counter[str]:
        counts: Counter[str] = Counter()
        for key, count in self.answers.items():
            counts[name(key)] += count
        return counts


def _count(tally: Tally, one: Served, accuracy: float | None) -> None:
    tally.requests += 1
    if one.answered:
        tally.latency_ns.add(one.latency_ns)
    if one.result.on_time:
        tally.on_time += 1
        tally.accuracy += accuracy or 0.0
        tally.right += bool(one.correct)
    else:
        late = one.result.outcome is Outcome.DONE
        tally.accuracy_late += one.result.worth_frac * (accuracy or 0.0)
        tally.missed["late" if late else str(one.result.cause or one.result.outcome)] += 1


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def _shares(counts: Counter[str], whole: int) -> Iterator[tuple[str, float]]:
    """Yield names with their shares, most used first."""
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield name, count / whole
