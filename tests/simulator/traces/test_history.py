"""Android's battery history: times, states that begin and end, resets, and lines that make no sense."""

from pathlib import Path

import numpy as np
import pytest

from trimtab_sim.traces import Reading, Series, TraceError, load_series

HEAD = "Battery History (0% used, 1144 used of 512KB, 52 strings using 4000):\n"
RESET = "                    0 (10) RESET:TIME: 2026-01-31-00-52-29\n"
FIRST = (
    "                    0 (2) 100 status=discharging health=good plug=none temp=250 volt=4282 charge=3000"
    ' +running +screen brightness=medium wifi_signal_strength=3 +wifi top=1000:"com.x y"\n'
)


def read(folder: Path, *lines: str, head: str = HEAD) -> Reading:
    path = folder / "history.txt"
    path.write_text(head + "".join(line if line.endswith("\n") else line + "\n" for line in lines))
    return load_series(path)


def steps(series: Series, column: str) -> list[tuple[float, float]]:
    """Return (seconds, value) at each change of a column."""
    values = series.columns[column]
    changed = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    return [(float(series.at_ns[i] / 1e9), float(values[i])) for i in changed]


def test_states_and_figures(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        RESET,
        FIRST,
        '             +1s500ms (3) 100 -screen +wifi_scan stats=0:"screen-state -wifi +gps"',
        "        +1h02m03s004ms (2) 099 temp=262 volt=4100 +gps current=-312 charge=2980 -wifi_scan",
        "    +1d1h00m00s000ms (1) 009",
    )
    series = reading.series
    assert [p.message for p in reading.problems] == ["times are the phone's local time"]
    assert series.epoch_unix_ns == 1769820749 * 10**9
    assert steps(series, "battery_frac") == [(0, 1.0), (3723.004, 0.99), (90_000, 0.09)]
    assert steps(series, "screen_on") == [(0, 1), (1.5, 0)]
    assert steps(series, "wifi_scan") == [(0, 0), (1.5, 1), (3723.004, 0)]
    assert steps(series, "wifi_on") == [(0, 1)]  # what stands in quotes is a name
    assert steps(series, "gps_on") == [(0, 0), (3723.004, 1)]
    assert steps(series, "camera_on") == [(0, 0)]
    assert steps(series, "temperature_mc") == [(0, 25_000), (3723.004, 26_200)]
    assert series.columns["voltage_mv"].tolist() == [4282, 4282, 4100, 4100]
    assert series.columns["charge_mah"].tolist() == [3000, 3000, 2980, 2980]
    assert series.at("current_ma", series.at_ns[-1]) == -312
    assert np.isnan(series.columns["current_ma"][0])
    assert (series.columns["brightness_frac"][0], series.columns["wifi_signal_frac"][0]) == (0.5, 0.75)


def test_after_a_reset_what_is_not_printed_is_off(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        RESET,
        FIRST,
        "               +10s000ms (2) 100 +gps",
        "               +20s000ms (10) RESET:TIME: 2026-01-31-00-52-49",
        "               +20s000ms (2) 100 status=discharging temp=250 volt=4200 +running",
    )
    assert steps(reading.series, "gps_on") == [(0, 0), (10, 1), (20, 0)]
    assert steps(reading.series, "screen_on") == [(0, 1), (20, 0)]
    assert steps(reading.series, "cpu_running") == [(0, 1)]
    assert reading.problem_count == 0


def test_time_switched_off_counts(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        RESET,
        FIRST,
        "               +10s000ms (1) SHUTDOWN",
        "               +10s500ms (1) START",
        "               +10s500ms (1) TIME: 2026-01-31-01-52-39",
        "               +11s000ms (2) 098 volt=4200 temp=200 +running",
    )
    assert steps(reading.series, "cpu_running") == [(0, 1), (10, 0), (3610.5, 1)]
    assert "the phone was off for 59 min 59 s longer" in reading.problems[-1].message


def test_a_clock_that_is_set_is_noted_and_not_followed(tmp_path: Path) -> None:
    reading = read(tmp_path, RESET, FIRST, "  +5s000ms (1) TIME: 2026-01-31-03-00-00", "  +6s000ms (1) 099")
    assert steps(reading.series, "battery_frac") == [(0, 1.0), (6, 0.99)]
    assert "clock was set by +7646 s" in reading.problems[-1].message


