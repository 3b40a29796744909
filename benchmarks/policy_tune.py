"""Tune ``balanced`` on the first half of recorded arrivals and judge it on the second half.

Run ``TRIMTAB_DATA=DIR python benchmarks/policy_tune.py [--json]``; DIR needs ``mcdnn/arrivals_{2,5,100}.csv.gz`` and
``traces/iphone13promax_display_44h.csv.gz``. Goals, budgets and splits were fixed before any search ran.

- ``mcdnn``: faces every 5 s, objects and scenes every 100 s on MCDNN's catalogue, without its server. Tuned on the
  first 5 h, judged on the last 5 h and, for a rate never seen, on the last 5 h with faces every 2 s and a larger budget.
- ``iphone``: a camera app asks once a second while an iPhone was in use (44 h display log; requests within a session
  are drawn). Tuned on the first 77 sessions, judged on the last 77. Latencies are assumed, as in ``phone-day.yaml``.

``by hand`` is ``balanced`` with its energy price divided by a thousand, which its own comment advises for networks
that use joules: what a reader of that comment gets without a search.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "daemon"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "simulator"))

from trimtab.policy import read_policy_text, resolve_name
from trimtab_sim.scenario import prepare_file
from trimtab_sim.simulate import Stop
from trimtab_sim.traces import ArrivalTrace, load_arrivals, load_series, write_trace
from trimtab_sim.traces.generate import within
from trimtab_sim.traces.sessions import find_sessions, screen_series, split
from trimtab_sim.tune import Attempt, Bench, Goal, numbers_of, read_limit, search
from trimtab_sim.tune.report import changes, side_by_side
from trimtab_sim.tune.write import Base, read_base

NEEDED = (
    *(f"mcdnn/arrivals_{gap}.csv.gz" for gap in (2, 5, 100)),
    "traces/iphone13promax_display_44h.csv.gz",
)
HALF_NS = 5 * 3600 * 10**9
HEAD = "version: 1\nseed: 1\n"
MCDNN = """name: {name}
duration: 5h
family: {{source: mcdnn, tasks: [face, object, scene], options: {{server: false}}}}
workload:
  - {{task: face, arrivals: {face}, latency_budget_ms: 1000}}
  - {{task: object, name: object, arrivals: {rare}, latency_budget_ms: 1000}}
  - {{task: scene, name: scene, arrivals: {rare}, latency_budget_ms: 1000}}
battery: {{energy_j: {energy_j}, reserve: 0 %, horizon: 5h}}
"""
IPHONE = """name: {name}
duration: {duration_s}s
device: iphone13promax
family: fashion
processors:
  - {{name: "cpu-big:4", like: "cpu:0", latency_factor: 100}}
  - {{name: "cpu-little:0", like: "cpu:0", latency_factor: 400}}
workload:
  - {{app: camera, arrivals: {name}-arrivals.csv, latency_budget_ms: 300}}
