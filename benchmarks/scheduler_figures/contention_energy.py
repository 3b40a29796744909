"""Energy above the per-request oracle at an accuracy floor, in ALERT's three settings.

The oracle takes, for each request alone, the least energy that is in time above its floor, knowing what the run
will take. A request that is late has cost little and brought nothing: the share in time must reach the confidence
asked for, or the energy does not count as met.
"""

from figure_runs import RIVALS, figures, mean, prepared

from scheduler_figures import Row
from trimtab_sim.scenario.prepare import Prepared

WHAT = "energy above the per-request oracle at an accuracy floor"
LIMITS = {"quiet": 0.01, "compute": 0.02, "memory": 0.03}


def rows(quick: bool) -> list[Row]:
    """Return trimtab's excess in each setting, and those of other strategies beside it."""
    return [_row(setting, limit, quick) for setting, limit in LIMITS.items()]


def _row(setting: str, limit: float, quick: bool) -> Row:
    scenario = prepared(f"contention-energy-{setting}")
    confidence = scenario.policies[0].defaults.deadline_confidence
    own, in_time = _excess(scenario, "value", quick)
    beside = {"in time": in_time}
    for rival in RIVALS:
        beside[rival], beside[f"{rival} in time"] = _excess(scenario, rival, quick)
    asked = f"at most {limit:.0%}, {confidence:.1%} in time"
    return Row(setting, own, asked, own <= limit and in_time >= confidence, beside)


def _excess(scenario: Prepared, strategy: str, quick: bool) -> tuple[float, float]:
    """Return by what share the energy of all runs exceeds the oracle's, and the share in time."""
    (found,) = figures(scenario, strategy, quick).values()
    return mean(found, "run_energy_j") / mean(found, "oracle_energy_j") - 1.0, mean(found, "on_time_frac")
