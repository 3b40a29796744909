"""The device's condition at one moment, as its sensors report it."""

from dataclasses import replace

from trimtab.domain.record import Record

DAY_S = 86_400
WEEK_DAYS = 7


class DeviceState(Record, frozen=True):
    """What the scheduler knows about the device; ``None`` means no sensor could tell.

    ``battery_frac`` is the state of charge in 0..1, ``battery_capacity_j`` the energy of a full charge.
    ``memory_available_bytes`` respects a cgroup limit when there is one; ``memory_pressure_frac`` is the share of
    time in which somebody waited for memory lately (PSI).
    ``local_time_s`` is seconds after local midnight when the state was sampled, ``weekday`` 0 on Mondays.
    ``sources`` says which adapter gave each figure, e.g. ``("battery", "sysfs:BAT0")``.
    """

    battery_frac: float | None = None
    battery_capacity_j: float | None = None
    charging: bool = False
    memory_available_bytes: int | None = None
    memory_total_bytes: int | None = None
    cpu_load_frac: float | None = None
    temperature_mc: int | None = None
    local_time_s: int = 0
    sources: tuple[tuple[str, str], ...] = ()
    weekday: int | None = None
    memory_pressure_frac: float | None = None


def local_moment_s(device: DeviceState, elapsed_s: float = 0.0) -> int:
    """Return seconds after Monday's midnight so long after a reading; after today's where no day is known."""
    return (device.weekday or 0) * DAY_S + device.local_time_s + int(elapsed_s)


def with_clock(device: DeviceState, start_s: int, weekday: int | None, elapsed_s: int) -> DeviceState:
    """Return a reading as of so long after a start at this time of that day."""
    days, local_time_s = divmod(start_s + elapsed_s, DAY_S)
    return replace(
        device, local_time_s=local_time_s, weekday=None if weekday is None else (weekday + days) % WEEK_DAYS
    )
