"""Shell completion: print the script that a shell sources."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    Example: trimtab completion bash > ~/.local/share/bash-completion/completions/trimtab
    """
    root = context.find_root().command
    maker = get_completion_class(shell)
    assert maker is not None
    click.echo(maker(root, {}, "trimtab", "_TRIMTAB_COMPLETE").source())
