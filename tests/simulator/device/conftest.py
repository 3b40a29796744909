"""The shipped devices, one of them, and a cell with plain numbers: 1 Ah, 4 V falling to 3 V, 100 mohm."""

import pytest

from trimtab_sim.device.profile import Battery, DeviceProfile
from trimtab_sim.device.profile_load import load_device, shipped_devices


@pytest.fixture(scope="session")
def oriole() -> DeviceProfile:
    return load_device("oriole")


@pytest.fixture(scope="session")
def devices() -> tuple[DeviceProfile, ...]:
    return tuple(map(load_device, shipped_devices()))


@pytest.fixture
def plain_battery() -> Battery:
    return Battery(
        capacity_mah=1000.0,
        nominal_voltage_mv=3500.0,
        cutoff_mv=3000.0,
        charge_frac=(0.0, 1.0),
        ocv_mv=(3000.0, 4000.0),
        resistance_frac=(0.0, 1.0),
        resistance_mohm=(100.0, 100.0),
        resistance_kj_per_mol=20.0,
        health_frac=1.0,
        cycles_to_80_percent=1000.0,
        charge_ma=500.0,
        charge_mv=4000.0,
        charge_end_ma=50.0,
    )
