"""Re-make discharge and temperature of recorded Android histories from their screen, radio and CPU states.

The phone is of a model whose power profile nobody published. Every shipped phone's own profile draws what the
states say, through ``SimulatedPhone``, and the median of the phones is taken. What is fitted, always on the
*other* histories of that phone only:

* how much charge leaves before the gauge shows less than 100 %, and the charge of a point where they tell it;
* for the temperature, how far the room is below the first reading, and the share of the heat the battery feels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from trimtab_sim.device.background import of_series
from trimtab_sim.device.identify import Floats
from trimtab_sim.device.phone import Conditions, SimulatedPhone
from trimtab_sim.device.profile import DeviceProfile
from trimtab_sim.device.profile_load import load_device, shipped_devices
from trimtab_sim.device.thermal import HeatNetwork
from trimtab_sim.traces.load import load_series
from trimtab_sim.traces.series import Series

FOLDER = "traces/android_batterystats"
PATTERN = "honor_scenario*_history.txt"


@dataclass(frozen=True, slots=True)
class History:
    """A history until it is plugged in again: the trace, what it measured at changes, what the phones make of it.

    ``levels`` are (time in ns, level in points, charge used so far in mAh) where the level told changes, and at
    the end. ``made_mah`` and ``rise_c`` have a column per phone at the times of ``levels`` and ``warm``.
    """

    name: str
    series: Series
    levels: tuple[tuple[int, float, float], ...]
    warm: tuple[tuple[int, float], ...]
    made_mah: Floats
    rise_c: Floats
    rest: Floats


@dataclass(frozen=True, slots=True)
class Gauge:
    """How a phone tells its level: from full 100 % until ``held_mah`` are used, then a point per ``point_mah``."""

    held_mah: float
    point_mah: float

    def told(self, used_mah: float, begin: float) -> float:
        """Return the level in points after so much was used since it was ``begin``."""
        held_mah = self.held_mah if begin >= 100.0 else 0.0
        return float(round(begin - max(0.0, used_mah - held_mah) / self.point_mah))


def folder(data: Path) -> Path:
    """Return where the histories are: in the data's own folder for them, or beside the other traces."""
    return data / FOLDER if (data / FOLDER).is_dir() else data


def phones() -> list[DeviceProfile]:
    """Return the shipped profiles of phones."""
    return [one for one in map(load_device, shipped_devices()) if one.kind == "phone"]


