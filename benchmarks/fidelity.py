"""How near the simulator comes to the daemon: latency, energy and on-time share under three loads.

    python benchmarks/fidelity.py [--json] [--seconds 120] [--repeats 3] [--others 0.1] [--keep FOLDER]

Each repeat, for each load: a daemon (``trimtab serve``, profiles measured at its first start) serves a calibration
load over gRPC, the same kind of mixture whatever comes next; then a fresh daemon with the same profiles serves the
load. The journal of the calibration tells how runs differ from their profiles (``trimtab_sim.fidelity.Observed``); the
simulator then gets of the judged journal its arrival times, processors, profiles and policy, and what its sensors
told, and nothing of what became of the requests. The virtual battery of the drain is simulated, not replayed. Figures of
both sides are computed by the same code, the simulator's over several seeds together.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from daemons import ROOT, serving
from traffic import Magazine, Shot, open_loop, poisson, samples_of

TASKS = ("fashion", "keywords")
SEEDS = 5
MOST_TAKES, MOST_WAITS, WAIT_S = 10, 300, 3.0
CAPACITY_J, BACKGROUND_MW = 20.0, 60.0
APPS: tuple[tuple[float, dict[str, Any]], ...] = (
    (0.4, {"app": "viewfinder", "latency_budget_ms": 10}),
    (0.3, {"app": "assistant", "latency_budget_ms": 30, "min_accuracy": 0.88}),
    (0.3, {"app": "gallery", "latency_budget_ms": 120, "min_accuracy": 0.9}),
)
"""Shares of the requests, and what they ask for."""


@dataclass(frozen=True, slots=True)
class Load:
    """A kind of traffic: how shots are made from a seed and seconds, and what the daemon is given beside it."""

    name: str
    shots: Callable[[random.Random, float], list[Shot]]
    battery: bool = False


def any_request(rng: random.Random, at_s: float) -> Shot:
    """Return a request of one of the apps for one of the tasks."""
    (goals,) = rng.choices([goals for _, goals in APPS], [share for share, _ in APPS])
    return Shot(at_s, rng.choice(TASKS), goals)


def steady(rng: random.Random, seconds: float) -> list[Shot]:
    """Return Poisson arrivals at 60 requests/s."""
    return [any_request(rng, at_s) for at_s in poisson(rng, 60.0, 0.0, seconds)]


def bursts(rng: random.Random, seconds: float) -> list[Shot]:
    """Return 20 requests/s with a burst every second on average: 10 to 40 requests at 300 requests/s."""
    shots = [any_request(rng, at_s) for at_s in poisson(rng, 20.0, 0.0, seconds)]
    for begin_s in poisson(rng, 1.0, 0.0, seconds):
        at_s = begin_s
        for _ in range(rng.randrange(10, 41)):
            at_s += rng.expovariate(300.0)
            shots.append(any_request(rng, at_s))
    return sorted((shot for shot in shots if shot.at_s < seconds), key=lambda shot: shot.at_s)


def drain(rng: random.Random, seconds: float) -> list[Shot]:
    """Return Poisson arrivals at 40 requests/s."""
    return [any_request(rng, at_s) for at_s in poisson(rng, 40.0, 0.0, seconds)]


def calibration(variants: Sequence[tuple[str, str]]) -> Callable[[random.Random, float], list[Shot]]:
    """Return a load of every variant and every circumstance: free choice, pinned variants, sparse, dense, bursts."""

    def shots(rng: random.Random, seconds: float) -> list[Shot]:
        found = [*bursts(rng, seconds / 2), *[_later(s, seconds / 2) for s in steady(rng, seconds / 2)]]
        pinned = poisson(rng, 15.0, 0.0, seconds)
        goals = {"app": "calibration", "latency_budget_ms": 200}
        for at_s in pinned:
            task, variant = rng.choice(variants)
            found.append(Shot(at_s, task, {**goals, "variant": variant}))
        return sorted(found, key=lambda shot: shot.at_s)

    return shots


def _later(shot: Shot, by_s: float) -> Shot:
    return Shot(shot.at_s + by_s, shot.task, shot.goals)


LOADS = (Load("steady", steady), Load("bursts", bursts), Load("drain", drain, battery=True))


def policy_text(seconds: float, battery: bool) -> str:
    """Return the policy of a load: the drain has to last until its end with a reserve."""
    goal = f"battery: {{reserve: 10 %, last_for: {seconds:g}s}}\n" if battery else ""
    return f"version: 1\nname: fidelity\n{goal}"


class Busy:
    """CPU time of the machine since a moment, and how much of it was not that of some processes."""

    def __init__(self, pids: Sequence[int]) -> None:
        """Begin now; the time of these processes is ours."""
        self._processes = [psutil.Process(pid) for pid in pids]
        self._began_s, self._machine_s, self._own_s = time.monotonic(), _machine_s(), self._ours_s()

    def others_frac(self) -> float:
        """Return the share of all cores' time since then that went to other processes."""
        machine_s, own_s = _machine_s() - self._machine_s, self._ours_s() - self._own_s
        passed_s = (time.monotonic() - self._began_s) * (psutil.cpu_count() or 1)
        return max(0.0, machine_s - own_s) / passed_s

    def _ours_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._processes)


