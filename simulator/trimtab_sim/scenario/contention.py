"""What slows processors down over time: given steps, or spells that come and go at random."""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Final

from trimtab.domain.settings import allows
from trimtab_sim.runtime import Contention
from trimtab_sim.scenario.model import Slowdown

Process = Callable[[int], float]
"""The factor at a moment (ns since the scenario began)."""
MIN_SPELL_NS: Final = 1000


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


def contention(
    slowdowns: Iterable[Slowdown], processors: Iterable[str], seed: int, start_ns: int
) -> Contention:
    """Return the factor by processor and moment: the product of all entries that concern it.

    Each processor has a random process of its own, drawn from the seed, its name and the entry's number.
    """
    processes: dict[str, list[Process]] = {name: [] for name in processors}
    for number, slowdown in enumerate(slowdowns):
        steps = Steps(slowdown.steps)
        for name in processes:
            if not allows(slowdown.processors, name):
                continue
            if slowdown.switching:
                own_seed = f"{seed}/{number}/{name}"
                slower = slowdown.steps[0][1]
                processes[name].append(Switching(slower, slowdown.on_ns, slowdown.off_ns, own_seed))
            else:
                processes[name].append(steps)

    def factor(processor: str, now_ns: int) -> float:
        product = 1.0
        for process in processes[processor]:
            product *= process(now_ns - start_ns)
        return product

    return factor
