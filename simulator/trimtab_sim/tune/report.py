"""A search told: base against tuned on training and on held-out scenarios, as plain values and in sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from trimtab.policy.errors import spell
from trimtab_sim.scenario import Prepared
from trimtab_sim.tune.goal import Goal, figure_of
from trimtab_sim.tune.ranges import Number
from trimtab_sim.tune.search import Attempt, Found

SHOWN: Final = ("on_time_frac", "accuracy_mean", "energy_j", "overdraft_j", "battery_frac_end", "lifetime_s")
"""Told of every scenario besides the goal's own figures, as far as they are known."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a search was asked: the base's file, the goal, both kinds of scenarios by file, trials and seed."""

    base: str
    goal: Goal
    training: tuple[str, ...]
    held_out: tuple[str, ...]
    trials: int
    seed: int


def story(asked: Asked, found: Found) -> list[str]:
    """Return where the tuned numbers come from, in sentences."""
    done = len(found.attempts) - 1
    lines = [
        f"Made by trimtab policy tune from {asked.base}: {asked.goal}.",
        f"Tuned on {', '.join(asked.training)}; {done} of {asked.trials} trials, seed {asked.seed}"
        + (", interrupted." if found.interrupted else "."),
    ]
    if asked.held_out:
        lines.append(f"Judged on {', '.join(asked.held_out)}, which the search did not see.")
    if found.best.values:
        lines.append(
            "Comments that were there before are kept; they speak of the numbers that were there before."
        )
    else:
        lines.append("Nothing better than the base was found: no number differs from it.")
    if not found.best.feasible:
        lines.append("No trial kept every limit on the training scenarios: this one comes nearest.")
    return lines


def changes(numbers: Sequence[Number], best: Attempt) -> list[dict[str, Any]]:
    """Return each number that was searched: its range, what it was, and what it is now."""
    return [
        {
            "path": spell(number.path),
            "low": number.low,
            "high": number.high,
            "log": number.log,
            "was": number.as_given,
            "now": best.values.get(number.path, number.as_given),
            "changed": number.path in best.values,
        }
        for number in numbers
    ]


def side_by_side(
    files: Sequence[str], scenarios: Sequence[Prepared], goal: Goal, base: Attempt, tuned: Attempt
) -> list[dict[str, Any]]:
    """Return one entry per scenario: the figures under both policies, whether limits hold, and who is better."""
    each = len(goal.limits)
    told = []
    for index, (file, prepared) in enumerate(zip(files, scenarios, strict=True)):
        sides = {}
        for name, attempt in (("base", base), ("tuned", tuned)):
            row = attempt.rows[index]
            figures = {key: row.get(key) for key in SHOWN} | {
                key: figure_of(row, key) for key in goal.figures
            }
            kept = all(one <= 0.0 for one in attempt.excess[index * each : (index + 1) * each])
            sides[name] = {**figures, "limits_kept": kept}
        told.append({"scenario": prepared.scenario.name, "file": file, **sides, "beats": _beats(goal, sides)})
    return told


def _beats(goal: Goal, sides: dict[str, dict[str, Any]]) -> bool:
    """Return whether tuned is better: it keeps the limits, and base does not or reaches less."""
    base, tuned = sides["base"], sides["tuned"]
    if base["limits_kept"] != tuned["limits_kept"]:
        return bool(tuned["limits_kept"])
    gain = goal.sign * (tuned[goal.figure] - base[goal.figure])
    return bool(tuned["limits_kept"] and gain > 0.0)
