"""LEO's assignment, against figures worked by hand."""

from tests.core.world import MS, World

from trimtab.domain.policy import Policy, Settings
from trimtab.strategies.leo import assign, suitable
from trimtab.strategies.workload import Offer, Stream


def offer(task: str, processor: str, ms: float, joules: float, accuracy: float = 0.9, *takes: str) -> Offer:
    return Offer(task, f"v@{processor}", "v", processor, takes or (processor,), ms / 1e3, joules, accuracy)


FACES = Stream("faces", 10.0, 0.2, 0.0)
SOUNDS = Stream("sounds", 10.0, 0.2, 0.0)


def test_the_least_energy_when_there_is_room() -> None:
    plan = assign(
        [
            (FACES, [offer("faces", "dsp", 40, 1.0), offer("faces", "cpu", 20, 3.0)]),
            (SOUNDS, [offer("sounds", "dsp", 50, 1.0), offer("sounds", "cpu", 10, 2.0)]),
        ]
    )
    assert plan is not None
    assert {o.task: o.processor for o in plan.chosen} == {"faces": "dsp", "sounds": "dsp"}, (
        "0.4 + 0.5 s of 1 s"
    )
    assert (plan.overload_s, plan.energy_j) == (0.0, 20.0)


def test_who_moves_when_the_cheapest_unit_is_full() -> None:
    """0.6 + 0.5 s are too much for the DSP: moving sounds costs 10 J more a second, moving faces 20 J."""
    plan = assign(
        [
            (FACES, [offer("faces", "dsp", 60, 1.0), offer("faces", "cpu", 20, 3.0)]),
            (SOUNDS, [offer("sounds", "dsp", 50, 1.0), offer("sounds", "cpu", 10, 2.0)]),
        ]
    )
    assert plan is not None
    assert {o.task: o.processor for o in plan.chosen} == {"faces": "dsp", "sounds": "cpu"}
    assert (plan.overload_s, plan.energy_j) == (0.0, 30.0)


def test_the_least_overload_when_nothing_fits() -> None:
    plan = assign([(FACES, [offer("faces", "dsp", 160, 1.0), offer("faces", "cpu", 120, 3.0)])])
    assert plan is not None
    assert plan.chosen[0].processor == "cpu"
    assert abs(plan.overload_s - 0.2) < 1e-9


def test_processors_that_share_a_core_share_its_time() -> None:
    wide = offer("sounds", "pair", 50, 1.0, 0.9, "core:0", "core:1")
    plan = assign(
        [
            (FACES, [offer("faces", "one", 60, 1.0, 0.9, "core:0")]),
            (SOUNDS, [wide, offer("sounds", "gpu", 5, 9.0)]),
        ]
    )
    assert plan is not None
    assert {o.task: o.processor for o in plan.chosen} == {"faces": "one", "sounds": "gpu"}


def test_accuracy_is_never_traded_but_for_what_a_floor_allows() -> None:
    found = [
        offer("faces", "cpu", 20, 3.0, 0.9),
        offer("faces", "cpu", 5, 1.0, 0.8),
        offer("faces", "dsp", 300, 0.5, 0.9),
    ]
    assert [o.energy_j for o in suitable(found, FACES)] == [3.0], "the DSP is slower than the budget"
    floored = FACES._replace(floor_frac=0.75)
    assert [o.energy_j for o in suitable(found, floored)] == [1.0]
    assert suitable(found, FACES._replace(floor_frac=0.99)) == suitable(found, FACES)


def test_nobody_serves_a_task_without_an_offer() -> None:
    assert assign([(FACES, [])]) is None


def test_assigns_once_a_second() -> None:
    world = World(Policy("p", strategy="leo", defaults=Settings(latency_budget_ns=500 * MS)))
    first = world.ask()
    assert world.decision(first).variant == "large"
    solved = world.state.notes["solved"]
    world.now_ns += 400 * MS
    world.ask()
    assert world.state.notes["solved"] == solved
    world.now_ns += 700 * MS
    world.ask()
    assert world.state.notes["solved"] > solved
    assert len([key for key in world.state.notes if key.startswith("serves ")]) == 1
