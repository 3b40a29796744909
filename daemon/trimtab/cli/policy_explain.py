"""``trimtab policy explain``: what a policy will do as the battery runs down, and in the troubles its rules name."""

from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.output import fail, json_option, print_json, user_errors

if TYPE_CHECKING:
    from trimtab.cli.policy_outlook import Outlook, Served
    from trimtab.core.rehearsal import Setup
    from trimtab.domain.policy import Policy

NOON = "12:00"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@click.command("explain")
@click.argument("file", metavar="FILE")
@click.option("--task", default="", metavar="TASK", help="Also tell which candidate would serve a typical request for this task, and why.")  # fmt: skip
@click.option("--family", default="", metavar="SOURCE", help="Where the task's variants and profiles are from: a shipped family or catalogue, a folder with a manifest, a catalogue file. Default: the shipped family of the task's name.")  # fmt: skip
@click.option("--app", default="", metavar="APP", help="The app that asks, as rules see it.")
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), metavar="MS", help="The request's own latency budget.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, help="Requests per second: what a horizon's price of energy depends on.")  # fmt: skip
@click.option("--capacity", type=click.FloatRange(min=0, min_open=True), default=50_000.0, show_default=True, metavar="J", help="Energy of a full battery; a phone has about 50 kJ.")  # fmt: skip
@click.option("--day", type=click.Choice(DAYS), default="wed", show_default=True, help="Day of the week.")
@click.option("--at", default=NOON, show_default=True, metavar="HH:MM", help="Time of day.")
@json_option
@user_errors
def explain_policy(file: str, task: str, family: str, app: str, budget: float | None, rate: float,
                   capacity: float, day: str, at: str, as_json: bool) -> None:  # fmt: skip
    """Say in plain words what a policy (FILE or a shipped name) will do.

    At 100, 50, 20 and 5 % battery, while charging, and in the heat, the shortage of memory, the load or at the
    times that its rules speak of: which rules hold, what they change, and what a horizon does. With --task the
    real scheduler decides a typical request in each of these.
    """
    from trimtab.cli.policy_outlook import outlook
    from trimtab.domain.device import DeviceState
    from trimtab.domain.request import Request
    from trimtab.policy import load_policy_file, resolve_name
    from trimtab.policy.moments import moments_of

    policy = load_policy_file(resolve_name(file))
    calm = DeviceState(
        battery_capacity_j=capacity,
        local_time_s=_day_time_s(at),
        weekday=DAYS.index(day),
        temperature_mc=25_000,
        cpu_load_frac=0.1,
    )
    setup = _setup(task, family)
    asked = Request("r", task, app, None if budget is None else int(budget * 1e6))
    found = [outlook(policy, moment, setup, asked, rate) for moment in moments_of(policy, calm)]
    if as_json:
        print_json({"policy": policy.name, **_general(policy), "moments": found})
    else:
        _print(policy, found, task, rate)


def _day_time_s(text: str) -> int:
    """Return seconds after midnight; tell the user when that is no time."""
    from trimtab.policy.scalars import day_time_s

    try:
        seconds = day_time_s(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 86_400:
        raise click.BadParameter(f"{text!r} is no time of day such as {NOON}", param_hint="--at")
    return seconds


def _setup(task: str, source: str) -> "Setup":
    """Return what is served: the task's family with its profiles, or nothing."""
    from trimtab.core.rehearsal import Setup

    if not task:
        if source:
            raise click.UsageError("--family needs --task")
        return Setup((), ())
    from trimtab_sim.catalogue.load import load_catalogue
    from trimtab_sim.catalogue.model import CatalogueError
    from trimtab_sim.scenario.families import shipped_sources

    shipped = shipped_sources()
    if not source and task not in shipped:
        fail(f"no shipped family is called {task!r}; shipped: {', '.join(shipped)}; --family names another")
    try:
        found = load_catalogue(shipped.get(source or task, source))
    except CatalogueError as error:
        fail(str(error))
    families = {one.task: one for one in found.families}
    if task not in families:
        fail(f"{source or task} has no task {task!r}; its tasks: {', '.join(families)}")
    return Setup(found.processors, ((families[task], found.profiles[task]),))


# ---- for programs and for people -------------------------------------------------------------------------


def _general(policy: "Policy") -> dict[str, Any]:
    """Return what holds at any moment."""
    from trimtab.policy import words

    return {
        "always": [*words.settings_words(policy.defaults), *words.goals_words(policy)],
        "tasks": {entry.task: words.change_words(entry.change) for entry in policy.tasks},
        "rules": {
            rule.name: {"when": words.condition_words(rule.when), "then": words.change_words(rule.then)}
            for rule in policy.rules
        },
    }


def _print(policy: "Policy", found: "list[Outlook]", task: str, rate: float) -> None:
    general = _general(policy)
    click.echo(
        f"policy {policy.name}{': ' if policy.description else ''}{' '.join(policy.description.split())}"
    )
    if policy.strategy != "value":
        click.echo(f"chooses by the strategy {policy.strategy}, not by value")
    click.echo("\nalways")
    _list(general["always"])
    for name, changes in general["tasks"].items():
        click.echo(f"\ntask {name}")
        _list(changes)
    for name, rule in general["rules"].items():
        click.echo(f"\n{name}" if name.startswith("app ") else f"\nrule {name}: {rule['when']}")
        _list(rule["then"])
    if task:
        click.echo(f"\na typical request: {task}, the {rate:g} a second that came before it served likewise")
    for one in found:
        click.echo(f"\n{one.title}")
        _list(_lines(one))


def _list(lines: list[str]) -> None:
    for line in lines:
        click.echo(f"  - {line}")


def _lines(one: "Outlook") -> list[str]:
    """Return what a policy does at one moment, a line each."""
    from trimtab.policy.words import duration

    lines = [f"rules in force: {', '.join(one.rules)}" if one.rules else "no rule holds"]
    if one.beginning:
        lines.append(f"just below this charge begins: {', '.join(one.beginning)}")
    lines += one.changes or ["settings as always"]
    if one.spare_j is not None:
        left = f"{one.spare_j:.5g} J above the reserve"
        until = "" if one.horizon_ns is None else f", to last another {duration(one.horizon_ns)}"
        lines.append(left + until if one.spare_j > 0.0 else "the battery is at its reserve")
    price = f"a joule costs {one.energy_price_per_j:.4g}"
    if one.served is None and one.horizon_ns is not None:
        price += " or more: the horizon's price depends on what is asked (--task)"
    elif one.horizon_price_per_j > 0.0:
        price += f"; the horizon asks for {one.horizon_price_per_j:.4g}"
    lines.append(price)
    return lines + _serving(one.served) if one.served is not None else lines


def _serving(served: "Served") -> list[str]:
    """Return who serves and why, and why the best others do not."""
    if not served.candidate:
        return [f"the request is refused: {served.why}", *_lost(served)]
    lines = [
        f"{served.candidate} serves: {served.accuracy_frac:.2%} accuracy, {served.latency_ns / 1e6:.3g} ms, "
        f"{served.energy_uj / 1e3:.3g} mJ",
        f"because it is {served.why}" if served.why.startswith("worth") else f"because {served.why}",
        "its worth: " + ", ".join(f"{name} {utility:+.4f}" for name, utility in served.parts),
    ]
    if served.given_up:
        lines.append(f"given up: {', '.join(served.given_up)}")
    return lines + _lost(served)


def _lost(served: "Served") -> list[str]:
    return [f"not {rival.candidate} ({rival.value:.4f}): {rival.why}" for rival in served.rivals]
