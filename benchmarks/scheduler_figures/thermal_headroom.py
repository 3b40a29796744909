"""What headroom to a temperature is worth as a price: a phone that throttles, with limits above and below where it does.

There is no bar. *Measured* is the mean accuracy over all requests, late ones counting 0; beside it what the same phone
does when it is left to heat up, and how hot it got.
"""

from scheduler_figures import SCENARIOS, Row
from trimtab_sim.scenario.prepare import prepare_file
from trimtab_sim.simulate import simulate, trials

WHAT = "mean accuracy on a phone that throttles, kept below a limit of the hottest sensor (no bar)"
SEEDS = (1, 2, 3)


def rows(quick: bool) -> list[Row]:
    """Return one row per limit and seed."""
    prepared = prepare_file(SCENARIOS / "throttling-phone.yaml")
    found = []
    for seed in SEEDS[:1] if quick else SEEDS:
        results = simulate(prepared, trials(prepared.policies, (), [seed]), bounds=False)
        heedless = results[0].figures
        for result in results[1:]:
            figures = result.figures
            beside = {
                "heedless": heedless["accuracy_mean"],
                "on_time": figures["on_time_frac"],
                "heedless_on_time": heedless["on_time_frac"],
                "hottest_c": figures["temperature_c_max"],
                "heedless_hottest_c": heedless["temperature_c_max"],
                "energy_j": figures["energy_j"],
                "heedless_energy_j": heedless["energy_j"],
            }
            case = f"{result.trial.policy.name} seed {seed}"
            found.append(Row(case, figures["accuracy_mean"], "no bar", True, beside))
    return found
