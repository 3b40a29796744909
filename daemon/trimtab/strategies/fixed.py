"""Strategies that never adapt: the floors every scheduler has to beat."""

from collections.abc import Callable

from trimtab.core.selection import Choice, Entry, Judged, Situation, Table, broken_goals, judge
from trimtab.domain.decision import Why

HARD = (
    Why.NOT_PINNED,
    Why.VARIANT_DENIED,
    Why.PROCESSOR_DENIED,
    Why.UNHEALTHY,
    Why.NO_MEMORY,
    Why.RESERVE,
    Why.QUEUE_FULL,
)


def _soonest(table: Table, at: Situation, wanted: Callable[[Entry], bool]) -> Choice | None:
    """Return the wanted entry that would finish first, whatever goals it breaks."""
    best: tuple[tuple[float, float, str], Entry, Judged] | None = None
    for entry in table.entries:
        if not wanted(entry):
            continue
        judged = judge(entry, at)
        if judged.why in HARD:
            continue
        key = (judged.finish_ns, entry.energy_uj, entry.name)
        if best is None or key < best[0]:
            best = (key, entry, judged)
    return None if best is None else Choice(best[1], best[2], broken_goals(best[1], best[2], at))


class Largest:
    """Always the variant with the highest accuracy."""

    adapts = False

    def choose(self, table: Table, at: Situation) -> Choice | None:
        """Return the most accurate variant where it finishes first."""
        top = max((e.top_accuracy for e in table.entries), default=0.0)
        return _soonest(table, at, lambda e: e.top_accuracy == top)


class Smallest:
    """Always the smallest variant, by the energy of its cheapest candidate."""

    adapts = False

    def choose(self, table: Table, at: Situation) -> Choice | None:
        """Return the variant with the cheapest candidate, where it finishes first."""
        if not table.entries:
            return None
        cheapest = min(table.entries, key=lambda e: (e.energy_uj, e.name)).candidate.variant
        return _soonest(table, at, lambda e: e.candidate.variant == cheapest)


class Static:
    """Always one variant on one processor."""

    adapts = False

    def __init__(self, variant: str, processor: str) -> None:
        """Fix the variant and the processor by name."""
        self.variant = variant
        self.processor = processor

    @classmethod
    def parse(cls, name: str) -> "Static":
        """Read ``static:<variant>@<processor>``; raise ``ValueError`` for anything else."""
        kind, _, rest = name.partition(":")
        variant, at, processor = rest.partition("@")
        if kind != "static" or not (variant and at and processor):
            raise ValueError(
                f"unknown strategy {name!r}: expected value, largest, smallest or static:<variant>@<processor>"
            )
        return cls(variant, processor)

    def choose(self, table: Table, at: Situation) -> Choice | None:
        """Return the fixed variant on the fixed processor, if it can run at all."""
        return _soonest(
            table,
            at,
            lambda e: e.candidate.variant == self.variant and e.candidate.processor == self.processor,
        )
