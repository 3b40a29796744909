"""Say of every candidate why it won or lost. Runs only where it was asked for; choices do not depend on it."""

from collections.abc import Iterator

from trimtab.core.selection import Choice, Entry, Judged, Situation, Table, judge
from trimtab.domain.decision import Verdict, Why
from trimtab.domain.quantities import UJ_PER_J
from trimtab.domain.request import Prefer


def verdicts(table: Table, at: Situation, choice: Choice | None) -> Iterator[Verdict]:
    """Yield every candidate's verdict in this situation, most promising first."""
    for entry in table.entries:
        judged = judge(entry, at)
        why = judged.why
        if choice is not None and entry is choice.entry:
            why = Why.CHOSEN
        elif why is Why.CHOSEN:
            tied = choice is not None and judged.value == choice.judged.value
            why = Why.TIE if tied else Why.VALUE
        yield Verdict(
            candidate=entry.name,
            why=why,
            value=judged.value,
            accuracy_frac=entry.top_accuracy,
            on_time_prob=judged.on_time_prob,
            wait_ns=at.lanes[entry.lane].wait_ns,
            load_ns=judged.load_ns,
            latency_ns=entry.latency_ns * at.batch,
            energy_uj=entry.energy_uj * at.batch,
            detail=_detail(entry, judged, why, table, at, choice),
        )


def _detail(
    entry: Entry, judged: Judged, why: Why, table: Table, at: Situation, choice: Choice | None
) -> str:
    """Return the figures behind a verdict, or what decided where the net value did not."""
    if why is Why.ACCURACY:
        return f"{entry.top_accuracy:.2%} < {at.floor_frac:.2%}"
    if why is Why.ENERGY and at.max_energy_uj is not None:
        return f"{entry.energy_uj * at.batch / 1e3:.3g} > {at.max_energy_uj / 1e3:.3g} mJ"
    if why is Why.RESERVE:
        return f"{max(0.0, at.spare_uj) / UJ_PER_J:.3g} J left above the reserve"
    if why is Why.VALUE and (choice is None or judged.value > choice.judged.value):
        by_caller = table.prefer in (Prefer.ENERGY, Prefer.LATENCY)
        return f"the caller prefers {table.prefer.value}" if by_caller else "the strategy does not use it"
    return entry.detail
