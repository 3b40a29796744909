"""The device's condition at one moment, as its sensors report it."""

from trimtab.domain.record import Record


class DeviceState(Record, frozen=True):
    """What the scheduler knows about the device; ``None`` means no sensor could tell.

    ``battery_frac`` is the state of charge in 0..1, ``battery_capacity_j`` the energy of a full charge.
    ``memory_available_bytes`` respects a cgroup limit when there is one.
    ``local_time_s`` is seconds after local midnight when the state was sampled.
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
