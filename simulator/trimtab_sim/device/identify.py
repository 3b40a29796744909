"""A cell's figures and a device's surroundings, found from a log of the device itself.

What a profile has to assume about a phone's cell, its own battery log tells; and where the phone was when the log
was written, no sensor tells: only what it did to the temperature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.device.cell import (
    GAS_J_PER_MOL_K,
    POLARISED_FRAC,
    POLARISED_S,
    REFERENCE_K,
    ZERO_C_K,
)
from trimtab_sim.device.profile import Battery, Thermal
from trimtab_sim.device.thermal import HeatNetwork
from trimtab_sim.traces.series import Series

Floats = NDArray[np.float64]

ROUNDS: Final = 15
USUAL_ERROR_MV: Final = 15.0
"""Rows further off than this count less (Cauchy weights): a gauge's voltage and level lag each other."""
LEAST_FRAC: Final = 0.02
"""Rows below this charge say little about the curve: it falls steeply while the level is told in whole points."""


@dataclass(frozen=True, slots=True)
class CellFit:
    """A battery with the curve and resistance found, how many rows were used, and how far off they are."""

    battery: Battery
    rows: int
    rmse_mv: float


def identify_cell(series: Series, battery: Battery) -> CellFit:
    """Find open-circuit voltage and resistance of a cell from a log of level, voltage, current, temperature.

    Least squares with weights over the points of the battery's own curve; of its resistance only the height is
    found, not the shape. Raises ``ValueError`` for a log that lacks a column or has too few rows.
    """
    at_s, level, voltage, current, mean_current, temperature = _columns(series)
    inverse_k = 1.0 / (temperature + ZERO_C_K) - 1.0 / REFERENCE_K
    arrhenius = np.exp(battery.resistance_kj_per_mol * 1000 / GAS_J_PER_MOL_K * inverse_k)
    shape = np.interp(level, battery.resistance_frac, battery.resistance_mohm) / 1000 * arrhenius
    lagged = lag(at_s, mean_current, POLARISED_S)
    drop = shape * ((1.0 - POLARISED_FRAC) * current + POLARISED_FRAC * lagged)
    points = np.asarray(battery.charge_frac)
    matrix = np.column_stack([hats(level, points), drop])
    used = level >= LEAST_FRAC
    if used.sum() < 10 * len(points):
        raise ValueError(f"{series.name}: {int(used.sum())} rows are too few for {len(points)} points")
    found = _robust(matrix[used], voltage[used], np.asarray([*battery.ocv_mv, 1.0]))
    error = matrix[used] @ found - voltage[used]
    curve = _rising(found[:-1])
    resistance = tuple(round(float(found[-1]) * mohm, 1) for mohm in battery.resistance_mohm)
    fitted = replace(
        battery, ocv_mv=curve, resistance_mohm=resistance, charge_mv=max(battery.charge_mv, curve[-1])
    )
    return CellFit(fitted, int(used.sum()), float(np.sqrt(np.mean(error**2))))


def lag(at_s: Floats, values: Floats, time_constant_s: float) -> Floats:
    """Return what a lag of first order makes of ``values``, taken as straight lines' means between rows."""
    lagged = np.empty_like(values)
    lagged[0] = values[0]
    means = (values[1:] + values[:-1]) / 2
    fading = np.exp(-np.diff(at_s) / time_constant_s)
    now = values[0]
    for i in range(len(means)):
        now = now * fading[i] + means[i] * (1.0 - fading[i])
        lagged[i + 1] = now
    return lagged


def hats(x: Floats, points: Floats) -> Floats:
    """Return the piecewise linear basis over rising ``points``: a row per value, a column per point."""
    inner = np.clip(x, points[0], points[-1])
    index = np.clip(np.searchsorted(points, inner, side="right") - 1, 0, len(points) - 2)
    part = (inner - points[index]) / (points[index + 1] - points[index])
    basis = np.zeros((len(x), len(points)))
    rows = np.arange(len(x))
    basis[rows, index] = 1.0 - part
    basis[rows, index + 1] = part
    return basis


