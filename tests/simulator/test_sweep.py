"""Sweeps: every combination once, the same rows whoever runs them, and nothing lost when somebody dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from trimtab_sim.scenario import ScenarioError
from trimtab_sim.sweep import Cell, LocalPool, PoolError, Store, StoreError, load_plan, sweep
from trimtab_sim.sweep.cell import Row, run_cell

pytest.importorskip("pyarrow", reason="needs the sim extra")

SCENARIO = """
version: 1
name: small
seed: 5
duration: 20s
family: fashion
processors: ["cpu:0"]
workload:
  - { app: camera, arrivals: { poisson: { rate_per_s: 5 } }, latency_budget_ms: 100 }
battery: { energy_j: 1, reserve: 5 %, horizon: 20s }
policy: balanced
"""
SWEEP = """
version: 1
scenario: small.yaml
vary:
  battery:
    - { label: low, value: { energy_j: 0.05, reserve: 5 %, horizon: 20s } }
    - { energy_j: 5, reserve: 5 %, horizon: 20s }
  policy: [balanced, mine.yaml]
seeds: 2
"""
MINE = """
version: 1
name: mine
defaults: { min_accuracy: 0.9 }
"""


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SCENARIO)
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    return tmp_path / "sweep.yaml"


class Here:
    """Runs cells in this process, at most so many of them."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most

    def run(self, cells: Iterable[Cell]) -> Iterator[Row]:
        for number, cell in enumerate(cells):
            if number == self.most:
                raise PoolError("enough")
            yield run_cell(cell)


def quiet(_done: int, _total: int) -> None:
    """Look away."""


def test_cells_are_all_combinations_in_order(plan_file: Path) -> None:
    plan = load_plan(plan_file)
    cells = list(plan.cells())
    assert len(plan) == len(cells) == 8
    assert [cell.number for cell in cells] == list(range(8))
    assert [dict(cell.choices) for cell in cells[:3]] == [
        {"battery": "low", "policy": "balanced", "seed": "5"},
        {"battery": "low", "policy": "balanced", "seed": "6"},
        {"battery": "low", "policy": "mine", "seed": "5"},
    ]
    assert dict(cells[4].choices)["battery"] == "#2"
    assert len({cell.key for cell in cells}) == 8


def test_rows_tell_what_a_run_came_to(plan_file: Path, tmp_path: Path) -> None:
    outcome = sweep(load_plan(plan_file), Here(), Store(tmp_path / "out"), quiet)
    by = {(row["battery"], row["policy"], row["seed"]): row for row in outcome.rows}
    assert outcome.resumed == 0
    assert all(row["requests"] > 50 for row in outcome.rows)
    assert by["low", "balanced", "5"]["energy_j"] < by["#2", "balanced", "5"]["energy_j"]
    assert by["low", "balanced", "5"]["requests"] == by["#2", "mine", "5"]["requests"]
    assert "decision_us_p50" not in outcome.rows[0]


def test_a_value_may_set_several_fields(plan_file: Path, tmp_path: Path) -> None:
    both = "\n  place:\n    - { label: short, set: { duration: 5s, description: brief } }\n    - { label: long, set: { duration: 10s } }\n"
    plan_file.write_text(SWEEP.replace("seeds: 2", "").rstrip() + both)
    outcome = sweep(load_plan(plan_file), Here(), Store(tmp_path / "out"), quiet)
    assert {(row["place"], round(row["simulated_s"])) for row in outcome.rows} >= {("short", 5), ("long", 10)}


def test_processes_give_the_same_bytes(plan_file: Path, tmp_path: Path) -> None:
    plan = load_plan(plan_file)
    sweep(plan, Here(), Store(tmp_path / "here"), quiet)
    sweep(plan, LocalPool(2), Store(tmp_path / "there"), quiet)
    assert (tmp_path / "here" / "results.parquet").read_bytes() == (
        tmp_path / "there" / "results.parquet"
    ).read_bytes()


def test_a_stopped_sweep_goes_on(plan_file: Path, tmp_path: Path) -> None:
    plan = load_plan(plan_file)
    with pytest.raises(PoolError, match="enough"):
        sweep(plan, Here(3), Store(tmp_path / "out"), quiet)
    told: list[int] = []
    outcome = sweep(plan, Here(), Store(tmp_path / "out"), lambda done, _total: told.append(done))
    assert (outcome.resumed, told[0], told[-1]) == (3, 3, 8)
    sweep(plan, Here(), Store(tmp_path / "whole"), quiet)
    assert (tmp_path / "out" / "results.parquet").read_bytes() == (
        tmp_path / "whole" / "results.parquet"
    ).read_bytes()
    assert not (tmp_path / "out" / "parts").exists()


