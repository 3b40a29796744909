"""Sums over a run in memory that does not grow with it: counts, means and a histogram of latencies."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from trimtab.domain.decision import Outcome

SUB_BITS: Final = 6
"""A histogram keeps a value's leading 1 + 6 bits: a quantile is off by less than 1/128."""

Answer = tuple[str, str, str, bool, bool | None]
"""Task, variant and processor of an answer, whether it was on time and whether it is right."""


@dataclass(slots=True)
class Histogram:
    """How often whole numbers >= 0 occurred, at a relative resolution: at most 64 counters per power of two.

    The bucketing is that of HdrHistogram (Gil Tene, hdrhistogram.org), in a dictionary so that empty buckets
    cost nothing. ``counts`` has one counter per bucket, by the least value that falls into it.
    """

    counts: dict[int, int] = field(default_factory=dict)
    sum: int = 0

    def add(self, value: int) -> None:
        """Count a value."""
        shift = value.bit_length() - SUB_BITS - 1
        key = value if shift <= 0 else value >> shift << shift
        counts = self.counts
        counts[key] = counts.get(key, 0) + 1
        self.sum += value

    def merge(self, others: "Iterable[Histogram]") -> None:
        """Add what others counted."""
        for other in others:
            for key, count in other.counts.items():
                self.counts[key] = self.counts.get(key, 0) + count
            self.sum += other.sum

    @property
    def total(self) -> int:
        """Return how many values were counted."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """Return the exact mean, 0 of nothing."""
        return self.sum / self.total if self.counts else 0.0

    def quantile(self, share: float) -> float:
        """Return the middle of the bucket in which the ``share`` (0..1) of all values is reached; 0 of none."""
        left = share * self.total
        middle = 0.0
        for key in sorted(self.counts):
            width = 1 << max(0, key.bit_length() - SUB_BITS - 1)
            middle = key + (width - 1) / 2
            left -= self.counts[key]
            if left <= 0:
                break
        return middle


@dataclass(slots=True)
class Totals:
    """What all requests of a run came to; kept whether or not the requests themselves are.

    ``decisions`` counts repeated ones too. Durations and energy are sums over all requests that ended,
    ``given_up`` counts answers although a goal had been given up; ``latency_ns`` is of those answered, from
    arrival to answer.
    """

    decisions: int = 0
    given_up: int = 0
    queue_ns: int = 0
    load_ns: int = 0
    run_ns: int = 0
    energy_uj: float = 0.0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    answers: dict[Answer, int] = field(default_factory=dict)
    latency_ns: Histogram = field(default_factory=Histogram)

    @property
    def ended(self) -> int:
        """Return how many requests ended, one way or another."""
        return sum(self.outcomes.values())

    @property
    def on_time(self) -> int:
        """Return how many were answered by their deadline."""
        return sum(count for (_, _, _, on_time, _), count in self.answers.items() if on_time)

    @property
    def late(self) -> int:
        """Return how many were answered after their deadline."""
        return self.outcomes[Outcome.DONE] - self.on_time

    @property
    def judged(self) -> int:
        """Return how many answers have a known correctness."""
        return sum(count for (*_, right), count in self.answers.items() if right is not None)

    @property
    def correct(self) -> int:
        """Return how many answers are known to be right."""
        return sum(count for (*_, right), count in self.answers.items() if right)

    @property
    def correct_on_time(self) -> int:
        """Return how many answers are known to be right and came in time."""
        return sum(count for (*_, on_time, right), count in self.answers.items() if on_time and right)

    def by_variant(self) -> dict[str, int]:
        """Return how many answers each variant gave."""
        found: dict[str, int] = {}
        for (_, variant, _, _, _), count in self.answers.items():
            found[variant] = found.get(variant, 0) + count
        return found
