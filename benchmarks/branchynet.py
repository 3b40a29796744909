"""Early exits against the plain network, on the whole test set, sample by sample (BranchyNet, ICPR 2016).

Run ``python benchmarks/branchynet.py [--json] [--families models/families] [--pair digits:lenet5:branchy-lenet]``.
Each pair is a family, its plain variant and the one with exits. All answers are computed here from the
artefacts, batch 1, one thread, the stages chained and each exit's confidence tested as the daemon does it.

* The exit rules of the manifest run for real, one after another: every 100 samples the plain network and the
  rules take turns, so a machine that is busy or changes its clock slows all of them alike.
* A grid of thresholds, on the max softmax and on the entropy, is chosen on the held-out validation samples and
  read off one pass through all stages that stops the clock at each exit, also in turns with the plain network.

Latency is wall-clock time. ``speedup`` compares means of it; ``speedup_cpu`` compares means of the thread's CPU
time, which other programs on the machine disturb less.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "daemon"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

import numpy as np
from numpy.typing import NDArray

from families import Chain, reported
from trimtab.confidence import confidence_of
from trimtab.domain.family import Family, Variant
from trimtab_models import exits
from trimtab_models.datasets import DATASETS
from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.family import read_manifest
from trimtab_models.measure import logits_of_exits
from trimtab_models.recipe import load_definition

FAMILIES: Final = Path(__file__).resolve().parent.parent / "models" / "families"
PAIRS: Final = (
    "digits:lenet5:branchy-lenet",
    "digits:lenet5:branchy-lenet-pruned",
    "cifar10:resnet:resnet-exits",
    "keywords:resnet:resnet-exits",
)
ANCHORS: Final = {
    "digits": "B-LeNet on MNIST: 5.4x on CPU, 99.20 -> 99.25 %, 94.3 % leave at exit 1",
    "cifar10": "B-ResNet-110 on CIFAR-10: 1.9x on CPU, 80.70 -> 79.17 %, 41.5 / 13.8 / 44.7 % leave",
}
TURN: Final = 100
WARM_UP: Final = 50
GRID_SHARES: Final = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.94, 0.97)
"""Shares of the validation samples that leave at exit 1: each makes a threshold of the grid."""

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Runs:
    """What happened to each sample: answer, exit, wall-clock and CPU nanoseconds."""

    answers: list[int]
    exits: list[int]
    wall_ns: list[int]
    cpu_ns: list[int]


def run_one(chain: Chain, name: str, image: Array, threshold: float, runs: Runs) -> None:
    """Answer one sample under a rule on the max softmax and note how it went."""
    last = len(chain.sessions) - 1
    began_cpu_ns, began_ns = time.thread_time_ns(), time.perf_counter_ns()
    tensors = {name: image}
    position = 0
    logits = chain.stage(0, tensors)
    while position < last and confidence_of(logits) < threshold:
        position += 1
        logits = chain.stage(position, tensors)
    ended_ns, ended_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
    runs.answers.append(int(logits.argmax()))
    runs.exits.append(position)
    runs.wall_ns.append(ended_ns - began_ns)
    runs.cpu_ns.append(ended_cpu_ns - began_cpu_ns)


def take_turns(rules: Sequence[tuple[Chain, float]], name: str, images: Array) -> list[Runs]:
    """Answer all images under every (chain, threshold), in turns of 100 samples."""
    found = [Runs([], [], [], []) for _ in rules]
    for chain, _ in rules:
        for image in images[:WARM_UP, None]:
            run_one(chain, name, image, math.inf, Runs([], [], [], []))
    for at in range(0, len(images), TURN):
        for (chain, threshold), runs in zip(rules, found, strict=True):
            for image in images[at : at + TURN, None]:
                run_one(chain, name, image, threshold, runs)
    return found


def clocked_exits(
    plain: Chain, staged: Chain, name: str, images: Array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return nanoseconds (2, n) of the plain network and (2, n, exits) of the other one to each of its exits.

    Row 0 is wall-clock, row 1 CPU time. The two take turns, as in :func:`take_turns`.
    """
    plainly, reached = Runs([], [], [], []), np.zeros((2, len(images), len(staged.sessions)), dtype=np.int64)
    for at in range(0, len(images), TURN):
        turn = images[at : at + TURN, None]
        for image in turn:
            run_one(plain, name, image, math.inf, plainly)
        for row, image in enumerate(turn, start=at):
            _clock(staged, {name: image}, reached[:, row])
    return np.array([plainly.wall_ns, plainly.cpu_ns]), reached


