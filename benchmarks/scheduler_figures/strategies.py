"""Every strategy side by side on three scenarios: a phone under contention, a budget of energy, bursts.

Net value per request is its expected accuracy when answered in time (else 0), less its energy at the scenario's own price; a
battery that is empty before the horizon has taken its share by then. It is the mean over all requests.
"""

from statistics import fmean

from scheduler_figures import SCENARIOS, Row
from trimtab_sim.scenario.prepare import prepare_file
from trimtab_sim.simulate import simulate, trials

WHAT = "net value per request among all strategies: trimtab's not below any"
CASES = ("strategies-phone", "strategies-budget", "strategies-bursts")
SEEDS = (21, 22, 23)
"""Nothing was tuned on these."""


def rows(quick: bool) -> list[Row]:
    """Return one row per scenario, with every other strategy's net value beside trimtab's."""
    return [_row(case, SEEDS[:1] if quick else SEEDS) for case in CASES]


def _row(case: str, seeds: tuple[int, ...]) -> Row:
    prepared = prepare_file(SCENARIOS / f"{case}.yaml")
    found: dict[str, list[float]] = {}
    for run in simulate(
        prepared, trials(prepared.policies, prepared.scenario.strategies, seeds), bounds=False
    ):
        policy, figures = run.trial.policy, run.figures
        price = policy.defaults.energy_price_per_j
        value = figures["accuracy_mean"] - price * figures["energy_j"] / figures["requests"]
        found.setdefault(policy.strategy, []).append(value)
    means = {name: fmean(values) for name, values in found.items()}
    own = means.pop("value")
    best = max(means, key=lambda name: means[name])
    return Row(case, own, f">= {means[best]:.4g} of {best}", own >= means[best], means)
