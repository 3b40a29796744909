"""``trimtab sweep``: one scenario under every combination of devices, traces, policies and seeds."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.interrupts import INTERRUPTED
from trimtab.cli.output import fail, json_option, print_json, table, user_errors

if TYPE_CHECKING:
    from trimtab_sim.sweep import Plan, Pool, SweepOutcome

SHOWN = ("on_time_frac", "accuracy_mean", "energy_j", "battery_frac_end", "lifetime_s")
"""Figures whose means are printed; the file has all of them."""


@click.command()
@click.argument("document", metavar="SWEEP", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the results; a sweep that was stopped goes on from what is there.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 1024), help="So many processes.  [default: the cores this process may use]")  # fmt: skip
@click.option("--cluster", metavar="ADDRESS", help="Run on the workers of a Dask scheduler, such as tcp://host:8786.")  # fmt: skip
@click.option("--by", default="", metavar="FIELD", help="Print means by this field.  [default: the policy, else the first]")  # fmt: skip
@json_option
@user_errors
def sweep(
    document: Path, out: Path, workers: int | None, cluster: str | None, by: str, as_json: bool
) -> None:
    """Run the scenario of SWEEP once for every combination of the values in it (docs/sweeps.md).

    Rows stream to Parquet files in --out and end in results.parquet, in the same order and with the same bytes
    whoever ran them. A killed sweep goes on where it was; a worker that dies costs nothing but time.
    """
    from trimtab_sim.scenario import ScenarioError
    from trimtab_sim.sweep import DaskPool, LocalPool, PoolError, Store, StoreError, load_plan
    from trimtab_sim.sweep import sweep as run

    if workers and cluster:
        raise click.BadParameter("is for this machine; a cluster has its own", param_hint="--workers")
    plan = load_plan(document)
    _check_by(plan, by)
    try:
        store = Store(out)
        pool: Pool = DaskPool(cluster) if cluster else LocalPool(workers or len(os.sched_getaffinity(0)))
        with _progress() as tell:
            outcome = run(plan, pool, store, tell)
    except KeyboardInterrupt:
        click.echo(f"interrupted: {out} has what was done; the same command goes on from there", err=True)
        raise SystemExit(INTERRUPTED) from None
    except ScenarioError:
        raise
    except (PoolError, StoreError) as error:
        fail(str(error))
    _print(plan, outcome, store.results, by or _default_by(plan), as_json)


def _check_by(plan: "Plan", by: str) -> None:
    if by and by not in plan.columns:
        raise click.BadParameter(
            f"{by!r} is not varied; these are: {', '.join(plan.columns)}", param_hint="--by"
        )


def _default_by(plan: "Plan") -> str:
    return "policy" if "policy" in plan.columns else plan.columns[0]


def _print(plan: "Plan", outcome: "SweepOutcome", file: Path, by: str, as_json: bool) -> None:
    means = [_means(label, by, outcome.rows) for label in dict.fromkeys(row[by] for row in outcome.rows)]
    if as_json:
        print_json({"name": plan.name, "cells": len(outcome.rows), "resumed": outcome.resumed, "results": str(file), "by": by, "means": means})  # fmt: skip
        return
    head = (by, "cells", *SHOWN)
    table(head, [[_cell(mean[name]) for name in head] for mean in means])
    done = f"{len(outcome.rows)} cell{'s' if len(outcome.rows) != 1 else ''}" + (
        f", {outcome.resumed} of them done before" if outcome.resumed else ""
    )
    click.echo(f"\n{done}; wrote {file}")


def _means(label: str, by: str, rows: "Sequence[dict[str, Any]]") -> dict[str, Any]:
    """Return the means over the cells with one label, of those where a figure is known."""
    own = [row for row in rows if row[by] == label]
    found: dict[str, Any] = {by: label, "cells": len(own)}
    for name in SHOWN:
        known = [row[name] for row in own if row.get(name) is not None]
        found[name] = sum(known) / len(known) if known else None
    return found


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def _progress() -> "Iterator[Callable[[int, int], None]]":
    """Yield what shows how many cells are done: a bar with rate and remaining time, if anybody looks."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        number = bar.add_task("cells", total=None, rate="")

        def tell(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(number, completed=done, total=total, rate=f"{speed:.1f}/s" if speed else "")

        yield tell
