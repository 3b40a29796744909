"""Random legal events: invariants, one answer per request, hard constraints, checkpoints, illegal events."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.core.world import GANG, MIB, MS, PROCESSORS, PROFILES, SMALL, family, profile

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.codec import decode_value, encode, encode_value
from trimtab.core.invariants import check
from trimtab.core.lifecycle import IllegalEventError
from trimtab.core.prices import spare_uj
from trimtab.core.queueing import LATE_CLASS
from trimtab.core.residency import last_resort_key, resting, used_bytes
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import Holding, Phase, State, residence_key
from trimtab.domain.decision import Decision
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import (
    BatteryGoal,
    BelowReserve,
    Change,
    Condition,
    Filter,
    Goal,
    MemoryGoal,
    Policy,
    Range,
    Rule,
    Settings,
    WhenImpossible,
)
from trimtab.domain.request import Prefer, Request
from trimtab.domain.settings import allows
from trimtab.strategies import strategy_named

LIMIT = 4
OTHER = family(SMALL, task="u")
OTHER_PROFILES = tuple(profile("small", p, (MS // 2,)) for p in PROCESSORS)
CATALOGUE: tuple[tuple[Family, tuple[Profile, ...]], ...] = ((family(), PROFILES), (OTHER, OTHER_PROFILES))

filters = st.sampled_from([Filter(), Filter(), Filter(deny=("large",)), Filter(allow=("s*",))])
policies = st.builds(
    Policy,
    name=st.sampled_from(["p", "q"]),
    strategy=st.sampled_from(["value", "value", "value", "largest", "smallest", "static:large@cpu:1"]),
    defaults=st.builds(
        Settings,
        latency_budget_ns=st.sampled_from([5 * MS, 50 * MS]),
        min_accuracy_frac=st.sampled_from([0.0, 0.79, 0.9, 0.99]),
        max_energy_uj=st.sampled_from([None, None, 5000.0]),
        energy_price_per_j=st.sampled_from([0.0, 0.5, 20.0]),
        memory_price_per_mib=st.sampled_from([0.0, 0.01]),
        latency_price_per_s=st.sampled_from([0.0, 0.1]),
        deadline_confidence=st.sampled_from([0.3, 0.95]),
        give_up=st.sampled_from([Settings().give_up, (Goal.DEADLINE,), (Goal.DEADLINE, Goal.ACCURACY), ()]),
        when_impossible=st.sampled_from([WhenImpossible.SERVE, WhenImpossible.SERVE, WhenImpossible.REJECT]),
        variants=filters,
    ),
    battery=st.builds(
        BatteryGoal,
        reserve_frac=st.sampled_from([0.0, 0.3]),
        last_for_ns=st.sampled_from([None, 5_000 * MS]),
        last_until_s=st.sampled_from([None, 3600]),
        below_reserve=st.sampled_from(BelowReserve),
    ),
    memory=st.builds(
        MemoryGoal, limit_bytes=st.sampled_from([None, 7 * MIB]), keep_available_bytes=st.just(MIB)
    ),
    queue_limit=st.just(LIMIT),
    rules=st.sampled_from(
        [(), (Rule("low", Condition(battery_frac=Range(below=0.5)), Change(energy_price_factor=4.0)),)]
    ),
)
devices = st.builds(
    DeviceState,
    battery_frac=st.sampled_from([None, 1.0, 0.6, 0.31, 0.3, 0.1]),
    battery_capacity_j=st.sampled_from([None, 1.0, 100.0]),
    charging=st.sampled_from([False, False, True]),
    memory_available_bytes=st.sampled_from([None, 0, 3 * MIB, 6 * MIB, 64 * MIB]),
)
requests = st.builds(
    Request,
    request_id=st.just(""),
    task=st.sampled_from(["t", "t", "t", "u", "unknown"]),
    app=st.sampled_from(["a", "b"]),
    latency_budget_ns=st.sampled_from([None, 0, 2 * MS, 8 * MS, 30 * MS, 400 * MS]),
    min_accuracy_frac=st.sampled_from([None, None, 0.75, 0.9]),
    max_energy_uj=st.sampled_from([None, None, 3000.0]),
    priority=st.sampled_from([0, 0, 1, 5000]),
    prefer=st.sampled_from([Prefer.VALUE, *Prefer]),
    variant=st.sampled_from(["", "", "", "large", "staged", "nobody"]),
    batch=st.sampled_from([1, 1, 4]),
)
choice = st.integers(0, 1 << 16)


def plain(commands: list[cm.Command]) -> list[cm.Command]:
    """Return commands without what only an explaining scheduler fills in."""
    return [
        replace(c, verdicts=(), grounds=None) if isinstance(c, cm.Decided | cm.Finish) else c
        for c in commands
    ]


class Machine(RuleBasedStateMachine):
    """A device that does whatever hypothesis likes, as long as it is legal."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(strategy_named)
        self.explaining = Scheduler(strategy_named, explain=True)
        self.restored: Scheduler | None = None
        self.now_ns = 0
        self.loads: list[cm.Load] = []
        self.evictions: list[cm.Evict] = []
        self.runs: dict[str, int] = {}
        self.timer_ns: int | None = None
        self.asked: dict[str, int] = {}
        self.drained = 0

    @property
    def state(self) -> State:
        return self.scheduler.state

    def feed(self, event: ev.Event) -> None:
        commands = self.scheduler.handle(event, self.now_ns)
        check(self.state)
        assert plain(self.explaining.handle(event, self.now_ns)) == commands
        if self.restored is not None:
            restored = self.restored.handle(event, self.now_ns)
            assert [encode(c) for c in restored] == [encode(c) for c in commands]
        for command in commands:
            self.note(command)

    def note(self, command: cm.Command) -> None:
        match command:
            case cm.Load():
                self.loads.append(command)
            case cm.Evict():
                self.may_leave(command)
                self.evictions.append(command)
            case cm.Decided():
                self.is_sound(command.decision)
            case cm.RunStage():
                assert command.request_id not in self.runs
                self.runs[command.request_id] = command.stage
            case cm.Finish():
                self.asked[command.result.request_id] += 1
            case cm.SetTimer():
                self.timer_ns = command.at_ns
            case cm.Drained():
                self.drained += 1

    def may_leave(self, gone: cm.Evict) -> None:
        key = residence_key(gone.task, gone.variant, gone.pool)
        assert self.state.residences[key].users == 0
        assert key not in [last_resort_key(self.state, task) for task in self.state.families]

    def is_sound(self, decision: Decision) -> None:
        """Check a fresh decision against the state by itself, without the code that made it."""
        live = self.state.live.get(decision.request_id)
        if live is None or live.decision is not decision or live.candidate is None:
            return  # ended or decided again within the same event
        candidate, request, state = live.candidate, live.request, self.state
        assert request.variant in ("", candidate.variant)
        assert allows(live.settings.variants, candidate.variant)
        assert allows(live.settings.processors, candidate.processor)
        assert not resting(state, live.residence, self.now_ns)
        if live.settings.when_impossible is WhenImpossible.REJECT and state.policy.strategy == "value":
            assert not decision.given_up
        if not decision.given_up:
            floor = request.min_accuracy_frac
            assert decision.accuracy_frac >= (live.settings.min_accuracy_frac if floor is None else floor)
            limit_uj = request.max_energy_uj or live.settings.max_energy_uj
            assert limit_uj is None or decision.energy_uj <= limit_uj
            assert decision.on_time_prob >= live.settings.deadline_confidence - 1e-9
        battery = state.policy.battery
        left_uj = spare_uj(state.energy, state.device, battery.reserve_frac, self.now_ns)
        if battery.below_reserve is BelowReserve.REJECT and live.phase is not Phase.RUNNING:
            assert left_uj >= -1.0, "a decision overdrew the reserve"

    @initialize(policy=policies, device=devices)
    def start(self, policy: Policy, device: DeviceState) -> None:
        self.feed(ev.PolicyReplaced(policy))
        self.feed(ev.ProcessorsFound(PROCESSORS))
        self.feed(ev.DeviceChanged(device))
        for one, profiles in CATALOGUE:
            self.feed(ev.FamilyAdded(one))
            self.feed(ev.ProfilesReplaced(one.task, profiles))

    @rule(step_ns=st.sampled_from([0, MS, 7 * MS, 300 * MS, 2_500 * MS, 31_000 * MS]))
    def time_passes(self, step_ns: int) -> None:
        self.now_ns += step_ns

    def arrive(self, request: Request, elapsed_ns: int) -> None:
        request = replace(request, request_id=f"r{len(self.asked)}")
        self.asked[request.request_id] = 0
        before = len(self.state.queue)
        self.feed(ev.RequestArrived(request, elapsed_ns))
        assert len(self.state.queue) <= before + 1

    @rule(request=requests, elapsed_ns=st.sampled_from([0, 0, MS]))
    def one_arrives(self, request: Request, elapsed_ns: int) -> None:
        self.arrive(request, elapsed_ns)

    @rule(some=st.lists(requests, min_size=3, max_size=8))
    def many_arrive(self, some: list[Request]) -> None:
        for request in some:
            self.arrive(request, 0)

    @precondition(lambda self: self.runs)
    @rule(
        pick=choice,
        run_ns=st.sampled_from([MS // 2, 2 * MS, 60 * MS]),
        confidence=st.sampled_from([0.0, 0.6, 1.0]),
        energy_uj=st.sampled_from([100.0, 90_000.0]),
    )
    def a_stage_ends(self, pick: int, run_ns: int, confidence: float, energy_uj: float) -> None:
        request_id = list(self.runs)[pick % len(self.runs)]
        stage = self.runs.pop(request_id)
        self.now_ns += run_ns
        self.feed(ev.StageFinished(request_id, stage, run_ns, energy_uj, confidence))

    @precondition(lambda self: self.runs)
    @rule(pick=choice, fault=st.sampled_from(["variant", "variant", "request"]))
    def a_run_fails(self, pick: int, fault: str) -> None:
        request_id = list(self.runs)[pick % len(self.runs)]
        self.feed(ev.RunFailed(request_id, self.runs.pop(request_id), "boom", fault))

    @precondition(lambda self: self.loads)
    @rule(resident_bytes=st.sampled_from([2 * MIB, 2 * MIB, 5 * MIB]))
    def a_load_ends(self, resident_bytes: int) -> None:
        load = self.loads.pop(0)
        self.feed(ev.LoadFinished(load.task, load.variant, load.pool, 5 * MS, resident_bytes))

    @precondition(lambda self: self.loads)
    @rule(pick=choice)
    def a_load_fails(self, pick: int) -> None:
        load = self.loads.pop(pick % len(self.loads))
        self.feed(ev.LoadFailed(load.task, load.variant, load.pool, "no such file"))

    @precondition(lambda self: self.evictions)
    @rule()
    def an_eviction_ends(self) -> None:
        gone = self.evictions.pop(0)
        self.feed(ev.EvictFinished(gone.task, gone.variant, gone.pool))

    @rule(device=devices)
    def the_device_changes(self, device: DeviceState) -> None:
        self.feed(ev.DeviceChanged(device))

    @rule(policy=policies)
    def the_policy_changes(self, policy: Policy) -> None:
        self.feed(ev.PolicyReplaced(policy))

    @rule(pick=choice)
    def a_caller_leaves(self, pick: int) -> None:
        self.feed(ev.RequestCancelled(f"r{pick % (len(self.asked) + 1)}"))

    @precondition(lambda self: self.timer_ns is not None)
    @rule()
    def the_timer_fires(self) -> None:
        assert self.timer_ns is not None
        self.now_ns, self.timer_ns = max(self.now_ns, self.timer_ns), None
        self.feed(ev.TimerFired())
        due = [self.state.live[entry[3]].expires_ns for entry in self.state.queue]
        assert all(expires_ns > self.now_ns for expires_ns in due)

    @rule()
    def a_checkpoint_is_written(self) -> None:
        self.feed(ev.Checkpointed())
        body = encode_value(self.state)
        self.restored = Scheduler(strategy_named, decode_value(State, body))
        assert encode_value(self.restored.state) == body

    @rule(pick=choice)
    def something_illegal_happens(self, pick: int) -> None:
        """Raise for an event that cannot happen now, and leave the state as it was."""
        running = next(iter(self.runs), "nobody")
        illegal: list[ev.Event] = [
            ev.StageFinished("nobody", 0, 1, 1.0, 1.0),
            ev.StageFinished(running, 7, 1, 1.0, 1.0),
            ev.RunFailed(running, 7, "boom"),
            ev.RunFailed(running, self.runs.get(running, 0), "boom", fault="weather"),
            ev.LoadFinished("t", "nobody", "nowhere", 1, 1),
            ev.LoadFailed("t", "nobody", "nowhere", "boom"),
            ev.EvictFinished("t", "small", "nowhere"),
            ev.ProcessorsFound((GANG, GANG)),
            ev.ProcessorsFound(()),
            ev.ProfilesReplaced("unknown", ()),
            ev.ProfilesReplaced("t", (replace(PROFILES[0], stage_energy_uj=()),)),
            ev.FamilyAdded(family(last_resort="nobody")),
            ev.FamilyAdded(family(replace(SMALL, exit_rules=(replace(SMALL.exit_rules[0], share_frac=()),)))),
            ev.PolicyReplaced(Policy("bad", strategy="astrology")),
            ev.RequestArrived(Request("batchless", "t", batch=0)),
            ev.Event(),
        ]
        illegal += [ev.RequestArrived(live.request) for live in list(self.state.live.values())[:1]]
        before = encode_value(self.state)
        with pytest.raises(IllegalEventError):
            self.scheduler.handle(illegal[pick % len(illegal)], self.now_ns)
        assert encode_value(self.state) == before

    @invariant()
    def memory_adds_up(self) -> None:
        """Nothing idle is kept over the limit, except last resorts."""
        state = self.state
        kept = [last_resort_key(state, task) for task in state.families]
        if used_bytes(state) > state.memory_limit_bytes:
            for key, residence in state.residences.items():
                idle = residence.holding is Holding.RESIDENT and residence.users == 0
                assert key in kept or not idle, f"{key} is idle over the limit"

    @invariant()
    def queues_are_bounded(self) -> None:
        waiting = [entry for entry in self.state.queue if entry[0] < LATE_CLASS]
        assert len(waiting) <= LIMIT * len(PROCESSORS)
        assert len(self.state.queue) - len(waiting) <= LIMIT

    def teardown(self) -> None:
        """Whatever happened, a drain ends every request exactly once."""
        if self.now_ns == 0 and not self.state.processors:
            return
        self.feed(ev.DrainStarted())
        for _ in range(2_000):
            if self.drained:
                break
            self.settle_one()
        assert self.drained == 1
        assert not self.state.live
        assert all(count == 1 for count in self.asked.values()), self.asked
        refused = Request("late-comer", "t")
        self.asked["late-comer"] = 0
        self.feed(ev.RequestArrived(refused))
        assert self.asked["late-comer"] == 1

    def settle_one(self) -> None:
        if self.runs:
            request_id, stage = next(iter(self.runs.items()))
            del self.runs[request_id]
            self.now_ns += MS
            self.feed(ev.StageFinished(request_id, stage, MS, 100.0, 1.0))
        elif self.loads:
            self.a_load_ends(2 * MIB)
        elif self.evictions:
            self.an_eviction_ends()
        elif self.timer_ns is not None:
            self.the_timer_fires()


Machine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRandomEvents = Machine.TestCase
