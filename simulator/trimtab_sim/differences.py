"""Tell a difference between a record and its replay in words that somebody can act on."""

from collections.abc import Iterator
from typing import Final

import msgspec

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.commands import Command
from trimtab.core.events import Event
from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.replay_journal import Divergence

MOST_FIELDS: Final = 6
"""Fields named per command; the first ones tell which way it went."""


def told(divergence: Divergence) -> list[str]:
    """Return a difference as lines: where, what happened, what the record says and what the replay did."""
    at_s = divergence.at_ns / NS_PER_S
    lines = [
        f"session {divergence.session}, row {divergence.seq}, {at_s:.6f} s: {event_in_words(divergence.event)}"
    ]
    if divergence.error:
        return [*lines, f"  {divergence.error}"]
    return lines + [f"  {line}" for line in _commands(divergence.recorded, divergence.replayed)]


def _commands(recorded: tuple[Command, ...], replayed: tuple[Command, ...]) -> Iterator[str]:
    for index in range(max(len(recorded), len(replayed))):
        before = recorded[index] if index < len(recorded) else None
        after = replayed[index] if index < len(replayed) else None
        if before == after:
            continue
        if before is None or after is None or type(before) is not type(after):
            yield f"recorded: {command_in_words(before)}"
            yield f"replayed: {command_in_words(after)}"
            continue
        yield f"{type(before).__name__} {command_in_words(before)}"
        pairs = list(_fields(msgspec.to_builtins(before), msgspec.to_builtins(after), ""))
        for path, one, other in pairs[:MOST_FIELDS]:
            yield f"  {path}: recorded {one!r}, replayed {other!r}"
        if len(pairs) > MOST_FIELDS:
            yield f"  and {len(pairs) - MOST_FIELDS} fields more"


def _fields(one: object, other: object, path: str) -> Iterator[tuple[str, object, object]]:
    """Yield the paths at which two values of builtins differ, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            yield from _fields(one[key], other.get(key), f"{path}.{key}" if path else key)
    elif one != other:
        yield path, one, other


def event_in_words(event: Event) -> str:
    """Return what happened, briefly."""
    name = type(event).__name__
    match event:
        case ev.RequestArrived():
            request = event.request
            budget = request.latency_budget_ns
            within = "" if budget is None else f" within {budget / 1e6:g} ms"
            by = f" by {request.app}" if request.app else ""
            return f"{name} {request.request_id} for {request.task}{by}{within}"
        case ev.StageFinished():
            return f"{name} {event.request_id} stage {event.stage} after {event.run_ns / 1e6:.3f} ms"
        case ev.RequestCancelled() | ev.RunFailed():
            return f"{name} {event.request_id}"
        case ev.LoadFinished() | ev.LoadFailed() | ev.EvictFinished():
            return f"{name} {event.task}/{event.variant} in {event.pool}"
        case ev.PolicyReplaced():
            return f"{name} {event.policy.name}"
    return name


def command_in_words(command: Command | None) -> str:
    """Return what was to be done, briefly; nothing at all for ``None``."""
    if command is None:
        return "nothing"
    match command:
        case cm.Decided():
            return f"{command.decision.request_id}: {command.decision.summary}"
        case cm.Finish():
            result = command.result
            return f"{result.request_id}: {result.outcome.value} {result.variant} {result.reason}".rstrip()
        case cm.RunStage():
            return f"{command.request_id}: run {command.variant} stage {command.stage} on {command.processor}"
        case cm.Load() | cm.Evict():
            verb = type(command).__name__.lower()
            return f"{verb} {command.task}/{command.variant} in {command.pool}"
        case cm.SetTimer():
            return f"wake at {command.at_ns / NS_PER_S:.6f} s"
    return type(command).__name__
