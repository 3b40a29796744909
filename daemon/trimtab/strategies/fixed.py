"""Strategies that never adapt: the floors every scheduler has to beat."""

from collections.abc import Callable

from trimtab.core.selection import Choice, Entry, Judged, Situation, Strategy, Table, broken_goals, judge
from trimtab.core.state import Live, State
from trimtab.strategies.picking import HARD


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


class Largest(Strategy):
    """Always the variant with the highest accuracy."""

    def choose(self, table: Table, at: Situation, _live: Live, _state: State, /) -> Choice | None:
        """Return the most accurate variant where it finishes first."""
        top = max((e.top_accuracy for e in table.entries), default=0.0)
        return _soonest(table, at, lambda e: e.top_accuracy == top)


class Smallest(Strategy):
    """Always the smallest variant, by the energy of its cheapest candidate."""

    def choose(self, table: Table, at: Situation, _live: Live, _state: State, /) -> Choice | None:
        """Return the variant with the cheapest candidate, where it finishes first."""
        if not table.entries:
            return None
        cheapest = min(table.entries, key=lambda e: (e.energy_uj, e.name)).candidate.variant
        return _soonest(table, at, lambda e: e.candidate.variant == cheapest)


class Static(Strategy):
    """Always one variant on one processor."""

    def __init__(self, variant: str, processor: str) -> None:
        """Fix the variant and the processor by name."""
        self.variant = variant
        self.processor = processor

    @classmethod
    def parse(cls, argument: str) -> "Static":
        """Read ``<variant>@<processor>``; raise ``ValueError`` for anything else."""
        variant, at, processor = argument.partition("@")
        if not (variant and at and processor):
            raise ValueError("it names one variant and one processor")
        return cls(variant, processor)

    def choose(self, table: Table, at: Situation, _live: Live, _state: State, /) -> Choice | None:
        """Return the fixed variant on the fixed processor, if it can run at all."""
        return _soonest(
            table,
            at,
            lambda e: e.candidate.variant == self.variant and e.candidate.processor == self.processor,
        )
