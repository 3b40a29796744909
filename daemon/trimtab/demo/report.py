"""``demo-report.html``: one page without scripts or downloads, drawn from ``demo.json``."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from trimtab.cli.output import mib

WIDTH, HEIGHT, LEFT, BOTTOM = 860, 220, 56, 28
COLOURS = ("#4063d8", "#389826", "#cb3c33", "#9558b2", "#e69f00", "#56b4e9", "#7f7f7f", "#b07aa1", "#8c564b")
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:920px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}h2{margin-top:2em}.note{color:#666;font-size:13px}svg text{font:11px sans-serif}
.best{font-weight:600}
"""


def write_report(path: Path, found: dict[str, Any]) -> None:
    """Write the page for a demo's findings."""
    path.write_text(render_report(found), encoding="utf-8")


def write_picture(path: Path, found: dict[str, Any]) -> None:
    """Write the two charts of act one as one SVG, for a README."""
    charts = (
        battery_chart(found["timeline"], found["seconds"]),
        share_chart(found["timeline"], found["seconds"], ()),
    )
    groups = (
        f'<g transform="translate(0 {i * HEIGHT})">{_inner(chart)}</g>' for i, chart in enumerate(charts)
    )
    back = f'<rect width="{WIDTH}" height="{2 * HEIGHT}" fill="#fff"/><style>text{{font:11px sans-serif}}</style>'
    size = f'viewBox="0 0 {WIDTH} {2 * HEIGHT}" width="{WIDTH}" height="{2 * HEIGHT}"'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{back}{"".join(groups)}</svg>\n', encoding="utf-8"
    )


def _inner(svg: str) -> str:
    return svg[svg.index(">") + 1 : -len("</svg>")]


def render_report(found: dict[str, Any]) -> str:
    """Return the page as HTML."""
    machine, battery = found["machine"], found["battery"]
    second = found["act_two"]
    body = [
        "<h1>trimtab demo</h1>",
        f"<p>Three apps sent {found['strategies']['adaptive']['requests']} real test images through gRPC in "
        f"{found['seconds']:g} s while a virtual battery of {battery['capacity_j']:.3g} J drained. "
        "The policy: last until the end with 5&nbsp;% in reserve.</p>",
        _rows(found["strategies"]),
        '<p class="note">accuracy: among answered requests; right and on time: of all requests. The fixed strategies '
        "re-run the same requests, hardware in the loop, with idle time skipped. "
        f"Energy: {escape(found['energy_meter'])}</p>",
        "<h2>Act one: the battery drains</h2>",
        battery_chart(found["timeline"], found["seconds"]),
        share_chart(found["timeline"], found["seconds"], ()),
        "<h2>Act two: memory and processor are taken away</h2>",
        f"<p>{second['requests']} requests, {second['on_time_frac']:.1%} on time, accuracy {second['accuracy']:.2%}.</p>",
        memory_chart(second["timeline"], second["cues"]),
        share_chart(second["timeline"], second["timeline"][-1]["at_s"], second["cues"]),
        "<h2>Machine</h2><table>",
        *(f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in machine.items()),
        "</table>",
    ]
    head = f'<meta charset="utf-8"><title>trimtab demo</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(body)}</body></html>\n"


