"""Limits a container or service puts on this process: memory and CPU quota, cgroup v1 and v2.

Limits hold for every ancestor, so the tightest one on the way up counts. Memory that the kernel can drop at
once (``inactive_file``) does not count as used, as in Kubernetes' working set.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from trimtab.adapters.sysfs import read_int, read_text
from trimtab.domain.device import DeviceState

UNLIMITED_BYTES = 1 << 60
"""Version 1 writes a number near 2**63 for "no limit"."""


class Cgroup:
    """The control groups of this process; ``root`` and ``membership`` are injected by tests."""

    def __init__(
        self, root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
    ) -> None:
        self._root = root
        self._own = _parse_membership(read_text(membership) or "")

    def cpu_quota(self) -> float | None:
        """Return how many CPUs' worth of time this process may use; ``None`` without a limit."""
        quotas = [q for folder in self._unified() if (q := _quota_v2(folder)) is not None]
        quotas += [q for folder in self._v1("cpu") if (q := _quota_v1(folder)) is not None]
        return min(quotas, default=None)

    def memory(self) -> tuple[int, int] | None:
        """Return (limit, available) in bytes of the tightest group; ``None`` without a limit.

        Beyond ``memory.high`` nothing is killed, but everything is slowed down: it counts as a limit.
        """
        found = [
            room
            for folders, limit, usage, idle in (
                (self._unified(), "memory.max", "memory.current", "inactive_file"),
                (self._unified(), "memory.high", "memory.current", "inactive_file"),
                (self._v1("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            )
            for folder in folders
            if (room := _room(folder, limit, usage, idle)) is not None
        ]
        return min(found, key=lambda room: room[1], default=None)

    def folders(self) -> tuple[Path, ...]:
        """Return the folders of version 2 from this process's own group upwards."""
        return tuple(self._unified())

    def _unified(self) -> Iterator[Path]:
        for mount in (self._root, self._root / "unified"):
            if (mount / "cgroup.controllers").is_file():
                yield from _upwards(mount, self._own.get("", "/"))

    def _v1(self, controller: str) -> Iterator[Path]:
        mount = self._root / controller
        if mount.is_dir():
            yield from _upwards(mount, self._own.get(controller, "/"))


class CgroupSensors:
    """Memory as a limited process sees it: the smaller of what the system and its limit leave.

    ``system`` returns (available, total) bytes of the whole machine.
    """

    def __init__(self, cgroup: Cgroup, system: Callable[[], tuple[int, int]]) -> None:
        self._cgroup = cgroup
        self._system = system

    def read(self) -> DeviceState:
        """Return available and total memory when a limit is set, else nothing."""
        room = self._cgroup.memory()
        if room is None:
            return DeviceState()
        limit, left = room
        available, total = self._system()
        return DeviceState(
            memory_available_bytes=min(left, available),
            memory_total_bytes=min(limit, total),
            sources=(("memory", "cgroup"), ("memory_total", "cgroup")),
        )


def _parse_membership(text: str) -> dict[str, str]:
    """Return the path of each controller; version 2 has the empty name."""
    own: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        own.update(dict.fromkeys(controllers.split(","), path))
    return own


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    # Inside a namespace the path may not exist below the mount; the mount itself is then our group.
    folder = mount / path.strip("/")
    if ".." in Path(path).parts or not folder.is_dir():
        folder = mount
    yield folder
    while folder != mount:
        folder = folder.parent
        yield folder


def _quota_v2(folder: Path) -> float | None:
    parts = (read_text(folder / "cpu.max") or "max").split()
    if len(parts) != 2 or parts[0] == "max":
        return None
    try:
        return int(parts[0]) / int(parts[1])
    except (ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    quota, period = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
    return quota / period if quota and quota > 0 and period else None


def _room(folder: Path, limit_file: str, usage_file: str, idle_key: str) -> tuple[int, int] | None:
    limit, usage = read_int(folder / limit_file), read_int(folder / usage_file)
    if limit is None or usage is None or limit >= UNLIMITED_BYTES:
        return None
    for line in (read_text(folder / "memory.stat") or "").splitlines():
        key, _, value = line.partition(" ")
        if key == idle_key and value.isdigit():
            usage = max(0, usage - int(value))
    return limit, max(0, limit - usage)
