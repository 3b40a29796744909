"""Memory squeezed to a quarter and given back, fifty times: is every request answered, and how much is loaded.

A squeeze lasts from one moment at which memory gets short to the next. Loads are counted per squeeze and task, and the
worst of all is judged; loads before the first squeeze are not. "Without answer" is what was rejected, expired or failed.
"""

from collections import Counter
from collections.abc import Callable

from scheduler_figures import SCENARIOS, Row
from trimtab_sim.report import Served
from trimtab_sim.results.trial import Observer, RunResult, Trial
from trimtab_sim.scenario.prepare import Prepared, prepare_file
from trimtab_sim.simulate import simulate, trials

WHAT = "memory squeezed to 1/4 and back, 50 times: no failed request, <= 2 loads per squeeze per task"
CASES = ("memory-squeeze", "memory-squeeze-mcdnn", "memory-squeeze-phone")
BESIDE = ("largest", "smallest")
SQUEEZES = 50
MAX_LOADS = 2


def rows(quick: bool) -> list[Row]:
    """Return two rows per case: the most loads of a task in one squeeze, and requests without an answer."""
    return [row for case in CASES[: 1 if quick else None] for row in _rows_of(case, quick)]


def _rows_of(case: str, quick: bool) -> list[Row]:
    prepared = prepare_file(SCENARIOS / f"{case}.yaml")
    count = _Count(prepared)
    own = _run(prepared, "value", count)
    lost = own.figures["requests"] - count.answered
    beside = {
        "mean per squeeze and task": count.mean,
        "on time": own.figures["on_time_frac"],
        "accuracy": own.figures["accuracy_mean"],
        "share of oracle": own.figures["oracle_share"] or 0.0,
        "energy J": own.figures["energy_j"],
    }
    for name in () if quick else BESIDE:
        other = _Count(prepared)
        figures = _run(prepared, name, other).figures
        beside |= {
            f"{name}: most loads": other.most,
            f"{name}: without answer": figures["requests"] - other.answered,
            f"{name}: accuracy": figures["accuracy_mean"],
        }
    asked = f"<= {MAX_LOADS} loads in any squeeze for any task"
    return [
        Row(case, count.most, asked, count.most <= MAX_LOADS, beside),
        Row(f"{case}, without answer", lost, "no request", lost == 0),
    ]


class _Count(Observer):
    """Counts loads by squeeze and task, and answers."""

    def __init__(self, prepared: Prepared) -> None:
        self._squeeze_ns = prepared.duration_ns // SQUEEZES
        self._tasks = len(prepared.world.families)
        self._loads: Counter[tuple[int, str]] = Counter()
        self._origin_ns = 0
        self.answered = 0

    @property
    def most(self) -> int:
        """Return the most loads of one task in one squeeze."""
        return max(self._loads.values(), default=0)

    @property
    def mean(self) -> float:
        """Return loads per squeeze and task."""
        return sum(self._loads.values()) / SQUEEZES / self._tasks

    def begins(self, trial: Trial, origin_ns: int, resident_bytes: Callable[[], int]) -> None:
        """Take what time zero is."""
        del trial, resident_bytes
        self._origin_ns = origin_ns

    def loaded(self, now_ns: int, task: str, variant: str, pool: str, load_ns: int) -> None:
        """Count a load in the squeeze it falls into; a squeeze begins in the middle of each lap."""
        del variant, pool, load_ns
        squeeze = (2 * (now_ns - self._origin_ns) // self._squeeze_ns - 1) // 2
        if squeeze >= 0:
            self._loads[squeeze, task] += 1

    def served(self, one: Served) -> None:
        """Count an answer."""
        self.answered += one.answered


def _run(prepared: Prepared, strategy: str, count: _Count) -> RunResult:
    runs = trials(prepared.policies, [strategy], [prepared.scenario.seed])
    return simulate(prepared, runs, lambda _trial: [count])[0]