def test_dates_of_android_16_and_the_turn_of_the_year(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        "  12-31 23:59:58.500 RESET:TIME: 2025-12-31-23-59-58",
        "  12-31 23:59:58.500 100 status=discharging temp=250 volt=4282 +running +screen",
        "  01-01 00:00:01.000 099 -screen",
    )
    assert steps(reading.series, "battery_frac") == [(0, 1.0), (2.5, 0.99)]
    assert reading.series.epoch_unix_ns == 1767225598 * 10**9
    assert reading.problem_count == 0


def test_old_dumps_count_down_to_now(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        "          -9h58m24s117ms  100 20030002 status=discharging temp=250 volt=4200 +running",
        "          -8h58m24s117ms  090",
        "                    0 (1) 080",
        head="Battery History (0% used):\n",
    )
    assert steps(reading.series, "battery_frac") == [(0, 1.0), (3600, 0.9), (35_904.117, 0.8)]


def test_a_counter_that_rises_while_draining_is_charge_taken_out(tmp_path: Path) -> None:
    reading = read(tmp_path, RESET, FIRST.replace("=3000", "=1"), "  +9m00s000ms (1) 099 charge=40")
    assert "charge_mah" not in reading.series.columns
    assert reading.series.columns["charge_used_mah"].tolist() == [1, 40]
    assert any("counts the charge taken out" in problem.message for problem in reading.problems)


def test_load_is_of_the_time_before_the_step(tmp_path: Path) -> None:
    details = (
        "                 Details: cpu=300u+100s (u0a15=1u+2s)",
        "                          /proc/stat=30 usr, 10 sys, 5 io, 0 irq, 5 sirq, 150 idle (25.0% of 2s), x",
    )
    reading = read(tmp_path, RESET, FIRST, "  +9s000ms (1) 099", *details, "  +20s000ms (1) 098")
    load = reading.series.columns["cpu_load_frac"]
    assert load[0] == 0.25
    assert np.isnan(load[1:]).all()


def test_a_bug_report_around_it_does_no_harm(tmp_path: Path) -> None:
    before = "== dumpstate\nDUMP OF SERVICE batterystats:\n"
    reading = read(
        tmp_path, RESET, FIRST, "\n", "Per-PID Stats:", "  PID 1 wake time: +3s", head=before + HEAD
    )
    assert (len(reading.series), reading.problem_count) == (1, 0)


def test_lines_that_make_no_sense_are_told(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        RESET,
        FIRST,
        "  +1s000ms (1) 777",
        "  +2s000ms (1) hello",
        "  +3s000ms (1) 099 temp=hot volt=-5 brightness=dazzling !!",
        "  +4s000ms (1) *OVERFLOW*",
        "  +1s500ms (1) 098",
        "  +5s000ms (1) 097 +warp_drive flux=7 +wifi=no",
    )
    told = {(p.line, p.message) for p in reading.problems if not p.note}
    assert {line for line, _ in told} == {4, 5, 6, 7, 8}
    assert (4, "'777' is no level from 000 to 100; left out") in told
    assert (6, "temp='hot' is not possible; the last value stays") in told
    assert (6, "brightness='dazzling': expected one of dark, dim, medium, light, bright") in told
    assert any("records are missing" in message for _, message in told)
    assert (8, "time goes back by 1.5 s; left out") in told
    assert any(p.message == "words not known and not used: flux, warp_drive" for p in reading.problems)
    assert reading.series.columns["battery_frac"].tolist() == [1.0, 0.99, 0.97]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('9,hsp,0,1000,"x"\n9,h,0:RESET:TIME:1769820749000\n', "short form"),
        (HEAD + "\n", "no rows"),
        (HEAD + RESET, "1 of 1 rows cannot be used"),
        (HEAD + "".join(f"  +{n}s000ms (1) nonsense\n" for n in range(1, 40)), "39 of 39 rows"),
    ],
)
def test_what_holds_no_history_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        read(tmp_path, text, head="")
