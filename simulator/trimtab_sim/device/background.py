"""What a device draws by itself: screen, radios, media and other apps, from states recorded or given.

Currents are the power profile's (source.android.com/docs/core/power/values), the states those of Android's
battery history, under the names of ``trimtab_sim.traces.series.COLUMNS``.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import Final

from trimtab_sim.device.cpu import load_power_mw
from trimtab_sim.device.profile import DeviceProfile
from trimtab_sim.traces.series import Series

INTERACTIVE_LOAD_FRAC: Final = 0.10
"""Share of all cores busy while the screen is on and nothing tells the load (assumed)."""
AWAKE_LOAD_FRAC: Final = 0.02
"""The same with the screen off and the CPU awake (assumed)."""
LOST_IN_CHARGER_FRAC: Final = 0.25
"""Share of the charging power that becomes heat beside the cell (assumed)."""

AWAKE: Final[Mapping[str, float]] = {"cpu_running": 1.0, "wifi_on": 1.0}
"""A device that lies there with its screen off, awake for whatever asks it."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What a device draws by itself: heat in the chip and elsewhere (mW), load on the cores, plugged in or not."""

    soc_mw: float
    skin_mw: float
    load_frac: float | None = None
    plugged: bool = False

    @property
    def total_mw(self) -> float:
        """Return all of it."""
        return self.soc_mw + self.skin_mw


class Background:
    """Draws over time, each until the next; after the last it stays, or begins again after ``repeat_ns``."""

    def __init__(self, at_ns: Sequence[int], draws: Sequence[Draw], repeat_ns: int = 0) -> None:
        """Take times from 0 on in rising order; raise ``ValueError`` for none, another order or a repetition too short."""
        if not at_ns or len(at_ns) != len(draws) or any(a >= b for a, b in pairwise(at_ns)):
            raise ValueError("a background needs at least one draw, and times in rising order")
        if repeat_ns and repeat_ns <= at_ns[-1]:
            raise ValueError("a background cannot repeat before it is over")
        self._at_ns = list(at_ns)
        self._draws = list(draws)
        self._repeat_ns = repeat_ns

    def at(self, since_ns: int) -> tuple[Draw, int]:
        """Return the draw at a time since the beginning, and when it ends (a very late time if it never does)."""
        begun_ns = since_ns // self._repeat_ns * self._repeat_ns if self._repeat_ns and since_ns > 0 else 0
        index = bisect_right(self._at_ns, since_ns - begun_ns)
        if index < len(self._at_ns):
            ends_ns = begun_ns + self._at_ns[index]
        else:
            ends_ns = begun_ns + self._repeat_ns if self._repeat_ns else 1 << 62
        return self._draws[max(0, index - 1)], ends_ns


def constant(soc_mw: float, skin_mw: float = 0.0, *, plugged: bool = False) -> Background:
    """Return a draw that never changes; raise ``ValueError`` for a negative one."""
    if min(soc_mw, skin_mw) < 0:
        raise ValueError(f"no such draw: {soc_mw} and {skin_mw} mW")
    return Background([0], [Draw(soc_mw, skin_mw, plugged=plugged)])


def of_states(profile: DeviceProfile, states: Mapping[str, float]) -> Background:
    """Return the draw of a device whose states (``COLUMNS``) stay as they are."""
    return Background([0], [draw_of(profile, states)])


