"""``trimtab``: serve, ask, look, explain, check, build, measure, simulate, demonstrate."""

import click

from trimtab import __version__
from trimtab.cli.ask import infer, status
from trimtab.cli.completion import completion
from trimtab.cli.data import data
from trimtab.cli.demo import demo
from trimtab.cli.explain import explain
from trimtab.cli.family import family
from trimtab.cli.policy import policy
from trimtab.cli.profile import profile
from trimtab.cli.record import record
from trimtab.cli.replay import replay
from trimtab.cli.serve import serve
from trimtab.cli.simulate import simulate
from trimtab.cli.sweep import sweep
from trimtab.cli.trace import trace


@click.group(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "TRIMTAB"})
@click.version_option(__version__, prog_name="trimtab")
def main() -> None:
    """Pick, for every request, which compressed variant of a network runs on which processor."""


COMMANDS = (
    serve, infer, status, explain, policy, family, data, profile,
    simulate, sweep, replay, trace, record, demo, completion,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)
