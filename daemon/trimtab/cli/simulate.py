"""``trimtab simulate``: run a scenario file under one or more policies and put the results side by side."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.interrupts import INTERRUPTED, interruptible
from trimtab.cli.output import fail, json_option, print_json, table, user_errors
from trimtab.cli.strategy_names import NAMES

if TYPE_CHECKING:
    from trimtab_sim.results.trial import Trial
    from trimtab_sim.scenario import Prepared
    from trimtab_sim.simulate import News


def _duration(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Return a duration in ns; refuse what is none, in the schema's words."""
    if value is None:
        return None
    from trimtab.policy.scalars import duration_ns
    from trimtab_sim.scenario.load import is_duration

    if not is_duration(value) or duration_ns(value) <= 0:
        raise click.BadParameter(f"{value!r} is no duration; expected one such as 8h, 90min or 1h 30min")
    return duration_ns(value)


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--policy", "policies", multiple=True, metavar="NAME|FILE", help="Run with this policy instead of the scenario's. Repeatable.")  # fmt: skip
@click.option("--strategy", "strategies", multiple=True, metavar="NAME", help=f"Run each policy with this strategy instead of its own: {NAMES}. Repeatable.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 10_000), default=1, show_default=True, help="So many seeds, from the scenario's own on; results are means.")  # fmt: skip
@click.option("--duration", callback=_duration, metavar="TIME", help="Only so much of it, such as 10min.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for summary.json, tables, the page and traces.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True, help="Of the tables in --out; Parquet needs the sim extra.")  # fmt: skip
@click.option("--bounds/--no-bounds", default=True, show_default=True, help="Work out the oracle and the linear program's limit, which takes time.")  # fmt: skip
@click.option("--check", is_flag=True, help="Check the scenario and everything it refers to; run nothing.")
@json_option
@user_errors
def simulate(
    scenario: Path,
    policies: tuple[str, ...],
    strategies: tuple[str, ...],
    seeds: int,
    duration: int | None,
    out: Path | None,
    kind: str,
    bounds: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Run SCENARIO: the daemon's own scheduler on a simulated device, under each policy, on the same requests.

    SCENARIO is a YAML file that names device, families, requests, battery and policies (docs/scenarios.md).
    Everything is checked before anything runs; errors name file, line and field. Ctrl-C ends the run in
    progress with what it has, marks the results as partial and exits with 130.
    """
    prepared = _prepared(scenario, duration)
    for note in prepared.notes:
        click.echo(f"warning: {note}", err=True)
    runs = _trials(prepared, policies, strategies, seeds)
    if check:
        _print_check(scenario, prepared, runs, as_json)
        return
    report, written = _run(prepared, runs, out, kind, bounds=bounds)
    if as_json:
        print_json(report)
    else:
        print_report(report)
        if written:
            click.echo(f"\nwrote {', '.join(written)} to {out}")
    if report["partial"]:
        click.echo("interrupted: these results are partial", err=True)
        raise SystemExit(INTERRUPTED)


def _run(
    prepared: "Prepared", runs: "Sequence[Trial]", out: Path | None, kind: str, *, bounds: bool
) -> tuple[dict[str, Any], list[str]]:
    """Run the trials and return the report, and which files were written beside the tables."""
    from trimtab_sim.results import Results, TableError
    from trimtab_sim.simulate import simulate as run_all

    with ExitStack() as stack:
        stop = stack.enter_context(interruptible("stopping ... (Ctrl-C again: at once, without results)"))
        tell = stack.enter_context(_progress(len(runs)))
        results = stack.enter_context(Results(prepared, out, kind))
        try:
            found = run_all(prepared, runs, results.observers, tell, stop, bounds=bounds)
        except TableError as error:
            fail(str(error))
    return results.finish(found, partial=stop.asked), results.written


def _prepared(path: Path, duration_ns: int | None) -> "Prepared":
    """Return the scenario, or its beginning."""
    from dataclasses import replace

    from trimtab_sim.scenario import prepare_file

    prepared = prepare_file(path)
    if duration_ns is None or duration_ns >= prepared.duration_ns:
        return prepared
    return replace(prepared, duration_ns=duration_ns)


def _trials(
    prepared: "Prepared", policies: Sequence[str], strategies: Sequence[str], seeds: int
) -> "list[Trial]":
    """Return what is to be run; end with what is wrong about the options."""
    from trimtab_sim.scenario import inventory_of, named_policy, strategy_faults
    from trimtab_sim.simulate import trials

    scenario = prepared.scenario
    inventory = inventory_of(prepared.world)
    if twice := [name for name in strategies if strategies.count(name) > 1]:
        raise click.BadParameter(f"{twice[0]!r} is given twice", param_hint="--strategy")
    for name in strategies:
        for fault in strategy_faults(name, inventory):
            raise click.BadParameter(fault, param_hint="--strategy")
    chosen = [named_policy(name, scenario) for name in policies] or list(prepared.policies)
    names = [policy.name for policy in chosen]
    if len(set(names)) < len(names):
        fail(f"policies need different names to be told apart; here: {', '.join(names)}")
    first = scenario.seed
    return trials(chosen, strategies or scenario.strategies, range(first, first + seeds))


# ---- while it runs ---------------------------------------------------------------------------------------


@contextmanager
def _progress(runs: int) -> "Iterator[Callable[[News], None]]":
    """Yield what takes news: a bar with simulated time, rate and time left on a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda _news: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[simulated]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("starting", total=float(runs), simulated="", rate="")
        seen: list[Any] = []
        began_s = bar.get_time()

        def tell(news: "News") -> None:
            if not seen or seen[-1] is not news.trial:
                seen.append(news.trial)
            done = len(seen) - 1 + min(1.0, news.at_ns / max(1, news.duration_ns))
            passed_s = max(1e-9, bar.get_time() - began_s)
            bar.update(
                shown,
                completed=done,
                description=f"{news.trial.label}, seed {news.trial.seed} ({len(seen)}/{runs})",
                simulated=f"{_span(news.at_ns)} of {_span(news.duration_ns)}",
                rate=f"{done * news.duration_ns / 1e9 / passed_s:,.0f}x",
            )

        yield tell


def _span(length_ns: int) -> str:
    """Return a length of time as people write it: ``1 d 07:30:00``."""
    days, seconds = divmod(length_ns // 10**9, 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{days} d {clock}" if days else clock


# ---- what is printed ---------------------------------------------------------------------------------------


def _print_check(path: Path, prepared: "Prepared", runs: "Sequence[Trial]", as_json: bool) -> None:
    """Tell what would be run."""
    from trimtab.policy import check_against
    from trimtab_sim.scenario import inventory_of

    inventory = inventory_of(prepared.world)
    policies = {run.policy.name: run.policy for run in runs}
    warnings = [
        f"policy {name}: {problem.path}: {problem.message}"
        for name, policy in policies.items()
        for problem in check_against(policy, inventory)
    ]
    found = {
        "file": str(path),
        "valid": True,
        "name": prepared.scenario.name,
        "duration_s": prepared.duration_ns / 1e9,
        "tasks": {task: list(variants) for task, variants in inventory.variants.items()},
        "processors": list(inventory.processors),
        "runs": [{"policy": run.label, "seed": run.seed} for run in runs],
        "warnings": warnings,
    }
    if as_json:
        print_json(found)
        return
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    tasks = ", ".join(f"{task} ({len(variants)} variants)" for task, variants in inventory.variants.items())
    click.echo(f"{path}: ok")
    count = len(prepared.sources)
    click.echo(f"  {_span(prepared.duration_ns)}, {count} stream{'s' if count != 1 else ''} of requests")
    click.echo(f"  tasks       {tasks}")
    click.echo(f"  processors  {', '.join(inventory.processors)}")
    click.echo(f"  runs        {', '.join(f'{run.label} (seed {run.seed})' for run in runs)}")


def print_report(report: dict[str, Any]) -> None:
    """Print policies side by side, then where their requests went."""
    rows = report["policies"]
    seeds = f", mean of {len(report['seeds'])} seeds" if len(report["seeds"]) > 1 else ""
    click.echo(f"{report['scenario']}: {_span(round(report['duration_s'] * 1e9))}{seeds}\n")
    table(
        ("policy", *(title for title, *_ in COLUMNS)),
        [
            (label, *(_cell(row.get(key), spell, divisor) for _, key, spell, divisor in COLUMNS))
            for label, row in rows.items()
        ],
    )
    click.echo()
    width = max((len(label) for label in rows), default=0)
    for label, row in rows.items():
        used = ", ".join(
            f"{name} {share:.0%}" for name, share in row["share_by_variant"].items() if share >= 0.005
        )
        where = ", ".join(
            f"{name} {share:.0%}" for name, share in row["share_by_processor"].items() if share >= 0.005
        )
        click.echo(f"{label:{width}}  {used or 'nothing answered'}" + (f"; on {where}" if where else ""))
        if row["missed"]:
            missed = ", ".join(f"{cause} {count:g}" for cause, count in row["missed"].items())
            click.echo(f"{'':{width}}  missed: {missed}")
    if rows:
        _print_clock(list(rows.values()))


def _print_clock(rows: list[dict[str, Any]]) -> None:
    """Tell what this machine took, apart from what is the same on every machine."""
    typical, most = (max(row[key] for row in rows) for key in ("decision_us_p50", "decision_us_p99"))
    rate = sum(row["requests"] for row in rows) / max(1e-9, sum(row["wall_s"] for row in rows))
    click.echo(f"\non this machine: {typical:.0f} us a decision (p99 {most:.0f} us), {rate:,.0f} requests/s")


COLUMNS: tuple[tuple[str, str, str, float], ...] = (
    ("requests", "requests", "{:.0f}", 1.0),
    ("on time", "on_time_frac", "{:.1%}", 1.0),
    ("accuracy", "accuracy_mean", "{:.2%}", 1.0),
    ("of LP", "lp_bound_share", "{:.1%}", 1.0),
    ("of oracle", "oracle_share", "{:.1%}", 1.0),
    ("energy J", "energy_j", "{:.4g}", 1.0),
    ("overdraft J", "overdraft_j", "{:.3g}", 1.0),
    ("battery left", "battery_frac_end", "{:.1%}", 1.0),
    ("lifetime h", "lifetime_s", "{:.2f}", 3600.0),
    ("hottest C", "temperature_c_max", "{:.1f}", 1.0),
    ("memory MiB", "memory_peak_bytes", "{:.1f}", float(1 << 20)),
    ("loads", "loads", "{:.0f}", 1.0),
)
"""Title, key, format and divisor of each column of the table."""


def _cell(value: float | None, spell: str, divisor: float) -> str:
    return "-" if value is None else spell.format(value / divisor)
