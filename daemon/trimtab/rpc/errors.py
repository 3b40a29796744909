"""How anything that goes wrong is told to a caller: one status code and one sentence.

Codes are gRPC's canonical ones, but this file knows no gRPC, so any transport can use it.
"""

from enum import IntEnum
from typing import Final

from trimtab.domain.decision import Cause, Outcome, Result

MESSAGE_LIMIT: Final = 1_000
SHOWN_LIMIT: Final = 80


class Code(IntEnum):
    """The canonical gRPC status codes that trimtab answers with."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14


class WireError(Exception):
    """A call that gets no answer; ``decision_id`` is empty when the scheduler never saw it."""

    def __init__(self, code: Code, message: str, decision_id: str = "") -> None:
        short = message if len(message) <= MESSAGE_LIMIT else f"{message[:MESSAGE_LIMIT]}..."
        super().__init__(short)
        self.code = code
        self.message = short
        self.decision_id = decision_id


def invalid(message: str) -> WireError:
    """Return the error for a request that can never be served as it is."""
    return WireError(Code.INVALID_ARGUMENT, message)


def not_found(what: str, name: str, known: list[str]) -> WireError:
    """Return the error for a name nobody has, naming those that exist."""
    return WireError(Code.NOT_FOUND, f"unknown {what} {shown(name)}; known: {', '.join(known) or 'none'}")


def shown(value: object) -> str:
    """Return ``repr(value)``, shortened: a caller's bytes must not swell an error message."""
    text = repr(value[: SHOWN_LIMIT + 1]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= SHOWN_LIMIT else f"{text[:SHOWN_LIMIT]}..."


def failure(result: Result) -> WireError:
    """Return the error for a request that ended in any way but ``done``."""
    code = CAUSES.get(result.cause) or OUTCOMES[result.outcome]
    return WireError(code, result.reason or result.cause.value or f"{result.outcome}", result.request_id)


CAUSES: Final = {
    Cause.DRAINING: Code.UNAVAILABLE,
    Cause.NOT_READY: Code.UNAVAILABLE,
    Cause.UNKNOWN_TASK: Code.NOT_FOUND,
    Cause.UNKNOWN_VARIANT: Code.NOT_FOUND,
    Cause.GOALS: Code.FAILED_PRECONDITION,
    Cause.RESERVE: Code.FAILED_PRECONDITION,
    Cause.MONEY: Code.FAILED_PRECONDITION,
    Cause.OVERLOAD: Code.RESOURCE_EXHAUSTED,
    Cause.DEADLINE: Code.DEADLINE_EXCEEDED,
    Cause.CALLER: Code.CANCELLED,
    Cause.INPUT: Code.INVALID_ARGUMENT,
    Cause.VARIANT: Code.INTERNAL,
}
"""The code of each cause; one that is missing here falls back to its outcome's."""

OUTCOMES: Final = {
    Outcome.REJECTED: Code.RESOURCE_EXHAUSTED,
    Outcome.EXPIRED: Code.DEADLINE_EXCEEDED,
    Outcome.CANCELLED: Code.CANCELLED,
    Outcome.FAILED: Code.INTERNAL,
}
