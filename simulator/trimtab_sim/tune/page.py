"""The Pareto plot of a search: one HTML file that needs nothing else, every trial a dot."""

import html
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

from trimtab.policy.errors import spell
from trimtab_sim.tune.goal import Goal, figure_of
from trimtab_sim.tune.search import Attempt, Found

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 520, 90, 60, 20, 20
TICKS: Final = 5
COSTS: Final = ("energy_j", "accuracy_mean")
"""Shown against the goal's figure: the first of these that it is not."""
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #222; --soft: #999; --good: #2a78b8; --bad: #c9c9c9; --base: #b8482a; --best: #1d8a4c }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --soft: #777; --good: #6ab0e6; --bad: #555; --base: #f08a68; --best: #58cf8c } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 900px; margin: 2em auto; padding: 0 1em }
svg { width: 100%; height: auto } text { fill: var(--ink); font-size: 13px }
table { border-collapse: collapse } td, th { padding: .2em .8em; text-align: right; border-bottom: 1px solid var(--soft) }
td:first-child, th:first-child { text-align: left }
.axis { stroke: var(--soft) } .front { fill: none; stroke: var(--good); stroke-width: 1.5 }
.in { fill: var(--good) } .out { fill: var(--bad) } .base { fill: var(--base) } .best { fill: var(--best) }
"""
Point = tuple[float, float]


def write_page(found: Found, goal: Goal, path: Path, title: str, story: Sequence[str]) -> None:
    """Write the plot: the goal against energy (or accuracy), means over the training scenarios."""
    cost = next(one for one in COSTS if one != goal.figure)
    path.write_text(page(found, goal, cost, title, story), encoding="utf-8")


def page(found: Found, goal: Goal, cost: str, title: str, story: Sequence[str]) -> str:
    """Return the page as HTML; ``cost`` is the figure on the horizontal axis."""
    told = "".join(f"<p>{html.escape(line)}</p>" for line in story)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{html.escape(title)}</h1>{told}{_plot(found, goal, cost)}"
        '<p><span style="color:var(--good)">&#9679;</span> keeps the limits '
        '<span style="color:var(--bad)">&#9679;</span> breaks one '
        '<span style="color:var(--base)">&#9632;</span> base <span style="color:var(--best)">&#9632;</span> tuned; '
        "the line is the front: nothing tried has more of one at no more of the other. Hover for numbers.</p>"
        f"{_table(found)}</html>\n"
    )


def front(points: Sequence[Point], cost_sign: int, aim_sign: int) -> list[Point]:
    """Return the points no other one beats in both, in order of cost; a sign of -1 means less is better."""
    kept: list[Point] = []
    for cost, aim in sorted(set(points), key=lambda one: (-cost_sign * one[0], -aim_sign * one[1])):
        if not kept or aim_sign * aim > aim_sign * kept[-1][1]:
            kept.append((cost, aim))
    return kept


class _Scale:
    """From figures to the plot's units."""

    def __init__(self, points: Sequence[Point]) -> None:
        (self._x0, self._x1), (self._y0, self._y1) = (_span([p[i] for p in points]) for i in (0, 1))

    def at(self, point: Point) -> Point:
        """Return where a point is drawn."""
        x = LEFT + (point[0] - self._x0) / (self._x1 - self._x0) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - self._y0) / (self._y1 - self._y0) * (HEIGHT - BOTTOM - TOP)
        return round(x, 1), round(y, 1)

    def axes(self, cost: str, aim: str) -> str:
        """Return both axes with ticks and names."""
        parts = []
        for index in range(TICKS + 1):
            share = index / TICKS
            point = (self._x0 + share * (self._x1 - self._x0), self._y0 + share * (self._y1 - self._y0))
            x, y = self.at(point)
            bottom = HEIGHT - BOTTOM
            parts.append(f'<line class="axis" x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 5}"/>')
            parts.append(f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{point[0]:.4g}</text>')
            parts.append(
                f'<line class="axis" x1="{LEFT - 5}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" opacity=".35"/>'
            )
            parts.append(f'<text x="{LEFT - 9}" y="{y + 4}" text-anchor="end">{point[1]:.4g}</text>')
        parts.append(
            f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{html.escape(cost)}</text>'
        )
        middle = (HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{html.escape(aim)}</text>'
        )
        return "".join(parts)


def _span(values: Sequence[float]) -> Point:
    low, high = min(values), max(values)
    pad = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def _plot(found: Found, goal: Goal, cost: str) -> str:
    everything = [*found.attempts, found.best]
    points = [_point(one, goal, cost) for one in everything]
    scale = _Scale(points)
    dots = [
        f'<circle class="{"in" if one.feasible else "out"}" cx="{x}" cy="{y}" r="4" opacity=".8">{_hover(one)}</circle>'
        for one, (x, y) in zip(everything, map(scale.at, points), strict=True)
    ]
    kept = [point for one, point in zip(everything, points, strict=True) if one.feasible]
    line = front(kept, 1 if cost == "accuracy_mean" else -1, goal.sign)
    drawn = " ".join(f"{x},{y}" for x, y in map(scale.at, line))
    marks = []
    for kind, one in (("base", found.base), ("best", found.best)):
        x, y = scale.at(_point(one, goal, cost))
        marks.append(
            f'<rect class="{kind}" x="{x - 6}" y="{y - 6}" width="12" height="12">{_hover(one)}</rect>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Pareto plot">{scale.axes(cost, goal.figure)}'
        f'<polyline class="front" points="{drawn}"/>{"".join(dots)}{"".join(marks)}</svg>'
    )


def _point(attempt: Attempt, goal: Goal, cost: str) -> Point:
    return fmean(figure_of(row, cost) for row in attempt.rows), goal.sign * attempt.aim


def _hover(attempt: Attempt) -> str:
    values = [f"{spell(path)} = {value}" for path, value in attempt.values.items()] or ["as the base"]
    return f"<title>{html.escape(chr(10).join(values))}</title>"


def _table(found: Found) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(spell(path))}</td><td>{html.escape(str(value))}</td></tr>"
        for path, value in found.best.values.items()
    )
    return (
        f"<table><tr><th>changed number</th><th>tuned</th></tr>{rows}</table>"
        if rows
        else "<p>Nothing was changed.</p>"
    )
