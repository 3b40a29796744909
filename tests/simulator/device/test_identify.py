"""Finding a cell and surroundings again that are known, and the recorded iPhone's, which are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trimtab_sim.device.cell import Cell
from trimtab_sim.device.identify import (
    ambient_response,
    hats,
    identify_cell,
    recover_ambient,
    warmth,
)
from trimtab_sim.device.profile import DeviceProfile
from trimtab_sim.device.profile_load import load_device
from trimtab_sim.traces import Series
from trimtab_sim.traces.load import load_series

TRACES = Path(__file__).resolve().parents[3] / "simulator" / "traces"


def test_a_known_cell_is_found_again(oriole: DeviceProfile) -> None:
    assert oriole.battery is not None
    rng = np.random.default_rng(1)
    truth, cell = oriole.battery, Cell(oriole.battery)
    rows = []
    for row in range(3000):
        current = float(rng.choice([-60.0, -400.0, -1500.0, 900.0 if cell.charge_frac < 0.9 else -300.0]))
        cell.carry(current, 60.0, 25.0)
        if cell.charge_frac < 0.05:
            cell = Cell(oriole.battery, 0.98)
        noise = float(rng.normal(0.0, 3.0))
        rows.append((row * 60 * 10**9, cell.charge_frac, cell.voltage_mv(current) + noise, current, 25_000.0))
    at_ns, *columns = zip(*rows, strict=True)
    names = ("battery_frac", "voltage_mv", "current_ma", "temperature_mc")
    series = Series("made", np.array(at_ns), {n: np.array(c) for n, c in zip(names, columns, strict=True)})
    wrong = replace(
        truth,
        ocv_mv=tuple(mv - 40 for mv in truth.ocv_mv),
        resistance_mohm=tuple(r * 2 for r in truth.resistance_mohm),
    )
    fit = identify_cell(series, wrong)
    assert np.abs(np.subtract(fit.battery.ocv_mv, truth.ocv_mv))[2:].max() < 12
    assert fit.battery.resistance_mohm == pytest.approx(truth.resistance_mohm, rel=0.1)
    assert fit.rmse_mv < 8.0


def test_a_log_that_tells_too_little_is_refused(oriole: DeviceProfile) -> None:
    assert oriole.battery is not None
    columns = {
        name: np.full(5, 1.0) for name in ("battery_frac", "voltage_mv", "current_ma", "temperature_mc")
    }
    with pytest.raises(ValueError, match="short: 5 rows are too few"):
        identify_cell(Series("short", np.arange(5), columns), oriole.battery)
    del columns["current_ma"]
    with pytest.raises(ValueError, match="short: no column current_ma"):
        identify_cell(Series("short", np.arange(5), columns), oriole.battery)


def test_known_surroundings_are_found_again(oriole: DeviceProfile) -> None:
    at_s = np.arange(0.0, 6 * 3600.0, 30.0)
    heat = np.column_stack([2000.0 * (np.sin(at_s / 700) > 0), 50 + 0 * at_s, 300 + 0 * at_s])
    ambient = hats(at_s, np.array([0.0, 7200.0, 14400.0, 21600.0])) @ np.array([22.0, 28.0, 8.0, 20.0])
    own = warmth(oriole.thermal, "battery", at_s, heat)
    excess = ambient_response(oriole.thermal, "battery", at_s, ambient)
    used = np.arange(len(at_s)) % 3 == 0
    found = recover_ambient(oriole.thermal, "battery", at_s, excess, every_s=1800.0, used=used)
    assert np.abs(found - ambient)[20:-60].max() < 1.0
    again = own + ambient_response(oriole.thermal, "battery", at_s, found)
    assert np.abs(again - own - excess).max() < 0.2


def test_both_ways_to_pass_time_agree(oriole: DeviceProfile) -> None:
    at_s = np.array([0.0, 10.0, 300.0, 301.0, 4000.0])
    begun = warmth(oriole.thermal, "battery", at_s, np.zeros((5, 3)), 1.0)
    response = ambient_response(oriole.thermal, "battery", at_s, np.ones(5))
    assert response == pytest.approx(np.ones(5))
    stepped = ambient_response(
        oriole.thermal, "battery", np.concatenate([[-1e-9], at_s]), np.array([0, 1, 1, 1, 1, 1.0])
    )
    assert stepped[1:] == pytest.approx(1.0 - begun, abs=1e-6)


def test_the_recorded_current_makes_the_recorded_level_and_voltage() -> None:
    """44 hours of an iPhone 13 Pro Max, its cell found from the log of the weeks before."""
    profile = load_device("iphone13promax")
    assert profile.battery is not None
    fit = identify_cell(
        load_series(TRACES / "iphone13promax_battery_5min_38d.csv.gz").series, profile.battery
    )
    log = load_series(TRACES / "iphone13promax_battery_20s_44h.csv.gz").series
    column = log.columns
    cell = Cell(
        replace(fit.battery, capacity_mah=float(column["charge_full_mah"][0]), health_frac=1.0), 0.2687
    )
    mean_ma = (column["average_current_ma"][1:] + column["average_current_ma"][:-1]) / 2
    off_points, off_mv = [], []
    for row in range(1, len(log)):
        at_c = float(column["temperature_mc"][row]) / 1000
        cell.carry(float(mean_ma[row - 1]), float(log.at_ns[row] - log.at_ns[row - 1]) / 1e9, at_c)
        off_points.append(100 * (cell.charge_frac - column["battery_frac"][row]))
        off_mv.append(cell.voltage_mv(float(column["current_ma"][row]), at_c) - column["voltage_mv"][row])
    assert np.sqrt(np.mean(np.square(off_points))) < 1.5
    assert np.sqrt(np.mean(np.square(off_mv))) < 30.0