def read(path: Path, models: Sequence[DeviceProfile]) -> History:
    """Read a history and let every phone live through it."""
    series = load_series(path).series
    plugged = series.columns["plugged"] if "plugged" in series.columns else np.zeros(len(series))
    on = np.flatnonzero(plugged > 0)
    series = series.window(0, int(series.at_ns[on[0]]) + 1) if len(on) else series
    levels = tuple(
        (at_ns, round(100 * level), series.at("charge_used_mah", at_ns))
        for at_ns, level in _changes(series, "battery_frac", last=True)
    )
    warm = tuple((at_ns, mc / 1000) for at_ns, mc in _changes(series, "temperature_mc", last=False))
    begin_c = warm[0][1]
    lives = [
        _live(model, series, begin_c, [at for at, *_ in levels], [at for at, _ in warm]) for model in models
    ]
    network = HeatNetwork(models[len(models) // 2].thermal, 0.0)
    network.set_temperatures([1.0] * len(network.names))
    rest, seen_ns = [], 0
    for at_ns, _ in warm:
        network.pass_time((at_ns - seen_ns) / 1e9, [0.0] * len(network.names))
        rest.append(network.temperature_c("battery"))
        seen_ns = at_ns
    made, rise = (np.asarray(part).T for part in zip(*lives, strict=True))
    return History(path.name, series, levels, warm, made, rise - begin_c, np.asarray(rest))


def _changes(series: Series, column: str, *, last: bool) -> list[tuple[int, float]]:
    """Return when a column's value is new; with ``last`` also what it is at the end."""
    at_ns, values = series.known(column)
    new = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist()]
    found = [(int(at_ns[row]), float(values[row])) for row in new]
    return [*found, (int(series.at_ns[-1]), float(values[-1]))] if last else found


def _live(
    model: DeviceProfile, series: Series, begin_c: float, level_ns: list[int], warm_ns: list[int]
) -> tuple[list[float], list[float]]:
    """Return the charge used and the battery's temperature at the times asked for."""
    phone = SimulatedPhone(model, Conditions(ambient_c=begin_c, background=of_series(model, series)))
    assert phone.cell is not None
    used, temperature = {}, {}
    for at_ns in sorted({*level_ns, *warm_ns}):
        temperature[at_ns] = phone.insight(at_ns).battery_c
        used[at_ns] = phone.cell.throughput_mah
    return [used[at] for at in level_ns], [temperature[at] for at in warm_ns]


def gauge_of(others: Sequence[History], usual_mah: float) -> Gauge:
    """Return the gauge that other histories show; a point is one of ``usual_mah`` where none tells it."""
    counted = [one for one in others if not any(np.isnan(used) for *_, used in one.levels)]
    points = [
        (last[2] - first[2]) / (first[1] - last[1])
        for one in counted
        if (drops := [row for row in one.levels[1:-1] if row[1] < 100])
        for first, last in [(drops[0], drops[-1])]
        if first[1] > last[1]
    ]
    point_mah = median(points) if points else usual_mah / 100
    below = [
        one.levels[1][2] - one.levels[0][2] - (99.5 - one.levels[1][1]) * point_mah
        for one in counted
        if one.levels[0][1] >= 100 > one.levels[1][1]
    ]
    return Gauge(median(below) if below else 0.0, point_mah)


def heat_fit(others: Sequence[History]) -> tuple[float, float]:
    """Return by how much the room is cooler than the first reading, and the share of heat the battery feels."""
    rows = [
        (rest - 1.0, rise, at_c - one.warm[0][1])
        for one in others
        for rest, rise, (_, at_c) in zip(one.rest, np.median(one.rise_c, axis=1), one.warm, strict=True)
    ]
    matrix = np.asarray(rows)
    found = np.linalg.lstsq(matrix[:, :2], matrix[:, 2], rcond=None)[0]
    return float(found[0]), float(found[1])


def judge(one: History, others: Sequence[History], models: Sequence[DeviceProfile]) -> dict[str, object]:
    """Return measured and modelled figures of one history."""
    capacities = [model.battery.capacity_mah for model in models if model.battery is not None]
    gauge = gauge_of(others, median(capacities))
    used = np.median(one.made_mah, axis=1)
    begin = one.levels[0][1]
    told = [gauge.told(mah, begin) for mah in used]
    per_phone = [gauge.told(mah, begin) for mah in one.made_mah[-1]]
    cooler_c, felt = heat_fit(others)
    begin_c = one.warm[0][1]
    made_c = begin_c + cooler_c * (one.rest - 1.0) + felt * np.median(one.rise_c, axis=1)
    off_c = made_c - np.asarray([at_c for _, at_c in one.warm])
    off = np.asarray(told) - np.asarray([level for _, level, _ in one.levels])
    return {
        "minutes": round(one.series.duration_ns / 6e10, 1),
        "charge_used_mah": round(one.levels[-1][2] - one.levels[0][2], 1),
        "charge_made_mah": round(float(used[-1]), 1),
        "charge_made_mah_phones": [
            round(float(one.made_mah[-1].min()), 1),
            round(float(one.made_mah[-1].max()), 1),
        ],
        "final_level_points": one.levels[-1][1],
        "final_made_points": told[-1],
        "final_made_points_phones": [min(per_phone), max(per_phone)],
        "final_error_points": round(float(off[-1]), 2),
        "curve_rmse_points": round(float(np.sqrt(np.mean(off**2))), 2),
        "held_mah": round(gauge.held_mah, 1),
        "point_mah": round(gauge.point_mah, 2),
        "final_temperature_c": one.warm[-1][1],
        "final_temperature_made_c": round(float(made_c[-1]), 2),
        "temperature_rmse_c": round(float(np.sqrt(np.mean(off_c**2))), 2),
        "temperature_rmse_c_unfitted": round(
            float(
                np.sqrt(np.mean((begin_c + np.median(one.rise_c, axis=1) - [c for _, c in one.warm]) ** 2))
            ),
            2,
        ),
    }


def measure(data: Path) -> dict[str, object]:
    """Return every figure of every history there is, each judged by parameters of the others."""
    paths = sorted(folder(data).glob(PATTERN))
    if len(paths) < 2:
        raise FileNotFoundError(f"{folder(data)}: fewer than two files {PATTERN}")
    models = phones()
    histories = [read(path, models) for path in paths]
    return {
        one.name: judge(one, [other for other in histories if other is not one], models) for one in histories
    }
