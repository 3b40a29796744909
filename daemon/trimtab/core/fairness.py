"""Who has had more than a fair share of the processors, so that no app starves beside one that asks too much.

Processor time is accounted per app and forgotten exponentially. An app's fair share is its weight over the weights of all
that asked lately (weighted max-min fairness). While requests wait, an app above its share leaves an eighth of the time
until its deadline to the others: its own requests queue up to seven eighths of that at most, and whoever is
below its share finds room behind them. No processor idles for it, since only those that wait are held back.
"""

from math import exp

from trimtab.core.state import Share, State
from trimtab.domain.quantities import NS_PER_S

MEMORY_S = 10.0
"""What an app has used is forgotten in about so long, and one that asks nothing for as long competes no more."""
HEADROOM = 0.125
TOLERANCE = 1.05
"""An app is above its share when it has had so many times as much."""
MAX_APPS = 64
"""So many apps are accounted for at once; the one not heard of for longest makes room."""


def note_asked(state: State, app: str, weight: float, now_ns: int) -> None:
    """Note that an app competes for the processors, and with what weight."""
    share = state.shares.get(app)
    if share is None:
        if len(state.shares) >= MAX_APPS:
            del state.shares[min(state.shares, key=lambda name: (state.shares[name].asked_ns, name))]
        share = state.shares[app] = Share(weight)
    share.weight, share.asked_ns = weight, now_ns


def note_used(state: State, app: str, used_ns: int, now_ns: int) -> None:
    """Account for a run."""
    share = state.shares.get(app)
    if share is not None:
        share.used_ns = used_at(share, now_ns) + used_ns
        share.used_at_ns = now_ns


def used_at(share: Share, now_ns: int) -> float:
    """Return the processor time that an app is still charged for, in ns."""
    return share.used_ns * exp((share.used_at_ns - now_ns) / NS_PER_S / MEMORY_S)


def above_share(state: State, app: str, now_ns: int) -> bool:
    """Return whether an app has had more of the processors than its share among those that asked lately."""
    mine = state.shares.get(app)
    if mine is None or len(state.shares) < 2 or mine.used_ns == 0.0:
        return False
    since_ns = now_ns - MEMORY_S * NS_PER_S
    competing = [share for share in state.shares.values() if share.asked_ns >= since_ns]
    used_ns = sum([used_at(share, now_ns) for share in competing])
    weights = sum([share.weight for share in competing])
    return used_at(mine, now_ns) * weights > TOLERANCE * mine.weight * used_ns
