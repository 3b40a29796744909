"""Goodput when requests come three times as fast as the device can serve them.

Goodput is the share of all requests that are answered in time by an exit no less accurate than the request's floor: that is
judged. Beside it stands the accuracy-weighted goodput (an answer in time counts its expected accuracy, all else nothing) of
each strategy, named ``... accuracy``.

Band has one model per task: the most accurate one, of which next to none is in time here. Beside it stands what each of its
rules comes to with the model that the device serves most requests of per second, above the floor, chosen knowing the
bursts (``... best model``). That is no strategy, since nobody tells it: it is shown, not judged.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scheduler_figures import SCENARIOS, Row
from trimtab.domain.policy import Filter
from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.report import Served
from trimtab_sim.results.summary import Summary
from trimtab_sim.results.trial import Observer, Trial
from trimtab_sim.scenario.prepare import Prepared, prepare_file
from trimtab_sim.simulate import simulate, trials

WHAT = "goodput in bursts at three times what the device can serve: the highest of all"
CASES = ("bursts-phone-floor", "bursts-phone", "bursts-fashion", "bursts-two-tasks", "bursts-recorded")
BAND = ("band:shortest", "band:slack", "band:heft")
RIVALS = (*BAND, "slackfit", "infaas", "largest", "smallest")
SEEDS = (21, 22, 23)
"""Not looked at when the scheduler was tuned: 1, 2 and 11 were."""


class Goodput(Observer):
    """Counts what came, what was answered in time above its floor, and how accurate that was."""

    def __init__(self, expected: Callable[[Served], float | None]) -> None:
        """Count answers by the accuracy that is ``expected`` of the exit they left at."""
        self._expected = expected
        self.requests = self.good = 0
        self.accuracy = 0.0

    def lost(self, _arrival: Any) -> None:
        """Count a request that came when the device was off."""
        self.requests += 1

    def served(self, one: Served) -> None:
        """Count a request that ended."""
        self.requests += 1
        accuracy = self._expected(one)
        if accuracy is not None and one.result.on_time:
            self.accuracy += accuracy
            self.good += accuracy >= (one.arrival.request.min_accuracy_frac or 0.0)


def goodputs(
    prepared: Prepared, strategies: tuple[str, ...], seeds: tuple[int, ...]
) -> dict[str, tuple[float, float]]:
    """Return each strategy's goodput and accuracy-weighted goodput, over all seeds together."""
    found: dict[str, tuple[float, float]] = {}
    for strategy in strategies:
        seen: list[Goodput] = []
        runs = trials(prepared.policies, [strategy], seeds)
        simulate(prepared, runs, partial(_watched, prepared, seen), bounds=False)
        came = sum(one.requests for one in seen)
        good = sum(one.good for one in seen) / came
        found[strategy] = good, sum(one.accuracy for one in seen) / came
    return found


def _with_best_models(prepared: Prepared) -> Prepared:
    """Return the scenario with policies that allow one variant per task: above all its floors, the one served most often per second."""
    allowed = []
    for task, profiles in prepared.world.profiles.items():
        family = next(family for family in prepared.world.families if family.task == task)
        streams = [s.request for s in prepared.scenario.streams if not s.tasks or task in s.tasks]
        floor_frac = max([request.min_accuracy_frac or 0.0 for request in streams])
        per_s: dict[str, float] = {}
        for profile in profiles:
            if family.variant(profile.variant).accuracy_frac >= floor_frac:
                each_ns = sum(profile.stage_latency_ns)
                per_s[profile.variant] = per_s.get(profile.variant, 0.0) + NS_PER_S / each_ns
        allowed.append(max(per_s, key=lambda name: (per_s[name], name)))
    only = Filter(allow=tuple(allowed))
    policies = [replace(p, defaults=replace(p.defaults, variants=only)) for p in prepared.policies]
    return replace(prepared, policies=tuple(policies))


def _watched(prepared: Prepared, seen: list[Goodput], _trial: Trial) -> tuple[Goodput]:
    seen.append(Goodput(Summary(prepared.world.families).expected))
    return (seen[-1],)


def rows(quick: bool) -> list[Row]:
    """Return each case with trimtab's goodput, and those of the other strategies beside it."""
    seeds = SEEDS[:1] if quick else SEEDS
    return [_row(SCENARIOS / f"{case}.yaml", seeds) for case in CASES]


def _row(path: Path, seeds: tuple[int, ...]) -> Row:
    prepared = prepare_file(path)
    found = goodputs(prepared, ("value", *RIVALS), seeds)
    told = goodputs(_with_best_models(prepared), BAND, seeds)
    own, own_accuracy = found.pop("value")
    best = max(found, key=lambda name: found[name][0])
    beside = {name: good for name, (good, _) in found.items()}
    beside |= {"value accuracy": own_accuracy}
    beside |= {f"{name} accuracy": accuracy for name, (_, accuracy) in found.items()}
    beside |= {f"{name}, best model": good for name, (good, _) in told.items()}
    beside |= {f"{name}, best model, accuracy": accuracy for name, (_, accuracy) in told.items()}
    asked = f"at least {best}'s {found[best][0]:.4f}"
    return Row(path.stem, own, asked, own >= found[best][0], beside)
