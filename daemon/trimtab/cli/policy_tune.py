"""``trimtab policy tune``: search a policy's numbers on some scenarios, and tell what they are worth on others."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.interrupts import INTERRUPTED, interruptible
from trimtab.cli.output import fail, json_option, print_json, table, user_errors

if TYPE_CHECKING:
    from trimtab_sim.scenario import Prepared
    from trimtab_sim.tune import Attempt, Goal, Number
    from trimtab_sim.tune.report import Asked

FILES = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("base", metavar="BASE")
@click.option("--trace", "traces", multiple=True, required=True, type=FILES, metavar="SCENARIO", help="Tune on this scenario. Repeatable.")  # fmt: skip
@click.option("--held-out", multiple=True, type=FILES, metavar="SCENARIO", help="Judge on this scenario, which the search does not see. Repeatable.")  # fmt: skip
@click.option("--maximize", metavar="FIGURE", help="Make this figure of `trimtab simulate` as large as can be (the mean over scenarios).")  # fmt: skip
@click.option("--minimize", metavar="FIGURE", help="Make it as small as can be instead.")
@click.option("--subject-to", "limits", multiple=True, metavar="LIMIT", help="Must hold in every scenario, such as 'on_time_frac >= 0.95'. Repeatable.")  # fmt: skip
@click.option("--trials", type=click.IntRange(1, 100_000), default=100, show_default=True, help="So many sets of numbers are tried.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="The same seed finds the same.")  # fmt: skip
@click.option("--vary", multiple=True, metavar="PATH=LOW:HIGH", help="Vary this number between these, such as defaults.weight=0.1:10. Repeatable.")  # fmt: skip
@click.option("--only", is_flag=True, help="Vary nothing but what --vary names.")
@click.option("--out", required=True, type=FILES, help="The tuned policy; the plot goes beside it as .html.")
@json_option
@user_errors
def tune(
    base: str,
    traces: tuple[Path, ...],
    held_out: tuple[Path, ...],
    maximize: str | None,
    minimize: str | None,
    limits: tuple[str, ...],
    trials: int,
    seed: int,
    vary: tuple[str, ...],
    only: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Search the numbers of the policy BASE (a file or shipped name) for a goal (docs/tuning.md).

    Every trial is a simulation of every --trace; the policy is judged on every --held-out. OUT keeps the base's text,
    with each changed number and what it was. Ctrl-C keeps the best so far and exits with 130.
    """
    from trimtab_sim.tune import TuneError
    from trimtab_sim.tune.report import Asked

    try:
        goal = _goal(maximize, minimize, limits)
        asked = Asked(base, goal, tuple(map(str, traces)), tuple(map(str, held_out)), trials, seed)
        _tune(asked, vary, only, out, as_json)
    except TuneError as error:
        fail(str(error))


def _goal(maximize: str | None, minimize: str | None, limits: Sequence[str]) -> "Goal":
    from trimtab_sim.tune import Goal, read_limit

    if bool(maximize) == bool(minimize):
        raise click.UsageError("give one figure to --maximize or to --minimize")
    return Goal(maximize or minimize or "", 1 if maximize else -1, tuple(map(read_limit, limits)))


