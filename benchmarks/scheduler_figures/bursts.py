"""Goodput when requests come three times as fast as the device can serve them.

Goodput is the share of all requests that are answered in time by an exit no less accurate than the request's floor: that is
judged. Beside it stands the accuracy-weighted goodput (an answer in time counts its expected accuracy, all else nothing) of
each strategy, named ``... accuracy``.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scheduler_figures import SCENARIOS, Row
from trimtab_sim.report import Served
from trimtab_sim.results.summary import Summary
from trimtab_sim.results.trial import Observer, Trial
from trimtab_sim.scenario.prepare import Prepared, prepare_file
from trimtab_sim.simulate import simulate, trials

WHAT = "goodput in bursts at three times what the device can serve: the highest of all"
CASES = ("bursts-phone-floor", "bursts-phone", "bursts-fashion", "bursts-two-tasks", "bursts-recorded")
RIVALS = ("band:shortest", "band:slack", "band:heft", "slackfit", "infaas", "largest", "smallest")
SEEDS = (11, 12, 13)
"""Not looked at when the scheduler was tuned (1 to 5 were)."""


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


def _watched(prepared: Prepared, seen: list[Goodput], _trial: Trial) -> tuple[Goodput]:
    seen.append(Goodput(Summary(prepared.world.families).expected))
    return (seen[-1],)


def rows(quick: bool) -> list[Row]:
    """Return each case with trimtab's goodput, and those of the other strategies beside it."""
    seeds = SEEDS[:1] if quick else SEEDS
    return [_row(SCENARIOS / f"{case}.yaml", seeds) for case in CASES]


def _row(path: Path, seeds: tuple[int, ...]) -> Row:
    found = goodputs(prepare_file(path), ("value", *RIVALS), seeds)
    own, own_accuracy = found.pop("value")
    best = max(found, key=lambda name: found[name][0])
    beside = {name: good for name, (good, _) in found.items()}
    beside |= {"value accuracy": own_accuracy}
    beside |= {f"{name} accuracy": accuracy for name, (_, accuracy) in found.items()}
    asked = f"at least {best}'s {found[best][0]:.4f}"
    return Row(path.stem, own, asked, own >= found[best][0], beside)
