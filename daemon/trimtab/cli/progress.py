"""Progress of measuring: a bar on a terminal, a line per task elsewhere; always on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from trimtab.profiling import Progress


@contextmanager
def measuring() -> Iterator[Callable[[str], Progress]]:
    """Yield what makes a progress report for a task; nothing is shown before the first report."""
    if not sys.stderr.isatty():
        yield _line
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("measuring {task.description}"), BarColumn(), TextColumn("{task.fields[what]}"))
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:

        def begin(task: str) -> Progress:
            number = bar.add_task(task, total=1.0, what="")
            return lambda frac, what: bar.update(number, completed=frac, what=what)

        yield begin


def _line(task: str) -> Progress:
    click.echo(f"measuring the variants of {task} on this machine ...", err=True)
    return lambda _frac, _what: None
