"""What docs/catalogues.md says of columns, options and code holds."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trimtab_sim.catalogue import options, own

if TYPE_CHECKING:
    from .conftest import Write

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "catalogues.md"
BENCHMARK = ROOT / "benchmarks" / "latency_prediction.py"


def section(title: str) -> str:
    return PAGE.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]


def words(text: str) -> set[str]:
    """Return what stands in backquotes in the first column of a section's table."""
    rows = re.findall(r"^\| ([^|]*)\|", text, flags=re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`(\w+)`", row)}


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith(" ms assumed")
    assert re.fullmatch(r"\d+ ms, standard deviation of the logarithm 0\.\d\d", printed[-1])


def test_every_option_is_described() -> None:
    kinds = [
        options.PublishedOptions,
        options.AihubOptions,
        options.NcnnOptions,
        options.McdnnOptions,
        options.ManifestOptions,
    ]
    assert words(section("Options")) == {field.name for kind in kinds for field in dataclasses.fields(kind)}


def test_every_column_is_described() -> None:
    described = {word.removesuffix("_") for word in words(section("Your own CSV"))}
    assert described == {*own.NEEDED, *own.PLAIN, *own.FIGURES}
    units = set(re.findall(r"`(\w+)`", section("Your own CSV")))
    assert {unit for by in own.FIGURES.values() for unit in by} <= units


def run_benchmark(data: Path | None, *arguments: str) -> "subprocess.CompletedProcess[str]":
    path = [str(ROOT / part) for part in ("daemon", "simulator")]
    environment = {"PYTHONPATH": ":".join(path), **({"TRIMTAB_DATA": str(data)} if data else {})}
    command = [sys.executable, str(BENCHMARK), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_benchmark_measures_what_it_says(write: "Write") -> None:
    rows = [
        f"board {device},board,cpu_all,4,0,-1,8,net {network},fp,1,1,{(device + 1) * 1.7**network:.3f}"
        for device in range(6)
        for network in range(9)
    ]
    header = "device,class,unit,threads,powersave,gpu_device,loops,model,precision,min_ms,max_ms,avg_ms"
    data = write("ncnn_bench.csv", "\n".join([header, *rows]) + "\n").parent
    (data / "latency").mkdir()
    (data / "ncnn_bench.csv").rename(data / "latency" / "ncnn_bench.csv")
    done = run_benchmark(data, "--source", "ncnn", "--splits", "1")
    assert done.returncode == 0, done.stderr
    table = [line.split("|")[2:6] for line in done.stdout.splitlines() if line.startswith("| ncnn")]
    assert [[cell.strip() for cell in row[:3]] for row in table] == [
        ["rows", "CPU", "18"],
        ["networks", "CPU", "18"],
    ]
    assert all(float(row[3].strip(" %")) < 2 for row in table)


def test_the_benchmark_says_what_is_missing(tmp_path: Path) -> None:
    unset = run_benchmark(None)
    assert (unset.returncode, "TRIMTAB_DATA is not set" in unset.stdout) == (2, True)
    empty = run_benchmark(tmp_path)
    assert (empty.returncode, "ncnn_bench.csv: cannot be read" in empty.stdout) == (2, True)
