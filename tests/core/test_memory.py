"""What is in memory: loading, evicting, squeezes, wishes, last resorts."""

from dataclasses import replace

import pytest
from tests.core.world import (
    MIB,
    MS,
    POOL_1,
    POOL_2,
    PROCESSORS,
    PROFILES,
    SMALL,
    World,
    family,
    profile,
)

from trimtab.core import events as ev
from trimtab.core.holdings import EVICTION_PRICE
from trimtab.core.invariants import check
from trimtab.core.lifecycle import IllegalEventError
from trimtab.core.residency import UNLIMITED, last_resort_key, memory_limit, used_bytes
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import Holding, Phase, Residence, State
from trimtab.domain.decision import Why
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import MemoryGoal, Policy, Settings
from trimtab.strategies import strategy_named

SECOND = 1000 * MS
CORES = PROCESSORS[:2]


def limited(mib: int, **settings: object) -> Policy:
    defaults = Settings(energy_price_per_j=0.001, **settings)  # type: ignore[arg-type]
    return Policy("p", memory=MemoryGoal(limit_bytes=mib * MIB), defaults=defaults)


def variants_in(world: World) -> list[str]:
    return [f"{r.variant}:{r.holding.value}" for r in world.state.residences.values()]


def test_loads_the_last_resort_first_and_keeps_it() -> None:
    world = World(load_all=False)
    assert variants_in(world) == ["small:resident"]
    assert last_resort_key(world.state, "t") == f"t/small@{POOL_1}"
    world.feed(ev.DeviceChanged(DeviceState(memory_available_bytes=0)))
    world.feed(ev.PolicyReplaced(Policy("p", memory=MemoryGoal(limit_bytes=0))))
    assert not world.evictions


def test_waits_for_the_load_it_chose() -> None:
    world = World(load_all=False, processors=CORES)
    request_id = world.ask(latency_budget_ns=SECOND)
    assert world.decision(request_id).load_ns == 5 * MS
    assert world.state.live[request_id].phase is Phase.LOADING
    second = world.ask(latency_budget_ns=SECOND)
    assert len(world.loads) == 1, "the second counts on the same load"
    world.finish_loads()
    assert {request_id, second} <= set(world.runs)


def test_wishes_for_what_would_win_were_it_resident() -> None:
    world = World(load_all=False, processors=CORES)
    request_id = world.ask(latency_budget_ns=14 * MS)
    assert world.decision(request_id).variant == "staged", "large would be late by its load"
    assert [load.variant for load in world.loads] == ["staged"]
    world.finish_loads()
    world.end_stage(request_id, confidence=1.0)
    world.ask(latency_budget_ns=14 * MS)
    assert [load.variant for load in world.loads] == ["large"]
    world.finish_loads()
    assert world.decision(world.ask(latency_budget_ns=16 * MS)).variant == "large"


def test_makes_room_by_evicting_the_least_recently_used() -> None:
    world = World(limited(6))
    assert variants_in(world) == ["small:resident", "large:resident", "staged:resident"]
    world.now_ns += 3 * SECOND
    wide = world.ask(variant="large", latency_budget_ns=9 * MS)
    assert world.decision(wide).processor != "cpu:0-1", "it is too late for a load"
    assert world.decision(wide).given_up, "so the wide large is wished for at once"
    assert [gone.variant for gone in world.evictions] == ["staged"], "large is in use, small the last resort"
    assert f"t/large@{POOL_2}" in world.state.residences


def test_evicts_idle_variants_when_memory_shrinks() -> None:
    world = World()
    running = world.ask(latency_budget_ns=SECOND)
    assert world.runs[running].variant == "large"
    world.feed(ev.PolicyReplaced(limited(2)))
    assert [gone.variant for gone in world.evictions] == ["staged"], "never what is in use"
    world.finish_evictions()
    world.end_stage(running)
    assert [gone.variant for gone in world.evictions] == ["large"], "as soon as it is idle"
    assert used_bytes(world.state) == 2 * MIB
    blocked = World(explain=True, policy=limited(3), load_all=False)
    verdicts = blocked.decided[blocked.ask(latency_budget_ns=SECOND)][-1].verdicts
    assert {v.why for v in verdicts if "large" in v.candidate} == {Why.NO_MEMORY}
    assert {v.detail for v in verdicts if "large" in v.candidate} == {"needs 2.0 of 3.0 MiB"}


