"""What a deadline confidence is worth: the share of requests in time when 90, 99 and 99.9 % are asked for.

Judged over stationary noise and over contention that switches on and off. Each request takes the most accurate
variant that is sure enough, at one of 24 budgets; the accuracy told beside, over the oracle's, is what being sure costs.
"""

from figure_runs import RIVALS, figures, mean, prepared

from scheduler_figures import Row
from trimtab_sim.scenario.prepare import Prepared

WHAT = "share of requests in time at a deadline confidence"
CASES = ("stationary", "switching")
TOLERANCE = 0.002


def rows(quick: bool) -> list[Row]:
    """Return the share in time for each case and confidence."""
    return [row for case in CASES for row in _rows(case, quick)]


def _rows(case: str, quick: bool) -> list[Row]:
    scenario = prepared(f"confidence-{case}")
    asked = {policy.name: policy.defaults.deadline_confidence for policy in scenario.policies}
    own = _shares(scenario, "value", quick)
    others = {rival: _shares(scenario, rival, quick) for rival in RIVALS}
    return [
        Row(
            f"{case}, {name}",
            share,
            f"at least {asked[name] - TOLERANCE:.2%}",
            share >= asked[name] - TOLERANCE,
            {"accuracy": accuracy, **{rival: found[name][0] for rival, found in others.items()}},
        )
        for name, (share, accuracy) in own.items()
    ]


def _shares(scenario: Prepared, strategy: str, quick: bool) -> dict[str, tuple[float, float]]:
    """Return, by policy, the share in time and the mean accuracy over the oracle's."""
    found = figures(scenario, strategy, quick)
    return {name: (mean(rows, "on_time_frac"), mean(rows, "oracle_share")) for name, rows in found.items()}
