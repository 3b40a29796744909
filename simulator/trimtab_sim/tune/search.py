"""The search: try numbers, keep what reaches the goal best, and put back what made no difference.

Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) proposes, knowing which proposals kept
the limits; the same seed proposes the same. Every trial is a whole simulation of every training scenario.
"""

import copy
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from trimtab.domain.policy import Policy
from trimtab.policy import PolicyError, load_policy
from trimtab.policy.errors import Path
from trimtab_sim.results.summary import Row
from trimtab_sim.results.trial import Trial
from trimtab_sim.scenario import Prepared
from trimtab_sim.scenario.policies import with_goal
from trimtab_sim.simulate import DISTANCE, Stop, simulate
from trimtab_sim.tune.goal import Goal, TuneError, figure_of
from trimtab_sim.tune.ranges import Number

KEPT_FRAC: Final = 0.99
"""Numbers are put back as long as so much of the gain on the training scenarios is kept."""
Values = Mapping[Path, Any]
"""What a trial sets, by path, as the document spells it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one set of numbers came to on some scenarios; ``rows`` has each one's figures."""

    values: Values
    rows: tuple[Row, ...]
    aim: float
    excess: tuple[float, ...]

    @property
    def feasible(self) -> bool:
        """Return whether every limit holds in every scenario."""
        return all(one <= 0.0 for one in self.excess)

    @property
    def rank(self) -> tuple[float, float]:
        """Return what is better the larger it is: keeping limits first, then the goal."""
        broken = sum(one for one in self.excess if one > 0.0)
        return -broken, self.aim if broken == 0.0 else 0.0


@dataclass(slots=True)
class Bench:
    """Scenarios on which policies are tried, all with the same requests; nothing is run twice."""

    scenarios: tuple[Prepared, ...]
    goal: Goal
    _known: dict[str, Attempt] = field(default_factory=dict)

    def attempt(self, document: Mapping[str, Any], values: Values, stop: Stop) -> Attempt | None:
        """Return what a document with these values comes to; ``None`` when stopped before the end.

        Raise ``PolicyError`` when values contradict each other, ``TuneError`` for a figure there is not.
        """
        changed = with_values(document, values)
        text = json.dumps(changed, sort_keys=True)
        if text not in self._known:
            policy = load_policy(json.dumps(changed))
            rows = [self._row(prepared, policy, stop) for prepared in self.scenarios]
            done = tuple(row for row in rows if row is not None)
            if len(done) < len(rows):
                return None
            aims = [figure_of(row, self.goal.figure) for row in done]
            excess = tuple(limit.excess(row) for row in done for limit in self.goal.limits)
            self._known[text] = Attempt(values, done, self.goal.sign * sum(aims) / len(aims), excess)
        known = self._known[text]
        return Attempt(values, known.rows, known.aim, known.excess)

    def _row(self, prepared: Prepared, policy: Policy, stop: Stop) -> Row | None:
        scenario = prepared.scenario
        trial = Trial(with_goal(policy, scenario.battery), scenario.seed)
        bounds = any(figure in DISTANCE for figure in self.goal.figures)
        (result,) = simulate(prepared, [trial], stop=stop, bounds=bounds) or (None,)
        return None if result is None or result.partial else result.figures


@dataclass(frozen=True, slots=True)
class Found:
    """A search's outcome: the base, the best, and every attempt in order; ``put_back`` were not needed."""

    base: Attempt
    best: Attempt
    attempts: tuple[Attempt, ...]
    put_back: tuple[str, ...]
    interrupted: bool


