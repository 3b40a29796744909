from dataclasses import replace

import pytest

from trimtab_sim.device.ageing import Use, aged, wear
from trimtab_sim.device.cell import Cell
from trimtab_sim.device.profile import Battery
from trimtab_sim.device.profile_load import load_device


def test_80_percent_are_left_after_the_cycles_that_the_profile_says() -> None:
    assert wear(0.0, 800.0).health_frac == 1.0
    assert wear(0.0, 800.0).resistance_factor == 1.0
    assert wear(800.0, 800.0).health_frac == pytest.approx(0.8)
    assert wear(400.0, 800.0).health_frac > 0.8
    assert wear(800.0, 800.0).resistance_factor > 1.05


def test_heat_voltage_and_depth_wear_it_out_faster() -> None:
    usual = wear(500.0, 1000.0).health_frac
    for use in (
        Use(temperature_c=40.0),
        Use(voltage_mv=4100.0),
        Use(depth_frac=1.0),
        Use(cycles_per_day=0.5),
    ):
        assert wear(500.0, 1000.0, use).health_frac < usual


def test_an_aged_battery_has_less_charge_and_a_lower_voltage(plain_battery: Battery) -> None:
    old = aged(plain_battery, 1000.0)
    assert old.health_frac == pytest.approx(0.8)
    assert old.resistance_mohm[0] > 100.0
    assert Cell(old).voltage_mv(-1000.0) < Cell(plain_battery).voltage_mv(-1000.0)


def test_ageing_begins_from_new_whatever_the_profile_says(plain_battery: Battery) -> None:
    worn = aged(plain_battery, 600.0)
    assert aged(worn, 600.0).resistance_mohm == pytest.approx(worn.resistance_mohm)
    assert aged(worn, 0.0).resistance_mohm == pytest.approx(plain_battery.resistance_mohm)
    assert aged(worn, 0.0).health_frac == 1.0


def test_it_comes_near_the_one_phone_whose_health_was_measured() -> None:
    battery = load_device("iphone13promax").battery
    assert battery is not None
    assert battery.health_frac == 0.86
    assert wear(718.0, battery.cycles_to_80_percent).health_frac == pytest.approx(0.86, abs=0.03)


def test_impossible_wear_is_refused(plain_battery: Battery) -> None:
    with pytest.raises(ValueError, match="no such wear"):
        wear(-1.0, 1000.0)
    with pytest.raises(ValueError, match="no such wear"):
        aged(replace(plain_battery, cycles_to_80_percent=0.0), 1.0)
