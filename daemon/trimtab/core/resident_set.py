"""Which variants are worth their memory: a knapsack over tasks, and its dual, the price of a byte.

Each task has its last resort in memory; every set of further variants is an option with its bytes and with the
utility per second it brings to the requests expected. The steepest step, most utility per byte, is taken among
those that still fit, until none does: what is left gains no more per byte than the step that did not fit, so more
memory never lowers the value of the set. That step's slope is the price: what one more byte would bring.

A load is paid for out of what the variant brings over the time it is expected to stay (MCDNN's E', Han et al.,
MobiSys 2016). What is in memory pays nothing, so that a set is left only for one that is better by more than its loads.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import exp, inf
from typing import NamedTuple

from trimtab.core.prices import concave_hull

STAY_S = 60.0
"""A load is spread over the value of so long a stay."""
MAX_MEMBERS = 4
"""So many variants of one task at most are kept beside its last resort."""
LEAST_GAIN = 1e-9

_Part = tuple[float, float, float]
"""What an offer gains a kind of request, what it is worth to those that do not find it busy, and the busy share."""


class Offer(NamedTuple):
    """A variant in a pool that could be in memory, with what it is worth to each kind of request of its task.

    ``group`` numbers the processors it runs on: offers of one group wait for each other. ``load_cost`` is the
    utility that its load takes, 0 for what is in memory. ``worth`` is utility per request, ``busy`` the share of
    requests that would find its processors busy for too long.
    """

    key: str
    group: int
    resident_bytes: int
    load_cost: float
    worth: tuple[float, ...]
    busy: tuple[float, ...]


class Option(NamedTuple):
    """A set of one task's variants beside its last resort: bytes, utility per second, and who."""

    resident_bytes: int
    value: float
    keys: tuple[str, ...]


class ResidentSet(NamedTuple):
    """The variants to hold beside the last resorts, most worth per byte first, and their utility per second.

    ``price`` is what one more byte would bring, ``displaced`` what a byte brings of those that bring the least.
    """

    keys: tuple[str, ...]
    value: float
    price: float
    displaced: float


def busy_share(load: float, latency_ns: float, slack_ns: float, servers: int) -> float:
    """Return the share of requests that wait longer than ``slack_ns`` for one of ``servers`` processors.

    ``load`` is arrivals per second times seconds of service over ``servers``; the tail is that of M/M/1. What
    cannot be served at all is lost.
    """
    if slack_ns < 0.0:
        return 1.0
    if load >= 1.0:
        return 1.0 - 0.5 / load
    return min(load * exp(-(1.0 - load) * slack_ns * servers / latency_ns), 1.0 - 0.5 * load)


class _Held(NamedTuple):
    """What is held of a task: its option, and by kind of request the best of each group that it has."""

    option: Option
    best: tuple[dict[int, _Part], ...]


def served(best: Mapping[int, _Part]) -> float:
    """Return the utility of a request: the best of all groups serves it, or the next one when that is busy.

    Those that come to the next one are fewer, and find it busy the more rarely.
    """
    if len(best) == 1:
        return next(iter(best.values()))[0]
    total, left = 0.0, 1.0
    for _, worth, busy in sorted(best.values(), key=_worth, reverse=True):
        turned_away = left * left * busy
        total += worth * (left - turned_away)
        left = turned_away
    return total


def _worth(part: _Part) -> float:
    return part[1]


def options(last_resort: Offer | None, offers: Iterable[Offer], rates: Sequence[float]) -> tuple[Option, ...]:
    """Return what could be held of one task, nothing first: sets that grow from each offer worth its bytes."""
    nothing = _Held(Option(0, 0.0, ()), tuple([{} for _ in rates]))
    if last_resort is not None:
        nothing = _with(nothing, last_resort._replace(load_cost=0.0), rates)
        nothing = nothing._replace(option=Option(0, nothing.option.value, ()))
    useful = _useful(nothing, sorted(offers), rates)
    found: dict[tuple[str, ...], Option] = {(): nothing.option}
    for first in useful:
        held = _with(nothing, first, rates)
        while held.option.keys not in found:
            option = found[held.option.keys] = held.option
            if len(option.keys) == MAX_MEMBERS:
                break
            more = [_with(held, one, rates) for one in useful if one.key not in option.keys]
            grown = [each for each in more if each.option.value > option.value + LEAST_GAIN]
            if grown:
                held = max(grown, key=lambda each: (_slope(option, each.option), each.option.keys))
    return _frontier(nothing.option, found.values())


