"""Everything the scheduler can ask of its driver, in the order in which it wants it done."""

from trimtab.domain.decision import Decision, Result, Verdict
from trimtab.domain.grounds import Grounds
from trimtab.domain.record import Record


class Command(Record, frozen=True):
    """Base of all commands; a driver executes each exactly once, in order."""


class Load(Command, frozen=True):
    """Make a variant resident in a pool, then report ``LoadFinished`` or ``LoadFailed``."""

    task: str
    variant: str
    pool: str


class Evict(Command, frozen=True):
    """Give a variant's memory back, then report ``EvictFinished``."""

    task: str
    variant: str
    pool: str


class Decided(Command, frozen=True, omit_defaults=True):
    """Record a decision. ``verdicts`` and ``grounds`` are filled only by a scheduler that was asked to explain."""

    decision: Decision
    verdicts: tuple[Verdict, ...] = ()
    grounds: Grounds | None = None


class RunStage(Command, frozen=True):
    """Run one stage on a processor that is free, then report ``StageFinished`` or ``RunFailed``.

    ``budget_ns`` is the time left until the deadline, told where a server has to know it; it may be negative.
    """

    request_id: str
    task: str
    variant: str
    processor: str
    stage: int
    budget_ns: int = 0


class Finish(Command, frozen=True, omit_defaults=True):
    """Answer the caller: with the output of exit ``result.exit_index`` when done, else with the reason.

    ``verdicts`` say why no candidate could serve a rejected request, under which ``grounds``; filled only when
    explaining.
    """

    result: Result
    verdicts: tuple[Verdict, ...] = ()
    grounds: Grounds | None = None


class SetTimer(Command, frozen=True):
    """Report ``TimerFired`` at ``at_ns``; replaces the timer set before."""

    at_ns: int


class Drained(Command, frozen=True):
    """Nothing is left to finish."""
