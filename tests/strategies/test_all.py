"""What holds for every strategy: it serves, replays from a journal, resumes from a checkpoint, and stays small."""

from typing import Any

import pytest
from tests.core.world import MIB, MS, World

from trimtab.cli.strategy_names import NAMES
from trimtab.core import events as ev
from trimtab.core.codec import decode_value, encode_value
from trimtab.core.replay import Step, replay
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import State
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, MemoryGoal, Policy, Settings
from trimtab.strategies import STRATEGIES, strategy_named

ARGUMENTS = {"static": ["static:large@cpu:0"], "band": ["band:shortest", "band:slack", "band:heft"], "alert": ["alert", "alert:0.9"], "tiers": ["tiers:0.85=large,0.8=staged,else=small"]}  # fmt: skip
ALL = [text for name in STRATEGIES for text in ARGUMENTS.get(name, [name])]


def lived(strategy: str, requests: int = 40) -> World:
    """Return a world that has served requests of three kinds under a battery, slow runs and little memory."""
    world = World(
        Policy(
            "p",
            strategy=strategy,
            defaults=Settings(latency_budget_ns=40 * MS),
            battery=BatteryGoal(0.1, last_for_ns=3600 * 1000 * MS),
            memory=MemoryGoal(limit_bytes=8 * MIB),
        ),
        device=DeviceState(battery_frac=0.9, battery_capacity_j=100.0, memory_available_bytes=64 * MIB),
    )
    goals: list[dict[str, Any]] = [
        {},
        {"min_accuracy_frac": 0.9},
        {"max_energy_uj": 5000.0},
        {"variant": "small"},
    ]
    for index in range(requests):
        world.ask(f"q{index}", **goals[index % len(goals)])
        if index % 3 == 2:
            step(world, 1.0 + 0.5 * (index % 5))
        world.now_ns += 3 * MS
        if index % 10 == 9:
            world.feed(
                ev.DeviceChanged(DeviceState(0.9 - index / 200, 100.0, memory_available_bytes=64 * MIB))
            )
    while world.runs or world.loads or world.evictions:
        step(world, 1.0)
    return world


def step(world: World, factor: float) -> None:
    """End one run, and every load and eviction under way."""
    world.finish_evictions()
    world.finish_loads()
    for request_id in list(world.runs)[:1]:
        world.end_stage(request_id, factor=factor)


@pytest.mark.parametrize("strategy", ALL)
def test_serves(strategy: str) -> None:
    world = lived(strategy)
    done = [r for r in world.finished.values() if r.result.outcome.value == "done"]
    assert len(world.finished) >= 40
    assert len(done) >= 10
    assert not world.state.live


@pytest.mark.parametrize("strategy", ALL)
def test_replays_from_its_journal(strategy: str) -> None:
    steps = [Step(at_ns, event, tuple(commands)) for at_ns, event, commands in lived(strategy).log]
    assert list(replay(Scheduler(strategy_named), steps)) == []


@pytest.mark.parametrize("strategy", ALL)
def test_resumes_from_a_checkpoint(strategy: str) -> None:
    world = lived(strategy)
    world.feed(ev.Checkpointed())
    resumed = Scheduler(strategy_named, decode_value(State, encode_value(world.state)))
    before = len(world.log)
    for index in range(6):
        world.ask(f"after{index}", min_accuracy_frac=0.8 if index % 2 else 0.0)
        step(world, 2.0)
    for at_ns, event, commands in world.log[before:]:
        assert resumed.handle(event, at_ns) == commands


@pytest.mark.parametrize("strategy", ALL)
def test_what_it_remembers_does_not_grow_with_traffic(strategy: str) -> None:
    candidates = 12
    assert len(lived(strategy, 320).state.notes) <= 2 * candidates + 3


def test_help_names_every_strategy() -> None:
    known = [name.partition(":")[0].partition("[")[0] for name in NAMES.split(", ")]
    assert [name for name in known if not name.startswith("else")] == list(STRATEGIES)
    assert all(strategy_form in NAMES for strategy_form, _ in STRATEGIES.values())


def test_notes_go_with_the_strategy() -> None:
    world = lived("alert")
    assert world.state.notes
    world.feed(ev.PolicyReplaced(Policy("q", strategy="alert")))
    assert world.state.notes
    world.feed(ev.PolicyReplaced(Policy("q", strategy="band:slack")))
    assert not world.state.notes


@pytest.mark.parametrize("text", ["", "best", "mcdnn:2", "value:fast", "static:large", "band:fifo"])
def test_an_unknown_one_tells_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        strategy_named(text)
