"""Memory comes and goes: every request is answered, and what is in memory does not follow every wave."""

from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.scenario.load import load_scenario_file
from trimtab_sim.scenario.prepare import prepare
from trimtab_sim.simulate import simulate, trials

SCENARIOS = Path(__file__).parents[2] / "benchmarks" / "scenarios"
LAP_S = 24
SQUEEZES = 6
TASKS = 4


@pytest.mark.parametrize("seed", [7, 8])
def test_a_squeeze_costs_no_request_and_few_loads(seed: int) -> None:
    scenario = load_scenario_file(SCENARIOS / "memory-squeeze.yaml")
    prepared = prepare(replace(scenario, duration_ns=SQUEEZES * LAP_S * NS_PER_S))
    (result,) = simulate(prepared, trials(prepared.policies, ["value"], [seed]), bounds=False)
    figures = result.figures
    assert figures["on_time_frac"] == 1.0
    assert figures["accuracy_mean"] > 0.92, "the last resorts alone give 0.84"
    first = 3 * TASKS
    assert first < figures["loads"] <= first + 2 * SQUEEZES * TASKS
    assert figures["memory_peak_bytes"] <= 6 << 20


def test_a_device_under_pressure_steps_down_and_comes_back(tmp_path: Path) -> None:
    """Pressure from the 40th second to the 80th, with memory "available" all the time."""
    (tmp_path / "pressure.csv").write_text(
        "t_s,memory_available_mib,memory_pressure_frac\n0,500,0\n40,500,0.3\n80,500,0\n"
    )
    text = (
        (SCENARIOS / "memory-squeeze.yaml")
        .read_text()
        .replace("memory-squeeze.csv, repeat: true", "pressure.csv")
    )
    (tmp_path / "pressure.yaml").write_text(text)
    scenario = load_scenario_file(tmp_path / "pressure.yaml")
    prepared = prepare(replace(scenario, duration_ns=300 * NS_PER_S))
    (result,) = simulate(prepared, trials(prepared.policies, ["value"], [1]), bounds=False)
    figures = result.figures
    assert figures["on_time_frac"] == 1.0
    assert figures["evictions"] >= TASKS
    assert figures["loads"] <= 3 * TASKS + figures["evictions"]
