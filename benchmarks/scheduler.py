"""All figures the scheduler is held to, from the scenarios in ``benchmarks/scenarios``.

    python benchmarks/scheduler.py [--json] [--only NAME ...] [--quick]

Every case runs with the same seeds for all strategies. A figure that needs the large data folder (``TRIMTAB_DATA``)
is reported as not run without it.
"""

import argparse
import importlib
import json
import os
import pkgutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / part) for part in ("daemon", "models", "simulator"))]

import scheduler_figures  # noqa: E402


def run(names: list[str], quick: bool) -> Iterator[dict[str, Any]]:
    """Run these figures, one after the other, and yield what each found."""
    for name in names:
        module = importlib.import_module(f"scheduler_figures.{name}")
        began_s = time.monotonic()
        needs_data = getattr(module, "NEEDS", "") == "data"
        rows = [] if needs_data and "TRIMTAB_DATA" not in os.environ else module.rows(quick)
        yield {
            "figure": name,
            "what": module.WHAT,
            "run": bool(rows),
            "met": bool(rows) and all(row.met for row in rows),
            "seconds": time.monotonic() - began_s,
            "rows": [asdict(row) for row in rows],
        }


def show(figure: dict[str, Any]) -> None:
    """Print a figure, a line per case."""
    verdict = "met" if figure["met"] else "MISSED" if figure["run"] else "not run: set TRIMTAB_DATA"
    print(f"\n{figure['figure']}: {figure['what']}: {verdict} ({figure['seconds']:.0f} s)")
    for row in figure["rows"]:
        beside = "; ".join(f"{name} {value:.4g}" for name, value in row["beside"].items())
        mark = " " if row["met"] else "!"
        print(f" {mark} {row['case']:44} {row['measured']:10.4g}  ({row['asked']})  {beside}", flush=True)


def main() -> None:
    known = [module.name for module in pkgutil.iter_modules(scheduler_figures.__path__)]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", choices=known, default=known)
    parser.add_argument(
        "--quick", action="store_true", help="fewer seeds and cases: a look, not a measurement"
    )
    given = parser.parse_args()
    found = []
    for figure in run(given.only, given.quick):
        found.append(figure)
        if not given.json:
            show(figure)
    if given.json:
        print(json.dumps(found, indent=2))
    sys.exit(0 if all(figure["met"] for figure in found) else 1)


if __name__ == "__main__":
    main()
