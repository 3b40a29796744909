"""What executes variants in simulated time: from their profiles, or for real with measured times.

The driver asks a ``SimulatedRuntime`` how long a load or run takes and what it costs, and lets that much
simulated time pass. A ``trimtab.ports.RuntimeFailure`` it raises becomes the event that the daemon would see.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from math import exp
from statistics import NormalDist
from typing import Final, Protocol
from zlib import crc32

import numpy as np

from trimtab.domain.decision import Decision, Outcome, Result
from trimtab.domain.family import Family, Profile
from trimtab.domain.processor import Processor
from trimtab.domain.record import Record
from trimtab.ports import RuntimeFailure
from trimtab_sim.arrivals import Arrival

MASK: Final = (1 << 64) - 1
SEED_STEP: Final = 0xD1342543DE82EF95
STEP: Final = 0x9E3779B97F4A7C15
MIX_1, MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The constants of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), and one that sets seeds apart."""
NORMAL: Final = tuple(NormalDist().inv_cdf((index + 0.5) / (1 << 12)) for index in range(1 << 12))
"""Equally likely values of a standard normal variable."""
BITS_26: Final = (1 << 26) - 1
BLOCK: Final = 1024
_DONE = Outcome.DONE


class Loading(Record, frozen=True):
    """What making a variant resident took."""

    load_ns: int
    resident_bytes: int
    energy_uj: float


class Running(Record, frozen=True):
    """What running one stage took, and the confidence (max softmax, 0..1) at its exit.

    ``around_ns`` is what passed beyond the run until the scheduler was told: threads that wake, the event loop.
    ``cost_usd`` is what a server charged.
    """

    run_ns: int
    energy_uj: float
    confidence: float
    around_ns: int = 0
    cost_usd: float = 0.0


class Run(Record, frozen=True):
    """One stage to run for an arrival, as its decision says."""

    arrival: Arrival
    decision: Decision
    processor: Processor
    stage: int


class SimulatedRuntime(Protocol):
    """Executes variants; ``now_ns`` is simulated time."""

    def load(self, task: str, variant: str, processor: Processor, now_ns: int) -> Loading:
        """Make a variant resident in the processor's pool; raise ``RuntimeFailure``."""

    def evict(self, task: str, variant: str, pool: str, now_ns: int) -> int:
        """Give a variant's memory back and return how many ns that took."""

    def run(self, run: Run, now_ns: int) -> Running:
        """Run one stage; raise ``RuntimeFailure``."""

    def judge(self, arrival: Arrival, decision: Decision | None, result: Result) -> bool | None:
        """Return whether a request that ended was answered correctly (``None``: unknown), and forget it."""

    def close(self) -> None:
        """Release what is held."""


Contention = Callable[[str, int], float]
"""The factor by which a processor (by name) is slower than profiled at a moment (ns)."""


def _none(_processor: str, _now_ns: int) -> float:
    return 1.0


