"""Build a family from the command line: ``python -m trimtab_models models/families/fashion``."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from trimtab_models.errors import FoundryError
from trimtab_models.pipeline import build_family
from trimtab_models.settings import BuildEvent, Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the family named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="trimtab_models", description="Build a family of variants.")
    parser.add_argument("definition", type=Path, help="family.yaml or the folder that holds it")
    parser.add_argument(
        "--only", action="append", default=[], metavar="VARIANT", help="build just this variant"
    )
    given = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        with progress_bars(console) as progress:
            build_family(given.definition, only=given.only, progress=progress)
    except FoundryError as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    return 0


@contextmanager
def progress_bars(console: Console) -> Iterator[Progress]:
    """Show a bar per step and a line for what each step has to say."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console) as bars:
        known: dict[tuple[str, str], TaskID] = {}

        def show(event: BuildEvent, /) -> None:
            key = (event.variant, event.step)
            if key not in known:
                known[key] = bars.add_task(f"{event.variant}: {event.step}", total=event.total or None)
            bars.update(known[key], completed=event.done, total=event.total or None)
            if event.note:
                bars.console.print(
                    f"{event.variant}: {event.step}: {event.note}", markup=False, highlight=False
                )

        yield show


if __name__ == "__main__":
    sys.exit(main())
