"""Whatever a file holds, the readers return a reading or say in a ``TraceError`` what is wrong."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab_sim.traces import ArrivalReading, Reading, TraceError, load_arrivals, load_series, load_trace
from trimtab_sim.traces.battery_dump import read_battery_dump
from trimtab_sim.traces.component_energy import read_component_energy
from trimtab_sim.traces.headers import ARRIVALS, SERIES, TIMES
from trimtab_sim.traces.history import read_history
from trimtab_sim.traces.plain import read_arrivals, read_series

FOLDER = Path(__file__).parents[3] / "simulator" / "traces"
Result = Reading | ArrivalReading
READERS: tuple[Callable[[Path], Result], ...] = (
    load_series, load_arrivals, load_trace, read_history, read_battery_dump, read_component_energy,
    read_series, read_arrivals,
)  # fmt: skip
HISTORY = (FOLDER / "honor_scenario2_history.txt").read_bytes()[:12_000]
DUMP = b"Current Battery Service state:\n  AC powered: true\n  level: 96\n  scale: 100\n  voltage: 3995\n  status: 2\n"
ENERGY = b"interval_s,unix_s,component,energy\n3600,1768719653,CPU,10.5\n3600,1768723253,GPU,2\n"
CSV = b"# trimtab trace 1\n# kind: series\nat_ns,battery_frac,charging\n0,0.5,1\n5,0.4,\n9,nan,0\n"
AZURE = b"TIMESTAMP,ContextTokens\n2023-11-16 18:17:03.9799600,4808\n2023-11-16 18:17:04.0319600,3180\n"
CELLS = st.sampled_from(
    ["", "0", "1", "-1", "1e9", "1e400", "nan", "inf", "0x1", "1_0", "true", "2024-01-01", "2024-13-41 00:00",
     "0001-01-01", "9999-12-31T23:59:59", "2024-01-01T00:00:00+25:00", "99999999999999999999", '"', "a,b", "\0", "é"]
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file"


def outcome(read: Callable[[Path], Result], path: Path) -> tuple[str, Result | None]:
    """Return the message of a ``TraceError``, or what was read; any other exception fails the test."""
    try:
        return "", read(path)
    except TraceError as error:
        return str(error), None


def survives(path: Path, body: bytes) -> None:
    path.write_bytes(body)
    for read in READERS:
        told, reading = outcome(read, path)
        if reading is None:
            assert told.startswith(str(path))
        else:
            used = len(reading.trace)
            assert 0 < used <= reading.rows


@given(st.binary(max_size=300))
def test_any_bytes(path: Path, body: bytes) -> None:
    survives(path, body)


@given(st.text(max_size=300))
def test_any_text(path: Path, text: str) -> None:
    survives(path, text.encode(errors="surrogatepass"))


@given(
    st.lists(st.sampled_from(sorted({*TIMES, *SERIES, *ARRIVALS, "", "mood", "energy_raw.x"})), max_size=6),
    st.lists(st.lists(CELLS, max_size=6), max_size=8),
)
@settings(max_examples=200)
def test_any_table(path: Path, header: list[str], rows: list[list[str]]) -> None:
    survives(path, "\n".join(",".join(cells) for cells in [header, *rows]).encode())


@given(
    st.sampled_from([HISTORY, DUMP, ENERGY, CSV, AZURE]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12)), min_size=1, max_size=6),
    st.booleans(),
)
@settings(max_examples=100)
def test_real_files_with_pieces_replaced(
    path: Path, body: bytes, edits: list[tuple[float, int, bytes]], packed: bool
) -> None:
    for place, length, piece in edits:
        start = int(place * len(body))
        body = body[:start] + piece + body[start + length :]
    survives(path, gzip.compress(body) if packed else body)


WORD = st.sampled_from(
    ["+screen", "-screen", "volt=4200", "volt=9" * 9, "temp=", "brightness=bright", "+1s000ms", "0", "(2)", "100",
     "099", "TIME: 2026-01-31-00-52-29", "RESET:TIME: 2026-02-30-00-00-00", "START", "SHUTDOWN", "*OVERFLOW*", '"',
     "12-31 23:59:58.500", "02-29 00:00:00.000", "-3h00m00s000ms", "+99999999d0ms",
     "/proc/stat=1 usr, 1 sys, 1 io, 1 irq, 1 sirq, 0 idle", "/proc/stat=0 usr, 0 sys, 0 io, 0 irq, 0 sirq, 0 idle"]
)  # fmt: skip


@given(st.lists(st.lists(WORD, max_size=5), max_size=12))
@settings(max_examples=100)
def test_any_history(path: Path, lines: list[list[str]]) -> None:
    text = "Battery History (0% used):\n" + "\n".join("  " + " ".join(words) for words in lines)
    survives(path, text.encode())


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_torn_compressed_files(path: Path, place: int, piece: bytes) -> None:
    body = gzip.compress(HISTORY[:3000])
    survives(path, body[:place] + piece + body[place + len(piece) :])
    survives(path, body[:place])
