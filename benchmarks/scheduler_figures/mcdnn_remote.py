"""MCDNN's catalogue with its server, out of reach now and then: how much of the offline bound of both budgets is reached.

The bound is the linear program's under a budget of joules and one of dollars, which knows every request and when the
server will be in reach, loads nothing and never waits (``docs/oracle.md``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from scheduler_figures import SCENARIOS, Row
from trimtab_sim.scenario import load_scenario_file, prepare
from trimtab_sim.scenario.prepare import Prepared
from trimtab_sim.simulate import simulate, trials

WHAT = "mean accuracy over the offline LP bound of both budgets, MCDNN's catalogue with its server"
CASES = ("mcdnn-remote-s2", "mcdnn-remote-s1")
FACTORS = ((1.0, 1.0), (0.5, 1.0), (1.0, 0.5))
"""By how much the scenario's budgets, 1,800 J and $0.0667, are multiplied."""
BESIDE = ("mcdnn",)
ASKED = 0.98


def rows(quick: bool) -> list[Row]:
    """Return one row per case and pair of budgets; a run that overdraws either has missed."""
    return [row for case in CASES for row in _rows_of(case, FACTORS[:1] if quick else FACTORS)]


def _rows_of(case: str, factors: tuple[tuple[float, float], ...]) -> Iterator[Row]:
    scenario = load_scenario_file(SCENARIOS / f"{case}.yaml")
    battery, money = scenario.battery, scenario.money
    assert battery is not None
    assert battery.energy_j is not None
    assert money is not None
    for joules, dollars in factors:
        energy_j, budget_usd = battery.energy_j * joules, money.budget_usd * dollars
        prepared = prepare(
            replace(
                scenario,
                battery=replace(battery, energy_j=energy_j),
                money=replace(money, budget_usd=budget_usd),
            )
        )
        own = _figures(prepared, "value", scenario.seed, bounds=True)
        limit, share = own["lp_bound_accuracy"], own["lp_bound_share"]
        beside = {"limit": limit}
        for name in BESIDE:
            other = _figures(prepared, name, scenario.seed, bounds=False)
            beside |= {name: other["accuracy_mean"] / limit, f"{name}_overdraft_usd": other["overdraft_usd"]}
        beside |= {key: own[key] for key in ("overdraft_j", "overdraft_usd", "cost_usd", "energy_j")}
        sound = own["overdraft_j"] == 0.0 and own["overdraft_usd"] == 0.0
        name = f"{case.removeprefix('mcdnn-remote-')} {energy_j / 1000:g} kJ ${budget_usd:g}"
        yield Row(name, share, f">= {ASKED}, no overdraft", share >= ASKED and sound, beside)


def _figures(prepared: Prepared, strategy: str, seed: int, *, bounds: bool) -> Mapping[str, Any]:
    """Return what a strategy comes to; the limit is the same for all, so that one run works it out."""
    return simulate(prepared, trials(prepared.policies, [strategy], [seed]), bounds=bounds)[0].figures