def of_series(profile: DeviceProfile, series: Series, *, repeat: bool = False) -> Background:
    """Return the draws of recorded states; raise ``ValueError`` for an empty trace.

    What a row does not know is what the last row knew. With ``repeat`` the trace begins again after its end.
    """
    if not len(series):
        raise ValueError(f"{series.name}: an empty trace is no background")
    first_ns = int(series.at_ns[0])
    names = [name for name in series.columns if name in STATES]
    known: dict[str, float] = {}
    at_ns: list[int] = []
    draws: list[Draw] = []
    for row, now_ns in enumerate(series.at_ns.tolist()):
        for name in names:
            value = float(series.columns[name][row])
            if not isnan(value):
                known[name] = value
            elif name == "cpu_load_frac":
                known.pop(name, None)
        draw = draw_of(profile, known)
        if not draws or draw != draws[-1]:
            at_ns.append(now_ns - first_ns)
            draws.append(draw)
    repeat_ns = int(series.duration_ns) if repeat else 0
    if repeat_ns and at_ns[-1] == repeat_ns:  # the last row is where the first one begins again
        del at_ns[-1], draws[-1]
    return Background(at_ns, draws, repeat_ns)


STATES: Final = (
    "cpu_running", "cpu_load_frac", "screen_on", "screen_doze", "brightness_frac", "wifi_on", "wifi_radio_on",
    "wifi_scan", "mobile_radio_on", "phone_scanning", "gps_on", "audio_on", "video_on", "camera_on",
    "flashlight_on", "plugged", "charging",
)  # fmt: skip
"""The columns of a trace that a draw depends on."""


def draw_of(profile: DeviceProfile, states: Mapping[str, float]) -> Draw:
    """Return what a device in these states draws; a state that is not given is off, the CPU awake."""
    volts = profile.cpu.voltage_mv / 1000
    load_frac = _load_frac(states)
    soc_mw = (profile.cpu.suspend_ma + _radio_ma(profile, states)) * volts
    if states.get("cpu_running", 1.0):
        soc_mw += profile.cpu.idle_ma * volts + load_power_mw(profile.cpu, load_frac)
    media_ma, light_ma = _media_ma(profile, states)
    skin_mw = (_screen_ma(profile, states) + light_ma) * volts
    plugged = bool(states.get("plugged", states.get("charging", 0.0)))
    told = states.get("cpu_load_frac")
    return Draw(soc_mw + media_ma * volts, skin_mw, told, plugged)


def _load_frac(states: Mapping[str, float]) -> float:
    """Return the share of all cores that is busy: as told, else as assumed."""
    if not states.get("cpu_running", 1.0):
        return 0.0
    told = states.get("cpu_load_frac")
    if told is not None:
        return told
    return INTERACTIVE_LOAD_FRAC if states.get("screen_on", 0.0) else AWAKE_LOAD_FRAC


def _screen_ma(profile: DeviceProfile, states: Mapping[str, float]) -> float:
    screen = profile.screen
    if screen is None:
        return 0.0
    if states.get("screen_on", 0.0):
        return screen.on_ma + screen.full_ma * states.get("brightness_frac", 0.5)
    return screen.ambient_ma if states.get("screen_doze", 0.0) else 0.0


def _radio_ma(profile: DeviceProfile, states: Mapping[str, float]) -> float:
    """Return what the radios draw; each flag's current adds to the others'."""
    radio = profile.radio
    flags = (
        ("wifi_on", radio.wifi_on_ma),
        ("wifi_radio_on", radio.wifi_active_ma),
        ("wifi_scan", radio.wifi_scan_ma),
        ("mobile_radio_on", radio.mobile_active_ma),
        ("phone_scanning", radio.mobile_scan_ma),
        ("gps_on", radio.gps_ma),
    )
    return radio.mobile_on_ma + sum(current for flag, current in flags if states.get(flag, 0.0))


def _media_ma(profile: DeviceProfile, states: Mapping[str, float]) -> tuple[float, float]:
    """Return what audio, video and camera draw, and what the torch does."""
    media = profile.media
    if media is None:
        return 0.0, 0.0
    flags = (("audio_on", media.audio_ma), ("video_on", media.video_ma), ("camera_on", media.camera_ma))
    chip_ma = sum(current for flag, current in flags if states.get(flag, 0.0))
    return chip_ma, media.torch_ma if states.get("flashlight_on", 0.0) else 0.0
