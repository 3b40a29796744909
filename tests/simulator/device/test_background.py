import numpy as np
import pytest

from trimtab_sim.device.background import (
    AWAKE,
    AWAKE_LOAD_FRAC,
    INTERACTIVE_LOAD_FRAC,
    Background,
    Draw,
    constant,
    draw_of,
    of_series,
    of_states,
)
from trimtab_sim.device.cpu import load_power_mw
from trimtab_sim.device.profile import DeviceProfile
from trimtab_sim.device.profile_load import load_device
from trimtab_sim.traces import Series


def test_a_sleeping_phone_draws_its_suspend_current(oriole: DeviceProfile) -> None:
    asleep = draw_of(oriole, {"cpu_running": 0.0})
    assert asleep.soc_mw == pytest.approx((10 + 2) * 3.85)
    assert asleep.skin_mw == 0.0
    assert not asleep.plugged


def test_states_add_what_the_power_profile_says(oriole: DeviceProfile) -> None:
    """Pixel 6: idle 28.6, screen 98 and 470 at full brightness, Wi-Fi 98, GPS 21.3, audio 75 mA."""
    awake = draw_of(oriole, {"cpu_load_frac": 0.0}).total_mw
    assert awake == pytest.approx((10 + 2 + 28.6) * 3.85)
    for state, current_ma in (("wifi_radio_on", 98), ("gps_on", 21.3), ("audio_on", 75), ("video_on", 25)):
        assert draw_of(oriole, {"cpu_load_frac": 0.0, state: 1.0}).soc_mw - awake == pytest.approx(
            current_ma * 3.85
        )
    screen = draw_of(oriole, {"cpu_load_frac": 0.0, "screen_on": 1.0, "brightness_frac": 0.5})
    assert screen.skin_mw == pytest.approx((98 + 0.5 * 470) * 3.85)


def test_load_is_told_or_assumed(oriole: DeviceProfile) -> None:
    without = draw_of(oriole, {"cpu_load_frac": 0.0}).soc_mw
    for states, load_frac in (
        ({"cpu_load_frac": 0.4}, 0.4),
        ({"screen_on": 1.0}, INTERACTIVE_LOAD_FRAC),
        ({}, AWAKE_LOAD_FRAC),
    ):
        assert draw_of(oriole, states).soc_mw - without == pytest.approx(load_power_mw(oriole.cpu, load_frac))
    assert draw_of(oriole, {"cpu_load_frac": 0.4}).load_frac == 0.4
    assert draw_of(oriole, {}).load_frac is None


def test_a_board_has_neither_screen_nor_media() -> None:
    board = load_device("raspberrypi4")
    every = dict.fromkeys(("screen_on", "audio_on", "camera_on", "flashlight_on"), 1.0)
    assert draw_of(board, every).skin_mw == 0.0
    assert of_states(board, AWAKE).at(0)[0].total_mw > 0


def test_a_trace_holds_until_its_next_row(oriole: DeviceProfile) -> None:
    nan = float("nan")
    columns = {"screen_on": [0.0, 1.0, nan, 0.0], "cpu_load_frac": [0.0, 0.5, nan, 0.0]}
    series = Series(
        "s", np.array([5, 15, 25, 35]), {name: np.array(values) for name, values in columns.items()}
    )
    background = of_series(oriole, series)
    (off, off_until), (on, _), (guessed, _), (last, last_until) = (
        background.at(at) for at in (0, 10, 24, 30)
    )
    assert (off.skin_mw, off_until) == (0.0, 10)
    assert on.load_frac == 0.5
    assert guessed.load_frac is None
    assert guessed.skin_mw == on.skin_mw > 0.0
    assert last == off
    assert last_until > 10**18
    again = of_series(oriole, series, repeat=True)
    assert [again.at(at)[0] for at in (30, 40, 71)] == [off, on, on]
    assert [again.at(at)[1] for at in (29, 30, 40)] == [30, 40, 50]
    with pytest.raises(ValueError, match="empty trace"):
        of_series(oriole, series.window(0, 0))


def test_impossible_backgrounds_are_refused() -> None:
    draw = Draw(1.0, 2.0)
    assert constant(1.0, 2.0).at(10**15)[0] == draw
    for at_ns, draws in (([], []), ([0, 0], [draw, draw]), ([0, 1], [draw])):
        with pytest.raises(ValueError, match="rising order"):
            Background(at_ns, draws)
    with pytest.raises(ValueError, match="cannot repeat"):
        Background([0, 10], [draw, draw], 10)
    with pytest.raises(ValueError, match="no such draw"):
        constant(-1.0)
