"""Last until T with R in reserve, on demand that nobody forecast: where the battery is at T.

*Within 2 % of the horizon*: at the mean drain of the run the charge would reach the reserve no earlier than T and
at most 2 % of the horizon later. *Never below*: the charge at T is not below R, and nothing was run or loaded while it was
down to R. Constants were tuned on seeds from 101 on; seeds 1 to 3 are judged.
"""

from collections.abc import Iterator
from dataclasses import replace

from scheduler_figures import SCENARIOS, Row
from trimtab_sim.scenario import load_scenario_file, prepare
from trimtab_sim.simulate import simulate, trials

WHAT = "last until T with reserve R on unseen demand: by how much of the horizon the charge would outlast T"
CASES = ("phone-day", "sailfish", "bursts", "diurnal", "shift", "silence")
SEEDS = (1, 2, 3)
WITHIN = 0.02
STEP_FRAC = 0.0005
"""The level is told to a thousandth, so half of that is not seen."""


def rows(quick: bool) -> list[Row]:
    """Return one row per case and seed."""
    return [row for case in CASES for row in rows_of(case, SEEDS[:1] if quick else SEEDS)]


def rows_of(case: str, seeds: tuple[int, ...]) -> Iterator[Row]:
    """Yield a row per seed of one case."""
    scenario = load_scenario_file(SCENARIOS / f"last-until-{case}.yaml")
    battery = scenario.battery
    assert battery is not None
    assert battery.reserve_frac is not None
    for seed in seeds:
        prepared = prepare(replace(scenario, seed=seed))
        figures = simulate(prepared, trials(prepared.policies, ["value"], [seed]))[0].figures
        smallest = simulate(prepared, trials(prepared.policies, ["smallest"], [seed]), bounds=False)[
            0
        ].figures
        first_frac = battery.level_frac
        if first_frac is None:
            assert battery.energy_j is not None
            assert battery.capacity_j is not None
            first_frac = battery.energy_j / battery.capacity_j
        reserve_frac, last_frac = battery.reserve_frac, figures["battery_frac_end"]
        outlasts = (first_frac - reserve_frac) / (first_frac - last_frac) - 1.0
        kept = last_frac >= reserve_frac - STEP_FRAC and figures["overdraft_j"] == 0.0
        beside = {"battery_at_T": last_frac, "reserve": reserve_frac, "overdraft_j": figures["overdraft_j"]}
        beside |= {"share_of_bound": figures["lp_bound_share"], "smallest_at_T": smallest["battery_frac_end"]}
        yield Row(
            f"{case} seed {seed}",
            outlasts,
            f"0 to {WITHIN}, no overdraft",
            kept and outlasts <= WITHIN,
            beside,
        )
