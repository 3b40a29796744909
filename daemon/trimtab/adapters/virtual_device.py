"""Devices that exist only in a file or in memory: for machines without a battery, demos and tests."""

import dataclasses
import logging
import threading
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import yaml

from trimtab.adapters.device import FIGURES
from trimtab.adapters.process_memory import resident_bytes
from trimtab.domain.device import DeviceState
from trimtab.domain.quantities import UJ_PER_J, energy_uj
from trimtab.ports import Clock

log = logging.getLogger(__name__)

NAMES = {field: figure for figure, field in FIGURES.items()}
LIMITS = {
    "battery_frac": (0.0, 1.0),
    "cpu_load_frac": (0.0, 1.0),
    "battery_capacity_j": (0.0, 1e9),
    "memory_available_bytes": (0, 1 << 50),
    "memory_total_bytes": (0, 1 << 50),
    "temperature_mc": (-100_000, 300_000),
    "local_time_s": (0, 86_399),
    "weekday": (0, 6),
}
OTHERS = "memory_others_bytes"
MAX_FILE_BYTES = 1 << 16
TYPES = get_type_hints(DeviceState)


class DeviceFileError(Exception):
    """A device file cannot be used; the message names file and field."""


def overlay(fields: dict[str, Any], source: str) -> DeviceState:
    """Return a state of the given fields, all from ``source``; raise ``DeviceFileError`` naming a bad one."""
    checked = {field: _checked(field, value, source) for field, value in fields.items()}
    return DeviceState(**checked, sources=tuple((NAMES[field], source) for field in checked))


def _checked(field: str, value: object, source: str) -> Any:
    if field not in NAMES:
        raise DeviceFileError(f"{source}: {field}: unknown field; known: {', '.join(NAMES)}")
    try:
        figure = msgspec.convert(value, TYPES[field])
    except msgspec.ValidationError as error:
        raise DeviceFileError(f"{source}: {field}: {error}") from error
    low, high = LIMITS.get(field, (0, 1))
    if figure is not None and not low <= figure <= high:
        raise DeviceFileError(f"{source}: {field}: {value} is not within {low}..{high}")
    return figure


class VirtualDevice:
    """Figures set by a program: ``set`` overlays fields, ``None`` says "no sensor", ``clear`` forgets all."""

    def __init__(self, **fields: Any) -> None:
        self._state = overlay(fields, "virtual")
        self._fields = fields

    def set(self, **fields: Any) -> None:
        """Overlay these ``DeviceState`` fields; raise ``DeviceFileError`` naming a bad one."""
        merged = {**self._fields, **fields}
        self._state = overlay(merged, "virtual")
        self._fields = merged

    def clear(self) -> None:
        """Forget every field."""
        self._fields, self._state = {}, DeviceState()

    def read(self) -> DeviceState:
        """Return the fields set so far."""
        return self._state


class FileDevice:
    """Any fields of ``DeviceState`` from a small JSON or YAML file, re-read when it changes.

    ``memory_others_bytes`` beside ``memory_total_bytes`` pretends that other apps hold so much: what is
    available is then the total less theirs and what this process holds at the moment of reading. A file that
    is gone or wrong is logged once, and the last good figures stay.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._others: int | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._state = self._load()

    def read(self) -> DeviceState:
        """Return the figures of the last version of the file that was right."""
        try:
            if self._stamp_now() != self._stamp:
                self._state = self._load()
        except (OSError, DeviceFileError) as error:
            if self._stamp != (0, 0, 0):
                log.warning("%s; keeping the last good values", error)
            self._remember_failure()
        return self._state if self._others is None else self._crowded(self._others)

    def _crowded(self, others_bytes: int) -> DeviceState:
        total = self._state.memory_total_bytes or 0
        left = max(0, total - others_bytes - resident_bytes())
        return dataclasses.replace(self._state, memory_available_bytes=left)

    def _remember_failure(self) -> None:
        try:
            self._stamp = self._stamp_now()
        except OSError:
            self._stamp = (0, 0, 0)

    def _stamp_now(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> DeviceState:
        """Read the file; raise ``DeviceFileError`` naming file and field."""
        try:
            self._stamp = self._stamp_now()
            if self._stamp[1] > MAX_FILE_BYTES:
                raise DeviceFileError(f"{self._path}: larger than {MAX_FILE_BYTES} bytes")
            fields = yaml.safe_load(self._path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DeviceFileError(f"{self._path}: cannot be read: {error}") from error
        if not isinstance(fields, dict):
            raise DeviceFileError(f"{self._path}: expected a mapping of fields")
        named = {str(key): value for key, value in fields.items()}
        others = named.pop(OTHERS, None)
        if others is not None:
            self._check_others(others, named)
            named["memory_available_bytes"] = 0  # read() tells what is left
        state = overlay(named, str(self._path))
        self._others = others
        short = tuple((figure, f"virtual:{self._path.name}") for figure, _ in state.sources)
        return dataclasses.replace(state, sources=short)

    def _check_others(self, others: object, named: dict[str, Any]) -> None:
        if not isinstance(others, int) or isinstance(others, bool) or others < 0:
            raise DeviceFileError(f"{self._path}: {OTHERS}: {others!r} is not a number of bytes")
        if named.get("memory_total_bytes") is None or "memory_available_bytes" in named:
            raise DeviceFileError(
                f"{self._path}: {OTHERS}: needs memory_total_bytes, and no memory_available_bytes"
            )


class VirtualBattery:
    """A battery that drains by itself and by what is drawn from it; once empty it stays empty.

    ``background_mw`` is everything else the device does. Safe to use from several threads.
    """

    def __init__(self, capacity_j: float, level_frac: float, background_mw: float, clock: Clock) -> None:
        if capacity_j <= 0 or not 0 <= level_frac <= 1 or background_mw < 0:
            raise ValueError(f"no such battery: {capacity_j} J at {level_frac}, {background_mw} mW")
        self._capacity_uj = capacity_j * UJ_PER_J
        self._left_uj = self._capacity_uj * level_frac
        self._background_mw = background_mw
        self._clock = clock
        self._seen_ns = clock.now_ns()
        self._lock = threading.Lock()

    @property
    def level_frac(self) -> float:
        """Return the state of charge now."""
        with self._lock:
            self._pass_time()
            return self._left_uj / self._capacity_uj

    @property
    def left_j(self) -> float:
        """Return the energy left in joules."""
        return self.level_frac * self._capacity_uj / UJ_PER_J

    def draw(self, energy_uj: float) -> None:
        """Take energy out; more than is left empties it."""
        with self._lock:
            self._pass_time()
            self._left_uj = max(0.0, self._left_uj - energy_uj)

    def set_level(self, level_frac: float) -> None:
        """Charge or empty it to ``level_frac`` at once."""
        with self._lock:
            self._pass_time()
            self._left_uj = self._capacity_uj * min(1.0, max(0.0, level_frac))

    def read(self) -> DeviceState:
        """Return level, capacity and that it is not charging."""
        return DeviceState(
            battery_frac=self.level_frac,
            battery_capacity_j=self._capacity_uj / UJ_PER_J,
            charging=False,
            sources=tuple((figure, "virtual") for figure in ("battery", "battery_capacity", "charging")),
        )

    def _pass_time(self) -> None:
        now_ns = self._clock.now_ns()
        spent = energy_uj(self._background_mw, max(0, now_ns - self._seen_ns))
        self._seen_ns = max(now_ns, self._seen_ns)
        self._left_uj = max(0.0, self._left_uj - spent)
