"""The page of a simulation, and the trail that feeds it."""

import html.parser
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab_sim import Arrival, Battery, ModelledRuntime, RunReport, SimulatedDriver, World, poisson
from trimtab_sim.results.page import OTHERS, embedded, page, write_page
from trimtab_sim.results.trail import LINE_POINTS, MISSED, SHARE_BINS, Line, Points, Run, Shares, Trail
from trimtab_sim.results.trial import Trial


class Reader(html.parser.HTMLParser):
    """Collects elements, scripts, and addresses that something would be fetched from."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"] and data.strip():
            self.scripts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def told(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read(text).scripts[0])
    return found


def run_of(name: str = "balanced", seed: int = 0, points: int = 10) -> Run:
    return Run(
        name=name,
        seed=seed,
        figures={"accuracy_mean": 0.9, "lifetime_s": None, "share_by_variant": {"a": 1.0}, "loads": 3},
        lines={
            "battery_frac": Points(
                [float(at) for at in range(points)], [1.0 - at / points for at in range(points)]
            )
        },
        choices=Shares([0.0, 10.0], 10.0, {"a@cpu": [3, 4], MISSED: [0, 1]}),
        latency_ms=[1.0, 2.0],
        within_frac=[0.5, 0.9],
    )


# ---- the page --------------------------------------------------------------------------------------------


def test_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    write_page([run_of(), run_of("largest", 1)], target, "a day", "two policies")
    text = target.read_text(encoding="utf-8")
    found = read(text)
    assert found.fetched == []
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) == {"#"}
    assert set(re.findall(r"https?://[^\"'`\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text
    shown = told(text)
    assert (shown["title"], shown["note"]) == ("a day", "two policies")
    assert [(run["name"], run["seed"]) for run in shown["runs"]] == [("balanced", 0), ("largest", 1)]
    assert shown["runs"][0]["figures"] == {"accuracy_mean": 0.9, "loads": 3}
    assert shown["choices"] == ["a@cpu", MISSED]
    assert shown["runs"][0]["choices"]["counts"] == [[3, 4], [0, 1]]
    assert shown["runs"][0]["latency"] == [[1.0, 2.0], [0.5, 0.9]]


def test_no_name_becomes_markup() -> None:
    evil = "</script><img src=x onerror=alert(1)>&<!--\u2028"
    spoilt = replace(run_of(evil), figures={evil: evil}, choices=Shares([0.0], 1.0, {evil: [1]}))
    text = page([spoilt], evil, evil)
    assert read(text).tags == read(page([run_of()])).tags
    shown = told(text)
    assert shown["title"] == shown["runs"][0]["name"] == shown["runs"][0]["figures"][evil] == evil


def test_long_lines_are_thinned_and_keep_their_peaks() -> None:
    many = 50_000
    spiky = [0.0] * many
    spiky[31_337], spiky[40_001] = 9.0, -7.0
    steps = [float(at) for at in range(1, many)]
    run = replace(
        run_of(),
        lines={"temperature_c": Points([float(at) for at in range(many)], spiky)},
        latency_ms=steps,
        within_frac=[at / many for at in steps],
    )
    shown = told(page([run]))["runs"][0]
    at_s, value = shown["lines"]["temperature_c"]
    assert 100 < len(at_s) == len(value) <= LINE_POINTS
    assert at_s == sorted(at_s)
    assert (max(value), min(value)) == (9.0, -7.0)
    assert at_s[value.index(9.0)] == 31_337
    assert 1000 < len(shown["latency"][0]) <= LINE_POINTS
    assert shown["latency"][0][-1] == many - 1


def test_rare_choices_are_shown_together() -> None:
    counts = {f"v{number}@cpu": [100 - number] for number in range(20)}
    shown = told(page([replace(run_of(), choices=Shares([0.0], 1.0, counts | {MISSED: [5]}))]))
    assert shown["choices"] == [*(f"v{number}@cpu" for number in range(11)), OTHERS, MISSED]
    assert sum(row[0] for row in shown["runs"][0]["choices"]["counts"]) == sum(range(81, 101)) + 5


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        page([])
    with pytest.raises(ValueError, match=r"run 'balanced', seed 0: battery_frac has columns of 2 and 1"):
        page([replace(run_of(), lines={"battery_frac": Points([1.0, 2.0], [1.0])})])
    with pytest.raises(ValueError, match="latency has columns"):
        page([replace(run_of(), latency_ms=[1.0])])
    with pytest.raises(ValueError, match="a@cpu has columns"):
        page([replace(run_of(), choices=Shares([0.0], 1.0, {"a@cpu": [1, 2]}))])


def test_figures_that_are_no_numbers_are_left_out() -> None:
    figures = {"a": float("nan"), "b": float("inf"), "c": 1.5, "d": "text", "e": None, "f": [1]}
    run = replace(run_of(), figures=figures, lines={"x": Points([0.0, 1.0], [float("nan"), 2.0])})
    shown = told(page([run]))["runs"][0]
    assert shown["figures"] == {"c": 1.5, "d": "text"}
    assert shown["lines"]["x"] == [[0.0, 1.0], [None, 2.0]]
    assert embedded("<&>") == '"\\u003c\\u0026\\u003e"'


# ---- the trail -------------------------------------------------------------------------------------------


def test_line_keeps_the_ends_of_each_bin() -> None:
    line = Line(points=8)
    for at in range(1000):
        line.add(at << 20, float(-at if at == 500 else at % 7))
    found = line.points()
    assert 4 <= len(found.at_s) <= 8
    assert list(found.at_s) == sorted(found.at_s)
    assert (min(found.value), max(found.value)) == (-500.0, 6.0)


def watched(world: World, count: int, rate_per_s: float) -> tuple[Trail, RunReport]:
    kinds = [Request("", "tiny", latency_budget_ns=6 * NS_PER_MS)]
    trail = Trail()
    driver = SimulatedDriver(
        world,
        Policy("p"),
        ModelledRuntime(world.families, world.profiles),
        Battery(50.0, 1.0, 100.0),
        watch=trail,
    )
    start_ns = driver.start()
    trail.begins(Trial(Policy("p"), 3), start_ns, lambda: 0)
    return trail, driver.run(poisson(3, rate_per_s, count, kinds, start_ns))


def test_trail_of_a_run_adds_up(world: World) -> None:
    trail, report = watched(world, 2000, 300.0)
    trail.lost(Arrival(report.ended_ns, Request("gone", "tiny")))
    run = trail.run("p", 3, {"loads": report.loads})
    total = sum(sum(counts) for counts in run.choices.counts.values())
    assert total == 2001
    assert sum(run.choices.counts[MISSED]) == total - report.totals.on_time
    assert {name.partition("@")[0] for name in run.choices.counts} <= {"large", "small", "staged", MISSED}
    assert 1 < len(run.choices.begin_s) <= SHARE_BINS
    assert run.within_frac[-1] == pytest.approx(report.totals.latency_ns.total / 2001)
    assert list(run.latency_ms) == sorted(run.latency_ms)
    seconds = (report.ended_ns - report.started_ns) / NS_PER_S
    assert -1.0 < run.choices.begin_s[0] < run.choices.begin_s[-1] < seconds
    level = run.lines["battery_frac"]
    assert level.value[0] == report.battery[0][1]
    assert level.value[-1] == report.battery[-2][1]  # the last one is not told to the scheduler any more
    assert told(page([run]))["runs"][0]["seed"] == 3


@pytest.mark.parametrize("count", [1, 2, 40, 5000])
def test_choices_are_wide_enough_to_be_seen_however_few_requests_there_are(count: int) -> None:
    trail, day_s = Trail(), 86_400
    for number in range(count):
        trail.lost(Arrival(number * day_s * NS_PER_S // count, Request("r", "tiny")))
    choices = trail.run("p", 0, {}).choices
    span_s = choices.begin_s[-1] - choices.begin_s[0]
    assert span_s / choices.width_s < SHARE_BINS
    assert count == 1 or span_s / choices.width_s >= SHARE_BINS / 2 - 1
    assert sum(choices.counts[MISSED]) == count


def test_page_of_a_run_without_requests(tmp_path: Path) -> None:
    trail = Trail()
    write_page([trail.run("p", 0, {"requests": 0})], tmp_path / "page.html")
    (run,) = told((tmp_path / "page.html").read_text())["runs"]
    assert (run["choices"]["begin"], run["latency"], run["lines"]) == ([], [[], []], {})


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("names", [[], ["balanced"], [f"policy-{number}" for number in range(14)]])
def test_page_is_drawn_by_a_browser_without_a_network(tmp_path: Path, names: list[str]) -> None:
    """No request at all, one policy, more policies than colours."""
    runs = [run_of(name) for name in names] or [Trail().run("nothing", 0, {"requests": 0})]
    write_page(runs, tmp_path / "page.html", "a day")
    address = (tmp_path / "page.html").as_uri()
    assert CHROMIUM is not None
    offline = ["--proxy-server=127.0.0.1:9", "--host-resolver-rules=MAP * ~NOTFOUND"]
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *offline]
    options.append(f"--user-data-dir={tmp_path / 'profile'}")
    done = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", address], capture_output=True, text=True, timeout=120
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    assert '<h1 id="title">a day</h1>' in done.stdout
    rows = re.findall(r"<tr>", done.stdout.partition('<tbody id="body">')[2].partition("</tbody>")[0])
    assert len(rows) == len(runs)
    assert done.stdout.count("<svg") >= 2


def test_trail_of_a_long_run_stays_small() -> None:
    trail = Trail()
    for minute in range(60_000):
        now_ns = minute * 60 * NS_PER_S
        trail.device(
            now_ns,
            DeviceState(
                battery_frac=1 - minute / 60_000, temperature_mc=20_000 + minute % 50, cpu_load_frac=0.5
            ),
        )
        trail.lost(Arrival(now_ns, Request("r", "tiny")))
    run = trail.run("p", 0, {})
    assert set(run.lines) == {"battery_frac", "temperature_c", "cpu_load_frac"}
    assert all(
        500 < len(line.at_s) <= LINE_POINTS for name, line in run.lines.items() if name != "cpu_load_frac"
    )
    assert SHARE_BINS / 2 <= len(run.choices.begin_s) <= SHARE_BINS
    assert sum(run.choices.counts[MISSED]) == 60_000
