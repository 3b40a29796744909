"""The moments at which it is worth saying what a policy does: a battery that runs down, and what its rules name."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from trimtab.domain.device import DAY_S, WEEK_DAYS, DeviceState
from trimtab.domain.policy import Condition, Policy, Range
from trimtab.policy.words import clock, mib, percent

LEVELS: Final = (1.0, 0.5, 0.2, 0.05)
HALF: Final = 0.5
CHARGING: Final = 0.8
HOTTER_C: Final = 5.0


@dataclass(frozen=True, slots=True)
class Moment:
    """A condition of the device, in words and as its sensors tell it.

    ``before`` are the readings that led to it, which tell the charge and not its energy: no time passes between.
    """

    title: str
    device: DeviceState
    before: tuple[DeviceState, ...] = ()


def moments_of(policy: Policy, calm: DeviceState) -> tuple[Moment, ...]:
    """Return a device that discharges from 100 to 5 %, one that charges, and one in each trouble rules speak of.

    ``calm`` tells everything else: capacity, time of day, temperature.
    """
    discharge = [replace(calm, battery_frac=level) for level in LEVELS]
    falling = [replace(device, battery_capacity_j=None) for device in discharge]
    found = [
        Moment(f"battery at {percent(level)}", device, tuple(falling[:index]))
        for index, (level, device) in enumerate(zip(LEVELS, discharge, strict=True))
    ]
    half = replace(calm, battery_frac=HALF)
    found.append(
        Moment(f"charging, at {percent(CHARGING)}", replace(calm, battery_frac=CHARGING, charging=True))
    )
    conditions = list(_all(rule.when for rule in policy.rules))
    for title, device in _troubles(conditions, half):
        found.append(Moment(f"{title}, battery at {percent(HALF)}", device))
    return tuple(found)


def _troubles(conditions: list[Condition], half: DeviceState) -> Iterator[tuple[str, DeviceState]]:
    """Yield heat, short memory, load and times of day, where a condition reads them."""
    hot = _ends("above", (c.temperature_c for c in conditions))
    if hot:
        degrees = max(hot) + HOTTER_C
        yield f"hot ({degrees:g} C)", replace(half, temperature_mc=int(degrees * 1000))
    short = _ends("below", (c.memory_available_bytes for c in conditions))
    if short:
        left = int(min(short) / 2)
        yield f"memory short ({mib(left)} available)", replace(half, memory_available_bytes=left)
    busy = _ends("above", (c.cpu_load_frac for c in conditions))
    if busy:
        load = (max(busy) + 1.0) / 2
        yield f"cores busy ({percent(load)})", replace(half, cpu_load_frac=load)
    for span in dict.fromkeys(c.time for c in conditions if c.time is not None):
        middle = _middle_s(span.start_s, span.end_s)
        yield f"at {clock(middle)}", replace(half, local_time_s=middle)
    for schedule in dict.fromkeys(one for c in conditions for one in c.schedules):
        first = schedule.spans[0]
        middle = _middle_s(first.start_s, first.end_s) if first.start_s != first.end_s else half.local_time_s
        day = first.days[0] if first.days else half.weekday
        wrapped = first.start_s > first.end_s and middle < first.end_s
        yield (
            f"during {schedule.name}",
            replace(half, local_time_s=middle, weekday=None if day is None else (day + wrapped) % WEEK_DAYS),
        )


def _all(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """Yield conditions and all inside them."""
    for condition in conditions:
        yield condition
        yield from _all((*condition.any_of, *condition.none_of))


def _ends(end: str, ranges: Iterable[Range | None]) -> list[float]:
    ends = [getattr(limits, end) for limits in ranges if limits is not None]
    return [value for value in ends if value is not None]


def _middle_s(start_s: int, end_s: int) -> int:
    return (start_s + (end_s - start_s) % DAY_S // 2) % DAY_S
