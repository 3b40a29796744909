"""Ctrl-C in commands that simulate: they end with what they have."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from trimtab_sim.simulate import Stop

INTERRUPTED: Final = 128 + signal.SIGINT
"""Exit code of a command that Ctrl-C ended, as shells have it."""


@contextmanager
def interruptible(told: str) -> "Iterator[Stop]":
    """Yield what Ctrl-C asks to stop, telling so in these words; a second Ctrl-C interrupts at once."""
    from trimtab_sim.simulate import Stop

    stop = Stop()

    def on_signal(_number: int, _frame: object) -> None:
        stop.ask()
        signal.signal(signal.SIGINT, before)
        click.echo(told, err=True)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