def test_falls_back_when_everything_in_memory_is_in_use() -> None:
    world = World(limited(4), load_all=False, processors=CORES, explain=True)
    first = world.ask(latency_budget_ns=SECOND)
    assert world.decision(first).variant == "large"
    second = world.ask(variant="staged", latency_budget_ns=SECOND)
    assert "it does not fit into memory" in world.result(second).reason
    third = world.ask(latency_budget_ns=SECOND, max_energy_uj=15_000.0)
    assert world.decision(third).variant == "small"
    whys = {v.candidate: v.detail for v in world.decided[third][-1].verdicts}
    assert whys["staged@cpu:1/patient"] == "what is in memory is in use"
    world.finish_loads()
    world.end_stage(third)
    world.end_stage(first)
    fourth = world.ask(variant="staged", latency_budget_ns=SECOND)
    assert [gone.variant for gone in world.evictions] == ["large"]
    assert world.decision(fourth).variant == "staged"
    leaving = world.ask(latency_budget_ns=SECOND)
    whys = {v.candidate: v.detail for v in world.decided[leaving][-1].verdicts}
    assert whys["large@cpu:0"] == "it is leaving memory"


def test_wishes_add_up_to_what_a_load_and_an_eviction_cost() -> None:
    """Large would be worth 0.043 more a request; nothing is paid for its load, but staged has to leave for it."""
    world = World(limited(4), load_all=False, processors=CORES)
    staged = world.ask(variant="staged", latency_budget_ns=SECOND)
    world.finish_loads()
    world.end_stage(staged, confidence=1.0)
    request_id = world.ask(latency_budget_ns=14 * MS)
    assert world.decision(request_id).variant == "staged"
    missed = world.state.wishes[f"t/large@{POOL_1}"]
    assert EVICTION_PRICE < missed < 0.1
    assert not world.evictions, "staged is in use, and was a moment ago"
    world.end_stage(request_id, confidence=1.0)
    world.now_ns += 3 * SECOND
    second = world.ask(latency_budget_ns=14 * MS)
    world.end_stage(second, confidence=1.0)
    assert world.state.wishes[f"t/large@{POOL_1}"] > missed, "it adds up, slowly forgotten"


def test_a_load_is_bought_once_renting_has_cost_as_much() -> None:
    """A load of 0.2 J at 1 per joule costs 0.2; each request misses some hundredths without it."""
    policy = Policy("p", defaults=Settings(energy_price_per_j=1.0))
    heavy = tuple(replace(p, load_energy_uj=200_000.0) for p in PROFILES)
    world = World(policy, load_all=False, processors=CORES, families=((family(), heavy),))
    staged = world.ask(variant="staged", latency_budget_ns=SECOND)
    world.finish_loads()
    world.end_stage(staged, confidence=1.0)
    asked = 0
    while not world.loads and asked < 100:
        assert world.state.wishes.get(f"t/large@{POOL_1}", 0.0) < 0.2
        world.end_stage(world.ask(latency_budget_ns=14 * MS), confidence=1.0)
        asked += 1
    assert 2 < asked < 100
    assert [load.variant for load in world.loads] == ["large"]


def test_measured_size_replaces_the_profiles() -> None:
    world = World(limited(6), load_all=False)
    request_id = world.ask(variant="large", latency_budget_ns=SECOND)
    world.finish_loads(resident_bytes=5 * MIB)
    world.end_stage(request_id)
    assert [gone.variant for gone in world.evictions] == ["large"]
    world.finish_evictions()
    refused = world.ask(variant="large", latency_budget_ns=SECOND, priority=1)
    assert world.decision(refused).processor == "cpu:0-1" if refused in world.decided else True
    assert all(load.pool == POOL_2 for load in world.loads)


