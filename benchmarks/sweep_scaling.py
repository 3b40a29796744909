"""How much faster a sweep is with two workers than with one, and whether anything is lost on the way.

Run ``python benchmarks/sweep_scaling.py [--json] [--devices 20 --policies 10 --minutes 5]``. The sweep is devices x 5
arrival traces x policies of a short scenario. It runs with one local worker, with two, once more with two that is
killed (SIGKILL, the whole process group) in the middle and started again, and on a Dask cluster of two processes;
all four have to give the same file. Times are of whole commands, start-up of the workers included.
"""

import argparse
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "daemon"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "simulator"))

from trimtab_sim.device.profile_load import load_device, shipped_devices

ROOT: Final = Path(__file__).resolve().parent.parent
WANTED: Final = 1.8
TRACES: Final = (
    {"label": "regular", "arrivals": {"regular": {"every": "500ms"}}},
    {"label": "poisson", "arrivals": {"poisson": {"rate_per_s": 2}}},
    {"label": "bursts", "arrivals": {"bursts": {"rate_per_s": 20, "busy": "3s", "quiet": "30s"}}},
    {"label": "rare", "arrivals": {"poisson": {"rate_per_s": 0.2}}},
    {"label": "dense", "arrivals": {"poisson": {"rate_per_s": 5}}},
)
RUN: Final = "import sys; sys.path[:0] = {path!r}; from trimtab.cli.sweep import sweep; sweep()"


def write_sweep(folder: Path, devices: int, policies: int, minutes: float) -> Path:
    """Write scenario, policies and sweep; return the sweep's file."""
    scenario = {
        "version": 1, "name": "short", "seed": 1, "duration": f"{round(minutes * 60)}s",
        "family": "fashion", "processors": ["cpu:0"], "policy": "balanced",
        "workload": [{"app": "camera", "latency_budget_ms": 100, "arrivals": {"regular": {"every": "1s"}}}],
    }  # fmt: skip
    names = []
    for number in range(policies):
        name = f"policy-{number}.yaml"
        floor = round(0.85 + 0.01 * number, 3)
        (folder / name).write_text(f"version: 1\nname: floor-{number}\ndefaults: {{min_accuracy: {floor}}}\n")
        names.append(name)
    workloads = [
        {
            "label": one["label"],
            "value": [{"app": "camera", "latency_budget_ms": 100, "arrivals": one["arrivals"]}],
        }
        for one in TRACES
    ]
    places = [
        {"label": name, "set": {"device": name, "processors": [{"name": load_device(name).processors[0].name, "like": "cpu:0", "latency_factor": 2}]}}
        for name in shipped_devices()[:devices]
    ]  # fmt: skip
    vary = {"place": places, "workload": workloads, "policy": names}
    (folder / "short.yaml").write_text(json.dumps(scenario))
    (folder / "sweep.yaml").write_text(json.dumps({"version": 1, "scenario": "short.yaml", "vary": vary}))
    return folder / "sweep.yaml"


def command(sweep: Path, out: Path, *options: str) -> list[str]:
    """Return how to run a sweep in a process of its own."""
    path = [str(ROOT / package) for package in ("daemon", "models", "simulator")]
    return [sys.executable, "-c", RUN.format(path=path), str(sweep), "--out", str(out), "--json", *options]


def timed(sweep: Path, out: Path, *options: str) -> float:
    """Run a sweep to its end and return the seconds it took."""
    began_s = time.monotonic()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("daemon", "models", "simulator")),
    }
    subprocess.run(command(sweep, out, *options), check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.monotonic() - began_s


def killed(sweep: Path, out: Path, after_s: float) -> None:
    """Begin a sweep and kill it and its workers."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("daemon", "models", "simulator")),
    }
    process = subprocess.Popen(command(sweep, out, "--workers", "2"), env=environment, start_new_session=True, stdout=subprocess.DEVNULL)  # fmt: skip
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def digest(out: Path) -> str:
    """Return what tells one file of results from another."""
    return hashlib.sha256((out / "results.parquet").read_bytes()).hexdigest()[:16]


def measure(devices: int, policies: int, minutes: float, dask: bool) -> dict[str, Any]:
    """Run the sweep in all ways; return seconds, the ratio and whether the files are the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep = write_sweep(folder, devices, policies, minutes)
        one_s = timed(sweep, folder / "one", "--workers", "1")
        two_s = timed(sweep, folder / "two", "--workers", "2")
        killed(sweep, folder / "again", two_s / 2)
        resumed_s = timed(sweep, folder / "again", "--workers", "2")
        digests = {way: digest(folder / way) for way in ("one", "two", "again")}
        found: dict[str, Any] = {
            "cells": devices * len(TRACES) * policies,
            "one_worker_s": one_s,
            "two_workers_s": two_s,
            "speed_up": one_s / two_s,
            "resumed_s": resumed_s,
        }
        if dask:
            cluster_of: Any = importlib.import_module("distributed").LocalCluster

            with cluster_of(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
                found["dask_s"] = timed(sweep, folder / "dask", "--cluster", cluster.scheduler_address)
            digests["dask"] = digest(folder / "dask")
        return {**found, "digests": digests, "identical": len(set(digests.values())) == 1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--policies", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=5.0, help="simulated minutes of each cell")
    parser.add_argument("--no-dask", action="store_true")
    options = parser.parse_args()
    found = measure(options.devices, options.policies, options.minutes, not options.no_dask)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:14} {value:.2f}" if isinstance(value, float) else f"{name:14} {value}")
    met = "met" if found["speed_up"] >= WANTED else "MISSED"
    print(f"two workers at least {WANTED}x as fast as one: {found['speed_up']:.2f}x: {met}")


if __name__ == "__main__":
    main()