def test_a_changed_policy_file_runs_its_cells_again(plan_file: Path, tmp_path: Path) -> None:
    sweep(load_plan(plan_file), Here(), Store(tmp_path / "out"), quiet)
    (tmp_path / "mine.yaml").write_text(MINE.replace("0.9", "0.5"))
    assert sweep(load_plan(plan_file), Here(), Store(tmp_path / "out"), quiet).resumed == 0


def test_a_killed_sweep_goes_on(plan_file: Path, tmp_path: Path) -> None:
    plan_file.write_text(SWEEP.replace("seeds: 2", "seeds: 40"))
    command = [sys.executable, "-c", "from trimtab.cli.sweep import sweep; sweep()", str(plan_file), "--out", str(tmp_path / "out"), "--workers", "1"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    parts, deadline_s = tmp_path / "out" / "parts", time.monotonic() + 60
    while not list(parts.glob("*.parquet")):
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len(Store(tmp_path / "out").known())
    assert 0 < done < 160
    plan = load_plan(plan_file)
    assert sweep(plan, Here(), Store(tmp_path / "out"), quiet).resumed == done


def test_a_lost_worker_loses_nothing(plan_file: Path, tmp_path: Path) -> None:
    plan_file.write_text(SWEEP.replace("seeds: 2", "seeds: 20"))
    plan = load_plan(plan_file)
    killed: list[int] = []

    def kill_one(done: int, _total: int) -> None:
        import multiprocessing

        children = multiprocessing.active_children()
        if done == 5 and children and not killed:
            assert children[0].pid is not None
            os.kill(children[0].pid, signal.SIGKILL)
            killed.append(children[0].pid)

    outcome = sweep(plan, LocalPool(2), Store(tmp_path / "out"), kill_one)
    assert killed
    assert [row["cell"] for row in outcome.rows] == list(range(80))


def test_dask_gives_the_same_bytes(plan_file: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the sim extra")
    from trimtab_sim.sweep import DaskPool

    plan = load_plan(plan_file)
    sweep(plan, Here(), Store(tmp_path / "here"), quiet)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        sweep(plan, DaskPool(cluster.scheduler_address), Store(tmp_path / "there"), quiet)
    assert (tmp_path / "here" / "results.parquet").read_bytes() == (
        tmp_path / "there" / "results.parquet"
    ).read_bytes()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SWEEP.replace("vary:", "varied:"), r"sweep.yaml:4:1: varied"),
        (SWEEP.replace("  policy:", "  polcy:"), r"sweep.yaml:8:3: vary.polcy: scenarios have no such field"),
        (
            SWEEP.replace("policy: [balanced, mine.yaml]", "place: [{ set: { devise: x } }]"),
            r"sweep.yaml:8:\d+: vary.place\[0\].set.devise",
        ),
        (
            SWEEP.replace("[balanced, mine.yaml]", "[]"),
            r"sweep.yaml:8:\d+: vary.policy: expected a list of values, 1 to 1000, not an empty list",
        ),
        (SWEEP.replace("mine.yaml", "yours.yaml"), r"sweep.yaml:8:\d+: vary.policy: .*yours.yaml"),
        (SWEEP.replace("energy_j: 5", "energy: 5"), r"sweep.yaml:7:\d+: vary.battery\[1\]: .*energy"),
    ],
)
def test_errors_name_the_place(plan_file: Path, text: str, told: str) -> None:
    plan_file.write_text(text)
    with pytest.raises(ScenarioError, match=told):
        load_plan(plan_file)


def test_a_missing_scenario_is_named(plan_file: Path) -> None:
    (plan_file.parent / "small.yaml").unlink()
    with pytest.raises(ScenarioError, match=r"sweep.yaml:3:11: scenario: .*small.yaml"):
        load_plan(plan_file)


def test_a_damaged_part_is_named(plan_file: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "parts").mkdir(parents=True)
    (tmp_path / "out" / "parts" / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"x\.parquet: is no Parquet file"):
        sweep(load_plan(plan_file), Here(), Store(tmp_path / "out"), quiet)