def test_the_limit_counts_what_was_held_when_the_device_was_read() -> None:
    state = State(memory_held_bytes=4 * MIB, device=DeviceState(memory_available_bytes=10 * MIB))
    assert memory_limit(state) == 14 * MIB
    state.policy = Policy("p", memory=MemoryGoal(keep_available_bytes=8 * MIB))
    assert memory_limit(state) == 6 * MIB
    state.policy = Policy("p", memory=MemoryGoal(limit_bytes=5 * MIB))
    assert memory_limit(state) == 5 * MIB
    assert memory_limit(State()) == UNLIMITED
    world = World(device=DeviceState(memory_available_bytes=20 * MIB), load_all=False)
    before = world.state.memory_limit_bytes
    world.warm(family())
    world.feed(ev.PolicyReplaced(Policy("same")))
    assert world.state.memory_limit_bytes == before


def test_a_last_resort_that_failed_is_loaded_again_after_its_rest() -> None:
    world = World(families=(), load_all=False)
    world.feed(ev.FamilyAdded(family()))
    world.feed(ev.ProfilesReplaced("t", PROFILES))
    load = world.loads.pop()
    world.feed(ev.LoadFailed(load.task, load.variant, load.pool, "busy"))
    world.feed(ev.DeviceChanged(DeviceState()))
    assert not world.loads
    world.feed(ev.DeviceChanged(DeviceState()), 30 * SECOND)
    assert [load.variant for load in world.loads] == ["small"]


def test_processors_may_come_last_and_profiles_may_name_others() -> None:
    strange = replace(profile("small", PROCESSORS[0], (MS,)), processor="npu")
    scheduler = Scheduler(strategy_named)
    scheduler.handle(ev.FamilyAdded(family()), 0)
    scheduler.handle(ev.ProfilesReplaced("t", (strange, *PROFILES)), 0)
    assert scheduler.state.residences == {}
    scheduler.handle(ev.ProcessorsFound(PROCESSORS), 0)
    assert [r.variant for r in scheduler.state.residences.values()] == ["small"]
    with pytest.raises(IllegalEventError, match="while variants are loaded"):
        scheduler.handle(ev.ProcessorsFound(PROCESSORS), 0)


def test_profiles_with_another_number_of_stages_are_left_out() -> None:
    world = World(load_all=False)
    world.feed(ev.ProfilesReplaced("t", (profile("staged", PROCESSORS[0], (MS,)), *PROFILES[:3])))
    assert {c.variant for c in world.scheduler.chooser.candidates["t"]} == {"small"}


def test_an_unknown_loads_energy_is_nothing() -> None:
    world = World(load_all=False)
    world.ask(variant="large")
    world.feed(ev.FamilyAdded(family(SMALL)))
    before = world.state.energy.total_uj
    world.finish_loads()
    assert world.state.energy.total_uj == before


def test_the_invariants_notice() -> None:
    world = World()
    request_id = world.ask()
    state = world.state
    state.live[request_id].committed_uj += 1
    with pytest.raises(AssertionError, match="energy set aside"):
        check(state)
    state.live[request_id].committed_uj -= 1
    state.residences["ghost"] = Residence("t", "ghost", "p", Holding.RESIDENT, 0, 0, 0, users=3)
    with pytest.raises(AssertionError, match="ghost has 3 users, not 0"):
        check(state)
    del state.residences["ghost"]
    state.queue.append((0, 0, 0, "nobody"))
    with pytest.raises(AssertionError, match="queue and phases differ"):
        check(state)


def test_evicts_no_more_than_needed() -> None:
    world = World()
    world.feed(ev.PolicyReplaced(limited(4)))
    assert [gone.variant for gone in world.evictions] == ["large"]