def _with(held: _Held, one: Offer, rates: Sequence[float]) -> _Held:
    """Return what is held with one offer more; nothing is ever served worse for it."""
    best, value, option = [], -one.load_cost / STAY_S, held.option
    for kind, rate in enumerate(rates):
        groups, worth, busy = held.best[kind], one.worth[kind], one.busy[kind]
        gain, known = worth * (1.0 - busy), groups.get(one.group)
        if gain > (0.0 if known is None else known[0]):
            before = served(groups) if groups else 0.0
            larger = {**groups, one.group: (gain, worth, busy)}
            added = served(larger) - before
            if added > 0.0:
                groups = larger
                value += rate * added
        best.append(groups)
    keys = tuple(sorted([*option.keys, one.key]))
    return _Held(Option(option.resident_bytes + one.resident_bytes, option.value + value, keys), tuple(best))


def _useful(nothing: _Held, offers: Sequence[Offer], rates: Sequence[float]) -> list[Offer]:
    """Return the offers that sets are made of: of each group the hull of value over bytes, and each kind's best."""
    kept: dict[str, Offer] = {}
    for group in sorted({one.group for one in offers}):
        points: dict[tuple[float, float], Offer] = {}
        mine = [one for one in offers if one.group == group]
        for one in mine:
            option = _with(nothing, one, rates).option
            points.setdefault((option.resident_bytes, option.value), one)
        hull = concave_hull([(0.0, nothing.option.value), *points])
        chosen = [points[point] for point in hull if point in points]
        chosen += [max(mine, key=partial(_gain, kind)) for kind in range(len(rates))]
        kept |= {one.key: one for one in chosen}
    return sorted(kept.values())


def resident_set(tasks: Sequence[tuple[Option, ...]], budget_bytes: int) -> ResidentSet:
    """Return the set to hold in ``budget_bytes`` beside the last resorts, and the price of a byte.

    Steps by slope reach at least half of the best possible together with the one option that brings most, so
    each option is tried as the first step wherever something did not fit.
    """
    start = [of_task[0] for of_task in tasks]
    best, price = _climb(tasks, start, budget_bytes)
    if price > 0.0:
        for index, of_task in enumerate(tasks):
            for option in of_task[1:]:
                if option.resident_bytes <= budget_bytes:
                    other, _ = _climb(tasks, [*start[:index], option, *start[index + 1 :]], budget_bytes)
                    if _total(other) > _total(best) + LEAST_GAIN:
                        best = other
    ranked = sorted(
        [(_slope(start[index], one), one.keys) for index, one in enumerate(best) if one.keys], reverse=True
    )
    displaced = ranked[-1][0] if ranked else price
    return ResidentSet(
        tuple([key for _, keys in ranked for key in keys]),
        _total(best),
        price,
        displaced if displaced < inf else 0.0,
    )


def _climb(
    tasks: Sequence[tuple[Option, ...]], start: list[Option], budget_bytes: int
) -> tuple[list[Option], float]:
    """Take the steepest step that fits until none does; return where that ends, and the steepest step left."""
    held = start.copy()
    left_bytes = budget_bytes - sum([one.resident_bytes for one in held])
    while True:
        best: tuple[float, float, int, Option] | None = None
        price = 0.0
        for index, of_task in enumerate(tasks):
            here = held[index]
            for option in of_task:
                if option.value <= here.value + LEAST_GAIN:
                    continue
                slope = _slope(here, option)
                if option.resident_bytes - here.resident_bytes > left_bytes:
                    price = max(price, slope)
                elif (
                    best is None
                    or slope > best[0]
                    or (slope == best[0] and option.value - here.value > best[1])
                ):
                    best = (slope, option.value - here.value, index, option)
        if best is None:
            return held, price
        _, _, index, option = best
        left_bytes -= option.resident_bytes - held[index].resident_bytes
        held[index] = option


def _gain(kind: int, one: Offer) -> tuple[float, int]:
    return one.worth[kind] * (1.0 - one.busy[kind]), -one.resident_bytes


def _frontier(nothing: Option, found: Iterable[Option]) -> tuple[Option, ...]:
    """Return the options worth more than any that is no larger, smallest first."""
    kept = [nothing]
    for option in sorted(found, key=lambda one: (one.resident_bytes, -one.value, one.keys)):
        if option.value > kept[-1].value + LEAST_GAIN:
            kept.append(option)
    return tuple(kept)


def _slope(here: Option, there: Option) -> float:
    more_bytes = there.resident_bytes - here.resident_bytes
    return (there.value - here.value) / more_bytes if more_bytes > 0 else inf


def _total(held: Sequence[Option]) -> float:
    return sum([one.value for one in held], 0.0)
