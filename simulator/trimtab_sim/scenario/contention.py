"""What slows processors down over time: given steps, spells that come and go, and runs that are off by themselves."""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Final

from trimtab.domain.settings import allows
from trimtab_sim.runtime import Contention, difficulty
from trimtab_sim.scenario.model import Slowdown

Process = Callable[[int], float]
"""The factor at a moment (ns since the scenario began)."""
MIN_SPELL_NS: Final = 1000
MOMENT_NS: Final = 1000
"""Jitter is drawn anew for each moment of this length."""


class Steps:
    """Factors that hold from one moment to the next; 1 before the first."""

    def __init__(self, steps: Iterable[tuple[int, float]]) -> None:
        """Take (from ns, factor) in order of time."""
        self._times, self._factors = zip(*steps, strict=True)

    def __call__(self, now_ns: int) -> float:
        """Return the factor that holds at ``now_ns``."""
        index = bisect_right(self._times, now_ns) - 1
        return float(self._factors[index]) if index >= 0 else 1.0


class Switching:
    """Slow and full-speed spells in turn, both of exponential length; it starts at full speed.

    The on-off memory contention of ALERT (Wan et al., USENIX ATC 2020, section 5) is such a process. Spells
    are drawn as time goes on, and a moment may lie before one asked for earlier.
    """

    def __init__(self, factor: float, on_ns: int, off_ns: int, seed: str) -> None:
        """Draw spells of mean ``on_ns`` (slow) and ``off_ns`` from ``seed``."""
        self._factor = factor
        self._means = (off_ns, on_ns)
        self._rng = random.Random(seed)  # noqa: S311  a simulation, not a secret
        self._ends = [self._spell(0)]

    def __call__(self, now_ns: int) -> float:
        """Return the factor that holds at ``now_ns``."""
        while self._ends[-1] <= now_ns:
            self._ends.append(self._ends[-1] + self._spell(len(self._ends) % 2))
        slow = bisect_right(self._ends, now_ns) % 2
        return self._factor if slow else 1.0

    def _spell(self, kind: int) -> int:
        return max(MIN_SPELL_NS, round(self._rng.expovariate(1.0 / self._means[kind])))


class Jitter:
    """A factor of its own at each moment, never below 1 and heavy-tailed: 1 + scale ((1 - u)^(-1/shape) - 1).

    That is a Lomax (Pareto II) excess: a share p of the moments exceeds scale (p^(-1/shape) - 1). It is a function
    of seed and moment alone and so the same for all processors: whoever runs then is as unlucky.
    """

    def __init__(self, scale: float, shape: float, seed: str) -> None:
        """Draw from ``seed``; the mean excess is scale / (shape - 1) for a shape above 1."""
        self._scale = scale
        self._power = -1.0 / shape
        self._seed = random.Random(seed).getrandbits(62)  # noqa: S311  a simulation, not a secret

    def __call__(self, now_ns: int) -> float:
        """Return the factor that holds at ``now_ns``."""
        left = 1.0 - difficulty(self._seed, now_ns // MOMENT_NS)
        return 1.0 + self._scale * (float(left**self._power) - 1.0)


def contention(
    slowdowns: Iterable[Slowdown], processors: Iterable[str], seed: int, start_ns: int
) -> Contention:
    """Return the factor by processor and moment: the product of all entries that concern it.

    Each processor has spells of its own, drawn from the seed, its name and the entry's number, unless they are
    ``shared``.
    """
    processes: dict[str, list[Process]] = {name: [] for name in processors}
    for number, slowdown in enumerate(slowdowns):
        alike = _process(slowdown, f"{seed}/{number}")
        for name in processes:
            if allows(slowdown.processors, name):
                own = slowdown.switching and not slowdown.shared
                processes[name].append(_process(slowdown, f"{seed}/{number}/{name}") if own else alike)

    def factor(processor: str, now_ns: int) -> float:
        product = 1.0
        for process in processes[processor]:
            product *= process(now_ns - start_ns)
        return product

    return factor


def _process(slowdown: Slowdown, seed: str) -> Process:
    """Return the process of one entry."""
    if slowdown.jitter is not None:
        return Jitter(*slowdown.jitter, seed)
    if slowdown.switching:
        return Switching(slowdown.steps[0][1], slowdown.on_ns, slowdown.off_ns, seed)
    return Steps(slowdown.steps)
