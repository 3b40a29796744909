"""``trimtab replay``: make a journal's decisions again, or ask what another policy would have done."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.interrupts import INTERRUPTED
from trimtab.cli.output import json_option, print_json, table, user_errors
from trimtab.cli.strategy_names import NAMES

if TYPE_CHECKING:
    from trimtab.domain.policy import Policy
    from trimtab_sim.recording import Recording
    from trimtab_sim.replay_journal import Remade, Tally
    from trimtab_sim.what_if import Played

LEAST_SHARE = 0.01
Progress = Callable[[int, int], None]
"""Told how many are done and how many there are."""


@click.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--policy", "policies", multiple=True, metavar="FILE", help="Ask what this policy (a file or shipped name) would have done. Repeatable.")  # fmt: skip
@click.option("--strategy", "strategies", multiple=True, metavar="NAME", help=f"Ask what this strategy would have done, under the policies given or those recorded: {NAMES}. Repeatable.")  # fmt: skip
@click.option("--session", type=click.IntRange(min=1), help="Only this session (start of the daemon). Default: all; for what-if the newest one with requests.")  # fmt: skip
@click.option("--differences", type=click.IntRange(min=1), default=5, show_default=True, help="So many differences are told in full.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of what is modelled in what-if.")
@json_option
@user_errors
def replay(
    journal: Path,
    policies: tuple[str, ...],
    strategies: tuple[str, ...],
    session: int | None,
    differences: int,
    seed: int,
    as_json: bool,
) -> None:
    """Make every decision in JOURNAL again and compare; exit code 1 when anything differs.

    JOURNAL is a daemon's journal.sqlite, also while the daemon writes it. With --policy or --strategy the
    same requests arrive at a simulated daemon instead: a column for what was recorded, one for the recorded
    policy as the model sees it (compare with this one), and one per policy and strategy asked about.
    """
    if policies or strategies:
        _what_if(journal, policies, strategies, session, seed, as_json)
    else:
        _remake(journal, session, differences, as_json)


@contextmanager
def _counting() -> Iterator[Callable[[str], Progress | None]]:
    """Yield what makes a bar on a terminal (rate and time left beside it), and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _title: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:

        def begin(title: str) -> Progress:
            number = bar.add_task(title, total=None)
            return lambda done, total: bar.update(number, completed=done, total=total)

        yield begin


# ---- the same decisions again --------------------------------------------------------------------------


def _remake(journal: Path, session: int | None, keep: int, as_json: bool) -> None:
    from trimtab_sim.replay_journal import replay_journal

    with _counting() as bar:
        remade = replay_journal(journal, session, keep=keep, progress=bar("replaying"))
    if as_json:
        print_json(remade_as_json(remade))
    else:
        _print_remade(journal, remade)
    if not remade.exact:
        raise SystemExit(INTERRUPTED if remade.interrupted else 1)


def remade_as_json(remade: "Remade") -> dict[str, Any]:
    """Return what a replay came to as plain values; differences as told in text."""
    from trimtab_sim.differences import told

    tallies = {
        name: {"recorded": tally.recorded, "remade": tally.remade, "remade_frac": tally.frac}
        for name, tally in _tallies(remade)
    }
    return {
        "exact": remade.exact,
        "interrupted": remade.interrupted,
        "sessions": remade.sessions,
        "rows": remade.rows,
        "events": remade.events,
        "requests": remade.requests,
        **tallies,
        "differing_steps": remade.differing_steps,
        "differences": [told(one) for one in remade.divergences],
        "holes": remade.holes,
        "recorded_by_others": remade.foreign,
    }


def _tallies(remade: "Remade") -> Iterator[tuple[str, "Tally"]]:
    yield "decisions", remade.decisions
    yield "answers", remade.answers
    yield "commands", remade.commands
    yield "checkpoints", remade.checkpoints


def _print_remade(journal: Path, remade: "Remade") -> None:
    from trimtab_sim.differences import told

    sessions = f"{len(remade.sessions)} session{'s' if len(remade.sessions) != 1 else ''}"
    click.echo(f"{journal}: {sessions}, {remade.rows} rows, {remade.requests} requests")
    rows = [(name, tally.recorded, tally.remade, share(tally)) for name, tally in _tallies(remade)]
    table(("what", "recorded", "made again", "share"), rows)
    if remade.interrupted:
        click.echo("interrupted: the figures are of what was replayed until then", err=True)
    for hole in remade.holes:
        click.echo(
            f"session {hole.session}: rows {hole.first_seq} to {hole.last_seq} not replayed: {hole.why}",
            err=True,
        )
    for divergence in remade.divergences:
        click.echo("\n".join(told(divergence)), err=True)
    left = remade.differing_steps - len(remade.divergences)
    if left > 0:
        click.echo(f"and {left} differences more", err=True)
    if remade.foreign and not remade.exact:
        click.echo(f"recorded by {', '.join(remade.foreign)}: another version may decide otherwise", err=True)