def with_values(document: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """Return a copy of the document with these values; sections that are missing are made."""
    changed = copy.deepcopy(dict(document))
    for path, value in values.items():
        place: Any = changed
        for key in path[:-1]:
            place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
        place[path[-1]] = value
    return changed


def search(
    document: Mapping[str, Any],
    numbers: Sequence[Number],
    bench: Bench,
    *,
    trials: int,
    seed: int,
    stop: Stop,
    tell: Callable[[int, Attempt], None] = lambda _done, _best: None,
) -> Found:
    """Search the numbers; ``tell`` is told after each trial how many are done and the best so far.

    When stopped, the best so far is returned. Raise ``TuneError`` without Optuna, or when it is stopped
    before the base itself has been tried.
    """
    base = bench.attempt(document, {}, stop)
    if base is None:
        raise TuneError("interrupted before the base policy was tried; nothing to tell")
    study = _Study(numbers, len(base.excess), seed)
    attempts, best = [base], base
    for done in range(1, trials + 1):
        asked, values = study.ask()
        attempt = _tried(bench, document, values, stop)
        if stop.asked:
            break
        study.tell(asked, attempt)
        if attempt is not None:
            attempts.append(attempt)
            best = max(best, attempt, key=lambda one: one.rank)  # the earlier of two equals
        tell(done, best)
    kept = best if stop.asked else _put_back(bench, document, best, base, stop)
    put_back = tuple(
        number.name for number in numbers if number.path in best.values.keys() - kept.values.keys()
    )
    return Found(base, kept, tuple(attempts), put_back, stop.asked)


def _tried(bench: Bench, document: Mapping[str, Any], values: Values, stop: Stop) -> Attempt | None:
    """Return an attempt; ``None`` for values that make no valid policy together, or when stopped."""
    try:
        return bench.attempt(document, values, stop)
    except PolicyError:
        return None


def _put_back(bench: Bench, document: Mapping[str, Any], best: Attempt, base: Attempt, stop: Stop) -> Attempt:
    """Return the best with every number as it was that did not matter; fewer changes are easier to trust."""
    least = best.aim - (1.0 - KEPT_FRAC) * abs(best.aim - base.aim) if base.feasible else best.aim
    kept = best
    for path in best.values:
        fewer = {other: value for other, value in kept.values.items() if other != path}
        attempt = _tried(bench, document, fewer, stop)
        if stop.asked:
            break
        if attempt is not None and attempt.rank[0] >= best.rank[0] and attempt.aim >= least:
            kept = attempt
    return kept


class _Study:
    """Optuna's side: asks for values, is told what they came to."""

    def __init__(self, numbers: Sequence[Number], limits: int, seed: int) -> None:
        self._optuna = _optuna()
        self._numbers = numbers
        self._limits = [f"limit {index}" for index in range(limits)]
        sampler = self._optuna.samplers.TPESampler(seed=seed)
        self._study = self._optuna.create_study(direction="maximize", sampler=sampler)
        self._study.enqueue_trial(
            {
                number.name: round(number.present) if number.kind == "whole" else number.present
                for number in numbers
                if number.present is not None and number.low <= number.present <= number.high
            }
        )

    def ask(self) -> tuple[Any, dict[Path, Any]]:
        """Return a trial and its values, as the document spells them; those that stay are left out."""
        trial = self._study.ask()
        values = {}
        for number in self._numbers:
            if number.kind == "whole":
                value = trial.suggest_int(number.name, int(number.low), int(number.high), log=number.log)
            else:
                value = trial.suggest_float(number.name, number.low, number.high, log=number.log)
            spelled = number.spelled(value)
            if number.present is None or spelled != number.spelled(number.present):
                values[number.path] = spelled
        return trial, values

    def tell(self, trial: Any, attempt: Attempt | None) -> None:
        """Take what a trial came to; ``None`` when its values made no policy."""
        if attempt is None:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            return
        for name, excess in zip(self._limits, attempt.excess, strict=True):
            trial.set_constraint(name, excess)
        self._study.tell(trial, attempt.aim)


def _optuna() -> Any:
    """Return the library, silent; raise ``TuneError`` without it."""
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise TuneError("tuning needs Optuna: pip install 'trimtab[sim]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
