"""Android power profiles: fields under their old and new names, and what is typical where one is missing.

The names changed with AOSP's power profiles of 2017: what was ``cpu.idle`` (suspended) and ``cpu.awake`` (idle)
became ``cpu.suspend`` and ``cpu.idle`` (android.googlesource.com, device/google/muskie at 5ba00f6).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from device_sources.figures import Figure, assumed, published, rounded

REFERENCE = "power_profile"


@dataclass(frozen=True, slots=True)
class PowerProfile:
    """One ``power_profile.xml``: single values and lists by name."""

    items: Mapping[str, float]
    arrays: Mapping[str, Sequence[float]]

    def first(self, *names: str) -> float | None:
        """Return the first of these values that is there and above 0; 0 stands for not measured."""
        for name in names:
            value = self.items.get(name, 0.0)
            if value > 0:
                return value
        return None

    def last_of(self, name: str) -> float | None:
        """Return the last value of a list, that of the best signal, if it is above 0."""
        values = self.arrays.get(name, ())
        return values[-1] if values and values[-1] > 0 else None


Reader = Callable[[PowerProfile], float | None]

READERS: Mapping[str, Reader] = {
    "suspend_ma": lambda p: p.first("cpu.suspend") if _is_new(p) else p.first("cpu.idle"),
    "idle_ma": lambda p: p.first("cpu.idle") if _is_new(p) else p.first("cpu.awake"),
    "ambient_ma": lambda p: p.first("ambient.on", "ambient.on.display0"),
    "on_ma": lambda p: p.first("screen.on", "screen.on.display0"),
    "full_ma": lambda p: p.first("screen.full", "screen.full.display0"),
    "wifi_on_ma": lambda p: p.first("wifi.on"),
    "wifi_active_ma": lambda p: p.first("wifi.active", "wifi.controller.rx"),
    "wifi_scan_ma": lambda p: p.first("wifi.scan"),
    "mobile_on_ma": lambda p: p.last_of("radio.on") or p.items.get("modem.controller.sleep"),
    "mobile_active_ma": lambda p: p.first("radio.active", "modem.controller.rx"),
    "mobile_scan_ma": lambda p: p.first("radio.scanning"),
    "gps_ma": lambda p: p.first("gps.on") or p.last_of("gps.signalqualitybased"),
    "audio_ma": lambda p: p.first("audio", "dsp.audio"),
    "video_ma": lambda p: p.first("video", "dsp.video"),
    "camera_ma": lambda p: p.first("camera.avg"),
    "torch_ma": lambda p: p.first("camera.flashlight"),
}
"""How each figure is read off a power profile; ``None`` where it says nothing."""


def _is_new(profile: PowerProfile) -> bool:
    return "cpu.suspend" in profile.items


def read(entry: Mapping[str, Any]) -> PowerProfile:
    """Return the power profile in one entry of ``power_profiles.json``."""
    return PowerProfile(entry["items"], entry["arrays"])


def typical(profiles: Sequence[PowerProfile]) -> dict[str, float]:
    """Return the median of each figure over the profiles that state it."""
    found = {name: [value for p in profiles if (value := reader(p))] for name, reader in READERS.items()}
    return {name: rounded(median(values), 3) for name, values in found.items()}


def figure(profile: PowerProfile | None, name: str, usual: Mapping[str, float]) -> Figure:
    """Return one figure: the profile's own, else what others state or, for Wi-Fi's scanning, its transfer's."""
    own = READERS[name](profile) if profile is not None else None
    if own is not None:
        return published(own, REFERENCE)
    if profile is not None and name == "wifi_scan_ma":
        transfer = READERS["wifi_active_ma"](profile)
        if transfer is not None:
            return assumed(transfer, "from_transfer")
    note = "not in the power profile, or 0 there" if profile is not None else ""
    return assumed(usual[name], "typical", note)


@dataclass(frozen=True, slots=True)
class ClusterTable:
    """One cluster of a power profile: cores, clocks in kHz rising, mA per step, cluster mA if stated."""

    cores: int
    khz: tuple[float, ...]
    core_ma: tuple[float, ...]
    cluster_ma: float | None


def cluster_tables(profile: PowerProfile, cores: int | None) -> tuple[ClusterTable, ...]:
    """Return the clusters, slowest first; ``cores`` where the profile does not say how many there are."""
    counts = profile.arrays.get("cpu.clusters.cores") or [profile.items.get("cpu.clusters.cores", cores or 0)]
    return tuple(_cluster(profile, index, count) for index, count in enumerate(counts) if count)


def _cluster(profile: PowerProfile, index: int, cores: float) -> ClusterTable:
    """Return a cluster; Samsung lists its steps from the fastest down."""
    for speeds, powers in (
        (f"cpu.core_speeds.cluster{index}", f"cpu.core_power.cluster{index}"),
        (f"cpu.speeds.cluster{index}", f"cpu.active.cluster{index}"),
        ("cpu.core_speeds", "cpu.core_power"),
    ):
        if speeds in profile.arrays:
            steps = sorted(zip(profile.arrays[speeds], profile.arrays[powers], strict=True))
            khz, core_ma = zip(*steps, strict=True)
            return ClusterTable(
                int(cores), khz, core_ma, profile.items.get(f"cpu.cluster_power.cluster{index}")
            )
    raise ValueError(f"no frequency steps of cluster {index}")


def holds_whole_cpu(profile: PowerProfile) -> bool:
    """Return whether the steps hold the whole CPU's draw: neither active nor cluster power is stated."""
    return not any(name == "cpu.active" or name.startswith("cpu.cluster_power") for name in profile.items)
