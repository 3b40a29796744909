"""What a trace is in memory: a device's figures over time, or the times at which requests arrive.

Times are integer nanoseconds from the trace's start; ``epoch_unix_ns`` says when that was, if the file told.
Every reader returns a ``Reading``: the trace and what was wrong with the file, line by line.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

ENERGY_PREFIX: Final = "energy_raw."
"""Columns of energy per component are named by the file: this prefix and the component's name."""


class TraceError(ValueError):
    """A file cannot be read as a trace; the message names the file, the line if there is one, and why."""


@dataclass(frozen=True, slots=True)
class Column:
    """What a column means: unit, meaning, and the values that are possible."""

    unit: str
    title: str
    low: float = -np.inf
    high: float = np.inf


def _flag(title: str) -> Column:
    return Column("0/1", title, 0.0, 1.0)


COLUMNS: Final[Mapping[str, Column]] = MappingProxyType({
    "battery_frac": Column("frac", "state of charge", 0.0, 1.0),
    "battery_shown_frac": Column("frac", "state of charge as the user sees it", 0.0, 1.0),
    "voltage_mv": Column("mV", "battery voltage", 0.0, 100_000.0),
    "current_ma": Column("mA", "battery current, negative while discharging", -100_000.0, 100_000.0),
    "average_current_ma": Column("mA", "battery current averaged by the gauge", -100_000.0, 100_000.0),
    "charge_mah": Column("mAh", "charge left by the gauge's counter", 0.0, 1e6),
    "charge_used_mah": Column("mAh", "charge taken out, where a phone's counter counts that", 0.0, 1e6),
    "charge_full_mah": Column("mAh", "charge when full, as the gauge believes", 0.0, 1e6),
    "discharge_mw": Column("mW", "power that leaves the battery", -1e6, 1e6),
    "battery_capacity_j": Column("J", "energy of a full charge", 0.0, 1e9),
    "temperature_mc": Column("mC", "temperature, of the battery where a phone reports it", -60_000.0, 200_000.0),
    "memory_available_bytes": Column("bytes", "memory that a program could get", 0.0),
    "memory_total_bytes": Column("bytes", "memory of the device", 0.0),
    "memory_pressure_frac": Column("frac", "share of time in which somebody waits for memory (PSI)", 0.0, 1.0),
    "cpu_load_frac": Column("frac", "share of all cores that is busy", 0.0, 1.0),
    "charging": _flag("the battery is being charged"),
    "plugged": _flag("a charger or cable is connected"),
    "adapter_mv": Column("mV", "voltage of the charger", 0.0, 100_000.0),
    "adapter_ma": Column("mA", "current that the charger offers", 0.0, 100_000.0),
    "screen_on": _flag("the screen is on"),
    "screen_doze": _flag("the screen shows the always-on display"),
    "brightness_frac": Column("frac", "screen brightness", 0.0, 1.0),
    "luminance_nits": Column("cd/m2", "light the screen gives", 0.0),
    "illuminance_lux": Column("lx", "light that falls on the phone", 0.0),
    "cpu_running": _flag("the CPU is awake (not suspended)"),
    "wake_lock": _flag("an app keeps the CPU awake"),
    "mobile_radio_on": _flag("the mobile radio is active"),
    "phone_scanning": _flag("the mobile radio looks for a network"),
    "phone_in_call": _flag("a call is in progress"),
    "signal_frac": Column("frac", "mobile signal: 0 none, 1 great", 0.0, 1.0),
    "wifi_on": _flag("Wi-Fi is on"),
    "wifi_radio_on": _flag("the Wi-Fi radio is active"),
    "wifi_scan": _flag("Wi-Fi scans"),
    "wifi_signal_frac": Column("frac", "Wi-Fi signal: 0 none, 1 best", 0.0, 1.0),
    "bluetooth_scan": _flag("Bluetooth scans"),
    "gps_on": _flag("satellite positioning is on"),
    "sensors_on": _flag("an app listens to sensors"),
    "camera_on": _flag("the camera is on"),
    "flashlight_on": _flag("the flashlight is on"),
    "audio_on": _flag("sound is played"),
    "video_on": _flag("video is decoded"),
    "power_save": _flag("the battery saver is on"),
    "device_idle": Column("0..2", "doze: 0 off, 1 light, 2 full", 0.0, 2.0),
    "connected": _flag("the server can be reached"),
})  # fmt: skip
"""Every column a series may have, besides those that begin with ``ENERGY_PREFIX``."""

ARRIVAL_COLUMNS: Final[Mapping[str, Column]] = MappingProxyType({
    "latency_budget_ns": Column("ns", "latency budget from arrival", 0.0),
    "min_accuracy_frac": Column("frac", "accuracy floor", 0.0, 1.0),
    "max_energy_uj": Column("uJ", "energy limit", 0.0),
    "priority": Column("class", "1 is the most urgent class, 0 the default", 0.0, 1e6),
    "batch": Column("samples", "samples in the request", 1.0, 1e9),
    "elapsed_ns": Column("ns", "part of the budget already spent at arrival", 0.0),
    "sample": Column("index", "row of the labelled samples it is about", 0.0),
    "identity": Column("id", "who or what is seen, for re-use of answers"),
    "context_tokens": Column("tokens", "size of what is asked", 0.0),
    "generated_tokens": Column("tokens", "size of the answer", 0.0),
})  # fmt: skip
"""Every column of numbers a list of arrivals may have; NaN means that the file does not say."""

