"""What was learned outlives the daemon: taken down, given to another scheduler, and never believed blindly."""

from collections.abc import Callable
from dataclasses import replace
from math import log

import pytest
from tests.core.world import MS, PROCESSORS, PROFILES, World, family, profile

from trimtab.core import codec
from trimtab.core import events as ev
from trimtab.core.estimator import variance_at
from trimtab.core.knowledge import Knowledge, faults, knowledge_of
from trimtab.core.lifecycle import IllegalEventError
from trimtab.core.scheduler import Scheduler
from trimtab.strategies import strategy_named

SECOND = 1000 * MS
HOUR = 3600 * SECOND


def experienced() -> World:
    """Return a world in which runs on the first core take twice as long and three times the energy."""
    world = World()
    for _ in range(60):
        world.now_ns += SECOND
        request_id = world.ask(variant="small", latency_budget_ns=SECOND)
        world.end_stage(request_id, factor=2.0, energy_uj=6000.0)
    assert world.state.estimates["cpu:0"].mean == pytest.approx(log(2.0), abs=0.05)
    return world


def known(world: World) -> Knowledge:
    """Return its knowledge as another process would read it."""
    taken = knowledge_of(world.state, world.now_ns)
    return codec.decode_value(Knowledge, codec.encode_value(taken))


def restarted(knowledge: Knowledge, age_ns: int = 0, now_ns: int = 5 * SECOND, **more: object) -> World:
    world = World(load_all=False, now_ns=now_ns, **more)  # type: ignore[arg-type]
    world.feed(ev.EstimatesRestored(knowledge, age_ns))
    return world


def test_a_restarted_scheduler_expects_what_the_last_one_learned() -> None:
    before = experienced()
    after = restarted(known(before))
    for name in ("cpu:0", "cpu:1"):
        assert after.state.estimates[name].mean == before.state.estimates[name].mean
        assert after.state.estimates[name].tail == before.state.estimates[name].tail
    assert after.state.latency_biases == before.state.latency_biases
    assert after.state.energy_biases == before.state.energy_biases
    assert after.state.energy_ratio == before.state.energy_ratio
    assert after.state.overhead_ns == before.state.overhead_ns
    assert after.state.forecast.streams == before.state.forecast.streams
    request_id = after.ask(variant="small", latency_budget_ns=SECOND)
    expected_uj = before.decision(before.ask(variant="small", latency_budget_ns=SECOND)).energy_uj
    assert after.decision(request_id).energy_uj == pytest.approx(expected_uj, rel=0.02)


def test_the_older_it_is_the_less_it_is_believed() -> None:
    """A monotonic clock may start anew at every boot: only the age counts."""
    taken = known(experienced())
    fresh, old = restarted(taken), restarted(taken, age_ns=HOUR, now_ns=7 * SECOND)
    grown = [variance_at(one.state.estimates["cpu:0"], one.now_ns) for one in (fresh, old)]
    assert grown[0] < 0.01
    assert grown[1] == 0.25


def test_what_is_no_longer_there_is_left_out() -> None:
    taken = known(experienced())
    one_core = restarted(taken, processors=PROCESSORS[:1])
    assert list(one_core.state.estimates) == ["cpu:0"]
    assert one_core.state.estimates["cpu:0"].ties == {}
    other = tuple(profile(p.variant, q, (3 * MS,) * len(p.stage_latency_ns)) for p in PROFILES for q in PROCESSORS if p.processor == q.name)  # fmt: skip
    measured_anew = restarted(taken, families=((family(), other),))
    assert measured_anew.state.latency_biases == {}
    assert measured_anew.state.energy_biases == {}
    assert measured_anew.state.estimates["cpu:0"].mean == taken.estimates["cpu:0"].mean


def test_it_comes_before_requests_or_not_at_all() -> None:
    world = experienced()
    with pytest.raises(IllegalEventError, match="before the first request"):
        world.feed(ev.EstimatesRestored(Knowledge(), 0))
    with pytest.raises(IllegalEventError):
        restarted(Knowledge(), age_ns=-1)


def test_the_event_is_not_changed_by_what_is_learned_after_it() -> None:
    """The journal writes it down later than the scheduler takes it."""
    event = ev.EstimatesRestored(known(experienced()), SECOND)
    told = codec.encode(event)
    world = World(load_all=False)
    world.feed(event)
    for _ in range(30):
        world.end_stage(world.ask(variant="small", latency_budget_ns=SECOND), factor=5.0)
    assert codec.encode(event) == told


def test_a_replay_makes_every_decision_again() -> None:
    world = restarted(known(experienced()), SECOND)
    for index in range(40):
        request_id = world.ask(latency_budget_ns=(3 + index) * MS)
        world.finish_loads()
        while request_id in world.runs:
            world.end_stage(request_id, confidence=0.7, factor=1.0 + index % 3)
    scheduler = Scheduler(strategy_named)
    for now_ns, event, commands in world.log:
        name, body = codec.encode(event)
        read = codec.decode(name, body)
        assert isinstance(read, ev.Event)
        assert scheduler.handle(read, now_ns) == commands


def spoiled(change: Callable[[Knowledge], None]) -> Knowledge:
    taken = known(experienced())
    change(taken)
    return taken


def set_mean(taken: Knowledge) -> None:
    taken.estimates["cpu:0"].mean = 1e9


def set_noise(taken: Knowledge) -> None:
    taken.energy_estimates["cpu:1"].noise = 0.0


def set_tail(taken: Knowledge) -> None:
    taken.estimates["cpu:0"].tail.counts = [1.0, 2.0]


def set_bias(taken: Knowledge) -> None:
    next(iter(taken.latency_biases.values())).variance = -1.0


def set_overhead(taken: Knowledge) -> None:
    taken.overhead_ns = 1e18


def set_hours(taken: Knowledge) -> None:
    taken.forecast.drain.hours = [0.0] * 3


@pytest.mark.parametrize("change", [set_mean, set_noise, set_tail, set_bias, set_overhead, set_hours])
def test_what_cannot_be_true_is_found_and_refused(change: Callable[[Knowledge], None]) -> None:
    wrong = spoiled(change)
    assert list(faults(wrong))
    with pytest.raises(IllegalEventError, match=r"impossible|too many"):
        restarted(wrong)


def test_knowledge_of_what_never_ran_has_no_faults() -> None:
    assert not list(faults(knowledge_of(World(load_all=False).state, 10**9)))
    assert not list(faults(replace(Knowledge())))
