"""Scenarios: a device, what is asked of it, and the policies that are tried on it, as one YAML file."""

from trimtab_sim.scenario.load import load_scenario, load_scenario_file
from trimtab_sim.scenario.model import Scenario, ScenarioError
from trimtab_sim.scenario.policies import named_policy, strategy_faults
from trimtab_sim.scenario.prepare import Prepared, inventory_of, prepare, prepare_file

__all__ = [
    "Prepared",
    "Scenario",
    "ScenarioError",
    "inventory_of",
    "load_scenario",
    "load_scenario_file",
    "named_policy",
    "prepare",
    "prepare_file",
    "strategy_faults",
]
