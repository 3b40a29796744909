"""The interactive page of a simulation: one file that needs no network, figures inside."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final

from trimtab.domain.quantities import NS_PER_S
from trimtab_sim.results.trail import LINE_POINTS, MISSED, Line, Points, Run, Shares

TEMPLATE: Final = Path(__file__).with_name("page.html")
PLACE: Final = "__RESULTS__"
CHOICES: Final = 11
"""So many choices are told apart; the rarer ones are shown together."""
OTHERS: Final = "(others)"


def write_page(runs: Sequence[Run], path: Path, title: str = "Simulation", note: str = "") -> None:
    """Write the page of some runs; lines longer than ``LINE_POINTS`` are thinned.

    Raises ``ValueError`` for no runs, or a run whose columns do not fit each other.
    """
    path.write_text(page(runs, title, note), encoding="utf-8")


def page(runs: Sequence[Run], title: str = "Simulation", note: str = "") -> str:
    """Return the page as HTML; raise ``ValueError`` as ``write_page`` does."""
    if not runs:
        raise ValueError("a page needs at least one run")
    names = _names(runs)
    told = {"title": title, "note": note, "choices": names, "runs": [_run(run, names) for run in runs]}
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACE, embedded(told))


def embedded(value: object) -> str:
    """Return JSON that may stand in a ``<script>``: no ``<``, ``>`` or ``&`` ends or opens anything."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _names(runs: Iterable[Run]) -> list[str]:
    """Return the choices that are told apart, most used first; missed ones last."""
    used: Counter[str] = Counter()
    for run in runs:
        for name, counts in run.choices.counts.items():
            used[name] += sum(counts)
    missed = used.pop(MISSED, 0)
    order = sorted(used, key=lambda name: (-used[name], name))
    kept = order if len(order) <= CHOICES + 1 else [*order[:CHOICES], OTHERS]
    return [*kept, MISSED] if missed else kept


def _run(run: Run, names: Sequence[str]) -> dict[str, Any]:
    steps = list(zip(_same(run, "latency", run.latency_ms, run.within_frac), run.within_frac, strict=True))
    return {
        "name": run.name,
        "seed": run.seed,
        "figures": {key: value for key, value in run.figures.items() if _is_shown(value)},
        "lines": {name: _thinned(run, name, points) for name, points in run.lines.items()},
        "choices": _choices(run, run.choices, names),
        "latency": [[_round(at) for at, _ in _every(steps)], [_round(share) for _, share in _every(steps)]],
    }


def _is_shown(value: object) -> bool:
    return isinstance(value, (bool, int, str)) or (isinstance(value, float) and isfinite(value))


def _thinned(run: Run, name: str, points: Points) -> list[list[float | None]]:
    at_s, value = _same(run, name, points.at_s, points.value), points.value
    if len(at_s) > LINE_POINTS:
        line = Line()
        for at, one in zip(at_s, value, strict=True):
            line.add(round(at * NS_PER_S), one)
        at_s, value = line.points().at_s, line.points().value
    return [[_round(at) for at in at_s], [_round(one) for one in value]]


def _choices(run: Run, shares: Shares, names: Sequence[str]) -> dict[str, Any]:
    spans = len(shares.begin_s)
    rows = {name: [0] * spans for name in names}
    for name, counts in shares.counts.items():
        row = rows[name if name in rows else OTHERS]
        for place, count in enumerate(_same(run, name, counts, shares.begin_s)):
            row[place] += count
    return {
        "begin": [_round(at) for at in shares.begin_s],
        "width": shares.width_s,
        "counts": [rows[name] for name in names],
    }


def _same(run: Run, name: str, one: Sequence[Any], other: Sequence[Any]) -> Sequence[Any]:
    """Return the first of two columns that are as long as each other."""
    if len(one) != len(other):
        raise ValueError(
            f"run {run.name!r}, seed {run.seed}: {name} has columns of {len(one)} and {len(other)}"
        )
    return one


def _every(steps: Sequence[Any]) -> Sequence[Any]:
    """Return at most ``LINE_POINTS`` of some steps, the last one among them."""
    stride = -(-len(steps) // LINE_POINTS)
    return steps[::-stride][::-1] if stride > 1 else steps


def _round(value: float) -> float | None:
    """Return a figure with six digits, which is more than a plot shows; ``None`` for none."""
    return float(f"{value:.6g}") if isfinite(value) else None
