"""The price of processor time: what others lose when one request occupies a processor.

The time until the deadlines of those that wait is a knapsack which requests fill online. Its price rises with the fill
``z`` from the least that a processor's time brings in use, ``low``, to the most, ``high`` (utility per ns):

    price = low * (e * high / low) ** z / e        once that is ``low``, nothing before

No rule that does not know what will come can promise a larger share of the best possible than this one does,
1 / (1 + ln(high / low)): Zhou, Chakrabarty and Lukose, "Budget constrained bidding in keyword auctions and online
knapsack problems", WINE 2008. So in a burst small variants are taken while there still is time for everybody.
"""

from collections.abc import Iterable, Sequence
from math import exp, log
from typing import NamedTuple

from trimtab.core.estimator import slowdown
from trimtab.core.prices import concave_hull, rate_per_s, segments_of
from trimtab.core.queueing import Sharing
from trimtab.core.selection import Lane
from trimtab.core.state import State
from trimtab.domain.quantities import NS_PER_S

FULL = 0.75
"""Share of the time until a deadline that may be promised; the rest is for what cannot be foreseen."""
MANY = 4
"""Of so many others that wait, some lose for sure when a processor is full."""
CROWD = 6
"""When more than so many wait, it does not matter what for."""


class Worth(NamedTuple):
    """The least and the most utility that a ns of a processor brings in use; both 0 where it brings none."""

    low: float
    high: float
    steps: float = 1.0
    """1 + ln(high / low)."""


NOTHING = Worth(0.0, 0.0)


def worth_of(offers: Iterable[tuple[float, float]]) -> Worth:
    """Return what time is worth to a task with these (ns, utility) offers: their hull's flattest and steepest slope."""
    slopes = [slope for slope, _ in segments_of(concave_hull([(0.0, 0.0), *offers]))]
    return Worth(slopes[-1], slopes[0], 1.0 + log(slopes[0] / slopes[-1])) if slopes else NOTHING


def time_price(fill: float, worth: Worth) -> float:
    """Return utility per ns of a processor whose time is promised to the share ``fill``."""
    power = (fill if fill < 1.0 else 1.0) * worth.steps - 1.0
    return worth.low * exp(power) if power >= 0.0 else 0.0


def time_prices(
    state: State,
    sharing: Sharing,
    lanes: Sequence[Lane],
    worths: Sequence[Worth],
    time_ns: int,
    now_ns: int,
) -> list[float] | None:
    """Return utility per ns of a profile's latency on each processor, ``None`` when all are free.

    They are those for a request that has ``time_ns`` left. The price is in proportion to the probability that anybody else waits or comes in that time. A wide
    processor costs what its cores do.
    """
    prices = [
        time_price(max(lane.fill, lane.wait_ns / time_ns) / FULL, worth)
        for lane, worth in zip(lanes, worths, strict=False)
    ]
    if not any(prices):
        return None
    prices += [0.0] * (len(lanes) - len(prices))
    affected = _affected(state, time_ns, now_ns)
    for wide, narrow, times in sharing.wide:
        prices[wide] = times * sum([prices[one] for one in narrow]) or prices[wide]
    factors = [affected * slowdown(estimate) for estimate in state.estimates.values()]
    return [price * factor for price, factor in zip(prices, factors, strict=True)]


def _affected(state: State, time_ns: int, now_ns: int) -> float:
    """Return the probability that others lose: that more of what waits already, or anything within ``time_ns``, comes.

    One request each of several tasks is a coincidence; several of one task are a burst.
    """
    queue, lives = state.queue, state.live
    tasks = 1 if len(queue) > CROWD else len({lives[place[3]].request.task for place in queue})
    others = float(len(queue) - tasks)
    if others < MANY:
        others += sum([rate_per_s(one, now_ns) for one in state.demand.values()]) * time_ns / NS_PER_S
    return 1.0 - exp(-others)
