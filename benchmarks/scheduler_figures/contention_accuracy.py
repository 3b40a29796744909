"""Accuracy below the per-request oracle's at an energy cap, in ALERT's three settings.

The oracle takes, for each request alone, the most accurate candidate that is in time within its cap, knowing what
the run will take. A request that is late counts no accuracy at all. Beside it stands the share of requests whose
run took more than the cap: expected energies are what a choice can go by.
"""

from collections.abc import Sequence
from functools import partial

from figure_runs import RIVALS, SEEDS, prepared

from scheduler_figures import Row
from trimtab_sim.report import Served
from trimtab_sim.results.trial import Observer, Trial
from trimtab_sim.scenario.prepare import Prepared
from trimtab_sim.simulate import simulate, trials

WHAT = "accuracy below the per-request oracle at an energy cap"
LIMITS = {"quiet": 0.005, "compute": 0.01, "memory": 0.015}


class OverCap(Observer):
    """Counts answers whose run took more energy than the request's cap, and by how much all are over."""

    def __init__(self) -> None:
        """Start with none."""
        self.answers = self.over = 0

    def served(self, one: Served) -> None:
        """Count a request that ended."""
        cap_uj = one.arrival.request.max_energy_uj
        if one.answered and cap_uj is not None:
            self.answers += 1
            self.over += one.result.energy_uj > cap_uj


def rows(quick: bool) -> list[Row]:
    """Return by how much trimtab's accuracy is below in each setting, and other strategies' beside it."""
    return [_row(setting, limit, quick) for setting, limit in LIMITS.items()]


def _row(setting: str, limit: float, quick: bool) -> Row:
    scenario = prepared(f"contention-accuracy-{setting}")
    own, over = _below(scenario, "value", quick)
    beside = {"over the cap": over}
    for rival in RIVALS:
        beside[rival], beside[f"{rival} over the cap"] = _below(scenario, rival, quick)
    return Row(setting, own, f"at most {limit:.1%}", own <= limit, beside)


def _below(scenario: Prepared, strategy: str, quick: bool) -> tuple[float, float]:
    """Return by what share the accuracy is below the oracle's, and the share of answers over their cap."""
    seen: list[OverCap] = []
    runs = trials(scenario.policies, [strategy], SEEDS[:1] if quick else SEEDS)
    found = simulate(scenario, runs, partial(_watched, seen))
    got = sum([float(one.figures["accuracy_mean"]) for one in found])
    best = sum([float(one.figures["oracle_accuracy"]) for one in found])
    over = sum([one.over for one in seen]) / sum([one.answers for one in seen])
    return 1.0 - got / best, over


def _watched(seen: list[OverCap], _trial: Trial) -> Sequence[Observer]:
    seen.append(OverCap())
    return (seen[-1],)
