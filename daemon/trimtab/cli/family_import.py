"""``trimtab family import``: variants of an ONNX classifier without its training code."""

from pathlib import Path
from typing import Any

import click

from trimtab.cli.output import fail, json_option, plain, print_json, table, user_errors

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import")
@click.argument("model", type=FILE)
@click.option("--calibrate", required=True, type=FILE, metavar="SAMPLES.npz",
              help="Samples: an array per input, batch first, and optionally 'label'. One half calibrates, the other measures.")  # fmt: skip
@click.option("--task", required=True, metavar="NAME", help="What applications will call it.")
@click.option("--labels", type=FILE, help="Text file with one class name per line.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("families"),
              show_default=True, help="Folder of families; the task gets a folder below it.")  # fmt: skip
@click.option(
    "--recipe", type=FILE, metavar="MY.yaml", help="Which variants to make. Default: all that apply."
)
@click.option(
    "--output", default="", metavar="NAME", help="Which output holds the logits, if there are several."
)
@click.option("--max-drop", type=click.FloatRange(min=0), default=5.0, show_default=True, metavar="POINTS",
              help="Variants that lose more percentage points than this are not written.")  # fmt: skip
@click.option("--ship-samples", type=click.IntRange(min=0), default=32, show_default=True, metavar="N",
              help="How many of the measured samples to keep with the family, 4 MiB at most.")  # fmt: skip
@json_option
@user_errors
def import_family(
    model: Path, calibrate: Path, task: str, labels: Path | None, out: Path, recipe: Path | None,
    output: str, max_drop: float, ship_samples: int, as_json: bool,
) -> None:  # fmt: skip
    """Make and measure post-training variants of the ONNX classifier MODEL; needs no training code.

    The fp32 network as it came, static int8 with three kinds of calibration, dynamic and weight-only int8, low
    rank, and a Deep Compression artefact. Serve what comes out with: trimtab serve --families OUT.

    Needs the onnx package: pip install 'trimtab[build]', or just onnx.
    """
    from trimtab_models import FoundryError
    from trimtab_models.onnx_import import DEFAULT_PLAN, load_plan
    from trimtab_models.pipeline import require_extra

    try:
        require_extra(("onnx",))
        from trimtab_models.onnx_import.importing import ImportSettings, import_onnx

        plan = DEFAULT_PLAN if recipe is None else load_plan(recipe)
        settings = ImportSettings(
            model, calibrate, task, out, labels, output, plan, max_drop, ship_samples
        )  # fmt: skip
        done = import_onnx(settings, lambda line: click.echo(line, err=True))
    except FoundryError as error:
        fail(str(error))
    if as_json:
        shown = plain(done)
        assert isinstance(shown, dict)
        print_json(shown | {"folder": str(done.folder)})
    else:
        _print(done)


def _print(done: Any) -> None:
    click.echo(f"{done.family.task}: {done.measure} on {done.samples} samples that calibration did not see\n")
    slowest = done.latency_ns[done.family.reference]
    table(
        ("variant", done.measure, "bytes", "MACs", "us, 1 thread", "speed-up", "made by"),
        [
            (v.name, f"{v.accuracy_frac:.2%}", v.artefact_bytes, v.macs, done.latency_ns[v.name] // 1000,
             f"{slowest / done.latency_ns[v.name]:.2f}", " + ".join(v.transforms) or "as it came")
            for v in done.family.variants
        ],
    )  # fmt: skip
    for dropped in done.dropped:
        click.echo(f"dropped {dropped.name}: {dropped.reason}")
    for note in done.notes:
        click.echo(f"note: {note}")
    click.echo(f"\nwritten to {done.folder}; serve it with: trimtab serve --families {done.folder.parent}")