def _clock(staged: Chain, tensors: dict[str, Array], reached: NDArray[np.int64]) -> None:
    began_cpu_ns, began_ns = time.thread_time_ns(), time.perf_counter_ns()
    for position in range(len(staged.sessions)):
        logits = staged.stage(position, tensors)
        if position < len(staged.sessions) - 1:
            confidence_of(logits)
        reached[0, position] = time.perf_counter_ns() - began_ns
        reached[1, position] = time.thread_time_ns() - began_cpu_ns


def figures(
    wall_ns: NDArray[Any], leaves: NDArray[Any], right: NDArray[np.bool_], exit_count: int
) -> dict[str, Any]:
    """Return accuracy, shares and latency of one way to run a network."""
    low, high = interval(int(right.sum()), len(right))
    return {
        "accuracy": float(right.mean()),
        "accuracy_95": [low, high],
        "share": [float((leaves == position).mean()) for position in range(exit_count)],
        "mean_us": float(wall_ns.mean()) / 1e3,
        "p50_us": float(np.percentile(wall_ns, 50)) / 1e3,
        "p99_us": float(np.percentile(wall_ns, 99)) / 1e3,
    }


def interval(right: int, count: int) -> tuple[float, float]:
    """Return the Wilson interval of an accuracy at 95 %."""
    z, share = 1.959964, right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return centre - half, centre + half


def rules_run(plain: Chain, staged: Chain, variant: Variant, test: Samples, name: str) -> dict[str, Any]:
    """Run the plain network and every rule of the manifest; return their figures and ratios."""
    ways = [(plain, math.inf), *((staged, rule.threshold) for rule in variant.exit_rules)]
    names = ["plain", *(rule.name for rule in variant.exit_rules)]
    found = {}
    for way, runs in zip(names, take_turns(ways, name, test.tensors()), strict=True):
        right = np.array(runs.answers) == test.labels
        count = 1 if way == "plain" else len(staged.sessions)
        row = figures(np.array(runs.wall_ns), np.array(runs.exits), right, count)
        found[way] = {**row, "mean_cpu_us": float(np.mean(runs.cpu_ns)) / 1e3}
    for row in found.values():
        row["speedup"] = found["plain"]["mean_us"] / row["mean_us"]
        row["speedup_cpu"] = found["plain"]["mean_cpu_us"] / row["mean_cpu_us"]
    return found


def grid(folder: Path, plain: Chain, staged: Chain, variant: Variant, splits: Splits) -> list[dict[str, Any]]:
    """Return figures per criterion and threshold, thresholds chosen on the validation samples."""
    artefacts = [folder / stage.artefact for stage in variant.stages]
    held_out = logits_of_exits(artefacts, splits.validation)
    answers = logits_of_exits(artefacts, splits.test)
    plain_ns, reached = clocked_exits(plain, staged, splits.input_name, splits.test.tensors())
    right = np.stack([logits.argmax(axis=1) == splits.test.labels for logits in answers], axis=1)
    rows, everybody = [], np.arange(len(right))
    for criterion, score in exits.CRITERIA.items():
        scores = [score(logits) for logits in answers]
        for share, threshold in _thresholds(held_out, score):
            leaves = exits.leaving_exit(scores, [threshold] * len(scores))
            taken_ns = reached[:, everybody, leaves]
            row = figures(taken_ns[0], leaves, right[everybody, leaves], len(scores))
            row["speedup"], row["speedup_cpu"] = (plain_ns.mean(axis=1) / taken_ns.mean(axis=1)).tolist()
            shown = None if not share else -threshold if criterion == "entropy" else threshold
            rows.append({"criterion": criterion, "validation_share": share, "threshold": shown, **row})
    return rows