battery: {{level: 100 %, reserve: 10 %, when_empty: serve}}
background: [{name}-screen.csv]
"""
ON_TIME = read_limit("on_time_frac >= 0.95")
BY_HAND = {("defaults", "energy_price_per_j"): 0.0005}


@dataclass(frozen=True, slots=True)
class Case:
    """What is tuned for, on which scenario, and what it is judged on."""

    name: str
    goal: Goal
    training: str
    held_out: tuple[str, ...]


CASES = (
    Case(
        "mcdnn",
        Goal("accuracy_mean", 1, (ON_TIME, read_limit("overdraft_j <= 0"))),
        "mcdnn-first",
        ("mcdnn-last", "mcdnn-last-fast"),
    ),
    Case(
        "iphone",
        Goal("accuracy_mean", 1, (ON_TIME, read_limit("battery_frac_end >= 0.15"))),
        "iphone-first",
        ("iphone-last",),
    ),
)


def write_scenarios(data: Path, folder: Path) -> None:
    """Write both halves of every trace, and the scenarios that use them."""
    for gap in (2, 5, 100):
        trace = load_arrivals(data / "mcdnn" / f"arrivals_{gap}.csv.gz").arrivals
        for half, begin_ns in (("first", 0), ("last", HALF_NS)):
            inside = (trace.at_ns >= begin_ns) & (trace.at_ns < begin_ns + HALF_NS)
            part = ArrivalTrace(f"every-{gap}-s", trace.at_ns[inside] - begin_ns)
            write_trace(part, folder / f"mcdnn-{gap}-{half}.csv")
    for name, face, half, energy_j in (
        ("mcdnn-first", 5, "first", 2400),
        ("mcdnn-last", 5, "last", 2400),
        ("mcdnn-last-fast", 2, "last", 5500),
    ):
        files = {"face": f"mcdnn-{face}-{half}.csv", "rare": f"mcdnn-100-{half}.csv"}
        text = HEAD + MCDNN.format(name=name, energy_j=energy_j, **files)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    _write_iphone(data, folder)


def _write_iphone(data: Path, folder: Path) -> None:
    begins_s, ends_s = find_sessions(
        load_series(data / "traces" / "iphone13promax_display_44h.csv.gz").series
    )
    halves = split(begins_s, ends_s, 0.5)
    for seed, (name, (begin_s, end_s)) in enumerate(
        zip(("iphone-first", "iphone-last"), halves, strict=True)
    ):
        begin_s, end_s = begin_s - halves[seed][0][0], end_s - halves[seed][0][0]
        write_trace(within(seed, begin_s, end_s, 1.0), folder / f"{name}-arrivals.csv")
        write_trace(screen_series(name, begin_s, end_s), folder / f"{name}-screen.csv")
        text = HEAD + IPHONE.format(name=name, duration_s=int(end_s[-1]))
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def measure(case: Case, folder: Path, base: Base, trials: int, seed: int) -> dict[str, Any]:
    """Search, judge, and compare with what the base's comment advises."""
    numbers = numbers_of(base.document)
    training = Bench((prepare_file(folder / f"{case.training}.yaml"),), case.goal)
    began_s = time.perf_counter()
    found = search(base.document, numbers, training, trials=trials, seed=seed, stop=Stop())
    took_s = time.perf_counter() - began_s
    judge = Bench(tuple(prepare_file(folder / f"{name}.yaml") for name in case.held_out), case.goal)
    told: dict[str, Any] = {
        "goal": str(case.goal),
        "trials": len(found.attempts) - 1,
        "seed": seed,
        "search_s": round(took_s, 1),
        "changed": [one for one in changes(numbers, found.best) if one["changed"]],
        "training": side_by_side([case.training], training.scenarios, case.goal, found.base, found.best),
    }
    plain, tuned, by_hand = (_judged(judge, base, values) for values in ({}, found.best.values, BY_HAND))
    told["held_out"] = side_by_side(case.held_out, judge.scenarios, case.goal, plain, tuned)
    for one, other in zip(
        told["held_out"],
        side_by_side(case.held_out, judge.scenarios, case.goal, by_hand, tuned),
        strict=True,
    ):
        one["by_hand"], one["beats_by_hand"] = other["base"], other["beats"]
    return told


def _judged(judge: Bench, base: Base, values: Mapping[Any, Any]) -> Attempt:
    attempt = judge.attempt(base.document, values, Stop())
    assert attempt is not None
    return attempt


def _print(name: str, told: Mapping[str, Any], goal: Goal) -> None:
    print(
        f"\n{name}: {told['goal']}; {told['trials']} trials in {told['search_s']:.0f} s, seed {told['seed']}"
    )
    for one in told["changed"]:
        print(f"  {one['path']:40} {one['was']} -> {one['now']}")
    for kind in ("training", "held_out"):
        for one in told[kind]:
            print(f"  {kind.replace('_', ' ')}: {one['scenario']}")
            for policy in ("base", "by_hand", "tuned"):
                if policy in one:
                    _print_side(policy, one[policy], goal.figures)
            print(f"    {'beats balanced' if one['beats'] else 'does NOT beat balanced'}")


def _print_side(policy: str, side: Mapping[str, Any], figures: Sequence[str]) -> None:
    shown = dict.fromkeys((*figures, "energy_j"))
    text = "  ".join(f"{figure} {side[figure]:.5g}" for figure in shown)
    print(f"    {policy:8} {text}  limits {'kept' if side['limits_kept'] else 'BROKEN'}")


def main() -> None:
    """Measure and print; exit with 1 when a held-out scenario is not better."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--data", type=Path, default=os.environ.get("TRIMTAB_DATA"), help="the data folder")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", choices=[case.name for case in CASES], action="append")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data DIR or set TRIMTAB_DATA")
    missing = [name for name in NEEDED if not (arguments.data / name).is_file()]
    if missing:
        parser.error(f"{arguments.data} has no {' and no '.join(missing)}")
    path = resolve_name("balanced")
    base = read_base(read_policy_text(path), str(path))
    cases = [case for case in CASES if not arguments.case or case.name in arguments.case]
    told = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenarios(arguments.data, folder)
        for case in cases:
            told[case.name] = measure(case, folder, base, arguments.trials, arguments.seed)
            if not arguments.json:
                _print(case.name, told[case.name], case.goal)
    if arguments.json:
        print(json.dumps(told, indent=1))
    if not all(one["beats"] for case in told.values() for one in case["held_out"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
