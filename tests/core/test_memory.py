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
from trimtab.core.invariants import check
from trimtab.core.lifecycle import IllegalEventError
from trimtab.core.memory_budget import MAX_STEPS, RISE_NS, UNLIMITED, note_memory, settle_memory
from trimtab.core.residency import evictable, last_resort_key, room_ahead, room_for, used_bytes
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import Holding, Phase, Plan, Residence, State
from trimtab.domain.decision import Outcome, Why
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


def test_plans_for_what_would_win_were_it_resident() -> None:
    world = World(load_all=False, processors=CORES)
    request_id = world.ask(latency_budget_ns=16 * MS)
    assert world.decision(request_id).variant == "staged", "large would be late by its load"
    assert [load.variant for load in world.loads] == ["staged"], "what a request waits for is loaded first"
    assert world.state.plan.keys == (f"t/large@{POOL_1}",)
    world.finish_loads()
    assert f"t/large@{POOL_1}" in world.state.residences
    world.end_stage(request_id, confidence=1.0)
    assert world.decision(world.ask(latency_budget_ns=16 * MS)).variant == "large"


def test_what_the_plan_does_not_name_leaves_first_then_what_it_names_least_worth_first() -> None:
    state = State(plan=Plan(keys=("dear", "cheap")))
    for key, used_ns in (("dear", 1), ("cheap", 2), ("recent", 9), ("old", 5), ("last", 0)):
        state.residences[key] = Residence("t", key, "p", Holding.RESIDENT, MIB, 0, used_ns)
    state.residences["busy"] = Residence("t", "busy", "p", Holding.RESIDENT, MIB, 0, 0, users=1)
    assert [key for key, _ in evictable(state, {"last"})] == ["old", "recent", "cheap", "dear"]
    state.memory_limit_bytes = 6 * MIB
    settled = room_ahead(state, {"last"}, 2 * MIB, 10 * SECOND)
    assert (settled.fits, settled.evict) == (True, ("old", "recent"))
    assert not room_ahead(state, {"last"}, 3 * MIB, 10 * SECOND).fits, "what the plan names stays"
    assert not room_ahead(state, {"last"}, 2 * MIB, SECOND).fits, "they have not been there for long"
    assert room_for(state, {"last"}, 3 * MIB).evict == ("old", "recent", "cheap")


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
    assert {v.detail for v in verdicts if "large" in v.candidate} == {
        "needs 2.0 of 3.0 MiB, of which last resorts take 2.0"
    }


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
    held = Residence("t", "large", POOL_1, Holding.RESIDENT, 4 * MIB, 0, 0)
    state = State(residences={"large": held}, device=DeviceState(memory_available_bytes=10 * MIB))
    note_memory(state, 0)
    assert settle_memory(state, 0)
    assert state.memory_limit_bytes == 14 * MIB
    state.policy = Policy("p", memory=MemoryGoal(keep_available_bytes=8 * MIB))
    assert settle_memory(state, 0)
    assert state.memory_limit_bytes == 6 * MIB
    state.policy = Policy("p", memory=MemoryGoal(limit_bytes=5 * MIB))
    assert settle_memory(state, 0)
    assert state.memory_limit_bytes == 5 * MIB
    assert not settle_memory(State(), 0)
    assert State().memory_limit_bytes == UNLIMITED


def test_the_limit_falls_at_once_and_rises_after_a_while_to_the_least_there_was() -> None:
    state = State()

    def read(mib: int, now_ns: int) -> int:
        state.device = DeviceState(memory_available_bytes=mib * MIB)
        note_memory(state, now_ns)
        settle_memory(state, now_ns)
        return state.memory_limit_bytes // MIB

    assert read(10, 0) == 10
    assert read(4, SECOND) == 4
    assert read(9, 2 * SECOND) == 4
    assert read(7, 4 * SECOND) == 4
    assert read(12, 2 * SECOND + RISE_NS) == 7
    assert read(6, 8 * SECOND) == 6
    assert read(8, 9 * SECOND) == 6
    assert read(5, 10 * SECOND) == 5
    assert read(8, 11 * SECOND) == 5, "it began to rise anew"


def test_a_reading_during_a_load_is_no_reason_to_believe_in_more_memory() -> None:
    loading = Residence("t", "large", POOL_1, Holding.LOADING, 4 * MIB, 0, 0)
    state = State(residences={"large": loading}, device=DeviceState(memory_available_bytes=10 * MIB))
    state.memory.device_bytes = 12 * MIB
    note_memory(state, 0)
    settle_memory(state, 10 * RISE_NS)
    assert state.memory_limit_bytes == 12 * MIB


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
    assert len(world.evictions) == 1
    left = [key for key, r in world.state.residences.items() if r.holding is Holding.RESIDENT]
    assert left == [last_resort_key(world.state, "t"), *world.state.plan.keys]


