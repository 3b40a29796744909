"""Puts the rows of a trace in order of time by leaving out as few as possible, and tells of gaps."""

from bisect import bisect_right
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab_sim.traces.findings import Findings
from trimtab_sim.traces.series import Times

GAP_STEPS: Final = 10
"""A pause this many times the usual step is a gap ..."""
SHORTEST_GAP_NS: Final = 60 * 10**9
"""... if it is at least a minute."""


def in_order(at_ns: Times, lines: Times, findings: Findings, *, repeats: bool) -> NDArray[np.bool_]:
    """Return which rows to keep so that time never goes back, dropping the fewest; each one is a problem.

    With ``repeats`` two rows may have the same time (arrivals); without, the last of them is kept.
    """
    steps = np.diff(at_ns)
    if not (steps < (0 if repeats else 1)).any():
        return np.ones(len(at_ns), dtype=np.bool_)
    keep = _longest_run(at_ns)
    if not repeats:
        keep[keep] = np.append(np.diff(at_ns[keep]) > 0, True)
    kept, left_out = np.flatnonzero(keep), np.flatnonzero(~keep)
    before = kept[np.maximum(np.searchsorted(kept, left_out) - 1, 0)]
    repeated = np.isin(at_ns[left_out], at_ns[kept])
    for row, last, same in zip(left_out, before, repeated, strict=True):
        findings.problem(int(lines[row]), _what(int(at_ns[row] - at_ns[last]), bool(same)))
    return keep


def note_gaps(at_ns: Times, lines: Times, findings: Findings) -> None:
    """Note how many gaps a regularly sampled trace has, and the longest."""
    steps = np.diff(at_ns)
    if len(steps) < GAP_STEPS:
        return
    shortest = max(SHORTEST_GAP_NS, int(np.median(steps)) * GAP_STEPS)
    gaps = np.flatnonzero(steps > shortest)
    if len(gaps):
        longest = int(gaps[np.argmax(steps[gaps])])
        line = int(lines[longest + 1])
        findings.note(
            line,
            f"gaps of more than {span(shortest)}: {len(gaps)};"
            f" the longest, {span(int(steps[longest]))}, ends here",
        )


def span(duration_ns: int) -> str:
    """Return a duration for people: the two largest of days, hours, minutes and seconds."""
    seconds = abs(duration_ns) / 1e9
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds % 60)} s"


def _what(step_ns: int, same: bool) -> str:
    if same:
        return "the time of another row; left out"
    if step_ns < 0:
        return f"time goes back by {span(step_ns)}; left out"
    return f"time runs {span(step_ns)} ahead, and the rows after it do not; left out"


def _longest_run(values: Times) -> NDArray[np.bool_]:
    """Return a mask of a longest subsequence that never falls (patience sorting, O(n log n)).

    It is looked for from the end, so that of two as long the one is taken that keeps a row and leaves out the
    next one, which goes back.
    """
    tails: list[int] = []
    rows: list[int] = []
    after = np.full(len(values), -1, dtype=np.int64)
    for row in range(len(values) - 1, -1, -1):
        value = -int(values[row])
        place = bisect_right(tails, value)
        if place == len(tails):
            tails.append(value)
            rows.append(row)
        else:
            tails[place] = value
            rows[place] = row
        after[row] = rows[place - 1] if place else -1
    keep = np.zeros(len(values), dtype=np.bool_)
    row = rows[-1] if rows else -1
    while row >= 0:
        keep[row] = True
        row = int(after[row])
    return keep