def _machine_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


class Bench:
    """Daemons that share families and profiles, each with a journal of its own."""

    def __init__(self, folder: Path, others_limit: float) -> None:
        """Work in ``folder``; a recording is taken again when others have more than that share of the CPU."""
        self.folder = folder
        self.others: list[float] = []
        self.retaken = 0
        self._others_limit = others_limit
        self._families = folder / "families"
        for task in TASKS:
            shutil.copytree(ROOT / "models" / "families" / task, self._families / task)
        self._magazine = Magazine(samples_of(TASKS))
        self._count = 0

    def record(self, load: Load, seed: int, seconds: float) -> Path:
        """Serve a load with a fresh daemon and return its journal; again when others disturbed it too much.

        The limit says nothing about what was measured: it looks at other processes' CPU time alone.
        """
        for _ in range(MOST_TAKES):
            self.wait_for_quiet()
            journal, others_frac = self._take(load, seed, seconds)
            if others_frac <= self._others_limit:
                self.others.append(others_frac)
                return journal
            self.retaken += 1
        raise SystemExit(
            f"other processes took more than {self._others_limit:.0%} of the CPU in each of {MOST_TAKES} takes; "
            "run this on a quieter machine, or with a larger --others"
        )

    def wait_for_quiet(self) -> None:
        """Wait until other processes have let the CPU be for a few seconds; give up waiting after a while."""
        for _ in range(MOST_WAITS):
            busy = Busy(())
            time.sleep(WAIT_S)
            if busy.others_frac() <= self._others_limit:
                return

    def _take(self, load: Load, seed: int, seconds: float) -> tuple[Path, float]:
        self._count += 1
        folder = self.folder / f"{self._count:02}-{load.name}"
        state = folder / "state"
        state.mkdir(parents=True)
        profiles = self.folder / "profiles"
        if profiles.is_dir():
            shutil.copytree(profiles, state / "profiles")
        policy = folder / "policy.yaml"
        policy.write_text(policy_text(seconds, load.battery))
        options = ["--families", str(self._families), "--policy", str(policy), "--journal-limit", "2000"]
        if load.battery:
            options += ["--virtual-battery", f"{CAPACITY_J}:1.0:{BACKGROUND_MW}"]
        shots = load.shots(random.Random(seed), seconds)
        with serving(folder, *options) as (address, process, _):
            busy = Busy((os.getpid(), process.pid))
            codes = asyncio.run(open_loop(address, shots, self._magazine))
            others_frac = busy.others_frac()
        assert codes.total() == len(shots), codes
        if not profiles.is_dir():
            shutil.copytree(state / "profiles", profiles)
        return state / "journal.sqlite", others_frac

    def variants(self) -> list[tuple[str, str]]:
        """Return (task, variant) of all that is offered."""
        from trimtab.adapters.family_store import FolderStore

        found = FolderStore((self._families,)).families()
        return [(s.family.task, v.name) for s in found for v in s.family.offered().variants]


def simulate(judged: Any, observed: Any, battery: bool) -> dict[str, Any]:
    """Return the figures of the judged recording's arrivals in the simulator, over several seeds together."""
    from trimtab_sim import Battery, Plugged, Surroundings
    from trimtab_sim.fidelity import EmpiricalRuntime
    from trimtab_sim.recording import Exact
    from trimtab_sim.what_if import play

    world, accounts, drawn = judged.world, [], []
    surroundings = Surroundings([(told.at_ns, told.state) for told in judged.readings])
    for seed in range(SEEDS):
        runtime = EmpiricalRuntime(world.families, world.profiles, observed, seed)
        device: Any = Plugged(surroundings)
        if battery:
            first = judged.readings[0]
            device = Battery(
                CAPACITY_J,
                first.state.battery_frac,
                BACKGROUND_MW,
                start_ns=first.at_ns,
                surroundings=surroundings,
            )
        played = play(judged, judged.policies, runtime, device, exact=True)
        accounts.append(played.account)
        drawn.append(played.drawn)
    pooled = Exact()
    for account in accounts:
        assert isinstance(account.latency_ns, Exact)
        pooled.values += account.latency_ns.values
    rows = [account.figures() for account in accounts]
    figures: dict[str, Any] = {
        f"latency_ms_p{share}": pooled.quantile(share / 100) / 1e6 for share in (50, 95, 99)
    }
    figures |= {
        name: statistics.mean(row[name] for row in rows)
        for name in ("energy_j", "on_time_frac", "accuracy_mean")
    }
    if battery:
        figures["battery_frac_end"] = statistics.mean(row["battery_frac_end"] for row in rows)
    figures["drawn"] = {
        name: sum(getattr(one, name) for one in drawn) for name in ("own", "borrowed", "profiled")
    }
    figures["share"] = _mean_shares([row["share"] for row in rows])
    return figures


