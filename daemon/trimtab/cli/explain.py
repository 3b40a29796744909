"""``trimtab explain``: why a decision went as it did, from a running daemon or from a journal."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.output import address_option, fail, json_option, print_json, user_errors
from trimtab.domain.decision import Verdict, Why
from trimtab.domain.grounds import Grounds

if TYPE_CHECKING:
    from trimtab.rpc.control import Explanation

WIDE = 240
"""Columns of a table that is not printed on a terminal: nothing is wrapped for want of room."""
FOLDED = "why"
"""The column that gives way where a terminal is narrow."""


@click.command()
@click.argument("decision", required=False, default="", metavar="[REQUEST_ID]")
@click.option("--journal", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE", help="Read this journal instead of asking the daemon.")  # fmt: skip
@address_option
@json_option
@user_errors
def explain(decision: str, journal: Path | None, address: str, as_json: bool) -> None:
    """Tell why a request (default: the latest) was decided as it was, and why each other candidate lost.

    For each decision: what was asked, the prices in force, what was expected of each processor, and every
    candidate's net value with what it is the sum of, or the constraint it failed. With --journal this needs no
    daemon: the decisions are made again from FILE, a daemon's journal.sqlite.
    """
    story = _from_journal(journal, decision) if journal is not None else _from_daemon(address, decision)
    if as_json:
        print_json(story)
    else:
        print_story(story)


def _from_daemon(address: str, decision: str) -> "Explanation":
    from trimtab.client import Client

    with Client(address) as client:
        return client.explain(decision)


def _from_journal(path: Path, decision: str) -> "Explanation":
    from trimtab.adapters.journal_history import JournalHistory
    from trimtab.rpc.control import story_from_wire, story_to_wire
    from trimtab.strategies import strategy_named

    try:
        return story_from_wire(story_to_wire(JournalHistory(path, strategy_named).story(decision)))
    except KeyError as error:
        fail(f"{path}: {error.args[0]}")


# ---- for people ------------------------------------------------------------------------------------------


def print_story(story: "Explanation") -> None:
    """Print what happened to a request, then a block per decision."""
    click.echo(f"request {story.request_id}")
    began_ns = story.entries[0].at_ns if story.entries else 0
    for entry in story.entries:
        click.echo(f"  {(entry.at_ns - began_ns) / 1e6:9.3f} ms  {_told(entry.kind, entry.fields)}")
    decided = [entry.fields["decision"] for entry in story.entries if entry.kind == "Decided"]
    for index, (verdicts, grounds) in enumerate(zip(story.verdicts, story.grounds, strict=True)):
        count = f" {index + 1}" if len(story.verdicts) > 1 else ""
        given_up = decided[index]["given_up"] if index < len(decided) else []
        click.echo(f"\ndecision{count}: {_asked(grounds)}")
        if given_up:
            click.echo(f"no candidate met every goal; given up: {', '.join(given_up)}")
        print_grounds(grounds)
        print_verdicts(verdicts)


def print_grounds(grounds: Grounds) -> None:
    """Print the prices in force and what was expected of each processor."""
    _print_table(
        ("price of", "utility", "per", "from"),
        [(p.resource, f"{p.utility:.4g}", p.unit, p.source) for p in grounds.prices],
    )
    _print_table(
        ("processor", "slow-down", "spread", "runs seen", "wait ms", "with a load", "queue"),
        [
            (o.processor, f"{o.slowdown:.3f}", f"{o.sigma:.3f}", str(o.observations), f"{o.wait_ns / 1e6:.2f}",
             f"{o.cold_wait_ns / 1e6:.2f}", "full" if o.full else "open")
            for o in grounds.processors
        ],
    )  # fmt: skip


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print why each candidate won or lost, then its figures and what its net value is the sum of."""
    _print_table(
        ("candidate", "value", "accuracy %", "on time", FOLDED),
        [(v.candidate, f"{v.value:.4f}", f"{100 * v.accuracy_frac:.2f}", f"{v.on_time_prob:.1%}", _why(v))
         for v in verdicts],
    )  # fmt: skip
    names = list(dict.fromkeys(p.name for v in verdicts for p in v.parts if p.utility != 0.0))
    _print_table(
        ("candidate", "wait ms", "run ms", "mJ", *names), [tuple(_figures(v, names)) for v in verdicts]
    )


