"""Replay the current of the 44-hour log of an iPhone 13 Pro Max through the simulator's cell and heat network.

What is fitted on what:

* charge: nothing. The level at the first row and the full charge that the gauge told there are taken over.
* voltage: open-circuit curve and resistance are found from the other log of that phone, of the weeks before
  (5 minutes apart, levels in whole points). Polarisation's share and time constant are the simulator's own.
* temperature: the network is the profile's, from the phone's size. The share of charging power that becomes heat
  and the room's temperature are fitted to the first night on the charger; the second is judged.

The log's rows are 20 s apart while the phone is in use and up to 9 minutes while it sleeps, and a current lasts
no longer than its row: the gauge's own averages are taken, and between rows the mean of both.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab_sim.device.cell import Cell
from trimtab_sim.device.identify import (
    Floats,
    ambient_response,
    identify_cell,
    recover_ambient,
    warmth,
)
from trimtab_sim.device.profile import Battery, DeviceProfile
from trimtab_sim.device.profile_load import load_device
from trimtab_sim.traces.load import load_series

LOG = "iphone13promax_battery_20s_44h.csv.gz"
EARLIER = "iphone13promax_battery_5min_38d.csv.gz"
NIGHTS_H = ((0.13, 7.6), (23.75, 32.2))
"""From plugging in until the phone is taken off the charger, in hours of the log."""
EVERY_S = 20 * 60.0
BLOCK_S = 15 * 60.0
NODE = "battery"


@dataclass(frozen=True, slots=True)
class Log:
    """The columns used: seconds, level, mV, mA now and averaged, degrees, and the full charge at the start."""

    at_s: Floats
    level: Floats
    voltage_mv: Floats
    current_ma: Floats
    mean_ma: Floats
    temperature_c: Floats
    full_mah: float

    @property
    def second(self) -> NDArray[np.bool_]:
        """Return which rows lie in the second half of the time."""
        return np.asarray(self.at_s > (self.at_s[0] + self.at_s[-1]) / 2)


def folder(data: Path) -> Path:
    """Return where the logs are: in the data's folder of traces, or in it itself."""
    return data / "traces" if (data / "traces").is_dir() else data


def read(path: Path) -> Log:
    """Read the log; raise ``TraceError`` or ``OSError``."""
    series = load_series(path).series
    columns = series.columns
    return Log(
        (series.at_ns - series.at_ns[0]) / 1e9,
        columns["battery_frac"],
        columns["voltage_mv"],
        columns["current_ma"],
        columns["average_current_ma"],
        columns["temperature_mc"] / 1000,
        float(columns["charge_full_mah"][0]),
    )


def replay(log: Log, battery: Battery, temperature_c: Floats) -> tuple[Floats, Floats]:
    """Return level and voltage at each row for the measured current, from the first row's level on."""
    cell = Cell(replace(battery, capacity_mah=log.full_mah, health_frac=1.0), float(log.level[0]))
    steps = np.diff(log.at_s).tolist()
    means = ((log.mean_ma[1:] + log.mean_ma[:-1]) / 2).tolist()
    levels, voltages = [], []
    for row, (now_ma, at_c) in enumerate(zip(log.current_ma.tolist(), temperature_c.tolist(), strict=True)):
        if row:
            cell.carry(means[row - 1], steps[row - 1], at_c)
        levels.append(cell.charge_frac)
        voltages.append(cell.voltage_mv(now_ma, at_c))
    return np.asarray(levels), np.asarray(voltages)


def rmse(error: Floats) -> float:
    """Return the root of the mean square, to three digits behind the point."""
    return round(float(np.sqrt(np.mean(error**2))), 3)


def measure(data: Path) -> dict[str, object]:
    """Return every figure of this log."""
    profile = load_device("iphone13promax")
    assert profile.battery is not None
    log = read(folder(data) / LOG)
    fit = identify_cell(load_series(folder(data) / EARLIER).series, profile.battery)
    level, voltage = replay(log, fit.battery, log.temperature_c)
    off, second = voltage - log.voltage_mv, log.second
    points = 100 * (level - log.level)
    spans = np.diff(log.at_s)
    room = np.full(len(log.at_s), 25.0)
    return {
        "rows": len(log.at_s),
        "hours": round(float(log.at_s[-1]) / 3600, 2),
        "level_rmse_points": rmse(points),
        "level_rmse_points_second_half": rmse(points[second]),
        "level_rmse_points_by_time": round(float(np.sqrt(np.average(points[1:] ** 2, weights=spans))), 3),
        "level_worst_points": round(float(np.abs(points).max()), 2),
        "voltage_rmse_mv": rmse(off),
        "voltage_rmse_mv_second_half": rmse(off[second]),
        "voltage_median_mv": round(float(np.median(np.abs(off))), 1),
        "voltage_rmse_mv_at_25_c": rmse(replay(log, fit.battery, room)[1] - log.voltage_mv),
        "voltage_rmse_mv_shipped_profile": rmse(
            replay(log, profile.battery, log.temperature_c)[1] - log.voltage_mv
        ),
        "voltage_rmse_mv_published_cell": rmse(
            replay(log, as_published(profile.battery), log.temperature_c)[1] - log.voltage_mv
        ),
        "fit_rows": fit.rows,
        "fit_rmse_mv": round(fit.rmse_mv, 1),
        "fit_ocv_mv": list(fit.battery.ocv_mv),
        "fit_resistance_mohm": list(fit.battery.resistance_mohm),
        **temperature(log, profile, fit.battery),
    }


