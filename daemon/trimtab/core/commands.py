"""Everything the scheduler can ask of its driver, in the order in which it wants it done."""

from dataclasses import dataclass

from trimtab.domain.decision import Decision, Result, Verdict


@dataclass(frozen=True, slots=True)
class Command:
    """Base of all commands; a driver executes each exactly once, in order."""


@dataclass(frozen=True, slots=True)
class Load(Command):
    """Make a variant resident in a pool, then report ``LoadFinished`` or ``LoadFailed``."""

    task: str
    variant: str
    pool: str


@dataclass(frozen=True, slots=True)
class Evict(Command):
    """Give a variant's memory back, then report ``EvictFinished``."""

    task: str
    variant: str
    pool: str


@dataclass(frozen=True, slots=True)
class Decided(Command):
    """Record a decision. ``verdicts`` is filled only by a scheduler that was asked to explain."""

    decision: Decision
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class RunStage(Command):
    """Run one stage on a processor that is free, then report ``StageFinished`` or ``RunFailed``."""

    request_id: str
    task: str
    variant: str
    processor: str
    stage: int


@dataclass(frozen=True, slots=True)
class Finish(Command):
    """Answer the caller: with the output of exit ``result.exit_index`` when done, else with the reason.

    ``verdicts`` say why no candidate could serve a rejected request; filled only when explaining.
    """

    result: Result
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class SetTimer(Command):
    """Report ``TimerFired`` at ``at_ns``; replaces the timer set before."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class Drained(Command):
    """Nothing is left to finish."""
