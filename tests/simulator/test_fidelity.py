"""Runs drawn from a recording reproduce another recording; profiles alone do not; and "what if" adds up."""

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from tests.simulator.recorded import CAPACITY_J, small_world, write_session

from trimtab.adapters.journal_file import JournalError
from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.state import Holding, Residence, State
from trimtab.domain.decision import Decision
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, Filter, Policy, Settings
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S, UJ_PER_J
from trimtab.domain.request import Request
from trimtab_sim import Arrival, Battery, World
from trimtab_sim.fidelity import (
    ENOUGH,
    KEPT_RUNS,
    LIMITS,
    Circumstance,
    EmpiricalRuntime,
    Observed,
    Runs,
    Sample,
    errors,
    within,
)
from trimtab_sim.recording import Recording, Told, read_recording
from trimtab_sim.runtime import Run
from trimtab_sim.what_if import RecordedDevice, play, what_if

ANY = Circumstance(0, 0, 0)
ONE_CORE = Policy("one core", defaults=Settings(processors=Filter(deny=("cpu:0-1",))))
"""Without the gang: which of two ways to run the same variant is used more is a matter of chance."""
GOAL = Policy("goal", battery=BatteryGoal(0.1, last_for_ns=3000 * NS_PER_S))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Recording]:
    """Return a recording to calibrate with and another one to judge by, of the same machine."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, seed, count in (("calibration", 1, 4000), ("judged", 2, 1500)):
        write_session(folder / name, seed=seed, count=count, policy=ONE_CORE)
    return read_recording(folder / "calibration"), read_recording(folder / "judged", exact=True)


def simulated(judged: Recording, observed: Observed) -> dict[str, float]:
    """Return the figures of the judged arrivals in the simulator: the mean over three seeds."""
    world, rows = judged.world, []
    for seed in (5, 6, 7):
        runtime = EmpiricalRuntime(world.families, world.profiles, observed, seed)
        battery = Battery(CAPACITY_J, 0.9, 50.0, start_ns=judged.start_ns)
        rows.append(play(judged, judged.policies, runtime, battery, exact=True).account.figures())
    return {name: mean(row[name] for row in rows) for name in LIMITS}


def test_calibrated_on_one_recording_another_one_is_reproduced(
    recordings: tuple[Recording, Recording],
) -> None:
    calibration, judged = recordings
    recorded = judged.account.figures()
    found = errors(recorded, simulated(judged, calibration.observed))
    assert within(found), found
    assert recorded["on_time_frac"] < 0.99
    assert recorded["latency_ms_p99"] > 1.5 * recorded["latency_ms_p50"]


def test_profiles_alone_do_not_reproduce_it(recordings: tuple[Recording, Recording]) -> None:
    _, judged = recordings
    found = errors(judged.account.figures(), simulated(judged, Observed({})))
    assert not within(found)
    assert found["latency_ms_p50"] < -LIMITS["latency_ms_p50"]


def test_the_same_seed_gives_the_same_run(recordings: tuple[Recording, Recording]) -> None:
    calibration, judged = recordings
    assert simulated(judged, calibration.observed) == simulated(judged, calibration.observed)


def test_errors_are_relative_and_points_for_shares() -> None:
    recorded = dict.fromkeys(LIMITS, 2.0) | {"on_time_frac": 0.95}
    found = errors(recorded, dict.fromkeys(LIMITS, 2.1) | {"on_time_frac": 0.93})
    assert found["energy_j"] == pytest.approx(0.05)
    assert found["on_time_frac"] == pytest.approx(-0.02)
    assert not within(found)
    assert within(found | {"on_time_frac": -0.01, "energy_j": 0.04, "latency_ms_p50": -0.05})


# ---- what is observed ------------------------------------------------------------------------------------


def feed(observed: Observed, runs: Iterable[tuple[int, int, int]]) -> None:
    """Let ``observed`` see runs of ``small`` on cpu:0: when they begin, what they take, their hand-over."""
    for number, (at_ns, run_ns, around_ns) in enumerate(runs):
        name = f"r{number}"
        start = cm.RunStage(name, "tiny", "small", "cpu:0", 0)
        observed.take(at_ns, ev.RequestArrived(Request(name, "tiny")), [start])
        done = ev.StageFinished(name, 0, run_ns, run_ns * 1e-3, 0.7)
        observed.take(at_ns + run_ns + around_ns, done, [])


def one_run(
    observed: Observed, at_ns: int, variant: str = "small", batch: int = 1, nearest: int = 0
) -> tuple[int, float, int]:
    """Return time, energy and hand-over of one simulated run on cpu:0."""
    world = small_world()
    runtime = EmpiricalRuntime(world.families, world.profiles, observed, seed=3, nearest=nearest)
    request = Request("x", "tiny", batch=batch)
    ran = runtime.run(Run(Arrival(at_ns, request), decision(variant), world.processors[0], 0), at_ns)
    return ran.run_ns, ran.energy_uj, ran.around_ns


def decision(variant: str) -> Decision:
    """Return a decision for a variant on cpu:0."""
    return Decision("x", "tiny", variant, "cpu:0", "full", 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, (), "p", ())


def of_world() -> Observed:
    return Observed(small_world().profiles, small_world().processors)


def test_a_run_is_drawn_whole() -> None:
    observed = of_world()
    feed(observed, [(n * 5 * NS_PER_MS, 500_000 + n, 20_000 + n) for n in range(1, 60)])
    run_ns, energy_uj, around_ns = one_run(observed, 10 * NS_PER_S)
    assert run_ns - 500_000 == around_ns - 20_000
    assert energy_uj == pytest.approx(run_ns * 1e-3)


def test_what_runs_take_after_idling_is_kept_apart() -> None:
    observed = of_world()
    awake = [(n * NS_PER_MS, 400_000, 0) for n in range(1, 100)]
    asleep = [(n * NS_PER_S, 900_000, 0) for n in range(1, 100)]
    feed(observed, awake + asleep)
    assert one_run(observed, 10 * NS_PER_S)[0] == 900_000


def test_nearest_in_time_follows_a_machine_that_slows_down() -> None:
    observed = of_world()
    feed(observed, [(n * 100 * NS_PER_MS, 400_000 + 1000 * n, 0) for n in range(1, 1000)])
    early, late = (one_run(observed, at_ns, nearest=16)[0] for at_ns in (2 * NS_PER_S, 90 * NS_PER_S))
    assert early == pytest.approx(420_000, abs=16_000)
    assert late == pytest.approx(1_300_000, abs=16_000)


def test_a_batch_takes_in_proportion_and_is_not_observed() -> None:
    observed = of_world()
    feed(observed, [(n * 100 * NS_PER_MS, 500_000, 0) for n in range(1, 50)])
    count = observed.count
    observed.take(
        0, ev.RequestArrived(Request("b", "tiny", batch=8)), [cm.RunStage("b", "tiny", "small", "cpu:0", 0)]
    )
    observed.take(9, ev.StageFinished("b", 0, 9, 1.0, 0.5), [])
    assert observed.count == count
    assert one_run(observed, NS_PER_S, batch=4)[0] == 2_000_000


def test_what_was_never_run_borrows_from_what_is_profiled_alike() -> None:
    observed = of_world()
    feed(observed, [(n * 100 * NS_PER_MS, 800_000, 5_000) for n in range(1, 50)])  # twice its profile
    run_ns, _, around_ns = one_run(observed, NS_PER_S, variant="large")
    assert run_ns == 6 * NS_PER_MS
    assert around_ns == 5_000
    assert one_run(of_world(), NS_PER_S, variant="large")[2] == 0  # nothing observed: the profile alone


def test_samples_are_thinned_evenly() -> None:
    runs = Runs(1)
    for at_ns in range(3 * KEPT_RUNS):
        runs.add(Sample(at_ns, 1.0, 1.0, 0, 0.5, ANY))
    assert KEPT_RUNS / 2 <= len(runs.samples) <= KEPT_RUNS
    gaps = {later.at_ns - sooner.at_ns for sooner, later in zip(runs.samples, runs.samples[1:], strict=False)}
    assert len(gaps) == 1
    assert runs.samples[-1].at_ns > 2.9 * KEPT_RUNS


def test_a_rare_circumstance_falls_back_to_coarser_ones() -> None:
    runs = Runs(1)
    for at_ns in range(2 * ENOUGH):
        runs.add(Sample(at_ns, 1.0, 1.0, 0, 0.5, Circumstance(1, 0, 0)))
    runs.add(Sample(999, 9.0, 1.0, 0, 0.5, Circumstance(1, 0, 2)))
    rng = random.Random(0)
    drawn = {runs.draw(Circumstance(1, 0, 2), rng, 0, 0).time_factor for _ in range(400)}
    assert drawn == {1.0, 9.0}
    assert {runs.draw(Circumstance(0, 3, 0), rng, 0, 0).time_factor for _ in range(400)} == {1.0, 9.0}


# ---- what if ---------------------------------------------------------------------------------------------


def test_the_recorded_policy_modelled_comes_near_the_record(recordings: tuple[Recording, Recording]) -> None:
    recording, _ = recordings
    recorded = recording.account.figures()
    modelled = what_if(recording, seed=1).account.figures()
    found = errors(recorded, modelled)
    assert within(found | {"latency_ms_p95": 0.0, "latency_ms_p99": 0.0}), found
    assert max(abs(found["latency_ms_p95"]), abs(found["latency_ms_p99"])) < 0.3
    assert modelled["accuracy_mean"] == pytest.approx(recorded["accuracy_mean"], abs=0.02)
    assert modelled["battery_frac_end"] == pytest.approx(recorded["battery_frac_end"], abs=0.01)


def test_another_strategy_changes_what_depends_on_it_and_nothing_else(
    recordings: tuple[Recording, Recording],
) -> None:
    _, recording = recordings
    recorded = recording.account.figures()
    played = what_if(recording, Policy("small"), "smallest")
    found = played.account.figures()
    assert found["requests"] == recorded["requests"] == 1500
    assert found["share"] == {"tiny/small": 1.0}
    assert found["energy_j"] < recorded["energy_j"]
    saved_j = recorded["energy_j"] - found["energy_j"]
    gained = found["battery_frac_end"] - recorded["battery_frac_end"]
    assert gained == pytest.approx(saved_j / CAPACITY_J, abs=0.005)
    assert (played.drawn.own, played.drawn.profiled) == (
        1500,
        0,
    )  # it ran often enough when this was recorded


def test_a_journal_that_lost_its_beginning_can_be_asked_too(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "journal.sqlite"
    write_session(path, count=600, policy=GOAL)
    whole = read_recording(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DELETE FROM entries WHERE id < (SELECT min(id) FROM entries WHERE kind = 2)")
    connection.close()
    rest = read_recording(path)
    assert 0 < rest.account.requests < whole.account.requests
    assert rest.policies == whole.policies
    assert rest.start_ns > whole.start_ns
    assert rest.world.processors == whole.world.processors
    played = what_if(rest)
    assert played.account.requests == rest.account.requests
    assert played.moved == 0


def test_a_journal_without_requests_cannot_be_asked(tmp_path: Path) -> None:
    write_session(tmp_path / "journal.sqlite", count=0)
    with pytest.raises(JournalError, match="the journal holds no request"):
        read_recording(tmp_path / "journal.sqlite")
    with pytest.raises(JournalError, match="session 1 holds no request"):
        read_recording(tmp_path / "journal.sqlite", 1)


def test_the_newest_session_with_requests_is_asked(tmp_path: Path) -> None:
    for count in (30, 20, 0):
        write_session(tmp_path / "journal.sqlite", count=count)
    assert read_recording(tmp_path / "journal.sqlite").session == 2


def told(second: int, level: float, own_j: float, held: int = 0, **more: object) -> Told:
    state = DeviceState(battery_frac=level, battery_capacity_j=100.0, memory_available_bytes=1000)
    return Told(second * NS_PER_S, replace(state, **more), own_j * UJ_PER_J, held)  # type: ignore[arg-type]


def test_the_level_is_the_recorded_one_less_what_was_used_more() -> None:
    readings = [told(0, 0.9, 0.0), told(10, 0.8, 4.0), told(20, 0.7, 8.0)]
    same, idle, greedy = (RecordedDevice(readings, 0, 0.0) for _ in range(3))
    levels = []
    for second in (0, 10, 20):
        levels.append([device.reading(second * NS_PER_S).battery_frac for device in (same, idle, greedy)])
        same.draw(4.0 * UJ_PER_J, second * NS_PER_S)
        greedy.draw(40.0 * UJ_PER_J, second * NS_PER_S)
    assert levels[0] == [0.9, 0.9, 0.9]
    assert levels[1] == [0.8, 0.84, 0.44]
    assert levels[2] == [0.7, 0.78, 0.0]
    between = RecordedDevice(readings, 0, 0.0)
    assert between.reading(5 * NS_PER_S).battery_frac == pytest.approx(0.87)


def test_what_is_drawn_before_the_first_request_is_as_recorded() -> None:
    device = RecordedDevice([told(0, 0.9, 0.0), told(10, 0.8, 4.0)], 5 * NS_PER_S, 4.0 * UJ_PER_J)
    device.draw(50.0 * UJ_PER_J, NS_PER_S)
    assert device.reading(10 * NS_PER_S).battery_frac == 0.8


def test_unknown_figures_stay_unknown_and_a_charge_is_kept() -> None:
    blind = RecordedDevice([Told(0, DeviceState(), 0.0, 0)], 0, 0.0)
    blind.draw(1e9, 0)
    assert blind.reading(NS_PER_S).battery_frac is None
    assert RecordedDevice([], 0, 0.0).reading(0).battery_frac is None
    charged = RecordedDevice([told(0, 0.2, 0.0), told(10, 0.9, 0.0, charging=True)], 0, 0.0)
    charged.draw(10.0 * UJ_PER_J, 5 * NS_PER_S)
    assert charged.reading(10 * NS_PER_S).battery_frac == 0.8


def test_memory_is_what_others_leave_less_what_variants_hold_now() -> None:
    device = RecordedDevice([told(0, 0.9, 0.0, held=300)], 0, 0.0)
    state = State()
    device.attach(state)
    assert device.reading(0).memory_available_bytes == 1300
    state.residences["x"] = Residence("tiny", "x", "pool", Holding.RESIDENT, 500, 0, 0)
    assert device.reading(0).memory_available_bytes == 800


def test_a_world_of_the_recording_is_that_of_the_daemon(recordings: tuple[Recording, Recording]) -> None:
    world: World = recordings[0].world
    expected = small_world()
    assert world.processors == expected.processors
    assert world.families == expected.families
    assert dict(world.profiles) == dict(expected.profiles)