def warmth(thermal: Thermal, node: str, at_s: Floats, heat_mw: Floats, begin_c: float = 0.0) -> Floats:
    """Return a node's temperature over time with ambient at 0 degrees, every node beginning at ``begin_c``.

    ``heat_mw`` has a row per time and a column per node; between rows it is their mean.
    """
    network = HeatNetwork(thermal, 0.0)
    network.set_temperatures([begin_c] * len(network.names))
    steps, means = np.diff(at_s).tolist(), ((heat_mw[1:] + heat_mw[:-1]) / 2).tolist()
    told = [network.temperature_c(node)]
    for step_s, heat in zip(steps, means, strict=True):
        network.pass_time(step_s, heat)
        told.append(network.temperature_c(node))
    return np.asarray(told)


def recover_ambient(
    thermal: Thermal, node: str, at_s: Floats, excess_c: Floats, *, every_s: float, used: NDArray[np.bool_]
) -> Floats:
    """Return the ambient temperature at each time that explains a node's temperature.

    ``excess_c`` is what the node was warmer than by its heat alone (measured less ``warmth``). Ambient is a
    line through points ``every_s`` apart, found by least squares over the rows ``used``, with a slight
    preference for staying the same where no row tells.
    """
    points = np.arange(at_s[0], at_s[-1] + every_s, every_s)
    basis = hats(at_s, points)
    response = ambient_response(thermal, node, at_s, basis)
    calm = 0.3 * np.diff(np.eye(len(points)), axis=0)
    matrix = np.vstack([response[used], calm])
    wanted = np.concatenate([excess_c[used], np.zeros(len(calm))])
    found: Floats = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
    return basis @ found


def ambient_response(thermal: Thermal, node: str, at_s: Floats, ambient_c: Floats) -> Floats:
    """Return what ambient temperatures (a column each) do to a node that begins in balance with them."""
    network = HeatNetwork(thermal, 0.0)
    rates, inward, outward = network.modes(node)
    ambient = ambient_c.reshape(len(at_s), -1)
    state = np.outer(np.asarray(inward) / np.asarray(rates), ambient[0])
    means = (ambient[1:] + ambient[:-1]) / 2
    fading = np.exp(-np.outer(np.diff(at_s), rates))
    settled = np.asarray(inward) / np.asarray(rates)
    response = np.empty_like(ambient)
    response[0] = np.asarray(outward) @ state
    for i in range(len(means)):
        state = state * fading[i][:, None] + np.outer(settled * (1.0 - fading[i]), means[i])
        response[i + 1] = np.asarray(outward) @ state
    return response.reshape(ambient_c.shape)


def _columns(series: Series) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Return seconds, level, mV, mA, mean mA and degrees of the rows that have all of them."""
    wanted = ("battery_frac", "voltage_mv", "current_ma", "temperature_mc")
    missing = [name for name in wanted if name not in series.columns]
    if missing:
        raise ValueError(f"{series.name}: no column {missing[0]}")
    mean_name = "average_current_ma" if "average_current_ma" in series.columns else "current_ma"
    columns = [series.columns[name] for name in (*wanted, mean_name)]
    known = ~np.isnan(np.column_stack(columns)).any(axis=1)
    level, voltage, current, temperature_mc, mean_current = (column[known] for column in columns)
    at_s = (series.at_ns[known] - series.at_ns[0]) / NS_PER_S
    return at_s, level, voltage, current, mean_current, temperature_mc / 1000


def _robust(matrix: Floats, wanted: Floats, about: Floats) -> Floats:
    """Return the least-squares solution near which most rows are; ``about`` stands in where no row tells."""
    weights = np.ones(len(wanted))
    slight = 1e-3 * np.eye(matrix.shape[1])
    found = about
    for _ in range(ROUNDS):
        left = np.vstack([matrix * weights[:, None], slight])
        right = np.concatenate([wanted * weights, slight @ about])
        found = np.linalg.lstsq(left, right, rcond=None)[0]
        weights = 1.0 / np.sqrt(1.0 + ((matrix @ found - wanted) / USUAL_ERROR_MV) ** 2)
    return found


def _rising(curve: Sequence[float] | Floats) -> tuple[float, ...]:
    """Return a curve in whole mV, made to rise by at least 1 mV from point to point."""
    rising: list[float] = []
    for value in curve:
        rising.append(max(round(float(value)), rising[-1] + 1 if rising else round(float(value))))
    return tuple(rising)
