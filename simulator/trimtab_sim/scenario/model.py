"""A scenario as a value: names and paths as the document gives them, quantities in the project's units."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trimtab.domain.policy import BelowReserve, Filter, MoneyGoal
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request
from trimtab.policy.document import Node
from trimtab.policy.errors import Path as Place
from trimtab.policy.errors import PolicyError, Problem, spell

Figures = Mapping[str, Any]
"""Keyword arguments by name."""
MAX_NOTES: Final = 5
"""Odd rows of one file that are told one by one."""


class ScenarioError(PolicyError):
    """A scenario cannot be run; ``problems`` lists everything found, in the order of the document."""


@dataclass(frozen=True, slots=True)
class Document:
    """A scenario's text as a tree that knows where each value stands, and the file it came from."""

    file: str
    root: Node

    @property
    def folder(self) -> Path:
        """Return the folder that relative paths start from."""
        return Path(self.file).parent

    def problem(self, place: Place, message: str, at_key: bool = False) -> Problem:
        """Return a problem with the value at ``place`` (or with its key)."""
        mark = self.root.locate(place, at_key)
        return Problem(self.file, mark.line, mark.column, spell(place), message)


@dataclass(frozen=True, slots=True)
class FamilyChoice:
    """Families to serve: a shipped name, a folder or a catalogue, and what to take of it."""

    source: str
    tasks: Filter = field(default_factory=Filter)
    variants: Filter = field(default_factory=Filter)
    all_variants: bool = False
    options: Figures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessorChoice:
    """A pattern of processors to keep; with ``like`` a new one, made from the one so called.

    ``cores`` left ``None`` are those of the device's processor of that name, else of ``like``; energy is then
    that of the device's power profile, else that of ``like``. What a server charges, and how many requests it takes
    at once, are those of ``like`` where ``None``.
    """

    name: str
    like: str = ""
    latency_factor: float = 1.0
    energy_factor: float | None = None
    cores: tuple[int, ...] | None = None
    usd_per_request: float | None = None
    usd_per_ms: float | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one kind: ``request`` says what each asks, ``kind`` and ``figures`` when they come.

    ``kind`` is a key of ``arrivals`` in the document. ``samples`` counts the different samples, 0: each
    request has one of its own. Times count from the beginning of the scenario.
    """

    name: str
    request: Request
    kind: str
    figures: Figures
    tasks: tuple[str, ...] = ()
    begin_ns: int = 0
    until_ns: int | None = None
    speed: float = 1.0
    repeat: bool = False
    limit: int | None = None
    samples: int = 0
    random_samples: bool = False


@dataclass(frozen=True, slots=True)
class BatterySpec:
    """What is in the battery and what must be left; ``None`` leaves it to the device or the policy."""

    capacity_j: float | None = None
    energy_j: float | None = None
    level_frac: float | None = None
    health_frac: float | None = None
    background_mw: float = 0.0
    reserve_frac: float | None = None
    horizon_ns: int | None = None
    last_until_s: int | None = None
    below_reserve: BelowReserve | None = None
    off_when_empty: bool = True


@dataclass(frozen=True, slots=True)
class BackgroundTrace:
    """A recorded series the device lives through, ``begin_ns`` after its first row; no columns: all."""

    file: str
    columns: tuple[str, ...] = ()
    begin_ns: int = 0
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Contention on some processors: (from ns, factor) steps, spells at random, or a draw for each moment.

    With ``switching`` the only step is the factor of a slow spell; ``on_ns`` and ``off_ns`` are mean lengths, and
    all processors have the same spells when they are ``shared``. ``jitter`` is scale and shape of a heavy tail.
    """

    processors: Filter
    steps: tuple[tuple[int, float], ...]
    switching: bool = False
    on_ns: int = 0
    off_ns: int = 0
    shared: bool = False
    jitter: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """A device profile: a shipped name, a path, or a whole document; no temperature: the profile's."""

    profile: str | Figures
    ambient_c: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario document, sound in itself; what it refers to has not been read yet.

    ``policies`` are names, paths or whole documents. ``duration_ns`` is ``None`` when the files say it.
    """

    document: Document = field(repr=False)
    name: str
    description: str
    seed: int
    duration_ns: int | None
    start_s: int
    weekday: int
    device: DeviceChoice | None
    families: tuple[FamilyChoice, ...]
    processors: tuple[ProcessorChoice, ...]
    streams: tuple[Stream, ...]
    battery: BatterySpec | None
    background: tuple[BackgroundTrace, ...]
    contention: tuple[Slowdown, ...]
    policies: tuple[str | Figures, ...]
    strategies: tuple[str, ...]
    money: MoneyGoal | None = None

    @property
    def horizon_ns(self) -> int | None:
        """Return the time from start to the battery's horizon; ``None`` without one."""
        battery = self.battery
        if battery is None or (battery.horizon_ns is None and battery.last_until_s is None):
            return None
        if battery.horizon_ns is not None:
            return battery.horizon_ns
        assert battery.last_until_s is not None
        left_s = (battery.last_until_s - self.start_s) % 86_400
        return (left_s or 86_400) * NS_PER_S
