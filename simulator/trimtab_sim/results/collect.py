"""Everything a simulation leaves behind: figures per policy, and in a folder the files beside them.

``summary.json`` holds only what follows from scenario and seed, with nine significant digits, so that it is
the same, byte for byte, wherever it is made. What the machine took is in ``wall_clock.json``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from trimtab_sim.arrivals import Arrival
from trimtab_sim.report import Served
from trimtab_sim.results.page import write_page
from trimtab_sim.results.perfetto import TraceWriter
from trimtab_sim.results.summary import Row, Summary
from trimtab_sim.results.tables import TableWriter
from trimtab_sim.results.trail import Trail
from trimtab_sim.results.trial import Observer, RunResult, Trial

if TYPE_CHECKING:
    from trimtab_sim.scenario import Prepared

DIGITS: Final = 9
SPREAD: Final = (
    "on_time_frac",
    "accuracy_mean",
    "accuracy_served",
    "energy_j",
    "battery_frac_end",
    "lifetime_s",
)
"""Figures whose standard deviation over seeds is told."""


class Results:
    """Gathers what trials came to; with a folder, writes it there while they run. Use it as a context."""

    def __init__(self, prepared: "Prepared", out: Path | None, kind: str = "csv") -> None:
        """Write tables of ``kind`` (csv or parquet) below ``out``; without a folder, nothing."""
        self._prepared = prepared
        self._out = out
        self._kind = kind
        self._files: list[Files | TraceWriter] = []
        self._trails: list[Trail] = []
        self.written: list[str] = []

    def __enter__(self) -> "Results":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for files in self._files:
            files.close()

    def observers(self, trial: Trial) -> Sequence[Observer]:
        """Return what watches a trial: writers of its files. Raises ``TableError`` and ``OSError``."""
        if self._out is None:
            return ()
        folder = self._out / folder_of(trial)
        folder.mkdir(parents=True, exist_ok=True)
        ending = ".parquet" if self._kind == "parquet" else ".csv.gz"
        world = self._prepared.world
        files = Files(folder, ending, Summary(world.families))
        self._files.append(files)
        trace = TraceWriter(folder / "trace.json.gz", world.processors)
        self._files.append(trace)
        self._trails.append(Trail())
        return (files, trace, self._trails[-1])

    def finish(self, found: Sequence[RunResult], *, partial: bool) -> dict[str, Any]:
        """Return the whole report, and write it if there is a folder."""
        report = self._report(found, partial)
        clocks = {
            label: averaged([clock_row(one) for one in runs]) for label, runs in by_label(found).items()
        }
        if self._out is not None:
            self._out.mkdir(parents=True, exist_ok=True)
            self._write("summary.json", report)
            self._write("wall_clock.json", {"policies": clocks})
            self._write_page(found, partial)
        policies = {label: row | clocks[label] for label, row in report["policies"].items()}
        return report | {"policies": policies}

    def _report(self, found: Sequence[RunResult], partial: bool) -> dict[str, Any]:
        scenario = self._prepared.scenario
        policies = {}
        for label, runs in by_label(found).items():
            rows = [one.figures for one in runs]
            policies[label] = averaged(rows) | ({"spread": spread(rows)} if len(rows) > 1 else {})
        report: dict[str, Any] = {
            "version": 1,
            "scenario": scenario.name,
            "description": scenario.description,
            "duration_s": self._prepared.duration_ns / 1e9,
            "seeds": sorted({one.trial.seed for one in found}),
            "partial": partial,
            "policies": policies,
        }
        if len(report["seeds"]) > 1:
            report["runs"] = [
                {"policy": one.trial.label, "seed": one.trial.seed, "partial": one.partial, **one.figures}
                for one in found
            ]
        rounded: dict[str, Any] = plain(report)
        return rounded

    def _write_page(self, found: Sequence[RunResult], partial: bool) -> None:
        """Write the page of all runs, if there was any."""
        if self._out is None or not found:
            return
        shown = [
            trail.run(one.trial.label, one.trial.seed, one.figures)
            for trail, one in zip(self._trails, found, strict=True)
        ]
        scenario = self._prepared.scenario
        note = f"{scenario.description} (interrupted: partial)" if partial else scenario.description
        write_page(shown, self._out / "page.html", scenario.name, note.strip())
        self.written.append("page.html")

    def _write(self, name: str, value: object) -> None:
        assert self._out is not None
        text = json.dumps(plain(value), indent=2, ensure_ascii=False)
        (self._out / name).write_text(text + "\n", encoding="utf-8")
        self.written.append(name)


class Files(Observer):
    """Writes one trial's tables."""

    def __init__(self, folder: Path, ending: str, summary: Summary) -> None:
        """Begin the tables in ``folder``; ``summary`` tells an answer's expected accuracy."""
        requests, device = folder / f"requests{ending}", folder / f"device{ending}"
        self._tables = TableWriter(requests, device, summary.expected)

    def begins(self, trial: Trial, origin_ns: int, resident_bytes: Any) -> None:
        """Take over what time zero is."""
        del trial
        self._tables.origin_ns = origin_ns
        self._tables.resident_bytes = resident_bytes

    def served(self, one: Served) -> None:
        """Write a request that ended."""
        self._tables.served(one)

    def lost(self, arrival: Arrival) -> None:
        """Write a request that came when the device was off."""
        self._tables.lost(arrival)

    def device(self, now_ns: int, state: Any) -> None:
        """Write a state of the device."""
        self._tables.device(now_ns, state)

    def ends(self, result: RunResult) -> None:
        """Close the files."""
        del result
        self.close()

    def close(self) -> None:
        """Close the files; again does nothing."""
        self._tables.close()


def folder_of(trial: Trial) -> str:
    """Return the folder of a trial's files: policy and strategy as a file name, and the seed."""
    label = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in trial.label)
    return f"{label}/seed-{trial.seed}"


def by_label(found: Iterable[RunResult]) -> dict[str, list[RunResult]]:
    """Return runs by policy, in the order they were run."""
    groups: dict[str, list[RunResult]] = {}
    for one in found:
        groups.setdefault(one.trial.label, []).append(one)
    return groups


def clock_row(result: RunResult) -> Row:
    """Return what a run took on this machine."""
    clock = result.clock
    return {
        "decision_us_p50": clock.decision_us_p50,
        "decision_us_p99": clock.decision_us_p99,
        "requests_per_s": clock.requests_per_s,
        "wall_s": clock.wall_s,
    }


def averaged(rows: Sequence[Row]) -> Row:
    """Return the mean of each figure over runs; in a mapping a missing one is 0, ``None`` counts for nothing."""
    if len(rows) == 1:
        return dict(rows[0])
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: _mean([row.get(key, 0) for row in rows]) for key in keys}


def _mean(values: Sequence[Any]) -> Any:
    mappings = [value for value in values if isinstance(value, Mapping)]
    if mappings:
        return averaged([dict(value) for value in mappings])
    known = [value for value in values if value is not None]
    if not known:
        return None
    return known[0] if len(set(known)) == 1 else fmean(known)


def spread(rows: Sequence[Row]) -> Row:
    """Return the standard deviation over runs of the figures that matter most."""
    known = {key: [row[key] for row in rows if row.get(key) is not None] for key in SPREAD}
    return {key: stdev(values) for key, values in known.items() if len(values) > 1}


def plain(value: Any) -> Any:
    """Return a value for JSON, floats with nine significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value
