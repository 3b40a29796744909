"""Recorded steps made again; the same bytes in other processes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.core.world import MS, World

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.replay import Step, replay, steps
from trimtab.core.scheduler import Scheduler
from trimtab.strategies import strategy_named

ROOT = Path(__file__).resolve().parents[2]


def recorded() -> World:
    world = World()
    for budget_ms in (100, 3, 8, 0):
        world.ask(latency_budget_ns=budget_ms * MS)
    while world.runs:
        world.end_stage(next(iter(world.runs)), confidence=0.7)
    return world


def rows(world: World) -> list[tuple[int, ev.Event | cm.Command]]:
    found: list[tuple[int, ev.Event | cm.Command]] = []
    for at_ns, event, commands in world.log:
        found += [(at_ns, event), *((at_ns, command) for command in commands)]
    return found


def test_a_record_replayed_gives_the_same_commands() -> None:
    world, seen = recorded(), list[Step]()
    assert list(replay(Scheduler(strategy_named), steps(rows(world)), seen.append)) == []
    assert len(seen) == len(world.log)
    assert list(replay(Scheduler(strategy_named), steps(rows(world)))) == []


def test_a_difference_is_told_with_its_step() -> None:
    made = list(steps(rows(recorded())))
    index = next(i for i, step in enumerate(made) if step.commands)
    made[index] = replace(made[index], commands=())
    (difference,) = replay(Scheduler(strategy_named), made)
    assert (difference.index, difference.step) == (index, made[index])
    assert difference.replayed


def test_an_explaining_replay_differs_only_by_verdicts() -> None:
    differences = list(replay(Scheduler(strategy_named, explain=True), steps(rows(recorded()))))
    assert differences
    for difference in differences:
        told = [c for c in difference.replayed if isinstance(c, cm.Decided | cm.Finish) and c.verdicts]
        assert told
        assert all(len(c.verdicts) == 12 for c in told)
        plain = tuple(
            replace(c, verdicts=(), grounds=None) if isinstance(c, cm.Decided | cm.Finish) else c
            for c in difference.replayed
        )
        assert plain == difference.step.commands


def test_rows_group_into_steps() -> None:
    assert list(steps([])) == []
    with pytest.raises(ValueError, match="a command without an event before it"):
        list(steps([(0, cm.Drained())]))
    two = list(steps([(1, ev.DrainStarted()), (1, cm.Drained()), (2, ev.TimerFired())]))
    assert two == [Step(1, ev.DrainStarted(), (cm.Drained(),)), Step(2, ev.TimerFired(), ())]


SCRIPT = """
from tests.core.test_replay import recorded
from trimtab.core.codec import encode, encode_value
world = recorded()
for at_ns, event, commands in world.log:
    print(at_ns, *(encode(item) for item in (event, *commands)))
print(encode_value(world.state))
"""


def test_the_same_bytes_under_another_hash_seed() -> None:
    outputs = []
    for seed in ("1", "977"):
        path = os.pathsep.join([str(ROOT), *sys.path])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, check=True, timeout=60
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert b"Decided" in outputs[0]


def subclasses(base: type[Any]) -> set[type[Any]]:
    """Return the subclasses of ``base``, without the shells that ``dataclass(slots=True)`` leaves behind."""
    return {one for one in base.__subclasses__() if "__slots__" in vars(one)}


def test_every_event_has_a_handler_and_every_command_is_sent() -> None:
    scheduler = Scheduler(strategy_named)
    assert set(scheduler._handlers) == subclasses(ev.Event)
    source = "".join(path.read_text() for path in (ROOT / "daemon/trimtab/core").glob("*.py"))
    for command in subclasses(cm.Command):
        assert source.count(f"{command.__name__}(") >= 2, f"nothing sends {command.__name__}"
