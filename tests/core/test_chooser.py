"""What is derived from the state: bounded, shared and dropped at the right time."""

from tests.core.world import MS, POOL_1, World

from trimtab.core import events as ev
from trimtab.core.chooser import MAX_TABLES
from trimtab.core.queueing import queued_on
from trimtab.core.tables import MAX_AGE_NS, settings_for
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, Change, Condition, DayTime, Policy, Rule, Settings
from trimtab.domain.request import Prefer

SECOND = 1000 * MS
TASK = "t"


def test_apps_under_the_same_rules_share_a_table() -> None:
    rule = Rule("a", Condition(apps=("a*",)), Change(weight=2.0))
    world = World(Policy("p", rules=(rule,)))
    tables = [
        world.scheduler.chooser.table(TASK, app, Prefer.VALUE, world.now_ns) for app in ("a1", "a2", "b")
    ]
    assert tables[0] is tables[1]
    assert tables[0] is not tables[2]
    assert settings_for(world.state, TASK, "a1", world.now_ns) == (tables[0].settings, ("a",))


def test_tables_are_bounded_however_many_apps_and_rules_there_are() -> None:
    rules = tuple(
        Rule(f"{bit}", Condition(apps=(f"*{bit}*",)), Change(weight=1.0 + 1 / bit)) for bit in range(1, 10)
    )
    policy = Policy("p", rules=rules, battery=BatteryGoal(0.0, last_for_ns=900 * SECOND))
    world = World(policy, device=DeviceState(1.0, 100.0))
    chooser = world.scheduler.chooser
    for number in range(700):
        app = "".join(str(bit) for bit in range(1, 10) if number >> (bit - 1) & 1) + ("x" * (number // 512))
        chooser.table(TASK, app, Prefer.VALUE, world.now_ns)
        chooser.markets.offering(TASK, tuple(bit for bit in range(9) if number >> bit & 1))
    sizes = [len(d) for d in (chooser._tables, chooser._shared, chooser._terms, chooser.markets._hulls)]
    assert max(sizes) <= MAX_TABLES


def test_a_rule_by_time_of_day_takes_effect_without_an_event() -> None:
    night = Rule("night", Condition(time=DayTime(10, 20)), Change(energy_price_per_j=1000.0))
    policy = Policy("p", rules=(night,), defaults=Settings(energy_price_per_j=0.001))
    world = World(policy, load_all=False)
    assert world.decision(world.ask(latency_budget_ns=9 * SECOND)).rules == ()
    world.now_ns = world.state.device_at_ns + 10 * SECOND + MAX_AGE_NS
    assert world.decision(world.ask(latency_budget_ns=9 * SECOND)).rules == ("night",)


def test_queue_lengths() -> None:
    world = World(load_all=False)
    world.ask(variant="large", latency_budget_ns=SECOND)
    assert world.state.residences[f"t/large@{POOL_1}"].users + queued_on(world.state, "cpu:0-1") == 1
    assert queued_on(world.state, "nowhere") == 0


def test_a_family_that_is_replaced_is_derived_anew() -> None:
    world = World()
    world.feed(ev.FamilyAdded(world.families[0][0]))
    assert world.decision(world.ask(latency_budget_ns=SECOND)).variant == "large"
