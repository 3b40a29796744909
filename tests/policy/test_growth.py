"""Apps, schedules and hysteresis: what documents say about them, when they hold, and what is wrong with them."""

import pytest
from tests.core.world import MS, World

from trimtab.core import events as ev
from trimtab.core.codec import decode_value, encode_value
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import State
from trimtab.core.tables import settings_for
from trimtab.domain.device import DeviceState, local_moment_s, with_clock
from trimtab.domain.policy import Policy
from trimtab.domain.settings import matching_rules, resolve
from trimtab.policy import PolicyError, load_policy
from trimtab.strategies import strategy_named

HEAD = "version: 1\nname: p\n"
HOUR = 3600


def policy(text: str) -> Policy:
    return load_policy(HEAD + text, "p.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        policy(text)
    return str(caught.value).splitlines()


def names(state: State, now_ns: int, app: str = "") -> tuple[str, ...]:
    return settings_for(state, "t", app, now_ns)[1]


# ---- hysteresis ------------------------------------------------------------------------------------------

LOW = policy("""
rules:
  - {name: low, when: {battery: {below: 20 %, until_above: 25 %}}, then: {energy_price_factor: 4}}
  - {name: hot, when: {temperature_c: {above: 70, until_below: 60}}, then: {weight: 0.5}}
  - {name: mild, when: {not: {battery: {below: 20 %, until_above: 25 %}}}, then: {weight: 2}}
""")


def levels(world: World, *fracs: float | None) -> list[bool]:
    found = []
    for frac in fracs:
        world.feed(ev.DeviceChanged(DeviceState(battery_frac=frac)), MS)
        rules = names(world.state, world.now_ns)
        assert ("low" in rules) != ("mild" in rules), "the same range under not is its opposite"
        found.append("low" in rules)
    return found


def test_a_rule_with_hysteresis_begins_below_and_ends_above() -> None:
    world = World(LOW, load_all=False)
    held = levels(world, 0.22, 0.2, 0.19, 0.22, 0.25, 0.26, 0.22, 0.1, 0.21)
    assert held == [False, False, True, True, True, False, False, True, True]


def test_a_lost_sensor_ends_it_and_a_new_policy_starts_afresh() -> None:
    world = World(LOW, load_all=False)
    assert levels(world, 0.1, 0.22, None, 0.22) == [True, True, False, False]
    assert levels(world, 0.1, 0.22) == [True, True]
    world.feed(ev.PolicyReplaced(LOW))
    assert "low" not in names(world.state, world.now_ns)


def test_heat_goes_the_other_way() -> None:
    world = World(LOW, load_all=False)
    found = []
    for degrees in (65, 71, 65, 60, 59, 65):
        world.feed(ev.DeviceChanged(DeviceState(temperature_mc=degrees * 1000)), MS)
        found.append("hot" in names(world.state, world.now_ns))
    assert found == [False, True, True, True, False, False]


def test_what_goes_on_is_in_the_state_that_a_journal_keeps() -> None:
    world = World(LOW, load_all=False)
    levels(world, 0.1, 0.22)
    restored = Scheduler(strategy_named, decode_value(State, encode_value(world.state)))
    assert names(restored.state, world.now_ns) == names(world.state, world.now_ns) == ("low",)
    for scheduler in (restored, world.scheduler):
        scheduler.handle(ev.DeviceChanged(DeviceState(battery_frac=0.24)), world.now_ns)
        assert names(scheduler.state, world.now_ns) == ("low",)


def test_requests_are_decided_under_it() -> None:
    world = World(LOW)
    world.feed(ev.DeviceChanged(DeviceState(battery_frac=0.1)))
    world.feed(ev.DeviceChanged(DeviceState(battery_frac=0.23)))
    assert world.decision(world.ask()).rules == ("low",)
    world.feed(ev.DeviceChanged(DeviceState(battery_frac=0.3)))
    assert world.decision(world.ask()).rules == ("mild",)


# ---- schedules -------------------------------------------------------------------------------------------

WEEK = policy("""
schedules:
  work: {days: [weekdays], from: 08:00, to: 18:00}
  party: [{days: [fri, sat], from: 22:00, to: 02:00}, {days: [sun]}]
rules:
  - {name: work, when: {schedule: work}, then: {weight: 2}}
  - {name: party, when: {schedule: [party]}, then: {weight: 3}}
  - {name: neither, when: {not: {schedule: [work, party]}}, then: {weight: 4}}
""")


@pytest.mark.parametrize(
    ("day", "hour", "rule"),
    [(0, 8, "work"), (0, 18, "neither"), (4, 17.99, "work"), (4, 22, "party"), (5, 1.99, "party"), (5, 2, "neither"),
     (5, 12, "neither"), (5, 23, "party"), (6, 0, "party"), (6, 23.99, "party"), (0, 1, "neither")],
)  # fmt: skip
def test_schedules_run_on_their_days_and_spans_over_midnight_belong_to_the_evening(
    day: int, hour: float, rule: str
) -> None:
    device = DeviceState(local_time_s=int(hour * HOUR), weekday=day)
    assert resolve(WEEK, device, local_moment_s(device), "t", "")[1] == (rule,)


def test_time_goes_on_into_the_next_day_and_the_next_week() -> None:
    sunday = DeviceState(local_time_s=23 * HOUR, weekday=6)
    rules = [
        matching_rules(WEEK, sunday, local_moment_s(sunday, hours * HOUR), "t", "") for hours in (0, 2, 10)
    ]
    assert rules == [(1,), (2,), (0,)]
    world = World(WEEK, sunday, load_all=False)
    assert names(world.state, world.now_ns) == ("party",)
    assert names(world.state, world.now_ns + 2 * HOUR * 10**9) == ("neither",)


def test_days_never_come_where_no_clock_tells_them_but_hours_do() -> None:
    device = DeviceState(local_time_s=12 * HOUR)
    assert resolve(WEEK, device, local_moment_s(device), "t", "")[1] == ("neither",)
    daily = policy(
        "schedules: {noon: {from: 11:00, to: 13:00}}\nrules: [{name: r, when: {schedule: noon}, then: {weight: 2}}]\n"
    )
    assert resolve(daily, device, local_moment_s(device), "t", "")[1] == ("r",)


def test_a_clock_wraps_over_midnight_and_sunday() -> None:
    told = with_clock(DeviceState(), 23 * HOUR, 6, 2 * HOUR)
    assert (told.local_time_s, told.weekday) == (HOUR, 0)
    assert with_clock(DeviceState(), 0, None, 30 * HOUR) == DeviceState(local_time_s=6 * HOUR)


# ---- apps ------------------------------------------------------------------------------------------------

APPS = policy("""
defaults: {weight: 1, latency_budget_ms: 100}
tasks: {t: {latency_budget_ms: 80}}
apps:
  "org.*": {weight: 2, latency_budget_ms: 50}
  org.camera: {weight: 3, variants: {deny: [small]}}
rules:
  - {name: cheap, when: {charging: true}, then: {weight: 9}}
""")


def test_apps_come_after_the_task_and_before_the_rules_and_later_ones_win() -> None:
    calm, plugged = DeviceState(), DeviceState(charging=True)
    other, rules = resolve(APPS, calm, 0, "t", "com.other")
    assert (other.weight, other.latency_budget_ns, rules) == (1, 80 * MS, ())
    org, rules = resolve(APPS, calm, 0, "t", "org.mail")
    assert (org.weight, org.latency_budget_ns, rules) == (2, 50 * MS, ("app org.*",))
    camera, rules = resolve(APPS, plugged, 0, "t", "org.camera")
    assert (camera.weight, camera.latency_budget_ns, camera.variants.deny) == (9, 50 * MS, ("small",))
    assert rules == ("app org.*", "app org.camera", "cheap")


def test_each_app_is_decided_under_its_own_settings() -> None:
    world = World(APPS)
    camera, mail = (world.decision(world.ask(app=app)) for app in ("org.camera", "org.mail"))
    assert camera.rules == ("app org.*", "app org.camera")
    assert mail.rules == ("app org.*",)
    assert camera.budget_ns == mail.budget_ns == 50 * MS
    assert world.state.live["r4"].settings.weight == 3


# ---- what is wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("rules: [{name: a, when: {battery: {below: 20 %, until_above: 15 %}}, then: {weight: 2}}]",
         "p.yaml:3:62: rules[0].when.battery.until_above: until_above must be more than below"),
        ("rules: [{name: a, when: {temperature_c: {above: 20, until_below: 25}}, then: {weight: 2}}]",
         "rules[0].when.temperature_c.until_below: until_below must be less than above"),
        ("rules: [{name: a, when: {battery: {until_above: 15 %}}, then: {weight: 2}}]",
         "rules[0].when.battery.until_above: until_above needs below beside it"),
        ("rules: [{name: a, when: {battery: {below: 20 %, until_above: 100 %}}, then: {weight: 2}}]", "so this never ends"),
        ("rules: [{name: a, when: {schedule: wrok}, then: {weight: 2}}]\nschedules: {work: {days: [mon]}}",
         "p.yaml:3:36: rules[0].when.schedule: there is no schedule 'wrok'; did you mean work?"),
        ("rules: [{name: a, when: {not: [{schedule: x}]}, then: {weight: 2}}]", "there is no schedule 'x'"),
        ("schedules: {work: {days: [monday]}}", "schedules.work.days[0]: expected one of mon,"),
        ("schedules: {work: {from: 08:00}}", "schedules.work.from: from needs to beside it"),
        ("schedules: {work: [{from: 08:00, to: 08:00}]}", "schedules.work[0]: from and to are the same moment"),
        ("apps: {camera: {wieght: 2}}", "apps.camera.wieght: unknown key 'wieght'; did you mean weight?"),
        ("apps: {'[^a]': {weight: 2}}", "[^...] is not shell style"),
        ("rules: [{name: app x, when: {charging: true}, then: {weight: 2}}]", "names that begin with 'app ' stand for"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place(text: str, found: str) -> None:
    assert any(found in line for line in problems(text + "\n")), problems(text + "\n")
