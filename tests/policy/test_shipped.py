"""The policies that ship: they load, differ visibly, and fit every kind of device."""

from pathlib import Path

import pytest

from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy, Settings
from trimtab.domain.settings import resolve
from trimtab.policy import load_policy_file, resolve_name, shipped_policies_folder, shipped_policy_names
from trimtab.policy.shipped import SCHEMA_FILE

NOON_S = 12 * 3600
PHONE = DeviceState(battery_frac=0.8, battery_capacity_j=50_000, temperature_mc=40_000, cpu_load_frac=0.2)
DEVICES = {
    "phone": PHONE,
    "phone, nearly empty": DeviceState(battery_frac=0.08, temperature_mc=40_000),
    "board without battery": DeviceState(temperature_mc=50_000, memory_available_bytes=2**30),
    "laptop on mains": DeviceState(battery_frac=0.9, charging=True, temperature_mc=50_000),
    "board without any sensor": DeviceState(),
    "hot laptop on mains": DeviceState(battery_frac=1.0, charging=True, temperature_mc=92_000),
    "container short of memory": DeviceState(memory_available_bytes=50 * 2**20, cpu_load_frac=0.99),
}


def shipped(name: str) -> Policy:
    return load_policy_file(resolve_name(name))


def settings(name: str, device: DeviceState, local_time_s: int = NOON_S) -> tuple[Settings, tuple[str, ...]]:
    return resolve(shipped(name), device, local_time_s, "digits", "app")


def price(name: str, device: DeviceState) -> float:
    found = settings(name, device)[0]
    return found.energy_price_per_j * found.energy_price_factor


def test_the_four_policies_ship() -> None:
    assert shipped_policy_names() == ("balanced", "battery-saver", "best-accuracy", "low-latency")


@pytest.mark.parametrize("name", shipped_policy_names())
def test_a_shipped_policy_names_itself_and_its_schema(name: str) -> None:
    policy = shipped(name)
    assert policy.name == name
    assert policy.description
    assert not policy.tasks
    head = resolve_name(name).read_text(encoding="utf-8").splitlines()[0]
    assert head == f"# yaml-language-server: $schema=./{SCHEMA_FILE}"


@pytest.mark.parametrize("name", shipped_policy_names())
@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("hour", [0, 12, 22])
def test_a_shipped_policy_resolves_on_any_device(name: str, device: DeviceState, hour: int) -> None:
    found, rules = settings(name, device, hour * 3600)
    assert len(set(rules)) == len(rules)
    assert found.latency_budget_ns > 0
    assert found.min_accuracy_frac == 0.0
    assert found.variants == found.processors == Settings().variants


def test_the_policies_differ_where_their_names_say() -> None:
    assert price("battery-saver", PHONE) > price("balanced", PHONE) > price("low-latency", PHONE)
    assert price("best-accuracy", PHONE) == 0
    budgets = {name: settings(name, PHONE)[0].latency_budget_ns for name in shipped_policy_names()}
    assert min(budgets, key=lambda name: budgets[name]) == "low-latency"
    assert max(budgets, key=lambda name: budgets[name]) == "best-accuracy"
    confidences = {name: settings(name, PHONE)[0].deadline_confidence for name in shipped_policy_names()}
    assert max(confidences, key=lambda name: confidences[name]) == "low-latency"
    assert shipped("battery-saver").battery.last_until_s == 22 * 3600


@pytest.mark.parametrize("name", shipped_policy_names())
def test_need_raises_the_price_of_energy(name: str) -> None:
    calm = price(name, PHONE)
    assert price(name, DEVICES["phone, nearly empty"]) > calm
    assert price(name, DEVICES["hot laptop on mains"]) > calm


def test_balanced_reacts_to_each_need() -> None:
    assert settings("balanced", PHONE)[1] == ()
    assert settings("balanced", DEVICES["phone, nearly empty"])[1] == ("low battery",)
    assert settings("balanced", DEVICES["hot laptop on mains"])[1] == ("hot",)
    assert settings("balanced", DEVICES["container short of memory"])[1] == ("low memory",)
    assert price("balanced", DEVICES["laptop on mains"]) == 0


def test_the_folder_is_found_in_a_wheel(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "trimtab"
    inside = package / "_shipped" / "policies"
    inside.mkdir(parents=True)
    (inside / SCHEMA_FILE).touch()
    assert shipped_policies_folder(package) == inside


def test_the_folder_is_found_in_a_checkout(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / SCHEMA_FILE).touch()
    assert shipped_policies_folder(tmp_path / "daemon" / "trimtab") == folder


def test_a_broken_installation_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="installed without its policies"):
        shipped_policies_folder(tmp_path / "daemon" / "trimtab")