def _tune(asked: "Asked", vary: tuple[str, ...], only: bool, out: Path, as_json: bool) -> None:
    """Search, write both files, then judge."""
    from trimtab.policy import read_policy_text, resolve_name
    from trimtab_sim.simulate import Stop
    from trimtab_sim.tune import Bench, numbers_of, search
    from trimtab_sim.tune.page import write_page
    from trimtab_sim.tune.report import story
    from trimtab_sim.tune.write import read_base, tuned_text

    if not os.access(out.parent, os.W_OK):
        fail(f"{out}: nothing can be written to {out.parent}")
    path = resolve_name(asked.base)
    base = read_base(read_policy_text(path), str(path))
    numbers = numbers_of(base.document, vary, only=only)
    training, judging = _prepared(asked.training), _prepared(asked.held_out)
    bench = Bench(training, asked.goal)
    with (
        interruptible("stopping with the best so far ... (Ctrl-C again: at once)") as stop,
        _progress(asked.trials) as tell,
    ):
        found = search(
            base.document, numbers, bench, trials=asked.trials, seed=asked.seed, stop=stop, tell=tell
        )
    told, page = story(asked, found), out.with_suffix(".html")
    out.write_text(tuned_text(base, found.best.values, told), encoding="utf-8")
    write_page(found, asked.goal, page, f"{base.document['name']}, tuned", told)
    judged: list[Attempt] = []
    if judging:
        judge, stop = Bench(judging, asked.goal), Stop()
        both = [judge.attempt(base.document, values, stop) for values in ({}, found.best.values)]
        judged = [one for one in both if one is not None]
    report = {
        "base": asked.base,
        "goal": str(asked.goal),
        "out": str(out),
        "page": str(page),
        "trials": len(found.attempts) - 1,
        "seed": asked.seed,
        "interrupted": found.interrupted,
        "limits_kept": found.best.feasible,
        "numbers": _numbers(numbers, found.best),
        "put_back": list(found.put_back),
        "training": _sides(asked.training, training, asked.goal, [found.base, found.best]),
        "held_out": _sides(asked.held_out, judging, asked.goal, judged),
    }
    if as_json:
        print_json(report)
    else:
        _print(report, told, asked.goal)
    if found.interrupted:
        raise SystemExit(INTERRUPTED)


def _prepared(files: Sequence[str]) -> "tuple[Prepared, ...]":
    from trimtab_sim.scenario import prepare_file

    found = tuple(prepare_file(file) for file in files)
    for note in dict.fromkeys(note for prepared in found for note in prepared.notes):
        click.echo(f"warning: {note}", err=True)
    return found


def _numbers(numbers: "Sequence[Number]", best: "Attempt") -> list[dict[str, Any]]:
    from trimtab_sim.tune.report import changes

    return changes(numbers, best)


def _sides(
    files: Sequence[str], scenarios: "Sequence[Prepared]", goal: "Goal", both: "list[Attempt]"
) -> list[dict[str, Any]]:
    from trimtab_sim.tune.report import side_by_side

    return side_by_side(files, scenarios, goal, both[0], both[1]) if both else []


def _print(report: dict[str, Any], told: Sequence[str], goal: "Goal") -> None:
    for line in told:
        click.echo(line)
    click.echo()
    changed = [one for one in report["numbers"] if one["changed"]]
    if changed:
        rows = [(one["path"], "default" if one["was"] is None else one["was"], one["now"]) for one in changed]
        table(("number", "was", "is"), rows)
        click.echo()
    for title, key in (("training", "training"), ("held out", "held_out")):
        for one in report[key]:
            _print_sides(title, one, goal)
    if not report["held_out"]:
        click.echo("Nothing was held out, so nobody knows how well this carries over: give --held-out.")
    click.echo(f"wrote {report['out']} and {report['page']}")


def _print_sides(title: str, one: dict[str, Any], goal: "Goal") -> None:
    base, tuned = one["base"], one["tuned"]
    names = [*goal.figures, *(name for name in base if name not in goal.figures and name != "limits_kept")]
    rows: list[tuple[str, ...]] = [(name, _cell(base[name]), _cell(tuned[name])) for name in names]
    rows.append(("limits kept", *("yes" if side["limits_kept"] else "NO" for side in (base, tuned))))
    click.echo(f"{title}: {one['scenario']} ({'tuned is better' if one['beats'] else 'tuned is NOT better'})")
    table(("", "base", "tuned"), rows)
    click.echo()


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.5g}"


@contextmanager
def _progress(trials: int) -> "Iterator[Callable[[int, Attempt], None]]":
    """Yield what shows how many trials are done and the best so far, if anybody looks."""
    if not sys.stderr.isatty():
        yield lambda _done, _best: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[best]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        number = bar.add_task("trials", total=trials, best="")

        def tell(done: int, best: "Attempt") -> None:
            kept = "" if best.feasible else ", limits broken"
            bar.update(number, completed=done, best=f"best {abs(best.aim):.5g}{kept}")

        yield tell
