"""One run of a scenario, what it came to, and who watches it."""

from collections.abc import Callable
from dataclasses import dataclass

from trimtab.domain.policy import Policy
from trimtab_sim.arrivals import Arrival
from trimtab_sim.report import Watcher
from trimtab_sim.results.summary import Row


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: a policy with its strategy, and the seed."""

    policy: Policy
    seed: int

    @property
    def label(self) -> str:
        """Return what results call it: the policy, and its strategy unless that is trimtab's own."""
        strategy = self.policy.strategy
        return self.policy.name if strategy == "value" else f"{self.policy.name}/{strategy}"


@dataclass(frozen=True, slots=True)
class WallClock:
    """What a run took on this machine: never the same twice, so never part of a summary."""

    decision_us_p50: float
    decision_us_p99: float
    requests_per_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one run came to; ``partial`` when it was stopped before the scenario's end."""

    trial: Trial
    figures: Row
    clock: WallClock
    partial: bool = False


class Observer(Watcher):
    """A watcher that is also told when a run begins, what was lost to an empty battery, and when it ends."""

    def begins(self, trial: Trial, origin_ns: int, resident_bytes: Callable[[], int]) -> None:
        """Take the trial, what its time zero is on the driver's clock, and how to ask for bytes in memory."""

    def lost(self, arrival: Arrival) -> None:
        """Take a request that came when the device was off."""

    def ends(self, result: RunResult) -> None:
        """Take what the run came to."""
