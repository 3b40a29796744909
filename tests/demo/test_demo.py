"""The demo end to end: real daemon, real socket, real images, in a process of its own."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path


class Tags(HTMLParser):
    """Counts tags and remembers what would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.external: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.external += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_demo_plays_and_reports(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trimtab", "demo", "--seconds", "5", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "act one" in done.stdout
    assert "act two" in done.stdout
    found = json.loads((tmp_path / "demo.json").read_text())
    assert set(found["strategies"]) == {"adaptive", "largest", "smallest"}
    for row in found["strategies"].values():
        assert row["requests"] == found["strategies"]["adaptive"]["requests"] > 50
        assert 0 <= row["on_time_frac"] <= 1
        assert 0.5 < row["accuracy"] <= 1
        assert row["energy_j"] > 0
        assert abs(sum(row["share"].values()) - 1) < 1e-6
    assert found["strategies"]["smallest"]["accuracy"] < found["strategies"]["largest"]["accuracy"]
    assert found["machine"]["cores"] >= 1
    assert len(found["timeline"]) > 5
    assert found["act_two"]["requests"] > 100
    page = Tags()
    page.feed((tmp_path / "demo-report.html").read_text())
    assert page.count["svg"] == 4
    assert page.external == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo-report.html", "demo.json"]
