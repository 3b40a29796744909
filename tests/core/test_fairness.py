"""Apps that share processors: nobody starves, weights count, and the queue keeps its order under any burst."""

from dataclasses import dataclass, field
from heapq import heappop, heappush

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.world import MS, PROCESSORS, World

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.fairness import HEADROOM, MAX_APPS, MEMORY_S, above_share, note_asked, note_used, used_at
from trimtab.core.overload import CROWDED, missing_variant
from trimtab.core.state import State
from trimtab.domain.decision import Cause, Outcome
from trimtab.domain.policy import Change, Condition, Goal, Policy, Rule, Settings
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request

STRICT = Settings(energy_price_per_j=0.001, give_up=(Goal.ENERGY, Goal.ACCURACY))
SECOND = NS_PER_S


def test_what_an_app_used_is_forgotten_and_compared_by_weight() -> None:
    state = State()
    note_asked(state, "a", 1.0, 0)
    note_used(state, "a", 30 * MS, 0)
    assert not above_share(state, "a", 0), "alone it may have everything"
    note_asked(state, "b", 3.0, 0)
    note_used(state, "b", 70 * MS, 0)
    assert above_share(state, "a", 0), "30 % of the time for a quarter of the weights"
    assert not above_share(state, "b", 0)
    assert used_at(state.shares["a"], int(MEMORY_S * SECOND)) == pytest.approx(30 * MS / 2.718281828)
    note_asked(state, "a", 1.0, int(MEMORY_S * SECOND) + 1)
    assert not above_share(state, "a", int(MEMORY_S * SECOND) + 1), "nobody else asked for so long"


def test_accounts_are_bounded_whatever_apps_call_themselves() -> None:
    state = State()
    for index in range(3 * MAX_APPS):
        note_asked(state, f"app-{index}", 1.0, index)
    assert list(state.shares) == [f"app-{index}" for index in range(2 * MAX_APPS, 3 * MAX_APPS)]


@dataclass
class Shop:
    """One core that serves apps by the clock: each run takes what its profile says."""

    policy: Policy
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.policy, processors=PROCESSORS[:1])

    def run(self, asks: list[tuple[int, str, int]]) -> dict[str, int]:
        """Let (time, app, budget in ms) ask, and return how many of each app were answered in time."""
        world, done = self.world, dict.fromkeys([app for _, app, _ in asks], 0)
        due: list[tuple[int, int, str, int]] = []
        for number, (at_ns, app, budget_ms) in enumerate(asks):
            heappush(due, (world.now_ns + at_ns, number, app, budget_ms))
        started: set[str] = set()
        while due:
            at_ns, number, app, budget_ms = heappop(due)
            if app:
                request = Request(f"{app}-{number}", "t", app, budget_ms * MS)
                world.feed(ev.RequestArrived(request), at_ns - world.now_ns)
            else:
                run = world.runs.pop(next(iter(world.runs)))
                taken_ns = budget_ms * MS
                event = ev.StageFinished(run.request_id, run.stage, taken_ns, 1.0, 1.0)
                world.feed(event, at_ns - world.now_ns)
            for name, run in world.runs.items():
                if name not in started:
                    started.add(name)
                    took = {"small": 1, "large": 10, "staged": 2}[run.variant]
                    heappush(due, (world.now_ns + took * MS, number, "", took))
        for name, told in world.finished.items():
            app = name.rpartition("-")[0]
            if app in done:
                done[app] += told.result.on_time
        return done


