"""Scenarios on a device with a profile: its battery, heat, memory and processors, and a server beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.scenario import Prepared, ScenarioError, load_scenario, prepare
from trimtab_sim.simulate import simulate, trials

Make = Callable[..., Prepared]
HEAD = "version: 1\nname: small\nseed: 5\nfamily: fashion\n"
OWN = "processors: [{name: 'cpu-big:6', like: 'cpu:0', latency_factor: 2}]\n"
PHONE = f"device: oriole\n{OWN}"
HOUR_NS = 3600 * NS_PER_S


def problems(make: Make, *args: str, **kwargs: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        make(*args, **kwargs)
    return [f"{p.path}: {p.message}" for p in caught.value.problems]


def levels(prepared: Prepared, hours: Sequence[float] = (0, 1)) -> list[float]:
    """Return the true levels of a phone that serves nothing."""
    device: Any = prepared.condition(1, 0).device
    return [device.level_frac(round(hour * HOUR_NS)) for hour in hours]


def figures_of(prepared: Prepared, *strategies: str) -> dict[str, Any]:
    return simulate(prepared, trials(prepared.policies, strategies, (5,)))[0].figures


def test_a_family_measured_elsewhere_needs_processors_of_the_device(make: Make) -> None:
    (told,) = problems(make, "device: oriole\n")
    assert told.startswith(
        "device: oriole has no processor 'cpu:0', which the profiles are of; it has cpu-little:0"
    )
    prepared = make(PHONE)
    assert [one.cores for one in prepared.world.processors] == [(6,)]
    device = prepared.device
    assert device is not None
    for profile in prepared.world.profiles["fashion"]:
        power_mw = sum(profile.stage_energy_uj) / sum(profile.stage_latency_ns) * 1e6
        big = next(cluster for cluster in device.cpu.clusters if 6 in cluster.cores)
        ma = device.cpu.active_ma + big.cluster_ma + big.core_ma[-1]
        assert power_mw == pytest.approx(ma * device.cpu.voltage_mv / 1000)
    scaled = make(PHONE.replace("latency_factor: 2", "latency_factor: 2, energy_factor: 3"))
    plain = make()
    one, like = (world.profiles["fashion"][0] for world in (scaled.world, plain.world))
    assert one.stage_energy_uj[0] == pytest.approx(3 * like.stage_energy_uj[0])


def test_level_capacity_and_health(make: Make) -> None:
    def full_j(more: str) -> float:
        state = make(f"{PHONE}{more}").condition(1, 0).device.reading(0)
        assert state.battery_capacity_j is not None
        return state.battery_capacity_j

    whole_j = full_j("")
    assert full_j("battery: {health: 50 %}\n") == pytest.approx(whole_j / 2)
    assert full_j("battery: {capacity_j: 1000}\n") == pytest.approx(1000)
    assert levels(make(f"{PHONE}battery: {{level: 40 %}}\n"), (0,)) == [0.4]
    assert levels(make(f"{PHONE}battery: {{capacity_j: 1000, energy_j: 250}}\n"), (0,)) == pytest.approx(
        [0.25]
    )
    assert problems(make, f"{PHONE}battery: {{energy_j: 1e6}}\n")[0].startswith(
        "battery.energy_j: 1e+06 J do not fit"
    )
    board = "device: raspberrypi4\nprocessors: [{name: 'cpu:0', like: 'cpu:0'}]\nbattery: {level: 50 %}\n"
    assert any(
        told == "battery.level: Raspberry Pi 4 Model B has no battery" for told in problems(make, board)
    )


def test_background_drains_it(make: Make, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("t_s,screen_on,brightness_frac\n0,0,0\n1800,1,1\n3600,0,0\n")
    asleep = levels(make(PHONE))
    more = levels(make(f"{PHONE}battery: {{background_mw: 500}}\n"))
    device = make(PHONE).device
    assert device is not None
    assert device.battery is not None
    assert asleep[1] - more[1] == pytest.approx(0.5 * 3600 / device.battery.capacity_j, rel=0.15)
    once = levels(make(f"{PHONE}background: [day.csv]\n", duration="3h"), (0, 0.5, 1, 2, 2.5))
    assert once[1] - once[2] > 2 * (once[0] - once[1]) > 0
    text = (
        f"{PHONE}background: [{{file: day.csv, repeat: true}}]\n"  # an hour, and half of one to the next row
    )
    again = levels(make(text, duration="3h"), (2, 2.5))
    assert again[0] - again[1] > 2 * (once[3] - once[4])


def test_heat_slows_it_down_and_turns_it_off(make: Make) -> None:
    hot = make(PHONE.replace("oriole", "{profile: oriole, ambient_c: 48}"), duration="10min")
    cool = make(PHONE, duration="10min")
    one, other = (figures_of(prepared, "largest") for prepared in (hot, cool))
    assert one["temperature_c_max"] > other["temperature_c_max"] + 15
    assert one["latency_ms_p95"] > 1.5 * other["latency_ms_p95"]
    assert other["shut_down_s"] is None
    condition = make(PHONE.replace("oriole", "{profile: oriole, ambient_c: 120}")).condition(1, 0)
    condition.device.reading(HOUR_NS)
    assert getattr(condition.device, "shut_down_ns", None) is not None


def test_an_empty_phone_loses_its_requests_until_it_is_charged(make: Make, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("t_s,plugged\n0,0\n1200,1\n")
    text = f"{PHONE}battery: {{capacity_j: 2000, energy_j: 200, background_mw: 400}}\nbackground: [day.csv]\n"
    stream = "workload:\n  - {app: camera, arrivals: {regular: {every: 10s}}, latency_budget_ms: 50}\n"
    figures = figures_of(make(text, duration="1h", stream=stream))
    assert 0 < figures["lifetime_s"] < 1200
    assert 10 < figures["missed"]["device off"] < 130
    assert figures["lp_budget_j"] is None


def test_memory_is_the_devices_or_as_recorded(make: Make, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("t_s,memory_available_mib\n0,512\n60,100\n")
    told = make(f"{PHONE}background: [m.csv]\n", duration="2min").condition(1, 0, lambda: 20 << 20).device
    assert [told.reading(at * NS_PER_S).memory_available_bytes for at in (0, 61)] == [480 << 20, 80 << 20]
    own = make(PHONE).condition(1, 0).device.reading(0).memory_available_bytes
    assert own is not None
    assert own > 1 << 30


def test_a_server_is_used_only_while_it_can_be_reached(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text("t_s,connected\n0,1\n300,0\n")
    text = (
        "version: 1\nname: s\nduration: 10min\nfamily: {source: mcdnn, tasks: face}\n"
        "workload: [{task: face, arrivals: {regular: {every: 5s}}, latency_budget_ms: 1000}]\n"
        "policy: {version: 1, name: p, defaults: {energy_price_per_j: 0.01, allow_remote: true}}\n"
    )
    path = str(tmp_path / "s.yaml")
    always = figures_of(prepare(load_scenario(text, path)))
    half = figures_of(prepare(load_scenario(text + "background: [net.csv]\n", path)))
    assert always["share_by_processor"]["remote"] > 0.95
    assert 0.4 < half["share_by_processor"]["remote"] < 0.6
    assert half["on_time_frac"] > 0.9
    private = figures_of(prepare(load_scenario(text.replace(", allow_remote: true", ""), path)))
    assert "remote" not in private["share_by_processor"]


def test_a_profile_can_stand_in_the_scenario_or_a_file(make: Make, tmp_path: Path) -> None:
    import yaml

    from trimtab_sim.device.profile_load import shipped_devices_folder

    text = (shipped_devices_folder() / "oriole.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text)
    assert make(PHONE.replace("oriole", "mine.yaml")).device == make(PHONE).device
    inline = yaml.safe_dump({"device": {"profile": yaml.safe_load(text)}})
    assert make(f"{inline}{OWN}").device == make(PHONE).device
    (told,) = problems(make, PHONE.replace("oriole", "oriol"))
    assert told == f"device: {tmp_path}/oriol: no such device or file; did you mean oriole?"
    wrong = yaml.safe_load(text)
    del wrong["battery"]["capacity_mah"]
    (told,) = problems(make, yaml.safe_dump({"device": {"profile": wrong}}) + OWN)
    assert told == "device.profile: battery: capacity_mah is missing"
