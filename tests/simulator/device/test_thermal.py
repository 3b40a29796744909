from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab_sim.device.cpu import targets
from trimtab_sim.device.profile import DeviceProfile, Link, Node, Thermal, Throttle
from trimtab_sim.device.profile_load import load_device
from trimtab_sim.device.thermal import HeatNetwork, Throttling, eigen

SYMMETRIC = st.lists(st.floats(-3.0, 3.0), min_size=10, max_size=10)


def chain(*links: Link, ambient_c: float = 20.0) -> Thermal:
    nodes = (Node("a", 10.0), Node("b", 40.0))
    return Thermal(ambient_c, nodes, links, (), ())


@given(SYMMETRIC)
def test_eigenvectors_make_the_matrix_again(values: list[float]) -> None:
    n, numbers = 4, iter(values)
    matrix = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            matrix[i][j] = matrix[j][i] = next(numbers)
    found, vectors = eigen(matrix)
    for i in range(n):
        for j in range(n):
            again = sum(found[k] * vectors[k][i] * vectors[k][j] for k in range(n))
            assert again == pytest.approx(matrix[i][j], abs=1e-9)
            dot = sum(vectors[i][k] * vectors[j][k] for k in range(n))
            assert dot == pytest.approx(float(i == j), abs=1e-9)


def test_it_settles_where_as_much_leaves_as_enters() -> None:
    network = HeatNetwork(chain(Link(("a", "b"), 0.5), Link(("b", "ambient"), 0.25)))
    network.pass_time(1e6, [1000.0, 500.0])
    assert network.temperature_c("b") == pytest.approx(20.0 + 1.5 / 0.25)
    assert network.temperature_c("a") == pytest.approx(20.0 + 1.5 / 0.25 + 1.0 / 0.5)


def test_one_node_follows_its_exponential() -> None:
    lone = Thermal(20.0, (Node("a", 10.0),), (Link(("ambient", "a"), 0.1),), (), ())
    network = HeatNetwork(lone)
    network.pass_time(100.0, [1000.0])
    assert network.temperature_c("a") == pytest.approx(20.0 + 10.0 * (1 - 0.36787944), rel=1e-7)


def test_without_a_way_out_all_heat_stays() -> None:
    network = HeatNetwork(chain(Link(("a", "b"), 0.5)))
    network.pass_time(1000.0, [1000.0, 0.0])
    held_j = 10 * (network.temperature_c("a") - 20) + 40 * (network.temperature_c("b") - 20)
    assert held_j == pytest.approx(1000.0)


@given(parts=st.lists(st.floats(0.01, 500.0), min_size=1, max_size=8), heat_mw=st.floats(0.0, 5000.0))
def test_no_step_is_too_long(parts: list[float], heat_mw: float) -> None:
    thermal = chain(Link(("a", "b"), 0.5), Link(("b", "ambient"), 0.25))
    whole, cut = HeatNetwork(thermal, 30.0), HeatNetwork(thermal, 30.0)
    whole.pass_time(sum(parts), [heat_mw, 0.0])
    for part in parts:
        cut.pass_time(part, [heat_mw, 0.0])
    assert cut.temperatures_c == pytest.approx(whole.temperatures_c, abs=1e-7)


def test_it_is_what_tiny_steps_come_to(oriole: DeviceProfile) -> None:
    thermal, heat_mw = oriole.thermal, [3000.0, 200.0, 800.0]
    network = HeatNetwork(thermal)
    network.pass_time(600.0, heat_mw)
    names = [node.name for node in thermal.nodes]
    temperature = dict.fromkeys(names, 25.0)
    for _ in range(60_000):
        flows = dict(zip(names, (heat / 1000 for heat in heat_mw), strict=True))
        for link in thermal.links:
            one, other = link.ends
            flow = link.w_per_c * (temperature.get(one, 25.0) - temperature.get(other, 25.0))
            flows[one] = flows.get(one, 0.0) - flow
            flows[other] = flows.get(other, 0.0) + flow
        for node in thermal.nodes:
            temperature[node.name] += flows[node.name] / node.j_per_c * 0.01
    assert network.temperatures_c == pytest.approx(list(temperature.values()), abs=0.02)


def test_caps_have_hysteresis() -> None:
    sunfish = load_device("sunfish")
    throttling = Throttling(sunfish.thermal, targets(sunfish))
    skin = [node.name for node in sunfish.thermal.nodes].index("skin")
    caps = []
    for at_c in (42.9, 43.0, 42.5, 45.0, 44.5, 43.5, 42.0, 41.9):
        temperatures = [at_c if i == skin else 30.0 for i in range(3)]
        throttling.update(temperatures, 0.0)
        caps.append(throttling.caps_khz.get("cpu-big", inf))
    assert caps == [inf, 1708800, 1708800, 1324800, 1324800, 1708800, 1708800, inf]