def flood(app: str, per_s: int, budget_ms: int, seconds: int = 1) -> list[tuple[int, str, int]]:
    return [(index * SECOND // per_s, app, budget_ms) for index in range(per_s * seconds)]


@pytest.mark.parametrize("budget_ms", [10, 20, 60])
def test_no_app_starves_beside_one_that_asks_far_too_much(budget_ms: int) -> None:
    """One app alone asks for three times what the core can do; 100 a second of another take a tenth of it."""
    served = Shop(Policy("p", defaults=STRICT)).run(
        flood("greedy", 3000, 20) + flood("modest", 100, budget_ms)
    )
    assert served["modest"] >= 85
    assert served["greedy"] >= 750, "what it could have beside the other"


def test_weights_share_an_overloaded_processor() -> None:
    """Both ask for all there is; one app's accuracy counts three times as much."""
    heavy = Rule("heavy", Condition(apps=("heavy",)), Change(weight=3.0))
    shop = Shop(Policy("p", defaults=STRICT, rules=(heavy,)))
    served = shop.run(flood("heavy", 2000, 20) + flood("light", 2000, 20))
    assert served["heavy"] + served["light"] >= 850
    assert 1.5 <= served["heavy"] / served["light"] <= 4.5


def test_an_app_above_its_share_leaves_an_eighth_of_its_time_to_others() -> None:
    """It queues up to 17.5 of its 20 ms: runs of 1 ms, so that some 15 wait when the next one is refused."""
    shop = Shop(Policy("p", defaults=STRICT))
    shop.run(flood("greedy", 2000, 20) + flood("other", 10, 20))
    world = shop.world
    note_asked(world.state, "other", 1.0, world.now_ns)
    waits = []
    for app in ("greedy", "other"):
        while True:
            asked = world.ask(app=app, latency_budget_ns=20 * MS)
            if world.finished.get(asked) is not None:
                break
        waits.append(sum(1 for entry in world.state.queue if world.state.live[entry[3]].request.app))
        assert world.result(asked).cause is Cause.OVERLOAD
    assert waits[1] - waits[0] >= int(HEADROOM * 20) - 1


def test_a_request_refused_in_overload_is_told_so_at_once() -> None:
    world = World(Policy("p", defaults=STRICT), processors=PROCESSORS[:1])
    asked = [world.ask(latency_budget_ns=10 * MS) for _ in range(20)]
    refused = [one for one in asked if world.finished.get(one) is not None]
    assert refused
    for one in refused:
        result = world.result(one)
        assert (result.outcome, result.cause, result.reason) == (Outcome.REJECTED, Cause.OVERLOAD, CROWDED)
    hopeless = world.ask(latency_budget_ns=MS // 2)
    assert world.result(hopeless).cause is Cause.GOALS, "no processor could ever be in time for it"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    asks=st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from(["a", "b"]), st.sampled_from([4, 15, 40, 200])),
        min_size=5,
        max_size=60,
    )
)
def test_the_earliest_deadline_starts_first(
    asks: list[tuple[int, str, int]],
) -> None:
    """On one core with runs as profiled: of those that could start, none has an earlier deadline than the one that does."""
    shop = Shop(Policy("p", defaults=STRICT))
    world, lives = shop.world, shop.world.state.live
    starts: list[tuple[tuple[int, int, int], list[tuple[int, int, int]]]] = []
    feed = world.feed

    def watched(event: ev.Event, after_ns: int = 0) -> list[cm.Command]:
        commands = feed(event, after_ns)
        for command in commands:
            if isinstance(command, cm.RunStage) and command.stage == 0:
                waiting = [entry[:3] for entry in world.state.queue]
                starts.append((lives[command.request_id].rank, waiting))
        return commands

    world.feed = watched  # type: ignore[method-assign]
    shop.run([(at * MS, app, budget) for at, app, budget in asks])
    assert starts
    for rank, waiting in starts:
        assert all(rank < other for other in waiting)


def test_a_refusal_in_overload_has_memory_planned_again_soon() -> None:
    world = World(Policy("p", defaults=STRICT), processors=PROCESSORS[:1])
    before_ns = world.state.plan.pause_ns
    asked = [world.ask(latency_budget_ns=10 * MS) for _ in range(20)]
    assert any(one in world.finished for one in asked)
    assert world.state.plan.pause_ns == SECOND < before_ns


def test_what_serves_far_more_per_second_is_missed_in_overload() -> None:
    """In memory: small (0.80 in 1 ms) and large (0.95 in 10 ms). Not: staged, 0.90 in 3.4 ms as expected."""
    world = World(Policy("p", defaults=STRICT), processors=PROCESSORS[:1], load_all=False)
    asked = world.ask(variant="large", latency_budget_ns=SECOND)
    world.finish_loads()
    chooser, live = world.scheduler.chooser, world.state.live[asked]
    table = chooser.table_for(live, world.now_ns)
    at = chooser.situation(live, table, world.now_ns)
    missing = {
        floor: missing_variant(table, msgspec.structs.replace(at, floor_frac=floor))
        for floor in (0.0, 0.85, 0.93)
    }
    assert missing == {0.0: "", 0.85: f"t/staged@{PROCESSORS[0].pool}", 0.93: ""}


def test_only_what_would_help_is_loaded_in_overload() -> None:
    """Above a floor of 0.93 there is but the large variant, which is in memory; a refusal loads nothing."""
    policy = Policy("p", defaults=Settings(energy_price_per_j=0.001, give_up=()))
    world = World(policy, processors=PROCESSORS[:1], load_all=False)
    first = world.ask(variant="large", latency_budget_ns=SECOND)
    world.finish_loads()
    while first in world.runs:
        world.end_stage(first)
    world.ask(latency_budget_ns=SECOND, variant="large")
    refused = world.ask(latency_budget_ns=13 * MS, min_accuracy_frac=0.93)
    assert world.result(refused).cause is Cause.OVERLOAD
    assert not world.loads, "nothing above this floor would be quicker"
