"""Play a device through the real scheduler and see how a typical request is decided there.

Runs take what their profiles say; loads are over at once. Nothing is drawn: of those that a staged variant
serves, each leaves at the exit that keeps the shares of the exit rule.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.chooser import Chooser
from trimtab.core.scheduler import Scheduler
from trimtab.core.selection import Strategy
from trimtab.core.state import State
from trimtab.domain.decision import Candidate
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request

GOLDEN = 0.6180339887498949
"""Multiples of it, less their whole parts, fill 0..1 evenly."""
START_NS = NS_PER_S


@dataclass(frozen=True, slots=True)
class Setup:
    """What a rehearsal is played with: processors, and what is served with its profiles."""

    processors: tuple[Processor, ...]
    families: tuple[tuple[Family, tuple[Profile, ...]], ...]


class Rehearsal:
    """A scheduler that is told everything a driver would tell it, at once and without surprises."""

    def __init__(self, strategy_named: Callable[[str], Strategy], setup: Setup, policy: Policy) -> None:
        """Put a policy in force on a device that serves what is in ``setup``."""
        self._scheduler = Scheduler(strategy_named, explain=True)
        self._profiles = {
            (task.task, p.variant, p.processor): p for task, some in setup.families for p in some
        }
        self._told: list[cm.Decided | cm.Finish] = []
        self._count = 0
        self.now_ns = START_NS
        self._feed(ev.PolicyReplaced(policy))
        if setup.processors:
            self._feed(ev.ProcessorsFound(setup.processors))
        for family, profiles in setup.families:
            self._feed(ev.FamilyAdded(family))
            self._feed(ev.ProfilesReplaced(family.task, profiles))

    @property
    def state(self) -> State:
        """Return the scheduler's state."""
        return self._scheduler.state

    @property
    def chooser(self) -> Chooser:
        """Return what the scheduler chooses with."""
        return self._scheduler.chooser

    def read(self, devices: Sequence[DeviceState]) -> None:
        """Let the sensors report these states, one after the other."""
        for device in devices:
            self._feed(ev.DeviceChanged(device))

    def ask(self, request: Request, *, times: int, gap_ns: int) -> cm.Decided | cm.Finish:
        """Let a request come so many times, ``gap_ns`` apart; return what was decided about the last one."""
        for _ in range(times):
            self.now_ns += gap_ns
            self._told.clear()
            self._count += 1
            name = f"{request.request_id}{self._count}"
            self._feed(ev.RequestArrived(replace(request, request_id=name)))
        return self._told[0]

    # ---- what a driver does ------------------------------------------------------------------------

    def _feed(self, event: ev.Event) -> None:
        waiting: deque[ev.Event] = deque([event])
        while waiting:
            for command in self._scheduler.handle(waiting.popleft(), self.now_ns):
                match command:
                    case cm.Load():
                        waiting.append(self._loaded(command))
                    case cm.Evict():
                        waiting.append(ev.EvictFinished(command.task, command.variant, command.pool))
                    case cm.RunStage():
                        waiting.append(self._ran(command))
                    case cm.Decided() | cm.Finish():
                        self._told.append(command)

    def _loaded(self, load: cm.Load) -> ev.LoadFinished:
        processors = self._scheduler.state.processors
        one = next(
            p
            for (task, variant, name), p in self._profiles.items()
            if (task, variant) == (load.task, load.variant) and processors[name].pool == load.pool
        )
        return ev.LoadFinished(load.task, load.variant, load.pool, one.load_ns, one.resident_bytes)

    def _ran(self, run: cm.RunStage) -> ev.StageFinished:
        one = self._profiles[run.task, run.variant, run.processor]
        candidate = self._scheduler.state.live[run.request_id].candidate
        assert candidate is not None
        run_ns, energy_uj = one.stage_latency_ns[run.stage], one.stage_energy_uj[run.stage]
        self.now_ns += run_ns
        leaves = run.stage >= self._exit_of(candidate)
        return ev.StageFinished(run.request_id, run.stage, run_ns, energy_uj, 1.0 if leaves else 0.0)

    def _exit_of(self, candidate: Candidate) -> int:
        """Return at which exit the present request leaves."""
        place = (self._count * GOLDEN) % 1.0
        for index, share in enumerate(candidate.share_frac):
            place -= share
            if place < 0.0:
                return index
        return len(candidate.share_frac) - 1
