"""``trimtab family show``: the table, the JSON and the page, on the shipped and on a made-up family."""

import html.parser
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trimtab.adapters.family_store import load_family, shipped_families
from trimtab.cli.family_page import TEMPLATE, embedded, figures, page
from trimtab.cli.family_show import as_json, rows_of, shown
from trimtab.cli.main import main
from trimtab.domain.family import Family


@pytest.fixture(scope="module")
def fashion() -> Family:
    return load_family(shipped_families() / "fashion").family


@pytest.fixture
def places(tmp_path: Path) -> tuple[str, ...]:
    """Return options that lead to a copy of the shipped family and away from the user's profiles."""
    shutil.copytree(shipped_families() / "fashion", tmp_path / "families" / "fashion")
    return ("--families", str(tmp_path / "families"), "--state", str(tmp_path / "state"))


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["family", "show", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_table(places: tuple[str, ...], fashion: Family) -> None:
    told = run("fashion", *places).output
    assert "10 000 test samples" in told
    assert "94.00 (93.52-94.45)" in told  # Wilson's interval of 9400 right of 10,000
    assert "62 243 968" in told
    assert "t0.97" in told
    assert fashion.profiles is not None
    for processor in {p.processor for p in fashion.profiles.profiles}:
        assert f"{processor}: " in told
    assert "points on the front of accuracy and latency" in told
    for variant in shown(fashion, fashion.profiles).variants:
        assert (f"  {variant.name}: {variant.dominated}" in told) == bool(variant.dominated)


def test_json_tells_fronts_by_processor(places: tuple[str, ...]) -> None:
    told = json.loads(run("fashion", "--json", *places).output)
    assert {p["processor"] for p in told["profiles"]["profiles"]} == set(told["pareto"])
    for name, points in told["pareto"].items():
        accuracies = [p["accuracy_frac"] for p in points]
        latencies = [p["latency_ns"] for p in points]
        assert accuracies == sorted(set(accuracies))
        assert latencies == sorted(set(latencies))
        assert told["pareto_points"][name] == len(points)
        assert told["span_latency_ratio"][name] == pytest.approx(latencies[-1] / latencies[0])
        measured = [r["latency_ns"] for r in told["rows"] if r["processor"] == name]
        assert told["span_latency_ratio_of_all"][name] == pytest.approx(max(measured) / min(measured))
    (resnet,) = [v for v in told["variants"] if v["name"] == "resnet"]
    assert resnet["accuracy_interval_frac"] == pytest.approx([0.9352, 0.9445], abs=1e-4)
    rules = {r["exit_rule"] for r in told["rows"] if r["variant"] == "resnet-exits"}
    assert rules == {"t0.70", "t0.90", "t0.97"}


def test_rows_without_profiles(fashion: Family) -> None:
    bare = replace(fashion, profiles=None)
    rows = rows_of(bare)
    assert len(rows) == sum(len(v.exit_rules) for v in fashion.variants)
    assert {row.processor for row in rows} == {None}
    told = as_json(bare)
    assert (told["pareto"], told["pareto_points"]) == ({}, {})
    assert figures(bare)["processors"] == []


def test_energy_of_operations_is_shown_where_it_was_counted(fashion: Family) -> None:
    counted = replace(
        fashion,
        variants=tuple(
            replace(v, stages=tuple(replace(s, weight_bytes=100, traffic_bytes=100) for s in v.stages))
            for v in fashion.variants
        ),
    )
    for row in rows_of(counted):
        assert row.operation_energy is not None
        assert row.operation_energy.total_uj > 0


class Reader(html.parser.HTMLParser):
    """Collects elements, and addresses that something would be fetched from."""

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


def test_the_page_needs_nothing_but_itself(places: tuple[str, ...], tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    result = run("fashion", "--html", str(target), *places)
    assert (result.exit_code, result.stdout) == (0, "")
    text = target.read_text(encoding="utf-8")
    found = read(text)
    assert found.fetched == []
    assert "@import" not in text
    assert "url(" not in text
    told = json.loads(found.scripts[0])
    assert {p["variant"] for p in told["points"]} >= {"resnet", "student-tiny"}
    assert told["processors"]


def test_no_text_of_a_manifest_becomes_markup(fashion: Family) -> None:
    evil = "</script><img src=x onerror=alert(1)>&<!--\u2028"
    first = replace(fashion.variants[0], note=evil, dominated=evil)
    spoilt = replace(fashion, title=evil, variants=(first, *fashion.variants[1:]))
    found = read(page(spoilt))
    assert found.tags == read(page(fashion)).tags
    told = json.loads(found.scripts[0])
    assert told["title"] == evil
    assert told["points"][0]["note"] == evil
    assert not set("<>&\u2028") & set(embedded({"a": evil}))
    assert "innerHTML" not in TEMPLATE.read_text(encoding="utf-8")


def test_profiling_into_the_manifest_marks_who_is_dominated(tmp_path: Path, places: tuple[str, ...]) -> None:
    told: Any = CliRunner().invoke(main, ["profile", "--budget", "0.5", "--into-manifest", *places])
    assert told.exit_code == 0, told.output
    family = load_family(tmp_path / "families" / "fashion").family
    assert family == shown(family, family.profiles)
    assert any(variant.kept for variant in family.variants)
