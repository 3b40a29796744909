"""Search a policy's numbers on training scenarios, and tell on held-out ones what they are worth."""

from trimtab_sim.tune.goal import Goal, Limit, TuneError, read_limit
from trimtab_sim.tune.ranges import Number, numbers_of, read_range
from trimtab_sim.tune.search import Attempt, Bench, Found, search

__all__ = [
    "Attempt",
    "Bench",
    "Found",
    "Goal",
    "Limit",
    "Number",
    "TuneError",
    "numbers_of",
    "read_limit",
    "read_range",
    "search",
]
