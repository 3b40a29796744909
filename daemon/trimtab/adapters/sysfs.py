"""Reads the kernel's files on batteries, thermal zones and cores; absent or odd files read as ``None``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trimtab.domain.device import DeviceState

SYSFS = Path("/sys")
PLUGGED = frozenset({"Charging", "Full", "Not charging"})
CPU_ZONES = ("x86_pkg_temp", "cpu", "soc", "package", "tsens", "big", "little")
PLAUSIBLE_MC = range(-40_000, 150_001)


def read_text(path: Path) -> str | None:
    """Return a small file's stripped text, or ``None`` when it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """Return a small file's integer, or ``None`` when it has none."""
    try:
        return int(read_text(path) or "")
    except ValueError:
        return None


def parse_cores(text: str | None) -> tuple[int, ...]:
    """Return the core numbers of a kernel list such as ``0-3,8``; nothing for an unreadable one."""
    cores: set[int] = set()
    try:
        for part in (text or "").split(","):
            first, _, last = part.strip().partition("-")
            cores.update(range(int(first), int(last or first) + 1))
    except ValueError:
        return ()
    return tuple(sorted(cores))


@dataclass(frozen=True, slots=True)
class BatteryReading:
    """All batteries together: energies in joules, power in milliwatts (positive while discharging)."""

    names: str
    level_frac: float | None
    capacity_j: float | None
    plugged: bool
    discharge_mw: float | None


class Batteries:
    """The ``power_supply`` class below ``root``; peripherals' batteries (scope Device) do not count."""

    def __init__(self, root: Path = SYSFS) -> None:
        self._folder = root / "class/power_supply"

    def read(self) -> BatteryReading | None:
        """Return the sum over all batteries, or ``None`` when there is none."""
        packs = [_read_pack(folder) for folder in self._of_type("Battery")]
        if not packs:
            return None
        capacities = [pack.capacity_j for pack in packs if pack.capacity_j is not None]
        known = len(capacities) == len(packs)
        powers = [pack.discharge_mw for pack in packs if pack.discharge_mw is not None]
        return BatteryReading(
            names="+".join(pack.names for pack in packs),
            level_frac=_joint_level(packs, weighted=known),
            capacity_j=sum(capacities) if known else None,
            plugged=any(pack.plugged for pack in packs) or self._on_mains(),
            discharge_mw=sum(powers) if powers else None,
        )

    def _of_type(self, kind: str) -> Iterator[Path]:
        try:
            folders = sorted(self._folder.iterdir())
        except OSError:
            return
        for folder in folders:
            if read_text(folder / "type") == kind and read_text(folder / "scope") != "Device":
                yield folder

    def _on_mains(self) -> bool:
        return any(read_int(f / "online") == 1 for kind in ("Mains", "USB") for f in self._of_type(kind))


def _read_pack(folder: Path) -> BatteryReading:
    volts = (read_int(folder / "voltage_min_design") or read_int(folder / "voltage_now") or 0) / 1e6
    full_uwh, now_uwh = read_int(folder / "energy_full"), read_int(folder / "energy_now")
    full_uah, now_uah = read_int(folder / "charge_full"), read_int(folder / "charge_now")
    capacity_j = None
    if full_uwh:
        capacity_j = full_uwh * 3600 / 1e6
    elif full_uah and volts:
        capacity_j = full_uah * 3600 / 1e6 * volts
    percent = read_int(folder / "capacity")
    level = None if percent is None else percent / 100
    for now, full in ((now_uwh, full_uwh), (now_uah, full_uah)):
        if now is not None and full:
            level = now / full
            break
    return BatteryReading(
        names=folder.name,
        level_frac=None if level is None else min(1.0, max(0.0, level)),
        capacity_j=capacity_j,
        plugged=read_text(folder / "status") in PLUGGED,
        discharge_mw=_discharge_mw(folder),
    )


def _discharge_mw(folder: Path) -> float | None:
    if read_text(folder / "status") != "Discharging":
        return None
    power_uw = read_int(folder / "power_now")
    if power_uw is not None:
        return abs(power_uw) / 1e3
    current_ua, voltage_uv = read_int(folder / "current_now"), read_int(folder / "voltage_now")
    if current_ua is None or voltage_uv is None:
        return None
    return abs(current_ua) * voltage_uv / 1e9


def _joint_level(packs: list[BatteryReading], *, weighted: bool) -> float | None:
    """Return the mean level of the packs that tell one, weighted by capacity where all are known."""
    told = [
        (p.level_frac, (p.capacity_j or 0.0) if weighted else 1.0) for p in packs if p.level_frac is not None
    ]
    total = sum(weight for _, weight in told)
    return sum(level * weight for level, weight in told) / total if total else None


def temperature_mc(root: Path = SYSFS) -> tuple[int, str] | None:
    """Return the hottest plausible reading in milli-degrees and its zone; CPU zones come first."""
    zones: list[tuple[bool, int, str]] = []
    for folder in sorted((root / "class/thermal").glob("thermal_zone*")):
        value, kind = read_int(folder / "temp"), read_text(folder / "type") or folder.name
        if value is not None and value in PLAUSIBLE_MC and value != 0:
            zones.append((kind.lower().startswith(CPU_ZONES), value, kind))
    if not zones:
        return None
    _, value, kind = max(zones)
    return value, kind


def core_capacities(cores: tuple[int, ...], root: Path = SYSFS) -> dict[int, int]:
    """Return the relative capacity of each core: ``cpu_capacity``, else 1024, or 512 for efficiency cores."""
    cpu = root / "devices/system/cpu"
    told = {core: read_int(cpu / f"cpu{core}/cpu_capacity") for core in cores}
    efficient = set(parse_cores(read_text(root / "devices/cpu_atom/cpus")))
    return {core: told[core] or (512 if core in efficient else 1024) for core in cores}


def physical_cores(cores: tuple[int, ...], root: Path = SYSFS) -> tuple[int, ...]:
    """Return one hardware thread of each physical core: the lowest-numbered one in ``cores``."""
    kept: list[int] = []
    seen: set[int] = set()
    for core in cores:
        folder = root / f"devices/system/cpu/cpu{core}/topology"
        siblings = parse_cores(read_text(folder / "thread_siblings_list")) or (core,)
        if not seen.intersection(siblings):
            kept.append(core)
        seen.update(siblings)
        seen.add(core)
    return tuple(kept)


class SysfsSensors:
    """Battery and temperature from the kernel's own files."""

    def __init__(self, root: Path = SYSFS) -> None:
        self._root = root
        self._batteries = Batteries(root)

    def read(self) -> DeviceState:
        """Return what the files tell; a machine without battery or thermal zones gives nothing."""
        battery, heat = self._batteries.read(), temperature_mc(self._root)
        sources: list[tuple[str, str]] = []
        if battery is not None and battery.level_frac is not None:
            sources += [("battery", f"sysfs:{battery.names}"), ("charging", f"sysfs:{battery.names}")]
        if battery is not None and battery.capacity_j is not None:
            sources.append(("battery_capacity", f"sysfs:{battery.names}"))
        if heat is not None:
            sources.append(("temperature", f"sysfs:{heat[1]}"))
        return DeviceState(
            battery_frac=battery.level_frac if battery else None,
            battery_capacity_j=battery.capacity_j if battery else None,
            charging=bool(battery and battery.level_frac is not None and battery.plugged),
            temperature_mc=heat[0] if heat else None,
            sources=tuple(sources),
        )
