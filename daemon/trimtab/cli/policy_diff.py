"""``trimtab policy diff``: what changes for whom when one policy takes another's place."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.output import json_option, print_json, table, user_errors

if TYPE_CHECKING:
    from trimtab_sim.policy_diff import PolicyDiff

SHOWN_VARIANTS = 4
LEAST_SHARE = 0.005
"""A variant with a smaller share of the answers is not named: it would read 0%."""


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--trace", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="SCENARIO", help="The scenario whose requests both policies meet.")  # fmt: skip
@click.option("--changes", type=click.IntRange(0, 1000), default=5, show_default=True, help="So many kinds of change are told, each with an example.")  # fmt: skip
@json_option
@user_errors
def diff(a: str, b: str, trace: Path, changes: int, as_json: bool) -> None:
    """Run the policies A and B (files or shipped names) on the same requests and tell what changes for whom.

    Both are run with the battery and money goals of SCENARIO, if it has any (docs/tuning.md).
    """
    from trimtab_sim.policy_diff import policy_diff
    from trimtab_sim.scenario import named_policy, prepare_file

    prepared = prepare_file(trace)
    for note in prepared.notes:
        click.echo(f"warning: {note}", err=True)
    both = (named_policy(a, prepared.scenario), named_policy(b, prepared.scenario))
    labels = (both[0].name, both[1].name) if both[0].name != both[1].name else (f"A: {a}", f"B: {b}")
    found = policy_diff(prepared, both, labels=labels, most=changes)
    if as_json:
        print_json(diff_as_json(found, prepared.scenario.name))
    else:
        _print(found, prepared.scenario.name)


def diff_as_json(found: "PolicyDiff", scenario: str) -> dict[str, Any]:
    """Return a comparison as plain values; pairs become mappings by ``a`` and ``b``."""
    a, b = found.labels
    return {
        "scenario": scenario,
        "a": a,
        "b": b,
        "requests": found.requests,
        "decided_differently": found.different,
        "on_time_only_under_b": found.earned,
        "on_time_only_under_a": found.lost,
        "figures": {"a": dict(found.figures[0]), "b": dict(found.figures[1])},
        "by": {
            kind: {name: {"a": dict(pair[0]), "b": dict(pair[1])} for name, pair in groups.items()}
            for kind, groups in found.groups.items()
        },
        "changes": found.changes,
    }


def _print(found: "PolicyDiff", scenario: str) -> None:
    a, b = found.labels
    share = found.different / max(1, found.requests)
    click.echo(
        f"{scenario}: {found.different} of {found.requests} requests ({share:.1%}) are decided differently under {b}"
    )
    click.echo(f"on time only under {b}: {found.earned}; only under {a}: {found.lost}\n")
    names = [
        name
        for name in found.figures[0]
        if found.figures[0][name] is not None or found.figures[1][name] is not None
    ]
    table(("", a, b), [(name, *(_cell(side[name]) for side in found.figures)) for name in names])
    told: list[Any] = []
    for kind, groups in found.groups.items():
        if list(groups.values()) in told:  # one app is one stream is one task: once is enough
            continue
        told.append(list(groups.values()))
        click.echo()
        table(
            (f"by {kind}", "policy", "requests", "on time", "accuracy", "J of runs", "variants"),
            _rows(found, groups),
        )
    for change in found.changes:
        in_time = f"on time {change.on_time_a} -> {change.on_time_b}"
        click.echo(f"\n{change.count} x {change.task}: {change.a} -> {change.b} ({in_time})")
        click.echo(f"  such as {change.example}, {change.at_ns / 1e9:.1f} s after the start")
        click.echo(f"  {a}: {change.reason_a}")
        click.echo(f"  {b}: {change.reason_b}")


def _rows(found: "PolicyDiff", groups: Any) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, pair in groups.items():
        for label, one in zip(found.labels, pair, strict=True):
            used = [used for used in one["share_by_variant"].items() if used[1] >= LEAST_SHARE]
            told = ", ".join(f"{variant} {share:.0%}" for variant, share in used[:SHOWN_VARIANTS])
            more = f" and {len(used) - SHOWN_VARIANTS} more" if len(used) > SHOWN_VARIANTS else ""
            rows.append((
                name if label == found.labels[0] else "", label, str(one["requests"]), f"{one['on_time_frac']:.1%}",
                f"{one['accuracy_mean']:.2%}", f"{one['run_energy_j']:.4g}", told + more,
            ))  # fmt: skip
    return rows


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.5g}"
