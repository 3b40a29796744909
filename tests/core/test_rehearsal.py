"""A rehearsal is the real scheduler with a driver that has no surprises."""

from tests.core.world import MS, PROCESSORS, PROFILES, family

from trimtab.core import commands as cm
from trimtab.core.invariants import check
from trimtab.core.rehearsal import Rehearsal, Setup
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, BelowReserve, Policy, Settings
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request
from trimtab.strategies import strategy_named

SETUP = Setup(PROCESSORS, ((family(), PROFILES),))
HOUR = 3600 * NS_PER_S


def play(policy: Policy, device: DeviceState) -> Rehearsal:
    made = Rehearsal(strategy_named, SETUP, policy)
    made.read((device,))
    return made


def test_the_last_of_many_requests_is_decided_with_everything_warm() -> None:
    made = play(Policy("p", defaults=Settings(energy_price_per_j=0.001)), DeviceState())
    told = made.ask(Request("r", "t", latency_budget_ns=100 * MS), times=8, gap_ns=NS_PER_S)
    assert isinstance(told, cm.Decided)
    assert told.decision.variant == "large"
    assert told.decision.load_ns == 0
    assert told.verdicts
    assert made.state.arrivals == 8
    assert not made.state.live
    check(made.state)


def test_demand_that_a_charge_cannot_serve_well_raises_the_price() -> None:
    policy = Policy("p", battery=BatteryGoal(0.1, last_for_ns=HOUR))
    rich, poor = (play(policy, DeviceState(0.5, capacity)) for capacity in (1e6, 30.0))
    for made in (rich, poor):
        made.ask(Request("r", "t"), times=64, gap_ns=NS_PER_S)
    assert rich.state.energy.price_per_j == 0.0
    assert poor.state.energy.price_per_j > 0.0


def test_a_refusal_comes_back_as_one() -> None:
    policy = Policy("p", battery=BatteryGoal(0.5, below_reserve=BelowReserve.REJECT))
    told = play(policy, DeviceState(0.4, 100.0)).ask(Request("r", "t"), times=1, gap_ns=MS)
    assert isinstance(told, cm.Finish)
    assert "reserve" in told.result.reason


def test_staged_runs_leave_in_the_shares_of_their_exit_rule() -> None:
    made = play(Policy("p", defaults=Settings(energy_price_per_j=0.001)), DeviceState())
    asked = Request("r", "t", variant="staged", latency_budget_ns=NS_PER_S)
    told = made.ask(asked, times=300, gap_ns=NS_PER_S)
    assert isinstance(told, cm.Decided)
    candidate = next(c for c in made._scheduler.chooser.candidates["t"] if c.name == told.decision.candidate)
    left = []
    for made._count in range(1000):
        left.append(made._exit_of(candidate))
    shares = [left.count(index) / len(left) for index in range(3)]
    assert all(abs(found - asked) < 0.01 for found, asked in zip(shares, candidate.share_frac, strict=True))
