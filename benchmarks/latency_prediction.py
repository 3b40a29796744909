"""How well published latencies are predicted: each device in turn with two thirds of its rows, all others in full.

    python benchmarks/latency_prediction.py [--json] [--splits 3] [--source ncnn aihub published] [--rounds 0]

Reads ``latency/ncnn_bench.csv``, ``aihub_perf.csv`` and ``published_variants.csv`` below ``$TRIMTAB_DATA``. ``rows`` hides single
rows at random: the same network may stay known on the device under another runtime, precision or set of
cores. ``networks`` hides whole networks, all their rows on the device. What is learned from other devices
never sees the device itself. Errors are |predicted - published| / published. ``--rounds 0`` is without the
learned covariance: device and network effects, and relations that were assumed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trimtab_sim.catalogue import CatalogueError, LatencyTable, Measurement, Predictor, load_latencies
from trimtab_sim.catalogue.learn import Settings

FILES = {
    "ncnn": "latency/ncnn_bench.csv",
    "aihub": "latency/aihub_perf.csv",
    "published": "latency/published_variants.csv",
}
LIMITED = ("ncnn", "aihub")
HIDDEN_FRAC = 1 / 3
MOST_FRAC = 0.15
"""The median error that is wanted at most in ``LIMITED`` sources, for every unit, with rows hidden.

``published`` has four devices that share few networks; it is shown for what filling its gaps is worth.
"""


@dataclass(frozen=True, slots=True)
class Error:
    """One prediction: what of it was hidden, where it belongs, and by how much it is off."""

    hidden: str
    unit: str
    error_frac: float
    within_2_sd: bool


@dataclass(frozen=True, slots=True)
class Row:
    """All predictions of one source, kind of hiding and unit."""

    source: str
    hidden: str
    unit: str
    predictions: int
    error_frac_p50: float
    error_frac_p90: float
    within_2_sd_frac: float


def main() -> int:
    """Print the table; return 1 when a median error is above the limit, 2 when the data is missing."""
    arguments = _arguments()
    data = os.environ.get("TRIMTAB_DATA")
    if not data:
        print("TRIMTAB_DATA is not set: it names the folder that has {', '.join(FILES.values())}")
        return 2
    rows: list[Row] = []
    for source in arguments.source:
        begin_s = time.monotonic()
        try:
            table = load_latencies(Path(data) / FILES[source])
        except CatalogueError as error:
            print(error)
            return 2
        errors = list(
            _errors(Predictor(table, Settings(rounds=arguments.rounds)), table, range(arguments.splits))
        )
        rows += _rows(source, errors)
        devices, took_s = len(table.devices()), time.monotonic() - begin_s
        told = f"{len(table.rows)} rows ({len(table.reported)} left out), {devices} devices"
        print(f"{source}: {told}, {took_s:.0f} s", file=sys.stderr)
    met = all(
        row.error_frac_p50 <= MOST_FRAC for row in rows if row.hidden == "rows" and row.source in LIMITED
    )
    if arguments.json:
        print(
            json.dumps({"rows": [asdict(row) for row in rows], "limit_frac": MOST_FRAC, "met": met}, indent=1)
        )
    else:
        _print(rows, met)
    return 0 if met else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--splits", type=int, default=3, help="random splits per device (seeds 0, 1 ...)")
    parser.add_argument(
        "--rounds", type=int, default=Settings().rounds, help="rounds of learning from other devices"
    )
    parser.add_argument("--source", nargs="+", choices=list(FILES), default=list(FILES), help="which files")
    return parser.parse_args()


def _errors(predictor: Predictor, table: LatencyTable, seeds: Sequence[int]) -> Iterator[Error]:
    """Yield the error of every hidden row of every device, split and kind of hiding."""
    for number, device in enumerate(table.devices()):
        own = table.of_device(device)
        for seed in seeds:
            rng = np.random.default_rng([seed, number])
            for kind, hidden in (("rows", _some_rows(own, rng)), ("networks", _some_networks(own, rng))):
                known = [row for row in own if row not in hidden]
                if known and hidden:
                    yield from _judged(predictor, kind, sorted(hidden, key=lambda row: row.line), known)


def _some_rows(own: Sequence[Measurement], rng: np.random.Generator) -> set[Measurement]:
    picked = rng.permutation(len(own))[: round(len(own) * HIDDEN_FRAC)]
    return {own[at] for at in picked.tolist()}


def _some_networks(own: Sequence[Measurement], rng: np.random.Generator) -> set[Measurement]:
    names = sorted({row.model.name for row in own})
    picked = {names[at] for at in rng.permutation(len(names))[: round(len(names) * HIDDEN_FRAC)].tolist()}
    return {row for row in own if row.model.name in picked}


def _judged(
    predictor: Predictor, kind: str, hidden: Sequence[Measurement], known: Sequence[Measurement]
) -> Iterator[Error]:
    guesses = predictor.predict_all([(row.setup, row.model) for row in hidden], known)
    for row, guess in zip(hidden, guesses, strict=True):
        assert guess is not None, row
        off = np.log(guess.latency_ns / row.latency_ns)
        yield Error(kind, row.setup.unit, abs(float(np.expm1(off))), bool(abs(off) <= 2 * guess.spread))


def _rows(source: str, errors: Sequence[Error]) -> Iterator[Row]:
    for hidden in ("rows", "networks"):
        for unit in sorted({one.unit for one in errors}):
            some = [one for one in errors if (one.hidden, one.unit) == (hidden, unit)]
            off = np.array([one.error_frac for one in some])
            p50, p90 = np.quantile(off, [0.5, 0.9]).tolist()
            inside = float(np.mean([one.within_2_sd for one in some]))
            yield Row(source, hidden, unit, len(some), p50, p90, inside)


def _print(rows: Sequence[Row], met: bool) -> None:
    print("| source | hidden | unit | predictions | median error | 90th percentile | within 2 sd |")
    print("|---|---|---|---:|---:|---:|---:|")
    for row in rows:
        figures = f"{row.error_frac_p50:.1%} | {row.error_frac_p90:.0%} | {row.within_2_sd_frac:.0%}"
        print(f"| {row.source} | {row.hidden} | {row.unit} | {row.predictions} | {figures} |")
    print(
        f"\nmedian error with rows hidden at most {MOST_FRAC:.0%} in {' and '.join(LIMITED)}: {'yes' if met else 'NO'}"
    )


if __name__ == "__main__":
    sys.exit(main())