def _figures(verdict: Verdict, names: Sequence[str]) -> Iterator[str]:
    parts = {part.name: part.utility for part in verdict.parts}
    yield verdict.candidate
    yield f"{max(verdict.wait_ns, verdict.load_ns) / 1e6:.2f}"
    yield f"{verdict.latency_ns / 1e6:.3f}"
    yield f"{verdict.energy_uj / 1e3:.3f}"
    yield from (f"{parts.get(name, 0.0):+.4f}" for name in names)


def _why(verdict: Verdict) -> str:
    mark = ">> " if verdict.why is Why.CHOSEN else ""
    return mark + verdict.why.value + (f": {verdict.detail}" if verdict.detail else "")


def _asked(grounds: Grounds) -> str:
    """Return what a request asked for, in words."""
    told = [f"{grounds.time_ns / 1e6:.4g} ms left after {grounds.overhead_ns / 1e6:.3g} ms of own overhead"]
    told.append(f"at least {grounds.confidence:.4g} sure to be on time")
    if grounds.floor_frac > 0.0:
        told.append(f"accuracy at least {grounds.floor_frac:.2%}")
    if grounds.max_energy_uj is not None:
        told.append(f"at most {grounds.max_energy_uj / 1e3:.4g} mJ")
    if grounds.spare_uj is not None:
        told.append(f"{grounds.spare_uj / 1e6:.4g} J above the battery's reserve")
    told.append(f"a full point of accuracy is worth {grounds.weight:.4g}")
    return "; ".join(told)


def _print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table that fits the terminal; the candidate that won stands out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in headers:
        words = name in ("candidate", "processor", "price of", "per", "from", "queue", FOLDED)
        shown.add_column(name, justify="left" if words else "right", no_wrap=name != FOLDED)
    for row in rows:
        won = row[-1].startswith(">>")
        shown.add_row(*[Text(cell) for cell in row], style="bold" if won else None)
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    console.print()
    console.print(shown)


def _told(kind: str, fields: dict[str, Any]) -> str:
    """Return one line of a story in words."""
    match kind:
        case "RequestArrived":
            request = fields["request"]
            goals = {k: v for k, v in request.items() if v not in (None, "", 0) and k not in ("request_id",)}
            return "arrived: " + ", ".join(f"{k} {v}" for k, v in goals.items())
        case "Decided":
            chosen = fields["decision"]
            return (f"decided: {chosen['variant']} on {chosen['processor']}, {chosen['accuracy_frac']:.1%} accuracy, "
                    f"{chosen['on_time_prob']:.1%} sure within {chosen['budget_ns'] / 1e6:g} ms, policy {chosen['policy']}"
                    + (f", rules {', '.join(chosen['rules'])}" if chosen["rules"] else "")
                    + (f", gave up {', '.join(chosen['given_up'])}" if chosen["given_up"] else ""))  # fmt: skip
        case "RunStage":
            return f"started: {fields['variant']} stage {fields['stage']} on {fields['processor']}"
        case "StageFinished":
            return f"stage {fields['stage']} ran {fields['run_ns'] / 1e6:.3f} ms, {fields['energy_uj'] / 1e3:.3f} mJ, confidence {fields['confidence']:.3f}"  # fmt: skip
        case "Finish":
            result = fields["result"]
            reason = f": {result['reason']}" if result.get("reason") else ""
            return f"{result['outcome']}{', on time' if result.get('on_time') else ''}{reason}"
        case _:
            return f"{kind}: {fields}"