def _mean_shares(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = {name for row in rows for name in row}
    return {name: sum(row.get(name, 0.0) for row in rows) / len(rows) for name in sorted(names)}


def measure(seconds: float, repeats: int, folder: Path, others_limit: float) -> dict[str, Any]:
    """Record and judge every load ``repeats`` times."""
    from trimtab_sim.fidelity import LIMITS, errors, within
    from trimtab_sim.recording import read_recording

    bench = Bench(folder, others_limit)
    runs: list[dict[str, Any]] = []
    everything = Load("calibration", calibration(bench.variants()))
    bench.record(everything, 0, 5.0)  # measures the profiles; the rest only warms the machine up
    for repeat in range(repeats):
        for number, load in enumerate(LOADS):
            seed = 10 * repeat + number
            calibrated = read_recording(bench.record(everything, 100 + seed, seconds / 2))
            judged = read_recording(bench.record(load, 1000 + seed, seconds), exact=True)
            recorded = judged.account.figures()
            simulated = simulate(judged, calibrated.observed, load.battery)
            found = errors(recorded, simulated)
            runs.append(
                {
                    "load": load.name,
                    "repeat": repeat,
                    "requests": recorded["requests"],
                    "recorded": recorded,
                    "simulated": simulated,
                    "errors": found,
                    "within": within(found),
                }
            )
    summary = {load.name: _summary([run for run in runs if run["load"] == load.name]) for load in LOADS}
    return {
        "seconds": seconds,
        "repeats": repeats,
        "limits": dict(LIMITS),
        "others_cpu_frac": {"limit": others_limit, "taken": bench.others, "retaken": bench.retaken},
        "summary": summary,
        "runs": runs,
    }


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return median and range of each error's size over the repeats, and how many kept every limit."""
    from trimtab_sim.fidelity import LIMITS

    found: dict[str, Any] = {}
    for name in LIMITS:
        sizes = sorted(abs(run["errors"][name]) for run in runs)
        found[name] = {"median": statistics.median(sizes), "least": sizes[0], "most": sizes[-1]}
    found["within_on_median"] = all(found[name]["median"] <= limit for name, limit in LIMITS.items())
    found["runs_within"] = sum(run["within"] for run in runs)
    return found


def show(found: dict[str, Any]) -> None:
    """Print a line per run, then the median errors per load beside their limits."""
    print("load     requests  what             recorded  simulated    error   limit")
    for run in found["runs"]:
        for name, limit in found["limits"].items():
            print(
                f"{run['load']:8} {run['requests']:8}  {name:15} {run['recorded'][name]:9.4g}  "
                f"{run['simulated'][name]:9.4g}  {100 * run['errors'][name]:+6.2f}   {100 * limit:4.0f}"
            )
    others = found["others_cpu_frac"]
    print(
        f"other processes took {100 * max(others['taken']):.1f} % of the CPU at most; "
        f"{others['retaken']} recordings were taken again because they took more than {100 * others['limit']:.0f} %"
    )
    print(f"\nsize of the error over {found['repeats']} repeats, per cent or points: median (least to most)")
    for load, row in found["summary"].items():
        parts = [
            f"{name.removeprefix('latency_ms_')} {100 * row[name]['median']:.1f} "
            f"({100 * row[name]['least']:.1f} to {100 * row[name]['most']:.1f})"
            for name in found["limits"]
        ]
        verdict = "within" if row["within_on_median"] else "MISSED"
        print(f"{load:8} {'; '.join(parts)}; {verdict}, {row['runs_within']} runs within")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--others",
        type=float,
        default=0.1,
        help="record again when others take more of the CPU (default 0.1)",
    )
    parser.add_argument("--keep", type=Path, help="keep daemons' folders and journals here")
    given = parser.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True)
        found = measure(given.seconds, given.repeats, given.keep, given.others)
    else:
        with tempfile.TemporaryDirectory(prefix="trimtab-fidelity-") as name:
            found = measure(given.seconds, given.repeats, Path(name), given.others)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()
