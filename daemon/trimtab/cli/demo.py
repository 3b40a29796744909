"""``trimtab demo``: see it work on this machine in about a minute and a half."""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import click

from trimtab.cli.output import fail, table, user_errors


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=4),
    default=40.0,
    show_default=True,
    help="Length of the battery run.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder for demo-report.html and demo.json.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the charts of act one to this SVG file.",
)
@click.option(
    "as_json",
    "--json",
    is_flag=True,
    help="Print the content of demo.json, and everything else to standard error.",
)
@user_errors
def demo(seconds: float, out: Path, picture: Path | None, as_json: bool) -> None:
    """Play three apps against a real daemon: a battery drains, then memory and processor are squeezed.

    Act one sends real test images with different budgets and floors while a virtual battery drains to its
    reserve; act two takes memory and processor away. Ends with a table and writes demo-report.html and demo.json.
    """
    from trimtab.demo.play import play
    from trimtab.demo.report import write_picture, write_report
    from trimtab.demo.theatre import DemoError

    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        try:
            found = play(seconds)
        except DemoError as error:
            fail(str(error))
        print_rows(found)
        out.mkdir(parents=True, exist_ok=True)
        (out / "demo.json").write_text(json.dumps(found, indent=2) + "\n")
        write_report(out / "demo-report.html", found)
        if picture is not None:
            write_picture(picture, found)
        click.echo(f"\nwrote {out / 'demo.json'} and {out / 'demo-report.html'}")
    if as_json:
        click.echo(json.dumps(found, indent=2))


def print_rows(found: dict[str, Any]) -> None:
    """Print the strategies side by side, then each one's shares."""
    click.echo()
    table(
        ("strategy", "requests", "on time", "accuracy", "right and on time", "energy J", "battery left"),
        [
            (
                name,
                row["requests"],
                f"{row['on_time_frac']:.1%}",
                f"{row['accuracy']:.2%}",
                f"{row['accuracy_all']:.1%}",
                f"{row['energy_j']:.3f}",
                f"{row['battery_end_frac']:.1%}",
            )
            for name, row in found["strategies"].items()
        ],
    )
    click.echo()
    for name, row in found["strategies"].items():
        click.echo(f"{name:9} " + ", ".join(f"{v} {share:.0%}" for v, share in row["share"].items()))
    second = found["act_two"]
    click.echo(
        f"act two   {second['requests']} requests, {second['on_time_frac']:.1%} on time, accuracy {second['accuracy']:.2%}: "
        + ", ".join(f"{v} {share:.0%}" for v, share in second["share"].items())
    )
    click.echo(f"energy    {found['energy_meter']}")