def as_published(battery: Battery) -> Battery:
    """Return the cell with curve and resistance as published, which other phones' profiles scale."""
    other = load_device("oriole").battery
    assert other is not None
    scale = other.capacity_mah / battery.capacity_mah
    return replace(
        battery,
        ocv_mv=other.ocv_mv,
        resistance_mohm=tuple(mohm * scale for mohm in other.resistance_mohm),
    )


def temperature(log: Log, profile: DeviceProfile, battery: Battery) -> dict[str, object]:
    """Return how well the battery's temperature is re-made: on the charger, and over the whole log."""
    chip, cell, charging = heat_mw(log, battery)
    first, second = (_between(log, *night) for night in NIGHTS_H)
    lost, room_c = _charging_night(profile, log, (chip, cell, charging), first)
    nights = [
        _night_error(profile, log, (chip, cell, lost * charging), room_c, night) for night in (first, second)
    ]
    heat = np.column_stack([chip, cell, lost * charging])
    own = warmth(profile.thermal, NODE, log.at_s, heat)
    excess = log.temperature_c - own
    begun = ~log.second
    one = own + excess[begun].mean() - log.temperature_c
    return {
        "temperature_rmse_c_on_charger_first_night": rmse(nights[0]),
        "temperature_rmse_c_on_charger_second_night": rmse(nights[1]),
        "charger_lost_frac": round(lost, 3),
        "room_c": round(room_c, 2),
        "temperature_rmse_c_one_ambient": rmse(one),
        "temperature_rmse_c_no_model": rmse(log.temperature_c - log.temperature_c[begun].mean()),
        **surroundings(log, profile, excess),
    }


def surroundings(log: Log, profile: DeviceProfile, excess_c: Floats) -> dict[str, object]:
    """Return errors on rows that were not used to recover the surroundings: every other row, and blocks of time."""
    rows = np.arange(len(log.at_s)) % 2 == 0
    blocks = (log.at_s // BLOCK_S).astype(int) % 2 == 0
    found: dict[str, object] = {"ambient_every_s": EVERY_S}
    for name, used in (("rows", rows), ("quarter_hours", blocks)):
        errors, lines = [], []
        for taken in (used, ~used):
            ambient = recover_ambient(profile.thermal, NODE, log.at_s, excess_c, every_s=EVERY_S, used=taken)
            made = ambient_response(profile.thermal, NODE, log.at_s, ambient)
            errors.append((made - excess_c)[~taken])
            straight = np.interp(log.at_s[~taken], log.at_s[taken], log.temperature_c[taken])
            lines.append(straight - log.temperature_c[~taken])
        found[f"temperature_rmse_c_other_{name}"] = rmse(np.concatenate(errors))
        found[f"temperature_rmse_c_other_{name}_straight_line"] = rmse(np.concatenate(lines))
    return found


def heat_mw(log: Log, battery: Battery) -> tuple[Floats, Floats, Floats]:
    """Return what heats the chip (all that is discharged) and the cell (its losses), and the charging power."""
    power = log.mean_ma * log.voltage_mv / 1000
    ohm = np.interp(log.level, battery.resistance_frac, battery.resistance_mohm) / 1000
    return np.clip(-power, 0, None), log.mean_ma**2 * ohm / 1000, np.clip(power, 0, None)


def _between(log: Log, begin_h: float, end_h: float) -> NDArray[np.bool_]:
    return np.asarray((log.at_s >= begin_h * 3600) & (log.at_s < end_h * 3600))


def _charging_night(
    profile: DeviceProfile, log: Log, heat: tuple[Floats, Floats, Floats], night: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the share of charging power that becomes heat, and the room's temperature, by least squares."""
    chip, cell, charging = (part[night] for part in heat)
    at_s, measured = log.at_s[night], log.temperature_c[night]
    none = np.zeros_like(chip)
    known = warmth(profile.thermal, NODE, at_s, np.column_stack([chip, cell, none]))
    begin = warmth(profile.thermal, NODE, at_s, np.column_stack([none, none, none]), 1.0)
    charged = warmth(profile.thermal, NODE, at_s, np.column_stack([none, none, charging]))
    wanted = measured - known - begin * measured[0]
    found = np.linalg.lstsq(np.column_stack([charged, 1.0 - begin]), wanted, rcond=None)[0]
    return float(found[0]), float(found[1])


def _night_error(
    profile: DeviceProfile,
    log: Log,
    heat: tuple[Floats, Floats, Floats],
    room_c: float,
    night: NDArray[np.bool_],
) -> Floats:
    """Return modelled less measured temperature of a night, from its first reading on."""
    at_s, measured = log.at_s[night], log.temperature_c[night]
    rows = np.column_stack([part[night] for part in heat])
    made = warmth(profile.thermal, NODE, at_s, rows, float(measured[0]) - room_c) + room_c
    return np.asarray(made - measured)