ARRIVAL_LABELS: Final = ("task", "app", "variant", "prefer")
"""Every column of words a list of arrivals may have; empty means that the file does not say."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a line of a file (0: the file as a whole); a ``note`` cost no row."""

    line: int
    message: str
    note: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """A column of words: row ``i`` holds ``names[codes[i]]``."""

    names: tuple[str, ...]
    codes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str:
        return self.names[int(self.codes[row])]

    def __iter__(self) -> Iterator[str]:
        return (self.names[code] for code in self.codes.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A device's figures over time: each row holds from its time until the next row; NaN is unknown.

    ``at_ns`` rises strictly. Raises ``ValueError`` for a column that is not in ``COLUMNS`` or of another length.
    """

    name: str
    at_ns: Times
    columns: Mapping[str, Floats]
    epoch_unix_ns: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "at_ns", _times(self.at_ns, strict=True))
        object.__setattr__(self, "columns", _numbers(self.columns, len(self.at_ns), COLUMNS))

    def __len__(self) -> int:
        return len(self.at_ns)

    @property
    def duration_ns(self) -> int:
        """Return the time from the first row to the last."""
        return int(self.at_ns[-1] - self.at_ns[0]) if len(self) else 0

    def known(self, column: str) -> tuple[Times, Floats]:
        """Return times and values of the rows that know ``column``; empty when the series has none."""
        values = self.columns.get(column)
        if values is None:
            return self.at_ns[:0], np.empty(0)
        known = ~np.isnan(values)
        return self.at_ns[known], values[known]

    def at(self, column: str, now_ns: int) -> float:
        """Return the last known value of ``column`` at ``now_ns``; NaN before the first one."""
        at_ns, values = self.known(column)
        index = int(np.searchsorted(at_ns, now_ns, side="right")) - 1
        return float(values[index]) if index >= 0 else float("nan")

    def sampled(self, column: str, at_ns: Times) -> Floats:
        """Return the last known value of ``column`` at each of ``at_ns``; NaN before the first one."""
        times, values = self.known(column)
        index = np.searchsorted(times, at_ns, side="right") - 1
        return np.where(index >= 0, values[index], np.nan) if len(times) else np.full(len(at_ns), np.nan)

    def window(self, start_ns: int, end_ns: int) -> "Series":
        """Return the rows with ``start_ns <= at_ns < end_ns``; times stay as they are."""
        rows = slice(*np.searchsorted(self.at_ns, (start_ns, end_ns)))
        columns = {name: values[rows] for name, values in self.columns.items()}
        return replace(self, at_ns=self.at_ns[rows], columns=columns)


@dataclass(frozen=True, slots=True, eq=False)
class ArrivalTrace:
    """The times at which requests arrive, in order, and what the file tells about each.

    Raises ``ValueError`` for an unknown column, another length, or times that go backwards.
    """

    name: str
    at_ns: Times
    columns: Mapping[str, Floats] = field(default_factory=dict)
    labels: Mapping[str, Labels] = field(default_factory=dict)
    epoch_unix_ns: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "at_ns", _times(self.at_ns, strict=False))
        object.__setattr__(self, "columns", _numbers(self.columns, len(self.at_ns), ARRIVAL_COLUMNS))
        for name, labels in self.labels.items():
            if name not in ARRIVAL_LABELS or len(labels) != len(self.at_ns):
                raise ValueError(f"{name}: not a column of arrivals, or of another length")
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))

    def __len__(self) -> int:
        return len(self.at_ns)

    @property
    def duration_ns(self) -> int:
        """Return the time from the first arrival to the last."""
        return int(self.at_ns[-1] - self.at_ns[0]) if len(self) else 0

    def window(self, start_ns: int, end_ns: int) -> "ArrivalTrace":
        """Return the arrivals with ``start_ns <= at_ns < end_ns``; times stay as they are."""
        rows = slice(*np.searchsorted(self.at_ns, (start_ns, end_ns)))
        columns = {name: values[rows] for name, values in self.columns.items()}
        labels = {name: replace(words, codes=words.codes[rows]) for name, words in self.labels.items()}
        return replace(self, at_ns=self.at_ns[rows], columns=columns, labels=labels)


@dataclass(frozen=True, slots=True)
class Reading:
    """A series, what was wrong with its file (the first thousand), how many there were, rows looked at."""

    series: Series
    problems: tuple[Problem, ...] = ()
    problem_count: int = 0
    rows: int = 0
    format: str = ""

    @property
    def trace(self) -> Series:
        """Return the series, as an ``ArrivalReading`` returns its arrivals."""
        return self.series


@dataclass(frozen=True, slots=True)
class ArrivalReading:
    """Arrivals, what was wrong with their file (the first thousand), how many there were, rows looked at."""

    arrivals: ArrivalTrace
    problems: tuple[Problem, ...] = ()
    problem_count: int = 0
    rows: int = 0
    format: str = ""

    @property
    def trace(self) -> ArrivalTrace:
        """Return the arrivals, as a ``Reading`` returns its series."""
        return self.arrivals


def _times(at_ns: NDArray[Any], *, strict: bool) -> Times:
    times = np.array(at_ns, dtype=np.int64)
    steps = np.diff(times)
    if times.ndim != 1 or (steps < (1 if strict else 0)).any():
        raise ValueError("the times of a trace must be in order" + (" and differ" if strict else ""))
    times.flags.writeable = False
    return times


def _numbers(
    columns: Mapping[str, NDArray[Any]], rows: int, known: Mapping[str, Column]
) -> Mapping[str, Floats]:
    checked: dict[str, Floats] = {}
    for name, values in columns.items():
        energy = known is COLUMNS and name.startswith(ENERGY_PREFIX)
        if name not in known and not energy:
            raise ValueError(f"{name}: no such column; there are {', '.join(known)}")
        checked[name] = np.array(values, dtype=np.float64)
        if checked[name].shape != (rows,):
            raise ValueError(f"{name}: {checked[name].shape} values for {rows} times")
        checked[name].flags.writeable = False
    return MappingProxyType(checked)
