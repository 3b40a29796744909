"""``trimtab family``: list, show and build families of variants."""

from pathlib import Path
from typing import Any

import click

from trimtab.cli.family_import import import_family
from trimtab.cli.output import fail, json_option, print_json, table, user_errors
from trimtab.cli.serve import families_option, folder_options


@click.group()
def family() -> None:
    """List, show and build families of variants."""


@family.command("list")
@families_option
@json_option
@user_errors
def list_families(families: tuple[Path, ...], as_json: bool) -> None:
    """List the tasks that can be served."""
    found = _stored(families)
    if as_json:
        print_json([{"task": s.family.task, "title": s.family.title, "folder": str(s.folder),
                     "variants": [v.name for v in s.family.variants]} for s in found])  # fmt: skip
        return
    table(
        ("task", "variants", "data", "licence", "MB", "title"),
        [
            (s.family.task, len(s.family.variants), s.family.dataset.name, s.family.dataset.licence,
             f"{sum(v.artefact_bytes for v in s.family.variants) / 1e6:.2f}", s.family.title)
            for s in found
        ],
    )  # fmt: skip


@family.command()
@click.argument("task")
@folder_options
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write an interactive page to this file.")  # fmt: skip
@json_option
@user_errors
def show(task: str, families: tuple[Path, ...], state: Path | None, html: Path | None, as_json: bool) -> None:
    """Print the variants of TASK in the metrics that matter, with this machine's profiles if measured.

    Every variant comes with its accuracy and confidence interval, size and work; on every processor with
    latency, energy, load time and memory; and with whether it is on a Pareto front, or which other variant
    makes it pointless. The page of --html needs nothing but itself.
    """
    from trimtab.cli import family_show
    from trimtab.cli.family_page import page

    stored = _one(families, task)
    family = family_show.shown(stored.family, _profiles(stored, state))
    if html is not None:
        html.write_text(page(family), encoding="utf-8")
        click.echo(f"wrote {html}", err=True)
    if as_json:
        print_json(family_show.as_json(family))
    elif html is None:
        family_show.print_family(family)


@family.command()
@click.argument("task")
@click.option("--only", multiple=True, metavar="VARIANT", help="Build only these variants. Repeatable.")
@user_errors
def build(task: str, only: tuple[str, ...]) -> None:
    """Train, compress, measure and export a family: TASK, or the path of a family.yaml.

    Needs the build extra: pip install 'trimtab[build]'. An interrupted build goes on where it stopped.
    """
    from trimtab.adapters.family_store import shipped_families

    definition = Path(task) if task.endswith((".yaml", ".yml")) else shipped_families() / task / "family.yaml"
    if not definition.is_file():
        fail(f"{definition}: no such family definition")
    from rich.console import Console

    from trimtab_models import FoundryError, build_family
    from trimtab_models.__main__ import progress_bars

    try:
        with progress_bars(Console(stderr=True)) as progress:
            built = build_family(definition, only=only, progress=progress)
    except FoundryError as error:
        fail(str(error))
    click.echo(f"built {len(built.variants)} variants of {built.task} in {definition.parent}")


family.add_command(import_family)


def _stored(folders: tuple[Path, ...]) -> Any:
    from trimtab.adapters.family_store import FolderStore, shipped_families

    return FolderStore(folders or (shipped_families(),)).families()


def _one(folders: tuple[Path, ...], task: str) -> Any:
    found = {stored.family.task: stored for stored in _stored(folders)}
    if task not in found:
        fail(f"no family serves {task!r}; known: {', '.join(found) or 'none'}")
    return found[task]


def _profiles(stored: Any, state: Path | None) -> Any:
    """Return this machine's kept profiles, else those of the machine that built the family."""
    from trimtab import app
    from trimtab.adapters.energy import choose_meter
    from trimtab.adapters.onnx_runtime import OnnxRuntime
    from trimtab.adapters.processors import discover_processors
    from trimtab.adapters.profile_store import ProfileStore
    from trimtab.profiling import describe_machine

    store = ProfileStore((state or app.default_state_folder()) / "profiles")
    machine = describe_machine(OnnxRuntime().description, choose_meter())
    return store.load(stored.family, discover_processors(), machine) or stored.family.profiles