class ModelledRuntime:
    """Takes times, energy and memory from profiles, with lognormal noise and contention on top.

    Energy is the profile's power times the simulated duration. Noise, and the exit at which a request leaves
    in the shares of the rule, depend on seed, task and request id alone, so a request has the same luck on
    every variant and under every policy; the n-th load of a variant likewise. A sample is as hard for every variant: it is
    answered correctly when its difficulty, uniform in 0..1 and a function of seed and sample alone, lies
    below the accuracy where it left (the rule's own if it left by confidence or at the end, that of the
    exit if it was cut short). So strategies are compared on the same draw of samples.
    """

    def __init__(
        self,
        families: Iterable[Family],
        profiles: Mapping[str, Iterable[Profile]],
        seed: int = 0,
        contention: Contention = _none,
    ) -> None:
        """Model these families with the profiles of each task; the same seed gives the same run."""
        families = tuple(families)
        self._rules = {
            (family.task, variant.name, rule.name): (rule, tuple(accumulate(rule.share_frac)))
            for family in families
            for variant in family.variants
            for rule in variant.exit_rules
        }
        self._profiles = {
            (task, profile.variant, profile.processor): profile
            for task, some in profiles.items()
            for profile in some
        }
        self._first = seed * SEED_STEP
        self._tasks = {family.task: crc32(family.task.encode()) << 32 for family in families}
        self._loads: dict[str, int] = {}
        self._difficulties = _Difficulties(seed)
        self._contention = contention

    def load(self, task: str, variant: str, processor: Processor, now_ns: int) -> Loading:
        """Take the profile's load with noise and contention."""
        profile = self._profile(task, variant, processor.name)
        name = f"{task}/{variant}/{processor.name}"
        self._loads[name] = nth = self._loads.get(name, 0) + 1
        luck = mixed(self._first + (crc32(name.encode()) << 32) + nth * STEP)
        factor = exp(profile.latency_spread * NORMAL[luck & 0xFFF])
        factor *= self._contention(profile.processor, now_ns)
        load_ns = max(1, round(profile.load_ns * factor))
        return Loading(load_ns, profile.resident_bytes, profile.load_energy_uj * factor)

    def evict(self, task: str, variant: str, pool: str, now_ns: int) -> int:
        """Take no time."""
        del task, variant, pool, now_ns
        return 0

    def run(self, run: Run, now_ns: int) -> Running:
        """Take the profile's stage with noise and contention, in proportion to the batch.

        The confidence is at or above the rule's threshold with the probability of leaving here.
        """
        request, decision, stage = run.arrival.request, run.decision, run.stage
        task, variant = request.task, decision.variant
        profile = self._profile(task, variant, run.processor.name)
        luck = mixed(self._first + (self._tasks[task] + crc32(request.request_id.encode())) * STEP)
        factor = exp(profile.latency_spread * NORMAL[luck & 0xFFF])
        if self._contention is not _none:
            factor *= self._contention(profile.processor, now_ns)
        factor *= request.batch
        run_ns = round(profile.stage_latency_ns[stage] * factor)
        rule, left_frac = self._rules[task, variant, decision.exit_rule]
        draw, threshold = (luck >> 38) / (1 << 26), rule.threshold if rule.threshold < 1.0 else 1.0
        confidence = threshold * draw
        if ((luck >> 12) & BITS_26) / (1 << 26) < left_frac[stage]:
            confidence = threshold + (1.0 - threshold) * draw
        energy_uj = profile.stage_energy_uj[stage] * factor
        cost_usd = _charge_usd(run.processor, profile.stage_latency_ns[stage], factor)
        return Running(run_ns if run_ns > 1 else 1, energy_uj, confidence, cost_usd=cost_usd)

    def judge(self, arrival: Arrival, decision: Decision | None, result: Result) -> bool | None:
        """Compare the sample's difficulty with the accuracy where it left."""
        if result.outcome is not _DONE or decision is None:
            return None
        rule, _ = self._rules[arrival.request.task, decision.variant, decision.exit_rule]
        by_rule = result.confidence >= rule.threshold
        accuracy_frac = rule.accuracy_frac[-1 if by_rule else result.exit_index]
        return self._difficulties.of(arrival.sample) < accuracy_frac

    def close(self) -> None:
        """Hold nothing."""

    def _profile(self, task: str, variant: str, processor: str) -> Profile:
        try:
            return self._profiles[task, variant, processor]
        except KeyError:
            raise RuntimeFailure(f"no profile of {task}/{variant} on {processor}") from None


def _charge_usd(processor: Processor, latency_ns: int, factor: float) -> float:
    """Return what a server charges when its own time is ``factor`` times what the profile says."""
    if not processor.is_remote:
        return 0.0
    return processor.charge_usd(processor.network_ns + max(0, latency_ns - processor.network_ns) * factor)


def difficulty(seed: int, sample: int) -> float:
    """Return a number uniform in 0..1 that depends on seed and sample alone (splitmix64)."""
    return (mixed(seed * SEED_STEP + (sample + 1) * STEP) >> 11) / (1 << 53)


def mixed(number: int) -> int:
    """Return 64 bits that each depend on every bit of a number (splitmix64)."""
    x = number & MASK
    x = ((x ^ (x >> 30)) * MIX_1) & MASK
    x = ((x ^ (x >> 27)) * MIX_2) & MASK
    return x ^ (x >> 31)


class _Difficulties:
    """``difficulty`` of samples that mostly come one after the other: worked out a block at a time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._first = 0
        self._block: list[float] = []

    def of(self, sample: int) -> float:
        """Return a sample's difficulty."""
        index = sample - self._first
        if 0 <= index < len(self._block):
            return self._block[index]
        if index == len(self._block) or not self._block:
            self._first, self._block = sample, difficulties(self._seed, sample, BLOCK)
            return self._block[0]
        return difficulty(self._seed, sample)


def difficulties(seed: int, first: int, count: int) -> list[float]:
    """Return what ``difficulty`` does for ``count`` samples from ``first`` on."""
    x = np.arange(first + 1, first + 1 + count, dtype=np.uint64) * np.uint64(STEP)
    x += np.uint64(seed * SEED_STEP & MASK)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(MIX_2)
    found: list[float] = (((x ^ (x >> np.uint64(31))) >> np.uint64(11)) / (1 << 53)).tolist()
    return found
