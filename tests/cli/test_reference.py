"""The command line is documented, all of it, and the reference is what the commands say."""

from pathlib import Path

import click
import pytest

from trimtab.cli.main import main
from trimtab.cli.reference import commands, reference

DOCS = Path(__file__).parent.parent.parent / "docs"
COMMANDS = list(commands(main, "trimtab"))


def test_the_reference_is_up_to_date() -> None:
    found = (DOCS / "cli.md").read_text()
    assert found == reference(), "run: python -m trimtab.cli.reference > docs/cli.md"


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_and_option_has_help(name: str, command: click.Command) -> None:
    assert command.help
    assert command.help.split("\n")[0].endswith(".")
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts} has no help"


def test_all_that_print_data_print_json() -> None:
    silent = {"serve", "completion", "policy set", "family build"}
    for name, command in COMMANDS:
        if isinstance(command, click.Group) or name.removeprefix("trimtab ") in silent:
            continue
        assert any("--json" in option.opts for option in command.params), name
