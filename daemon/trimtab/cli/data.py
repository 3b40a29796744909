"""``trimtab data``: list and fetch the datasets that families are trained and tested on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.output import json_option, print_json, table, user_errors

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from trimtab_models.settings import BuildEvent, Progress


@click.group()
def data() -> None:
    """List and fetch the datasets that families are built from."""


@data.command("list")
@json_option
@user_errors
def list_data(as_json: bool) -> None:
    """List the datasets: licence, size to download or on disk, and where each is found.

    Looks in TRIMTAB_DATA, in the folders of system packages and in the user's cache, and checks nothing.
    """
    from trimtab_models.datasets import DATASETS

    with _data_errors():
        rows = [_described(name, dataset) for name, dataset in DATASETS.items()]
    if as_json:
        print_json(rows)
        return
    table(
        ("set", "name", "MB", "licence", "where"),
        [
            (r["set"], r["name"], f"{r['bytes'] / 1e6:.1f}", r["licence"], r["folder"] or "not here")
            for r in rows
        ],
    )


def _complete(_context: click.Context, _param: click.Parameter, begun: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    from trimtab_models.datasets import DATASETS

    return [CompletionItem(name) for name in DATASETS if name.startswith(begun)]


def _known(_context: click.Context, _param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    from trimtab_models.datasets import DATASETS

    for name in names:
        if name.replace("-", "_") not in DATASETS:
            raise click.BadParameter(f"no dataset {name!r}; known: {', '.join(DATASETS)}")
    return tuple(dict.fromkeys(name.replace("-", "_") for name in names))


@data.command()
@click.argument("sets", metavar="SET...", nargs=-1, callback=_known, shell_complete=_complete)
@click.option("every", "--all", is_flag=True, help="Fetch all datasets.")
@json_option
@user_errors
def fetch(sets: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Fetch datasets that are not on this machine, and check the files of each SET against their checksums.

    Downloads go to the user's cache; one that was interrupted goes on where it stopped. What TRIMTAB_DATA
    or a system package has is used from there.
    """
    from trimtab_models.datasets import DATASETS
    from trimtab_models.datasets.fetch import locate
    from trimtab_models.errors import DatasetError

    if not sets and not every:
        raise click.UsageError("name a dataset, or give --all; `trimtab data list` has the names")
    done, errors = [], []
    with _bars() as progress:
        for name in DATASETS if every else sets:
            try:
                locate(DATASETS[name].ORIGIN, progress=progress)
            except DatasetError as error:
                errors.append(str(error))
            else:
                done.append(_described(name, DATASETS[name]))
    if as_json:
        print_json(done)
    elif done:
        table(("set", "MB", "checked in"), [(r["set"], f"{r['bytes'] / 1e6:.1f}", r["folder"]) for r in done])
    for text in errors:
        click.echo(f"error: {text}", err=True)
    sys.exit(1 if errors else 0)


def _described(name: str, dataset: Any) -> dict[str, Any]:
    from trimtab_models.datasets.fetch import find

    found = find(dataset.ORIGIN)
    download_bytes = next(form.size_bytes for form in dataset.ORIGIN.forms if form.sources)
    return {
        "set": name,
        "name": dataset.NAME,
        "licence": dataset.LICENCE,
        "source": dataset.SOURCE,
        "bytes": found.size_bytes if found else download_bytes,
        "folder": str(found.folder) if found else None,
        "files": [path.name for path in found.paths] if found else [],
    }


@contextmanager
def _data_errors() -> Iterator[None]:
    from trimtab.cli.output import fail
    from trimtab_models.errors import DatasetError

    try:
        yield
    except DatasetError as error:
        fail(str(error))


@contextmanager
def _bars() -> "Iterator[Progress]":
    """Yield what shows a bar for each download on a terminal, a line elsewhere; on standard error."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        known: dict[str, Any] = {}

        def show(event: "BuildEvent", /) -> None:
            if event.step not in known:
                known[event.step] = bars.add_task(event.step, total=event.total or None)
            bars.update(known[event.step], completed=event.done, total=event.total or None)

        yield show


def _lines() -> "Progress":
    told: set[str] = set()

    def show(event: "BuildEvent", /) -> None:
        if event.step not in told:
            told.add(event.step)
            click.echo(f"{event.step} ...", err=True)

    return show
