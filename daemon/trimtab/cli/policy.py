"""``trimtab policy``: check, list, explain, tune and compare policies; look at and change what is in force."""

from typing import TYPE_CHECKING

import click

from trimtab.cli.output import address_option, fail, json_option, print_json, table, user_errors
from trimtab.cli.policy_diff import diff
from trimtab.cli.policy_explain import explain_policy
from trimtab.cli.policy_tune import tune

if TYPE_CHECKING:
    from trimtab.policy import Inventory


@click.group()
def policy() -> None:
    """Check, explain, tune and compare policies; see and set the one in force."""


policy.add_command(diff)
policy.add_command(explain_policy)
policy.add_command(tune)


@policy.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@json_option
@user_errors
def check(files: tuple[str, ...], as_json: bool) -> None:
    """Check policy files (or shipped names) without a daemon; exit code 1 when one is invalid.

    Names of variants and processors are compared with the shipped families and this machine: a pattern
    that matches nothing is a warning, not an error.
    """
    from trimtab.policy import PolicyError, check_against, load_policy_file, read_policy_text, resolve_name

    inventory = _inventory()
    report, bad = [], False
    for name in files:
        path = resolve_name(name)
        try:
            parsed = load_policy_file(path)
            warnings = check_against(parsed, inventory, read_policy_text(path), str(path))
            report.append({"file": str(path), "valid": True, "problems": [], "warnings": warnings})
        except PolicyError as error:
            bad = True
            report.append({"file": str(path), "valid": False, "problems": error.problems, "warnings": []})
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if bad:
        raise SystemExit(1)


def _print_report(report: list[dict[str, object]]) -> None:
    for entry in report:
        problems, warnings = entry["problems"], entry["warnings"]
        assert isinstance(problems, list | tuple)
        assert isinstance(warnings, list | tuple)
        for problem in problems:
            click.echo(str(problem), err=True)
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        click.echo(f"{entry['file']}: {'ok' if entry['valid'] else count}")


def _inventory() -> "Inventory":
    from trimtab.adapters.family_store import FolderStore, shipped_families
    from trimtab.adapters.processors import discover_processors
    from trimtab.policy import Inventory

    families = FolderStore((shipped_families(),)).families()
    variants = {s.family.task: tuple(v.name for v in s.family.variants) for s in families}
    return Inventory(variants, tuple(p.name for p in discover_processors()))


@policy.command("list")
@json_option
@user_errors
def list_policies(as_json: bool) -> None:
    """List the policies that ship with trimtab."""
    from trimtab.policy import load_policy_file, resolve_name, shipped_policy_names

    rows = [(name, load_policy_file(resolve_name(name))) for name in shipped_policy_names()]
    if as_json:
        print_json([{"name": n, "file": str(resolve_name(n)), "description": p.description} for n, p in rows])
    else:
        table(("policy", "description"), [(n, " ".join(p.description.split())) for n, p in rows])


@policy.command()
@address_option
@json_option
@user_errors
def show(address: str, as_json: bool) -> None:
    """Print the policy the daemon has in force."""
    from trimtab.client import Client

    with Client(address) as client:
        text = client.get_policy()
    if as_json:
        print_json({"yaml": text})
    else:
        click.echo(text, nl=False)


@policy.command("set")
@click.argument("file", metavar="FILE")
@address_option
@user_errors
def set_policy(file: str, address: str) -> None:
    """Put a policy (file or shipped name) in force until the next reload or restart."""
    from trimtab.client import Client, TrimtabError
    from trimtab.policy import read_policy_text, resolve_name

    path = resolve_name(file)
    with Client(address) as client:
        try:
            name = client.set_policy(read_policy_text(path))
        except TrimtabError as error:
            if not error.problems:
                raise
            fail("\n".join(str(problem).replace("<request>", str(path)) for problem in error.problems))
    click.echo(f"policy {name} is in force")
