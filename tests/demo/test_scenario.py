import pytest

from trimtab.adapters.family_store import load_family, shipped_families
from trimtab.demo.scenario import APPS, RESERVE_FRAC, plan_battery, plan_shots, policy_yaml, split_by_app
from trimtab.domain.device import DeviceState
from trimtab.domain.settings import resolve
from trimtab.policy import load_policy


def test_the_same_seed_plays_the_same_requests() -> None:
    shots = plan_shots(20.0, 500)
    assert shots == plan_shots(20.0, 500)
    assert shots != plan_shots(20.0, 500, seed=1)
    assert [shot.at_ns for shot in shots] == sorted(shot.at_ns for shot in shots)
    assert all(0 <= shot.at_ns < 20e9 and 0 <= shot.sample < 500 for shot in shots)
    rate = sum(app.rate_per_s for app in APPS)
    assert len(shots) == pytest.approx(20 * rate, rel=0.25)


def test_each_app_plays_its_own_part() -> None:
    shots = plan_shots(5.0, 10)
    parts = split_by_app(shots)
    assert set(parts) == {app.name for app in APPS}
    assert sum(len(part) for part in parts.values()) == len(shots)


@pytest.mark.parametrize("strategy", ["value", "largest", "smallest"])
def test_the_policy_gives_each_app_its_goals(strategy: str) -> None:
    policy = load_policy(policy_yaml(40.0, strategy))
    assert policy.strategy == strategy
    assert policy.battery.reserve_frac == pytest.approx(RESERVE_FRAC)
    assert policy.battery.last_for_ns == 40_000_000_000
    for app in APPS:
        settings, _ = resolve(policy, DeviceState(), 0, "fashion", app.name)
        assert settings.latency_budget_ns == app.latency_budget_ms * 1e6
        assert settings.min_accuracy_frac == app.min_accuracy


def test_the_battery_cannot_carry_the_largest_variant() -> None:
    family = load_family(shipped_families() / "fashion").family
    assert family.profiles is not None
    plan = plan_battery(family, family.profiles, 1000, 40.0)
    largest = max(family.variants, key=lambda v: v.accuracy_frac).name
    energy_uj = min(sum(p.stage_energy_uj) for p in family.profiles.profiles if p.variant == largest)
    needed_j = 1000 * energy_uj / 1e6 + plan.background_mw / 1e3 * 40.0
    assert plan.capacity_j * (1 - RESERVE_FRAC) < 0.7 * needed_j