def test_severities_rise_at_once_and_fall_with_hysteresis(oriole: DeviceProfile) -> None:
    throttling = Throttling(oriole.thermal, targets(oriole))
    told = []
    for at_c in (38.9, 39.0, 44.0, 47.0, 45.2, 45.0, 41.2, 37.2, 37.0):
        throttling.update([at_c] * 3, 0.0)
        told.append(throttling.severity("VIRTUAL-SKIN"))
    assert told == [0, 1, 2, 4, 4, 3, 2, 1, 0]
    throttling.update([96.0] * 3, 0.0)
    assert throttling.severity("cpu") == 3
    with pytest.raises(KeyError):
        throttling.severity("nose")


def test_a_budget_keeps_the_skin_below_its_target(oriole: DeviceProfile) -> None:
    """All clusters busy: the PID budget of the Pixel 6 (from 37, target 41 degrees) lets them draw what the skin loses."""
    found = targets(oriole)
    network, throttling = HeatNetwork(oriole.thermal), Throttling(oriole.thermal, found)
    hottest_c, now_s = 0.0, 0.0
    powers = []
    for _ in range(3 * 3600):
        caps = throttling.caps_khz
        power_mw = sum(
            found[name].power_mw[-1] * found[name].power_factor(caps.get(name, inf))
            for name in ("cpu-little", "cpu-mid", "cpu-big")
        )
        network.pass_time(1.0, [power_mw, 0.0, 0.0])
        now_s += 1.0
        throttling.update(network.temperatures_c, now_s)
        hottest_c = max(hottest_c, network.temperature_c("skin"))
        powers.append(power_mw)
    assert powers[0] == pytest.approx(412 + 1198 + 4406)
    assert 37.0 < hottest_c < 41.0
    lost_mw = 223.0 * (37.0 - 25.0)
    assert sum(powers[-3600:]) / 3600 == pytest.approx(lost_mw, rel=0.15)
    assert not throttling.shut_down


def test_a_cool_device_is_let_go(oriole: DeviceProfile) -> None:
    throttling = Throttling(oriole.thermal, targets(oriole))
    now_s = 0.0
    while "cpu-big" not in throttling.caps_khz:
        now_s += 7.0
        throttling.update([44.0] * 3, now_s)
    assert now_s < 60.0
    throttling.update([30.0] * 3, now_s + 1.0)
    assert throttling.caps_khz == {}
    assert not throttling.active
    assert not throttling.watch_closely([30.0] * 3)
    assert throttling.watch_closely([30.0, 30.0, 36.0])


def test_too_hot_switches_everything_off_until_it_has_cooled(oriole: DeviceProfile) -> None:
    throttling = Throttling(oriole.thermal, targets(oriole))
    throttling.update([60.0, 60.0, 56.0], 0.0)
    assert throttling.shut_down
    assert set(throttling.caps_khz) == {"cpu-little", "cpu-mid", "cpu-big", "gpu", "npu"}
    assert set(throttling.caps_khz.values()) == {0.0}
    throttling.update([30.0] * 3, 1.0)
    assert not throttling.shut_down


def test_a_power_share_nobody_needs_goes_to_the_others(oriole: DeviceProfile) -> None:
    """Far below the target the budget is large: the little cores keep their clock, the big ones get the rest."""
    budget = replace(oriole.thermal.budgets[0], sustained_mw=3000.0, max_mw=3000.0, min_mw=3000.0)
    thermal = replace(oriole.thermal, budgets=(budget,), throttles=())
    throttling = Throttling(thermal, targets(oriole))
    for step in range(30):
        throttling.update([38.0] * 3, 7.0 * step)
    caps = throttling.caps_khz
    assert "cpu-little" not in caps
    assert "cpu-mid" not in caps
    big = targets(oriole)["cpu-big"]
    allowed_mw = 3000 - 412 - 1198
    assert big.power_mw[big.khz.index(caps["cpu-big"])] <= allowed_mw
    assert big.power_mw[big.khz.index(caps["cpu-big"]) + 1] > allowed_mw


def test_every_shipped_policy_throttles_and_lets_go(devices: tuple[DeviceProfile, ...]) -> None:
    for device in devices:
        throttling = Throttling(device.thermal, targets(device))
        nodes = len(device.thermal.nodes)
        hot_c = min(
            rule.set_c
            for rule in device.thermal.throttles
            if isinstance(rule, Throttle) and rule.target != "device"
        )
        for step in range(20):
            throttling.update([hot_c + 0.1] * nodes, 10.0 * step)
        assert throttling.caps_khz, device.name
        throttling.update([20.0] * nodes, 300.0)
        assert not throttling.active, device.name
