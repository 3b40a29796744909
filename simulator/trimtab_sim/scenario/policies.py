"""The policies and strategies a scenario is run with."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from trimtab.domain.policy import BatteryGoal, MoneyGoal, Policy
from trimtab.policy import Inventory, PolicyError, check_against, load_policy_file, shipped_policy_names
from trimtab.policy.build import build_policy
from trimtab.policy.checks import cross_findings
from trimtab.policy.errors import Path as Place
from trimtab.policy.errors import Problem
from trimtab.policy.load import resolve_name
from trimtab.policy.structure import structural_findings
from trimtab.strategies import strategy_named
from trimtab_sim.scenario.model import BatterySpec, Document, Figures, Scenario


def scenario_policies(scenario: Scenario, problems: list[Problem]) -> tuple[Policy, ...]:
    """Return the scenario's policies with its battery goal; what is wrong is added to ``problems``."""
    document, found = scenario.document, []
    given = document.root.plain()
    listed = isinstance(given, dict) and isinstance(given.get("policy"), list)
    for index, one in enumerate(scenario.policies):
        place: Place = ("policy", index) if listed else ("policy",)
        policy = _policy(one, document, place, problems)
        if policy is not None:
            found.append(with_goal(policy, scenario.battery, scenario.money))
    return tuple(found)


def named_policy(name: str, scenario: Scenario) -> Policy:
    """Return a policy by shipped name or path, with the scenario's goals; raise ``PolicyError``."""
    return with_goal(load_policy_file(resolve_name(name)), scenario.battery, scenario.money)


def with_goal(policy: Policy, battery: BatterySpec | None, money: MoneyGoal | None = None) -> Policy:
    """Return the policy with what the scenario says about reserve, horizon and money in place of its own."""
    if money is not None:
        policy = replace(policy, money=money)
    if battery is None:
        return policy
    goal = policy.battery
    if battery.reserve_frac is not None:
        goal = replace(goal, reserve_frac=battery.reserve_frac)
    if battery.below_reserve is not None:
        goal = replace(goal, below_reserve=battery.below_reserve)
    if battery.horizon_ns is not None or battery.last_until_s is not None:
        goal = BatteryGoal(
            goal.reserve_frac, battery.last_until_s, battery.horizon_ns, below_reserve=goal.below_reserve
        )
    return replace(policy, battery=goal)


def check_strategies(
    strategies: Iterable[str], inventory: Inventory, document: Document, problems: list[Problem]
) -> None:
    """Add to ``problems`` each strategy of the scenario that nobody knows, or that names what is not there."""
    given = document.root.plain()
    listed = isinstance(given, dict) and isinstance(given.get("strategy"), list)
    for index, name in enumerate(strategies):
        place: Place = ("strategy", index) if listed else ("strategy",)
        problems += [document.problem(place, message) for message in strategy_faults(name, inventory)]


def strategy_faults(name: str, inventory: Inventory) -> Sequence[str]:
    """Return why no run can use a strategy; empty when one can."""
    try:
        strategy_named(name)
    except ValueError as error:
        return (str(error),)
    return [problem.message for problem in check_against(Policy("any", strategy=name), inventory)]


def _policy(given: str | Figures, document: Document, place: Place, problems: list[Problem]) -> Policy | None:
    """Return one policy of a scenario, or ``None`` after adding what is wrong with it."""
    if not isinstance(given, str):
        data = dict(given)
        findings = structural_findings(data)
        spoilt = {path for path, _, _ in findings}
        findings += [finding for finding in cross_findings(data) if finding[0] not in spoilt]
        problems += [document.problem((*place, *path), text, at_key) for path, at_key, text in findings]
        return None if findings else build_policy(data)
    try:
        name = given.strip()
        shipped = name in shipped_policy_names()
        return load_policy_file(resolve_name(name if shipped else document.folder / Path(name).expanduser()))
    except PolicyError as error:
        first = error.problems[0]
        if first.line:  # the file is there, and says itself where it is wrong
            problems += error.problems
        else:
            problems.append(document.problem(place, str(first)))
        return None
