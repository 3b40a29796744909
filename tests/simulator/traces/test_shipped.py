"""The traces that ship read without a problem and hold what their publishers say."""

from pathlib import Path

import numpy as np
import pytest

from trimtab_sim.traces import load_arrivals, load_series, load_trace

FOLDER = Path(__file__).parents[3] / "simulator" / "traces"
FILES = sorted(path for path in FOLDER.iterdir() if path.name != "README.md")


def test_the_folder_stays_small_and_every_file_has_its_licence_told() -> None:
    notes = (FOLDER / "README.md").read_text()
    assert sum(path.stat().st_size for path in FILES) < 1_500_000
    assert [path.name for path in FILES if f"`{path.name}`" not in notes] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_reads(path: Path) -> None:
    reading = load_trace(path)
    repeated = 1 if path.name == "iphone13promax_battery_5min_38d.csv.gz" else 0
    assert reading.problem_count == repeated
    assert reading.rows > (100 if "connectivity" not in path.name else 16)


def test_the_44_hours() -> None:
    series = load_series(FOLDER / "iphone13promax_battery_20s_44h.csv.gz").series
    assert len(series) == 6905
    assert series.duration_ns / 3.6e12 == pytest.approx(44, abs=0.5)
    assert np.median(np.diff(series.at_ns)) / 1e9 == pytest.approx(20, abs=0.1)
    assert series.columns["battery_frac"][0] == 0.2687
    assert series.columns["current_ma"].min() < -1000


@pytest.mark.parametrize(
    ("number", "minutes", "last_frac", "seconds_on"),
    [(1, 39.8, 1.0, 1.6), (2, 28.7, 0.96, 1724.5), (3, 39.9, 0.99, None)],
)
def test_android_histories(number: int, minutes: float, last_frac: float, seconds_on: float | None) -> None:
    series = load_series(FOLDER / f"honor_scenario{number}_history.txt").series
    assert series.duration_ns / 6e10 == pytest.approx(minutes, abs=0.1)
    assert series.columns["battery_frac"][-1] == last_frac
    held_s = np.diff(series.at_ns, append=series.at_ns[-1]) / 1e9
    if seconds_on is not None:
        assert (series.columns["screen_on"] * held_s).sum() == pytest.approx(seconds_on, abs=0.2)


def test_arrival_lists() -> None:
    azure = load_arrivals(FOLDER / "azure_llm_2023_code.csv.gz").arrivals
    assert len(azure) == 8819
    assert azure.columns["generated_tokens"][0] == 10


@pytest.mark.parametrize("gap_s", [2, 5, 100])
def test_arrivals_of_mcdnn(gap_s: int) -> None:
    mcdnn = load_arrivals(FOLDER / f"mcdnn_arrivals_{gap_s}.csv.gz").arrivals
    assert len(mcdnn) / (mcdnn.at_ns[-1] / 1e9) == pytest.approx(1 / gap_s, rel=0.02)


def test_faces_and_connectivity_of_mcdnn() -> None:
    faces = load_arrivals(FOLDER / "mcdnn_faces_s2.csv.gz").arrivals
    assert len(faces) == 7197
    assert len(set(faces.columns["identity"].tolist())) < len(faces) / 10
    connected = load_series(FOLDER / "mcdnn_connectivity_s2.csv").series
    assert set(connected.columns["connected"].tolist()) == {0.0, 1.0}
