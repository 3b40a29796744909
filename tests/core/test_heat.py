"""Heat and power limits: what is learned from readings, and what power they leave."""

from math import exp

import pytest
from tests.core.world import MS, World

from trimtab.core import events as ev
from trimtab.core.heat import STEP_C, TAUS_S, WINDOW_S, allowed_w, best_fit, note_temperature
from trimtab.core.state import Flow, Forecast, Heat, Stream, Warmth
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, Policy, Settings, ThermalGoal
from trimtab.domain.quantities import NS_PER_S

S = 1000 * MS


def warmed(tau_s: float, rise: float, seconds: int, power_w: float = 2.0) -> Heat:
    """Return what was learned of a device that is at 30 degrees by itself, used at power_w every other 3 minutes."""
    heat, p, total_uj = Heat(), 0.0, 0.0
    for second in range(seconds):
        on = power_w if second // 180 % 2 == 0 else 0.0
        p += (on - p) * (1.0 - exp(-1.0 / tau_s))
        total_uj += on * 1e6
        told_c = round((30.0 + rise * p) / STEP_C) * STEP_C
        note_temperature(heat, told_c, total_uj, second * NS_PER_S)
    return heat


@pytest.mark.parametrize(("tau_s", "rise"), [(20.0, 4.0), (60.0, 8.0), (180.0, 6.0)])
def test_learns_rise_and_cooling_from_half_degrees(tau_s: float, rise: float) -> None:
    """What matters within a minute is how fast it warms up; slow constants tell themselves apart only later."""
    one = best_fit(warmed(tau_s, rise, 3600))
    assert one.rise / one.tau_s == pytest.approx(rise / tau_s, rel=0.25)
    if tau_s <= WINDOW_S:
        assert one.tau_s == tau_s


def test_what_may_be_used_by_hand() -> None:
    """6 degrees per watt at 60 s, 30 at rest: 42 is reached by (42 - 0.5 - 30) / 6 = 1.917 W held for long."""
    heat = Heat(fits=[Warmth(60.0, 30.0, 6.0, 0.0, 0.0)])
    kept = exp(-WINDOW_S / 60.0)
    cold = allowed_w(heat, 42.0)
    assert cold == pytest.approx(11.5 / 6.0 / (1.0 - kept)), "cold, it may take more for a minute"
    heat.fits[0].power_w = 11.5 / 6.0
    assert allowed_w(heat, 42.0) == pytest.approx(11.5 / 6.0)
    assert allowed_w(heat, 20.0) == 0.0
    assert allowed_w(Heat(), 42.0) is None


def test_a_time_nobody_saw_begins_anew_with_the_rise_that_was_learned() -> None:
    heat = warmed(60.0, 8.0, 1200)
    rises = [one.rise for one in heat.fits]
    note_temperature(heat, 25.0, 1e9, 10_000 * NS_PER_S)
    assert [one.rise for one in heat.fits] == rises
    assert [one.base for one in heat.fits] == [25.0] * len(TAUS_S)


def limited(thermal: ThermalGoal | None, budget_mw: float | None, *, charging: bool = True) -> World:
    policy = Policy(
        "p",
        defaults=Settings(energy_price_factor=0.0),
        battery=BatteryGoal(power_budget_mw=budget_mw),
        thermal=thermal,
    )
    device = DeviceState(1.0, 1e6, charging=charging, temperature_mc=40_000)
    world = World(policy, device=device)
    flow = Flow(recent=600.0, late=10_800.0)
    world.state.forecast = Forecast(
        world.now_ns, 590.0, 10_790.0, 10_790.0, streams={"t": Stream("t", flow=flow)}
    )
    world.feed(ev.DeviceChanged(device), S)
    return world


@pytest.mark.parametrize(
    ("budget_mw", "variant"), [(None, "large"), (100.0, "large"), (9.0, "staged"), (1.0, "small")]
)
def test_a_power_budget_is_kept_by_a_price_also_on_a_charger(budget_mw: float | None, variant: str) -> None:
    """One request a second: small takes 2 mW, staged some 6.8, large 20; a bucket of a minute counts twice."""
    world = limited(None, budget_mw)
    world.state.caps.bucket_j = 0.0
    world.feed(ev.DeviceChanged(world.state.device))
    decision = world.decision(world.ask(latency_budget_ns=S))
    assert decision.variant == variant
    assert (decision.energy_price_per_j > 0.0) is (budget_mw is not None and budget_mw < 20.0)


def test_smaller_variants_serve_before_the_limit_is_reached() -> None:
    cool, warm = limited(ThermalGoal(60.0), None), limited(ThermalGoal(40.2), None)
    assert cool.decision(cool.ask(latency_budget_ns=S)).variant == "large"
    assert warm.decision(warm.ask(latency_budget_ns=S)).variant == "small"


def test_the_bucket_fills_and_empties() -> None:
    """100 mW: what 10 s bring is a joule; two used leave minus one; it never holds more than a minute's 6 J."""
    world = limited(None, 100.0)
    world.state.caps.bucket_j = 0.0
    world.state.energy.total_uj += 2e6
    world.feed(ev.DeviceChanged(world.state.device), 10 * S)
    assert world.state.caps.bucket_j == pytest.approx(-1.0)
    for _ in range(100):
        world.feed(ev.DeviceChanged(world.state.device), 10 * S)
    assert world.state.caps.bucket_j == pytest.approx(6.0)
