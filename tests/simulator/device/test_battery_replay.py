"""The recorded batteries are re-made within the stated limits, and the page says the figures that come out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "simulator-models.md"
BEYOND_IT = "iPhone: temperature, all of it, one ambient temperature, C"
"""Where the phone was is not in its log: known to be missed."""


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "TRIMTAB_DATA"}
    command = [sys.executable, str(ROOT / "benchmarks" / "battery_replay.py"), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_limit_but_the_known_one_is_kept(figures: dict[str, Any]) -> None:
    missed = [name for name, one in figures["judged"].items() if not one["met"]]
    assert missed == [BEYOND_IT]
    assert len(figures["android"]) == 3


def test_the_page_says_what_comes_out(figures: dict[str, Any]) -> None:
    text, iphone = PAGE.read_text(), figures["iphone"]
    for said, name, digits in (
        ("RMSE {} points", "level_rmse_points", 2),
        ("({} weighted by time", "level_rmse_points_by_time", 2),
        ("worst {} |", "level_worst_points", 1),
        ("RMSE {} mV (", "voltage_rmse_mv", 1),
        ("mV ({} in the second half)", "voltage_rmse_mv_second_half", 1),
        ("RMSE {} mV |", "voltage_rmse_mv_at_25_c", 1),
        ("RMSE {} degrees | first night", "temperature_rmse_c_on_charger_second_night", 2),
        ("RMSE {} degrees | 134", "temperature_rmse_c_other_rows", 2),
        ("**RMSE {} degrees**", "temperature_rmse_c_one_ambient", 1),
        ("off by {} degrees,\n  more than", "temperature_rmse_c_other_quarter_hours", 1),
    ):
        assert said.format(f"{iphone[name]:.{digits}f}") in text, (name, iphone[name])


def test_the_page_says_what_comes_out_of_the_android_histories(figures: dict[str, Any]) -> None:
    text = PAGE.read_text()
    charges = [
        (round(one["charge_made_mah"]), round(one["charge_used_mah"])) for one in figures["android"].values()
    ]
    for made, used in charges:
        assert re.search(rf"\b{made}( mAh)? for {used}\b", text), (made, used)
    rows = [line for line in text.splitlines() if re.match(r"\| (states of an|video at|light use)", line)]
    for row, one in zip(rows, figures["android"].values(), strict=True):
        assert f"{abs(one['final_error_points']):.0f} point" in row
        assert f"{one['temperature_rmse_c']:.1f} degrees" in row
    low, high = figures["android"]["honor_scenario2_history.txt"]["charge_made_mah_phones"]
    assert f"{low:.0f} to {high:.0f} mAh for the video" in text
    published_mv = figures["iphone"]["voltage_rmse_mv_published_cell"]
    assert f"with both as published the voltage is off by {published_mv:.0f} mV" in text


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    exec(compile(block, str(PAGE), "exec"), {})
    level, speed = capsys.readouterr().out.splitlines()
    assert level.startswith("level ")
    assert float(speed.split()[2]) > 1.0


def test_the_modules_it_names_exist() -> None:
    modules = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    assert len(modules) == 8
    assert all((ROOT / "simulator" / "trimtab_sim" / "device" / f"{name}.py").is_file() for name in modules)
