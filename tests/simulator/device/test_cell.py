from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab_sim.device.cell import POLARISED_FRAC, POLARISED_S, Cell, Curve
from trimtab_sim.device.profile import Battery, DeviceProfile


def test_charge_is_counted(plain_battery: Battery) -> None:
    cell = Cell(plain_battery, 0.5)
    assert cell.carry(-100.0, 3600.0).lasted_s == 3600.0
    assert cell.charge_frac == pytest.approx(0.4)
    cell.carry(250.0, 1800.0)
    assert cell.charge_frac == pytest.approx(0.525)
    assert cell.throughput_mah == pytest.approx(225.0)


def test_health_is_capacity(plain_battery: Battery) -> None:
    cell = Cell(replace(plain_battery, health_frac=0.8))
    assert cell.capacity_mah == 800.0
    assert cell.capacity_j == pytest.approx(0.8 * 3.5 * 3600)


def test_it_is_empty_when_the_charge_is_used_up(plain_battery: Battery) -> None:
    passed = Cell(plain_battery, 0.1).carry(-100.0, 7200.0)
    assert passed.lasted_s == pytest.approx(3600.0)


def test_the_voltage_falls_at_once_and_then_slowly(plain_battery: Battery) -> None:
    cell = Cell(plain_battery, 0.5)
    at_once = cell.voltage_mv(-1000.0)
    assert at_once == pytest.approx(3500.0 - 100.0 * (1 - POLARISED_FRAC))
    cell.carry(-1000.0, 1e-6)
    charge_frac = cell.charge_frac
    cell.carry(-1000.0, POLARISED_S)
    fallen_mv = at_once - cell.voltage_mv(-1000.0) - 1000.0 * (charge_frac - cell.charge_frac)
    assert fallen_mv == pytest.approx(100.0 * POLARISED_FRAC * (1 - 0.36788), rel=1e-4)


def test_cold_doubles_the_resistance(oriole: DeviceProfile) -> None:
    assert oriole.battery is not None
    cell = Cell(oriole.battery, 0.5)
    assert cell.resistance_ohm(0.0) / cell.resistance_ohm(25.0) == pytest.approx(2.09, abs=0.01)
    assert cell.resistance_ohm(25.0) == pytest.approx(cell.resistance_ohm(), rel=1e-12)


@given(power_mw=st.floats(1.0, 6000.0), level=st.floats(0.15, 1.0))
def test_the_current_is_the_one_that_gives_the_power(power_mw: float, level: float) -> None:
    cell = Cell(BATTERY, level)
    current = cell.current_ma(power_mw)
    assert current is not None
    assert -current * cell.voltage_mv(current) / 1000 == pytest.approx(power_mw)


@given(
    power_mw=st.floats(10.0, 4000.0),
    parts=st.lists(st.floats(1.0, 900.0), min_size=2, max_size=8),
    temperature_c=st.floats(0.0, 45.0),
)
def test_one_long_stretch_is_many_short_ones(
    power_mw: float, parts: list[float], temperature_c: float
) -> None:
    whole, cut = Cell(BATTERY, 0.9), Cell(BATTERY, 0.9)
    whole.supply(power_mw, sum(parts), temperature_c)
    for part in parts:
        cut.supply(power_mw, part, temperature_c)
    assert cut.charge_frac == pytest.approx(whole.charge_frac, abs=1e-3)


@given(power_mw=st.floats(10.0, 4000.0), level=st.floats(0.2, 1.0))
def test_energy_is_kept(power_mw: float, level: float) -> None:
    """What leaves the open-circuit voltage arrives at the terminals or is heat."""
    cell = Cell(BATTERY, level)
    held_j = stored_j(cell.charge_frac)
    passed = cell.supply(power_mw, 1200.0)
    spent_j = held_j - stored_j(cell.charge_frac)
    arrived_j = (power_mw + passed.heat_mw) * passed.lasted_s / 1000
    assert arrived_j == pytest.approx(spent_j, rel=0.005, abs=5.0)


def stored_j(charge_frac: float) -> float:
    return 3600.0 * (3.0 * charge_frac + charge_frac**2 / 2)


def test_a_cell_lasts_as_long_as_its_energy(plain_battery: Battery) -> None:
    cell = Cell(replace(plain_battery, resistance_mohm=(1e-6, 1e-6)))
    passed = cell.supply(1000.0, 1e6)
    assert passed.lasted_s == pytest.approx(cell.capacity_j, rel=1e-3)


def test_cold_cells_switch_off_earlier(oriole: DeviceProfile) -> None:
    assert oriole.battery is not None
    warm, cold = (Cell(oriole.battery).supply(4000.0, 1e6, at_c) for at_c in (25.0, 0.0))
    assert 0.8 < cold.lasted_s / warm.lasted_s < 0.97


def test_more_power_than_it_can_give_ends_it_at_once(plain_battery: Battery) -> None:
    cell = Cell(plain_battery, 0.5)
    assert cell.current_ma(50_000.0) is None
    assert cell.supply(50_000.0, 10.0).lasted_s == 0.0


def test_it_charges_at_constant_current_then_voltage(plain_battery: Battery) -> None:
    cell = Cell(plain_battery, 0.2)
    currents = []
    for _ in range(60 * 5):
        currents.append(cell.charging_ma())
        cell.charge(60.0)
    assert currents[0] == 500.0
    tapering = [current for current in currents if 0.0 < current < 500.0]
    assert tapering == sorted(tapering, reverse=True)
    assert min(tapering) >= 50.0
    assert currents[-1] == 0.0
    assert 0.98 < cell.charge_frac <= 1.0
    cell.supply(1000.0, 900.0)
    assert cell.charge_frac < 0.95
    assert cell.charging_ma() == pytest.approx(500.0, abs=80.0)


def test_a_full_cell_takes_no_more(plain_battery: Battery) -> None:
    cell = Cell(plain_battery)
    assert cell.charge(3600.0).current_ma == 0.0
    cell.carry(100.0, 3600.0)
    assert cell.charge_frac == 1.0


@pytest.mark.parametrize("level", [-0.1, 1.1])
def test_impossible_levels_are_refused(plain_battery: Battery, level: float) -> None:
    with pytest.raises(ValueError, match="no such charge"):
        Cell(plain_battery, level)


def test_curves_are_linear_between_points_and_constant_beyond() -> None:
    curve = Curve((0.0, 1.0, 3.0), (0.0, 10.0, 30.0))
    assert [curve.at(x) for x in (-1.0, 0.5, 1.0, 2.0, 9.0)] == [0.0, 5.0, 10.0, 20.0, 30.0]
    assert curve.mean() == pytest.approx(15.0)
    for wrong in (((), ()), ((1.0, 1.0), (0.0, 0.0)), ((0.0,), (1.0, 2.0))):
        with pytest.raises(ValueError, match="rising order"):
            Curve(*wrong)


BATTERY = Battery(
    1000.0, 3500.0, 3000.0, (0.0, 1.0), (3000.0, 4000.0), (0.0, 1.0), (100.0, 100.0), 20.0, 1.0, 1000.0, 500.0, 4000.0, 50.0
)  # fmt: skip
