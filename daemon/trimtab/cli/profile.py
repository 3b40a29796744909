"""``trimtab profile``: measure every variant on every processor of this machine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trimtab.cli.output import fail, json_option, print_json, table, user_errors
from trimtab.cli.serve import folder_options


@click.command()
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--budget", type=click.FloatRange(min=0.5), default=5.0, show_default=True, help="Seconds of measuring per task.")  # fmt: skip
@folder_options
@click.option("--into-manifest", is_flag=True, help="Also write the result into the family's manifest, and which variants are dominated.")  # fmt: skip
@json_option
@user_errors
def profile(tasks: tuple[str, ...], budget: float, families: tuple[Path, ...], state: Path | None,
            into_manifest: bool, as_json: bool) -> None:  # fmt: skip
    """Measure latency, load time, memory and energy on this machine, and keep the result.

    The daemon does this at its first start. Measure again on a quiet machine, or after it changed.
    """
    from trimtab import app
    from trimtab.adapters.family_store import write_family
    from trimtab.cli.progress import measuring
    from trimtab_models.choose import mark_dominated

    folders = state or app.default_state_folder()
    settings = app.Settings(families=families, state_folder=folders, profile_budget_s=budget)
    known = [stored.family.task for stored in app.find_families(settings)]
    for task in tasks:
        if task not in known:
            fail(f"no family serves {task!r}; known: {', '.join(known)}")
    with measuring() as progress:
        found = app.survey_machine(settings, progress, remeasure=True, tasks=tasks)
    if into_manifest:
        for stored in found.families:
            if stored.family.task in found.profiles:
                measured = replace(stored.family, profiles=found.profiles[stored.family.task])
                write_family(mark_dominated(measured), stored.folder)
    if as_json:
        print_json(found.profiles)
    else:
        for profiles in found.profiles.values():
            print_profiles(profiles)


def print_profiles(profiles: Any) -> None:
    """Print a set of profiles as a table, with where its figures come from."""
    machine = profiles.machine
    click.echo(f"{profiles.task} on {machine.cpu} ({machine.cores} cores), {machine.runtime}")
    click.echo(f"energy: {machine.power_model}")
    table(
        ("variant", "processor", "p50 us", "p95 us", "spread", "mJ", "load ms", "MiB"),
        [
            (p.variant, p.processor, f"{sum(p.stage_latency_ns) / 1e3:.1f}", f"{p.latency_ns_p95 / 1e3:.1f}",
             f"{p.latency_spread:.3f}", f"{sum(p.stage_energy_uj) / 1e3:.4f}", f"{p.load_ns / 1e6:.1f}",
             f"{p.resident_bytes / (1 << 20):.2f}")
            for p in profiles.profiles
        ],
    )  # fmt: skip
