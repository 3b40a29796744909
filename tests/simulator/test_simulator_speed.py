"""benchmarks/simulator_speed.py measures what it says, and prints it."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "simulator_speed.py"


def printed(*options: str) -> str:
    command = [sys.executable, "-W", "error", str(SCRIPT), "--requests", "400", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_it_tells_speed_and_memory() -> None:
    told = json.loads(printed("--json"))
    assert told["candidates"] == 32
    assert set(told["speed"]) == {"idle", "battery", "busy", "exits", "day", "day with a horizon"}
    for one in told["speed"].values():
        assert one["requests"] == 400
        assert one["per_s"] > 0
        assert one["cpu_per_s"] > 0
        assert one["loops"] > 0
        assert 0.5 < one["accuracy"] < 1
    assert told["requests_per_s"] == told["speed"]["idle"]["per_s"]
    short, long = told["peak_memory_kib"].values()
    assert long < short * 1.05, "memory is flat"


def test_people_can_read_it() -> None:
    lines = printed().splitlines()
    assert [line.split("  ")[0] for line in lines[1:7]] == [
        "idle",
        "battery",
        "busy",
        "exits",
        "day",
        "day with a horizon",
    ]
