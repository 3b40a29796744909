"""Make recorded decisions again: the events of a journal through a fresh scheduler."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from trimtab.core.commands import Command
from trimtab.core.events import Event
from trimtab.core.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Step:
    """One event and the commands that were recorded after it."""

    at_ns: int
    event: Event
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A step at which the replay did something else than the record says."""

    index: int
    step: Step
    replayed: tuple[Command, ...]


def steps(items: Iterable[tuple[int, Event | Command]]) -> Iterator[Step]:
    """Group a journal's rows (time, event or command) into steps; commands before any event are an error."""
    at_ns, event = 0, None
    commands: list[Command] = []
    for item_ns, item in items:
        if isinstance(item, Event):
            if event is not None:
                yield Step(at_ns, event, tuple(commands))
            at_ns, event, commands = item_ns, item, []
        elif event is None:
            raise ValueError(f"a command without an event before it: {item}")
        else:
            commands.append(item)
    if event is not None:
        yield Step(at_ns, event, tuple(commands))


def replay(
    scheduler: Scheduler, recorded: Iterable[Step], done: Callable[[Step], None] = lambda _: None
) -> Iterator[Difference]:
    """Feed recorded events to ``scheduler`` and yield each step whose commands differ.

    ``done`` is called after each step, so that a caller can count or look at the state.
    """
    for index, step in enumerate(recorded):
        commands = tuple(scheduler.handle(step.event, step.at_ns))
        if commands != step.commands:
            yield Difference(index, step, commands)
        done(step)
