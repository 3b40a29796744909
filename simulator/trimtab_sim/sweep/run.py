"""Run a sweep: leave out what is known, give the rest to a pool, keep each row as it comes."""

from collections.abc import Callable
from dataclasses import dataclass

from trimtab_sim.sweep.cell import NUMBER, Row
from trimtab_sim.sweep.plan import Plan
from trimtab_sim.sweep.pools import Pool
from trimtab_sim.sweep.store import Store


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """All rows in the order of their cells; how many of them were known before."""

    rows: tuple[Row, ...]
    resumed: int


def sweep(plan: Plan, pool: Pool, store: Store, tell: Callable[[int, int], None]) -> SweepOutcome:
    """Run the cells that ``store`` does not know yet; ``tell`` is told how many of all are done.

    Raise ``PoolError``, ``StoreError``, or what a cell raised; rows that came before are kept.
    """
    known, wanted = store.known(), {cell.key: cell for cell in plan.cells()}
    rows = [{**row, NUMBER: wanted[key].number} for key, row in known.items() if key in wanted]
    resumed = len(rows)
    tell(len(rows), len(wanted))
    try:
        for row in pool.run(cell for key, cell in wanted.items() if key not in known):
            store.add(row)
            rows.append(row)
            tell(len(rows), len(wanted))
    finally:
        store.flush()
    store.finish(rows)
    return SweepOutcome(tuple(sorted(rows, key=lambda row: int(row[NUMBER]))), resumed)
