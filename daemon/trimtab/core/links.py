"""Processors elsewhere: whether they can be reached, for what share of the time, and how many they take at once."""

from math import exp, sqrt

from trimtab.core.queueing import Sharing, queued_on
from trimtab.core.selection import Lane
from trimtab.core.state import Link, State
from trimtab.domain.quantities import NS_PER_S

MEMORY_S = 86_400.0
"""Time spent in and out of reach is forgotten exponentially: a day of it counts."""
PRIOR_S = 1_800.0
PRIOR_SHARE = 0.9
PRIOR_OUTAGE_S = 300.0
"""Before anything is known a server is expected to be in reach for this share, and out of reach for so long at a time.

Half an hour, and one outage, count as much.
"""
CAUTION = 2.0
"""Outages are planned for at so many standard deviations above their mean.

Energy kept for one that does not come saves a little money later; energy missing in one costs whole answers.
"""


def note_link(link: Link, reachable: bool, round_trip_ns: int, now_ns: int) -> None:
    """Take over what was found about the way to a server."""
    if round_trip_ns > 0:
        link.round_trip_ns = round_trip_ns
    if reachable != link.reachable:
        kept = exp((link.since_ns - now_ns) / NS_PER_S / MEMORY_S)
        link.up_s, link.down_s = _spells(link, now_ns)
        link.outages = link.outages * kept + (not reachable)
        link.reachable, link.since_ns = reachable, now_ns


def reachable_share(link: Link, now_ns: int) -> float:
    """Return the share of the time (0..1) for which a server can be expected to be in reach."""
    up_s, down_s = _spells(link, now_ns)
    return (PRIOR_S * PRIOR_SHARE + up_s) / (PRIOR_S + up_s + down_s)


def safe_share(link: Link, now_ns: int, left_s: float) -> float:
    """Return the share of the next ``left_s`` seconds for which a server can be counted on to be in reach.

    Outages of exponential length L that come at random and take a share d of the time take d T of T seconds, with a
    variance of 2 d L T.
    """
    down = 1.0 - reachable_share(link, now_ns)
    outage_s = (PRIOR_OUTAGE_S + _spells(link, now_ns)[1]) / (1.0 + link.outages)
    return max(0.0, 1.0 - down - CAUTION * sqrt(2.0 * down * outage_s / max(left_s, 1.0)))


def _spells(link: Link, now_ns: int) -> tuple[float, float]:
    """Return the weights of the time in and out of reach up to now, the present spell included."""
    kept = exp((link.since_ns - now_ns) / NS_PER_S / MEMORY_S)
    spell_s = MEMORY_S * (1.0 - kept)
    up_s, down_s = link.up_s * kept, link.down_s * kept
    return (up_s + spell_s, down_s) if link.reachable else (up_s, down_s + spell_s)


def lanes_with_places(state: State, sharing: Sharing, lanes: list[Lane], now_ns: int) -> list[Lane]:
    """Return the lanes with the waits for servers that take only so many requests at once."""
    lanes = lanes.copy()
    for index, name in enumerate(sharing.owned):
        limit = sharing.limits.get(name)
        if limit is None:
            continue
        left_ns = sorted(abs(o.expected_end_ns - now_ns) for o in state.away.values() if o.processor == name)
        ahead = len(left_ns) + queued_on(state, name) - limit
        if ahead >= 0 and left_ns:
            wait_ns = left_ns[min(ahead, len(left_ns) - 1)]
            lane = lanes[index]
            lanes[index] = Lane(max(lane.wait_ns, wait_ns), max(lane.cold_wait_ns, wait_ns), lane.full)
    return lanes
