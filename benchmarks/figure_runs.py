"""Run the scenario file of a figure: each policy on each seed under one strategy, all on the same requests."""

from collections.abc import Sequence
from typing import Any

from scheduler_figures import SCENARIOS

from trimtab_sim.scenario.prepare import Prepared, prepare_file
from trimtab_sim.simulate import simulate, trials

RIVALS = ("alert",)
"""Strategies that stand beside trimtab's in each figure."""
SEEDS = (1, 2, 3)
"""Judged on these; the estimation was tuned on 11 to 13."""


def prepared(name: str) -> Prepared:
    """Read a scenario of ``benchmarks/scenarios``."""
    return prepare_file(SCENARIOS / f"{name}.yaml")


def figures(scenario: Prepared, strategy: str, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Return, by policy, the figures of each seed under a strategy."""
    seeds = SEEDS[:1] if quick else SEEDS
    found: dict[str, list[dict[str, Any]]] = {}
    for one in simulate(scenario, trials(scenario.policies, [strategy], seeds)):
        found.setdefault(one.trial.policy.name, []).append(one.figures)
    return found


def mean(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Return the mean of a figure over runs."""
    return sum([float(row[name]) for row in rows]) / len(rows)