def _thresholds(
    held_out: Sequence[Array], score: Callable[[Array], NDArray[np.float64]]
) -> list[tuple[float, float]]:
    first = np.sort(score(held_out[0]))
    found = [(share, float(first[int(len(first) * (1 - share))])) for share in GRID_SHARES]
    return [(0.0, math.inf), *found]


def measure(folder: Path, plain_name: str, staged_name: str, limit: int) -> dict[str, Any]:
    """Measure one pair of variants."""
    family: Family = read_manifest(folder)
    known = load_definition(folder)
    splits = DATASETS[known.dataset.name].load(known.dataset.validation_samples, known.seed)
    test = splits.test if not limit else splits.test.take(np.arange(min(limit, len(splits.test))))
    variant = family.variant(staged_name)
    plain, staged = Chain.open(folder, family.variant(plain_name)), Chain.open(folder, variant)
    began = time.monotonic()
    rules = rules_run(plain, staged, variant, test, splits.input_name)
    limited = replace(splits, test=test)
    return {
        "family": family.task,
        "plain": plain_name,
        "staged": staged_name,
        "test_samples": len(test),
        "validation_samples": len(splits.validation),
        "anchor": ANCHORS.get(family.task, ""),
        "rules": rules,
        "grid": grid(folder, plain, staged, variant, limited),
        "seconds": time.monotonic() - began,
    }


def show(result: dict[str, Any]) -> None:
    """Print one pair as two tables."""
    print(
        f"\n{result['family']}: {result['staged']} against {result['plain']}, {result['test_samples']} test samples"
    )
    if result["anchor"]:
        print(f"  published: {result['anchor']}")
    print(
        f"  {'rule':<16} {'accuracy %':>10}  {'share leaving %':<22} {'mean us':>8} {'p50':>7} {'p99':>7} {'speed-up':>8} {'CPU':>6}"
    )
    for name, row in result["rules"].items():
        print(f"  {name:<16} {_common(row)} {row['speedup']:7.2f}x {row['speedup_cpu']:5.2f}x")
    print("  thresholds chosen on validation samples; latency to each exit from one pass through all")
    for row in result["grid"]:
        sign = "<" if row["criterion"] == "entropy" else ">="
        limit = "never" if row["threshold"] is None else f"{sign} {row['threshold']:.3g}"
        print(
            f"  {row['criterion'][:7]} {limit:<8} {_common(row)} {row['speedup']:7.2f}x {row['speedup_cpu']:5.2f}x"
        )


def _common(row: dict[str, Any]) -> str:
    shares = " / ".join(f"{share * 100:.1f}" for share in row["share"])
    return f"{row['accuracy'] * 100:10.2f}  {shares:<22} {row['mean_us']:8.1f} {row['p50_us']:7.1f} {row['p99_us']:7.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--families", type=Path, default=FAMILIES)
    parser.add_argument("--pair", action="append", help="family:plain variant:variant with exits")
    parser.add_argument("--samples", type=int, default=0, help="only the first test samples; 0: all")
    arguments = parser.parse_args()
    results = []
    for pair in arguments.pair or PAIRS:
        task, plain, staged = pair.split(":")
        results.append(measure(arguments.families / task, plain, staged, arguments.samples))
    if arguments.json:
        print(json.dumps({"pairs": results}, indent=1))
        return
    for result in results:
        show(result)


if __name__ == "__main__":
    raise SystemExit(reported(main))
