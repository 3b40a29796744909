"""docs/traces.md names what there is and the figures that are measured."""

import re
from pathlib import Path

import pytest

from trimtab_sim.traces import ARRIVAL_COLUMNS, ARRIVAL_LABELS, COLUMNS
from trimtab_sim.traces.headers import TIMES, find, normal
from trimtab_sim.traces.sessions import OBSERVED

TEXT = (Path(__file__).parents[3] / "docs" / "traces.md").read_text()
NAMES = set(re.findall(r"`([^`\n]+)`", TEXT))
ROWS = [line for line in TEXT.splitlines() if line.startswith("| `")]


def test_every_column_and_time_is_named() -> None:
    stems = {name.rsplit("_", 1)[0] for name in TIMES if "_" in name}
    named = {name.rsplit("_", 1)[0] for name in NAMES if "_" in name}
    assert {*COLUMNS, *ARRIVAL_COLUMNS, *ARRIVAL_LABELS} <= NAMES
    assert {name for name in TIMES if "_" not in name} <= NAMES
    assert stems <= named


def test_every_name_in_the_table_of_columns_is_one() -> None:
    table = TEXT.partition("| Column | Header names")[2].partition("\n\n")[0]
    for name in re.findall(r"`([a-z_]{3,})`", table):
        if name in ("_frac", "kib"):
            continue
        assert find(normal(name)), name


def test_the_fit_is_the_one_that_is_kept() -> None:
    for fit, start in ((OBSERVED.length, "| length |"), (OBSERVED.pause, "| pause")):
        row = next(line for line in TEXT.splitlines() if line.startswith(start))
        told = [float(x) for x in re.findall(r"\d+\.\d+", row)]
        expected = (fit.first, fit.second, fit.distance, 1.36 / fit.count**0.5)
        assert told == pytest.approx(expected, abs=0.06 if fit is OBSERVED.length else 0.001)
