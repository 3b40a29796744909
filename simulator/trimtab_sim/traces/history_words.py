"""The words of Android's battery history and the columns they fill.

Source: AOSP frameworks/base, core/java/android/os/BatteryStats.java: ``HISTORY_STATE_DESCRIPTIONS``,
``HISTORY_STATE2_DESCRIPTIONS``, ``HISTORY_EVENT_NAMES`` and ``HistoryPrinter.printNextItem`` (Android 5 to 16);
``current`` and ``ap_temp`` are Samsung's additions to it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

FLAGS: Final[Mapping[str, str]] = MappingProxyType({
    "running": "cpu_running",
    "wake_lock": "wake_lock",
    "sensor": "sensors_on",
    "gps": "gps_on",
    "wifi_scan": "wifi_scan",
    "wifi_radio": "wifi_radio_on",
    "mobile_radio": "mobile_radio_on",
    "phone_scanning": "phone_scanning",
    "audio": "audio_on",
    "screen": "screen_on",
    "screen_doze": "screen_doze",
    "plugged": "plugged",
    "charging": "charging",
    "power_save": "power_save",
    "video": "video_on",
    "wifi": "wifi_on",
    "flashlight": "flashlight_on",
    "phone_in_call": "phone_in_call",
    "camera": "camera_on",
    "ble_scan": "bluetooth_scan",
})  # fmt: skip
"""States printed as ``+name`` when they begin and ``-name`` when they end."""

NUMBERS: Final[Mapping[str, tuple[str, float]]] = MappingProxyType({
    "volt": ("voltage_mv", 1.0),
    "temp": ("temperature_mc", 100.0),
    "charge": ("charge_mah", 1.0),
    "current": ("current_ma", 1.0),
})  # fmt: skip
"""Figures printed as ``name=number``, and the factor to the column's unit; ``temp`` is in tenths of a degree."""

_FIFTHS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

CHOICES: Final[Mapping[str, tuple[str, Mapping[str, float]]]] = MappingProxyType({
    "brightness": ("brightness_frac", dict(zip(("dark", "dim", "medium", "light", "bright"),
                                               (0.1, 0.3, 0.5, 0.7, 0.9), strict=True))),
    "phone_signal_strength": ("signal_frac", dict(zip(("none", "poor", "moderate", "good", "great"),
                                                      _FIFTHS, strict=True))),
    "wifi_signal_strength": ("wifi_signal_frac", dict(zip("01234", _FIFTHS, strict=True))),
    "device_idle": ("device_idle", {"off": 0.0, "light": 1.0, "full": 2.0}),
})  # fmt: skip
"""States printed as ``name=word``. Brightness is one of five equal bins; its middle is taken."""

AT_FIRST: Final[Mapping[str, float]] = MappingProxyType(
    dict.fromkeys(FLAGS.values(), 0.0) | {column: min(words.values()) for column, words in CHOICES.values()}
)
"""What holds after a start or reset: a state at zero is not printed."""

NOT_USED: Final = frozenset({
    "status", "health", "plug", "modemRailChargemAh", "wifiRailChargemAh", "wifi_full_lock", "wifi_multicast",
    "data_conn", "phone_state", "wifi_running", "usb_data", "bluetooth", "wifi_suppl", "nr_state", "wake_reason",
    "cellular_high_tx_power", "gps_signal_quality", "null", "proc", "fg", "top", "sync", "wake_lock_in", "job",
    "user", "userfg", "conn", "active", "pkginst", "pkgunin", "alarm", "stats", "pkginactive", "pkgactive",
    "tmpwhitelist", "screenwake", "wakeupap", "longwake", "state", "display_state_changed", "procstate",
    "ap_temp", "pa_temp",
})  # fmt: skip
"""Words that are known and fill no column."""
