"""What the scheduler is held to, one module per acceptance figure; ``benchmarks/scheduler.py`` runs them all.

Each module has ``WHAT`` (the figure in words), ``NEEDS`` (``"data"`` when it reads the large data folder) and
``rows(quick: bool) -> list[Row]``: every case that is judged, the strategies beside it, misses included. The cases
are scenario files in ``benchmarks/scenarios`` that ``trimtab simulate`` runs as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Row:
    """One judged case: what was measured, what was asked, and other figures beside it."""

    case: str
    measured: float
    asked: str
    met: bool
    beside: Mapping[str, float] = field(default_factory=dict)
