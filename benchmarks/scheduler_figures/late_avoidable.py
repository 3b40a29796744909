"""Requests late although another candidate would have been in time, in the queue as it was.

``trimtab_sim.late`` says what counts; it errs on the high side.
"""

from figure_runs import RIVALS, figures, mean, prepared

from scheduler_figures import Row

WHAT = "requests late although another candidate would have been in time"
CASES = (
    "late-phone",
    "late-balanced",
    "late-small-memory",
    "contention-energy-quiet",
    "contention-energy-compute",
    "contention-energy-memory",
)
LIMIT = 0.005


def rows(quick: bool) -> list[Row]:
    """Return the share of all requests in each case, and that of other strategies beside it."""
    return [_row(case, quick) for case in CASES]


def _row(case: str, quick: bool) -> Row:
    scenario = prepared(case)
    (own,) = figures(scenario, "value", quick).values()
    beside = {"in time": mean(own, "on_time_frac")}
    for rival in RIVALS:
        (found,) = figures(scenario, rival, quick).values()
        beside[rival] = mean(found, "late_avoidable_frac")
    share = mean(own, "late_avoidable_frac")
    return Row(case, share, f"at most {LIMIT:.1%}", share <= LIMIT, beside)
