"""MCDNN's catalogue and arrivals on the device alone: how much of the offline bound is reached at each budget.

The bound is the linear program's, which knows every request to come, loads nothing and never waits
(``docs/oracle.md``). Each budget is 2 to 32 times the smallest, from less than the cheapest answers take to more
than the best ones do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from scheduler_figures import SCENARIOS, Row
from trimtab_sim.scenario import load_scenario_file, prepare
from trimtab_sim.scenario.prepare import Prepared
from trimtab_sim.simulate import simulate, trials

WHAT = "mean accuracy over the offline LP bound, MCDNN's catalogue, device only"
CASES = ("mcdnn-s1", "mcdnn-s2", "mcdnn-objects-2s", "mcdnn-faces-5s", "mcdnn-all-100s")
BUDGETS_J = (900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0)
BESIDE = ("mcdnn", "smallest", "largest")
ASKED = 0.985


def rows(quick: bool) -> list[Row]:
    """Return one row per case and budget; a run that overdraws the reserve has missed."""
    return [row for case in CASES for row in _rows_of(case, BUDGETS_J[1:4] if quick else BUDGETS_J)]


def _rows_of(case: str, budgets_j: tuple[float, ...]) -> Iterator[Row]:
    scenario = load_scenario_file(SCENARIOS / f"{case}.yaml")
    assert scenario.battery is not None
    for budget_j in budgets_j:
        prepared = prepare(replace(scenario, battery=replace(scenario.battery, energy_j=budget_j)))
        own = _figures(prepared, "value", scenario.seed, bounds=True)
        limit, share, overdraft_j = own["lp_bound_accuracy"], own["lp_bound_share"], own["overdraft_j"]
        others = {name: _figures(prepared, name, scenario.seed, bounds=False) for name in BESIDE}
        beside = {name: figures["accuracy_mean"] / limit for name, figures in others.items()}
        beside |= {"limit": limit, "overdraft_j": overdraft_j, "load_j": own["load_energy_j"]}
        beside |= {"battery_left": own["battery_frac_end"]}
        case_name = f"{case.removeprefix('mcdnn-')} {budget_j / 1000:g} kJ"
        yield Row(
            case_name, share, f">= {ASKED}, no overdraft", share >= ASKED and overdraft_j == 0.0, beside
        )


def _figures(prepared: Prepared, strategy: str, seed: int, *, bounds: bool) -> Mapping[str, Any]:
    """Return what a strategy comes to; the limit is the same for all, so that one run works it out."""
    return simulate(prepared, trials(prepared.policies, [strategy], [seed]), bounds=bounds)[0].figures