def test_a_load_that_would_displace_what_is_worth_more_is_out_but_for_who_asks_for_it_by_name() -> None:
    """Large earns 20 a second where it is; a rare request that alone needs staged would take its place for 2 s."""
    world = World(limited(4), load_all=False, processors=CORES, explain=True)
    world.ask("first", latency_budget_ns=SECOND)
    world.finish_loads()
    for _ in range(200):
        world.now_ns += 40 * MS
        for running in list(world.runs):
            world.end_stage(running, confidence=1.0)
        last = world.ask(latency_budget_ns=SECOND)
    world.end_stage(last)
    assert world.state.plan.keys == (f"t/large@{POOL_1}",)
    assert world.state.plan.displaced > 0.0
    verdicts = {v.candidate: v for v in world.decided[last][-1].verdicts}
    assert verdicts["staged@cpu:0/patient"].why is Why.NO_MEMORY
    assert verdicts["staged@cpu:0/patient"].detail == "what would leave for it is worth more"
    named = world.ask(variant="staged", latency_budget_ns=SECOND)
    assert world.decision(named).variant == "staged"


def test_under_pressure_the_limit_falls_in_steps_and_rises_in_slower_ones() -> None:
    held = Residence("t", "large", POOL_1, Holding.RESIDENT, 16 * MIB, 0, 0)
    state = State(residences={"large": held})

    def under(pressure_frac: float | None, now_s: int) -> float:
        state.device = DeviceState(memory_pressure_frac=pressure_frac)
        note_memory(state, now_s * SECOND)
        settle_memory(state, now_s * SECOND)
        return state.memory_limit_bytes / MIB

    assert under(0.05, 0) * MIB == UNLIMITED
    assert under(0.2, 1) == 12
    assert under(0.2, 5) == 12, "the kernel's figure lags behind"
    assert under(0.2, 6) == 9
    assert under(0.07, 30) == 9, "neither high nor low"
    assert under(0.0, 31) == 12
    assert under(0.0, 40) == 12
    assert under(None, 41) * MIB == UNLIMITED
    for now_s in range(100, 200, 5):
        least = under(0.9, now_s)
    assert least == pytest.approx(16 * 0.75**MAX_STEPS, rel=1e-6)


def test_under_pressure_requests_are_still_served_by_smaller_variants() -> None:
    world = World()
    world.feed(ev.DeviceChanged(DeviceState(memory_pressure_frac=0.5)))
    gone: list[str] = []
    for _ in range(20):
        request_id = world.ask(latency_budget_ns=SECOND)
        gone += [one.variant for one in world.evictions]
        world.finish_evictions()
        while request_id in world.runs:
            world.end_stage(request_id)
        assert world.outcome(request_id) is Outcome.DONE
        world.now_ns += SECOND
    assert set(gone) == {"large", "staged"}
    assert world.result(request_id).variant == "small"
    assert not world.loads


def test_what_is_in_use_when_memory_falls_takes_no_further_requests_and_the_plan_stays() -> None:
    world = World(processors=CORES)
    for _ in range(30):
        world.end_stage(world.ask(latency_budget_ns=SECOND, variant="staged"), confidence=1.0)
        world.now_ns += SECOND
    assert f"t/staged@{POOL_1}" in world.state.plan.keys
    running = world.ask(latency_budget_ns=SECOND, variant="large")
    world.feed(ev.PolicyReplaced(limited(4)))
    assert world.state.plan.keys == (f"t/staged@{POOL_1}",)
    assert not world.evictions
    assert world.state.residences[f"t/large@{POOL_1}"].doomed
    assert world.decision(world.ask(latency_budget_ns=SECOND)).variant == "staged"
    world.end_stage(running)
    assert [gone.variant for gone in world.evictions] == ["large"]


def test_last_resorts_above_the_limit_stay_and_decisions_say_why_nothing_else_fits() -> None:
    """Two last resorts of 2 MiB each in 3 MiB: both serve; nothing else is loaded, and the reason tells the sum."""
    other = tuple(replace(p, load_ns=6 * MS) for p in PROFILES)
    world = World(
        limited(3),
        families=((family(), PROFILES), (family(task="u"), other)),
        processors=CORES,
        load_all=False,
        explain=True,
    )
    for task in ("t", "u"):
        request_id = world.ask(task=task, latency_budget_ns=SECOND)
        assert world.decision(request_id).variant == "small"
        told = {v.candidate: v for v in world.decided[request_id][-1].verdicts}["large@cpu:0"]
        assert told.why is Why.NO_MEMORY
        assert told.detail == "needs 2.0 of 3.0 MiB, of which last resorts take 4.0"
    assert not world.evictions
    assert world.state.plan.keys == ()