def share(tally: "Tally") -> str:
    """Return a share in per cent that says 100 only when it is."""
    if tally.remade == tally.recorded:
        return "100.0 %"
    return f"{floor(tally.frac * 1e5) / 1e3:.3f} %"


# ---- another policy ------------------------------------------------------------------------------------


def _what_if(
    journal: Path,
    policies: tuple[str, ...],
    strategies: tuple[str, ...],
    session: int | None,
    seed: int,
    as_json: bool,
) -> None:
    from trimtab.policy import load_policy_file, resolve_name
    from trimtab_sim.recording import read_recording
    from trimtab_sim.what_if import provenance, what_if

    loaded: list[tuple[str, Policy | None]] = [("", None)]
    if policies:
        loaded = [(name, load_policy_file(resolve_name(name))) for name in policies]
    wanted = [(name, policy, strategy) for name, policy in loaded for strategy in strategies or ("",)]
    for strategy in strategies:
        _check_strategy(strategy)
    played: list[Played] = []
    with _counting() as bar:
        recording = read_recording(journal, session, progress=bar("reading"))
        columns: dict[str, dict[str, Any]] = {"recorded": recording.account.figures()}
        for name, policy, strategy in [("as recorded, modelled", None, ""), *wanted]:
            title = " ".join(part for part in (name, strategy) if part)
            done = what_if(recording, policy, strategy, seed=seed, progress=bar(title))
            played.append(done)
            columns[title] = done.account.figures()
    sources = provenance(recording, played)
    if as_json:
        print_json({"session": recording.session, "columns": columns, **sources})
    else:
        _print_what_if(recording, columns, sources)


def _check_strategy(name: str) -> None:
    from trimtab.strategies import strategy_named

    try:
        strategy_named(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--strategy") from error


def _print_what_if(
    recording: "Recording", columns: dict[str, dict[str, Any]], sources: dict[str, list[str]]
) -> None:
    click.echo(f"{recording.path}: session {recording.session}, {recording.account.requests} requests")
    table(("", *columns), _figure_rows(columns))
    click.echo("recorded: " + "; ".join(sources["recorded"]))
    click.echo("modelled: " + ";\n  ".join(sources["modelled"]))


def _figure_rows(columns: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    figures = list(columns.values())
    rows = (
        ("on time", "on_time_frac", _per_cent),
        ("accuracy expected, late = 0", "accuracy_mean", _per_cent),
        ("accuracy expected of answers", "accuracy_served", _per_cent),
        ("energy, J", "energy_j", _three),
        ("battery at the end", "battery_frac_end", _per_cent),
        ("loads", "loads", str),
        ("goals given up", "given_up_frac", _per_cent),
        ("latency p50, ms", "latency_ms_p50", _three),
        ("latency p95, ms", "latency_ms_p95", _three),
        ("latency p99, ms", "latency_ms_p99", _three),
    )
    for title, key, shown in rows:
        yield (title, *("-" if one[key] is None else shown(one[key]) for one in figures))
    for outcome in figures[0]["outcomes"]:
        counts = [one["outcomes"][outcome] for one in figures]
        if any(counts):
            yield (outcome, *(str(count) for count in counts))
    yield from _share_rows(figures)


def _share_rows(figures: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a row per variant with at least 1 % of some column's answers, and one for all the others."""
    names = {
        name: [other["share"].get(name, 0.0) for other in figures] for one in figures for name in one["share"]
    }
    shown = [name for name in names if max(names[name]) >= LEAST_SHARE]
    for name in sorted(shown, key=lambda name: (-sum(names[name]), name)):
        yield (f"share of {name}", *map(_per_cent, names[name]))
    rest = [shares for name, shares in names.items() if name not in shown]
    if rest:
        yield (
            f"share of {len(rest)} others",
            *(_per_cent(sum(column)) for column in zip(*rest, strict=True)),
        )


def _per_cent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _three(value: float) -> str:
    return f"{value:.4g}"
