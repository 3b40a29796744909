"""Run one cell of a sweep: what workers do, here or on another machine."""

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from trimtab_sim.results.trial import Trial
from trimtab_sim.scenario import Prepared, load_scenario, prepare
from trimtab_sim.simulate import simulate
from trimtab_sim.sweep.plan import Cell

Row = dict[str, Any]
KEY: Final = "key"
NUMBER: Final = "cell"


def run_cell(cell: Cell) -> Row:
    """Return the figures of a cell, nested ones as JSON text; nothing of the clock on the wall is in them.

    Raise ``ScenarioError`` when this machine lacks a file that the scenario names.
    """
    prepared = _prepared(cell.text, cell.file)
    policy = prepared.policies[cell.policy]
    strategies = prepared.scenario.strategies
    if strategies:
        policy = replace(policy, strategy=strategies[cell.strategy])
    (result,) = simulate(prepared, [Trial(policy, cell.seed)], bounds=cell.bounds)
    figures = {
        name: json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        for name, value in result.figures.items()
    }
    return {NUMBER: cell.number, KEY: cell.key, **dict(cell.choices), **figures}


@lru_cache(maxsize=8)
def _prepared(text: str, file: str) -> Prepared:
    return prepare(load_scenario(text, file))