def _rows(strategies: dict[str, Any]) -> str:
    names = (
        "strategy",
        "requests",
        "on time",
        "accuracy",
        "right and on time",
        "energy J",
        "battery left",
        "shares",
    )
    lines = ["<table><tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"]
    for name, row in strategies.items():
        share = ", ".join(f"{escape(v)} {s:.0%}" for v, s in row["share"].items())
        cells = (
            row["requests"],
            f"{row['on_time_frac']:.1%}",
            f"{row['accuracy']:.2%}",
            f"{row['accuracy_all']:.1%}",
            f"{row['energy_j']:.3f}",
            f"{row['battery_end_frac']:.1%}",
            share,
        )
        lines.append(f"<tr><td>{name}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "".join(lines) + "</table>"


def battery_chart(timeline: Sequence[dict[str, Any]], seconds: float) -> str:
    """Return the state of charge and the energy price over time as SVG."""
    level = [(t["at_s"], t["battery_frac"] or 0.0) for t in timeline]
    top = max((t["energy_price_per_j"] for t in timeline), default=0.0) or 1.0
    price = [(t["at_s"], t["energy_price_per_j"] / top) for t in timeline]
    lines = _line(level, seconds, COLOURS[1]) + _line(price, seconds, COLOURS[2], dashed=True)
    legend = _legend([("battery", COLOURS[1]), (f"energy price (top: {top:.3g} per J)", COLOURS[2])])
    return _svg(lines + legend, seconds, "100 %", "0", ())


def memory_chart(timeline: Sequence[dict[str, Any]], cues: Sequence[dict[str, Any]]) -> str:
    """Return what the variants hold in memory over time as SVG."""
    seconds = timeline[-1]["at_s"]
    top = max(t["memory_used_bytes"] for t in timeline) or 1
    used = [(t["at_s"], t["memory_used_bytes"] / top) for t in timeline]
    legend = _legend([("memory of variants", COLOURS[0])])
    return _svg(_line(used, seconds, COLOURS[0]) + legend, seconds, f"{mib(top)} MiB", "0", cues)


def share_chart(timeline: Sequence[dict[str, Any]], seconds: float, cues: Sequence[dict[str, Any]]) -> str:
    """Return which variants served the latest requests, stacked over time, as SVG."""
    names = sorted({name for t in timeline for name in t["share"]})
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    bars = []
    for now, after in pairwise(timeline):
        total, base = sum(now["share"].values()), 0.0
        for name in names:
            part = now["share"].get(name, 0) / total if total else 0.0
            x0, y0 = _at(now["at_s"], base + part, seconds)
            x1, y1 = _at(after["at_s"], base, seconds)
            if part:
                bars.append(
                    f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0 + 0.5:.1f}" height="{y1 - y0:.1f}" fill="{colour[name]}"/>'
                )
            base += part
    return _svg("".join(bars) + _legend([(n, colour[n]) for n in names]), seconds, "100 %", "0", cues)


def _at(x_s: float, frac: float, seconds: float) -> tuple[float, float]:
    x = LEFT + (WIDTH - LEFT - 8) * min(1.0, max(0.0, x_s / seconds))
    return x, 24 + (HEIGHT - BOTTOM - 24) * (1.0 - min(1.0, max(0.0, frac)))


def _line(points: Sequence[tuple[float, float]], seconds: float, colour: str, *, dashed: bool = False) -> str:
    path = " ".join("{:.1f},{:.1f}".format(*_at(x, y, seconds)) for x, y in points)
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    parts, x = [], float(LEFT)
    for name, colour in entries:
        parts.append(f'<rect x="{x:.0f}" y="6" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14:.0f}" y="15">{escape(name)}</text>')
        x += 30 + 6.2 * len(name)
    return "".join(parts)


def _svg(inner: str, seconds: float, top: str, bottom: str, cues: Sequence[dict[str, Any]]) -> str:
    x0, y0 = _at(0.0, 0.0, seconds)
    x1, y1 = _at(seconds, 1.0, seconds)
    marks = [f'<text x="4" y="{y1 + 4:.0f}">{top}</text><text x="4" y="{y0:.0f}">{bottom}</text>']
    marks += [
        f'<text x="{x0:.0f}" y="{HEIGHT - 8}">0 s</text><text x="{x1 - 26:.0f}" y="{HEIGHT - 8}">{seconds:.0f} s</text>'
    ]
    for cue in cues:
        x, _ = _at(cue["at_s"], 0.0, seconds)
        marks.append(
            f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{y1:.0f}" y2="{y0:.0f}" stroke="#222" stroke-dasharray="2 3"/>'
        )
        marks.append(f'<text x="{x + 3:.0f}" y="{HEIGHT - 14}">{escape(cue["text"])}</text>')
    frame = f'<rect x="{x0:.0f}" y="{y1:.0f}" width="{x1 - x0:.0f}" height="{y0 - y1:.0f}" fill="none" stroke="#bbb"/>'
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{inner}{frame}{"".join(marks)}</svg>'
