"""Reads ``adb shell dumpsys batterystats --history``: what Android wrote down as the battery drained.

Source of the layout: AOSP frameworks/base, core/java/android/os/BatteryStats.java, ``HistoryPrinter``. Each
line has the time since the first record (``+1h02m03s004ms``; from Android 16 on the date ``11-21 13:45:01.250``),
the level in percent, and what changed. After ``START`` and ``RESET:TIME:`` a state that is not printed is off.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from trimtab_sim.traces.findings import Findings, listed
from trimtab_sim.traces.history_words import AT_FIRST, CHOICES, FLAGS, NOT_USED, NUMBERS
from trimtab_sim.traces.lines import read_lines
from trimtab_sim.traces.order import in_order, span
from trimtab_sim.traces.series import COLUMNS, Floats, Reading, Series, Times

HEADING: Final = "Battery History ("
CHECKIN: Final = re.compile(r"9,(hsp|h|0),")
RECORD: Final = re.compile(
    r"\s*(?:(?P<delta>[+-]?[\ddhms]*\dms|0)\s+(?:\(\d+\)\s*)?"
    r"|(?P<date>\d\d-\d\d \d\d:\d\d:\d\d\.\d{3})\s+)(?P<rest>.*)"
)
DELTA: Final = re.compile(r"([+-]?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(\d+)ms")
CURRENT_TIME: Final = re.compile(r"(RESET:)?TIME: (\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d)\s*$")
LEVEL: Final = re.compile(r"(\d{3})(?: [0-9a-f]{8})?(?:\s+(.*))?$")
WORD: Final = re.compile(r"([+-]?)([A-Za-z_]+)(?:=(\S*))?")
QUOTED: Final = re.compile(r'"[^"]*"')
PROC_STAT: Final = re.compile(
    r"/proc/stat=(-?\d+) usr, (-?\d+) sys, (-?\d+) io, (-?\d+) irq, (-?\d+) sirq, (-?\d+) idle"
)
MS: Final = 10**6
LONGEST_MS: Final = 100 * 365 * 86_400_000
MOVED_NS: Final = 2 * 10**9
"""A wall clock that differs by less than this from the time passed has not been set."""
HALF_YEAR_NS: Final = 183 * 86_400 * 10**9
LEAP_YEAR: Final = 1972
"""Taken for dates without a year in a history that never tells one."""
NAN: Final = float("nan")


def read_history(path: Path) -> Reading:
    """Read a battery history; raise ``TraceError`` for a file that holds none or is mostly wrong.

    Times are the phone's local time, as the dump does not name its zone.
    """
    findings = Findings(path)
    history = _History(findings)
    for line, text in _section(path, findings):
        history.take(line, text)
    history.finish()
    findings.refuse_if_broken(history.records, history.good)
    lines = np.array(history.lines, np.int64)
    at_ns = np.array(history.at_ns, np.int64)
    keep = in_order(at_ns, lines, findings, repeats=False)
    rows = np.array(history.rows, np.float64)[keep]
    at_ns = at_ns[keep]
    columns = {name: rows[:, i] for i, name in enumerate(history.state) if not np.isnan(rows[:, i]).all()}
    _name_counter(columns, findings)
    _fill_load(
        columns, at_ns - at_ns[0], [(a - int(at_ns[0]), b - int(at_ns[0]), x) for a, b, x in history.loads]
    )
    name = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    series = Series(name, at_ns - at_ns[0], columns, history.epoch_unix_ns)
    return Reading(series, findings.all(), findings.count, history.records, "batterystats")


def _section(path: Path, findings: Findings) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of the history; a whole bug report may be around it."""
    inside = False
    for line, text in enumerate(read_lines(path, findings), 1):
        if HEADING in text:
            inside = True
        elif CHECKIN.match(text) and not inside:
            raise findings.refuse("the short form of --checkin; take the dump without -c", line)
        elif not inside and line == 1 and RECORD.match(text):
            inside = True
            yield line, text
        elif inside and not text.strip():
            return
        elif inside:
            yield line, text
    if not inside:
        raise findings.refuse(f"no line begins with {HEADING!r}: no battery history")


class _History:
    """The state of the printer, re-made from what it printed."""

    def __init__(self, findings: Findings) -> None:
        self.records = self.good = 0
        self.state: dict[str, float] = {
            "battery_frac": NAN,
            **{column: NAN for column, _ in NUMBERS.values()},
            **AT_FIRST,
        }
        self.at_ns: list[int] = []
        self.lines: list[int] = []
        self.rows: list[tuple[float, ...]] = []
        self.loads: list[tuple[int, int, float]] = []
        self.epoch_unix_ns: int | None = None
        self._findings = findings
        self._year = LEAP_YEAR
        self._now_ns = self._line = 0
        self._offset_ns = 0
        self._was_off = False
        self._load_from_ns = 0
        self._unknown: set[str] = set()
        self._base_ns: int | None = None

    def take(self, line: int, text: str) -> None:
        """Read one line."""
        record = RECORD.match(text)
        if record is None:
            self._detail(line, text)
            return
        self.records += 1
        self._line = line
        if (clock := CURRENT_TIME.match(record["rest"])) and self._base_ns is None:
            self._year = int(clock[2][:4])
        at_ns = self._time(record)
        if at_ns is None:
            self._findings.problem(line, f"{text.strip()[:40]!r} does not begin with a time; left out")
            return
        self._now_ns = at_ns + self._offset_ns
        rest = record["rest"].strip()
        if self._command(rest):
            self.good += 1
        elif (found := LEVEL.match(rest)) and int(found[1]) <= 100:
            self.good += 1
            self.state["battery_frac"] = int(found[1]) / 100
            self._changes(found[2] or "")
            self._emit()
        else:
            self._findings.problem(line, f"{rest[:40]!r} is no level from 000 to 100; left out")

    def finish(self) -> None:
        """Write down the last state, and what was not used."""
        if self.good and self.rows and self.at_ns[-1] < self._now_ns:
            self._append()
        elif not self.rows:
            self.good = 0
        if self._unknown:
            self._findings.note(0, f"words not known and not used: {listed(sorted(self._unknown))}")
        if self.epoch_unix_ns is not None:
            self._findings.note(0, "times are the phone's local time")

    def _time(self, record: re.Match[str]) -> int | None:
        if record["delta"] == "0":
            return 0
        if record["delta"]:
            found = DELTA.fullmatch(record["delta"])
            if found is None or len(record["delta"]) > 40:
                return None
            days, hours, minutes, seconds, ms = (int(part or 0) for part in found.groups()[1:])
            passed_ms = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + ms
            return None if passed_ms > LONGEST_MS else passed_ms * MS * (-1 if found[1] == "-" else 1)
        return self._dated(record["date"])

    def _dated(self, date: str) -> int | None:
        unix_ns = _unix_ns(f"{self._year}-{date}", "%Y-%m-%d %H:%M:%S.%f")
        if unix_ns is None:
            return None
        self._base_ns = unix_ns if self._base_ns is None else self._base_ns
        if unix_ns - self._base_ns < self._now_ns - HALF_YEAR_NS:
            self._year += 1  # the dates have no year, and January follows December
            return self._dated(date)
        return unix_ns - self._base_ns

    def _command(self, rest: str) -> bool:
        """Return whether a record is not about the battery, and do what it says."""
        if found := CURRENT_TIME.match(rest):
            self._set_clock(found[2])
            if found[1]:
                self._begin_anew()
            return True
        if rest == "START":
            self._begin_anew()
            return True
        if rest == "SHUTDOWN":
            self.state.update(AT_FIRST)
            self._was_off = True
            self._emit()
            return True
        if rest == "*OVERFLOW*":
            self._findings.problem(
                self._line, "the phone's buffer was full: records are missing from here on"
            )
            return True
        return False

    def _begin_anew(self) -> None:
        self.state.update(AT_FIRST)

    def _set_clock(self, text: str) -> None:
        unix_ns = _unix_ns(text, "%Y-%m-%d-%H-%M-%S")
        if unix_ns is None:
            self._findings.problem(self._line, f"{text!r} is no date; not used")
            return
        if self.epoch_unix_ns is None:
            self.epoch_unix_ns = unix_ns - self._now_ns
            return
        moved_ns = unix_ns - (self.epoch_unix_ns + self._now_ns)
        if self._was_off and moved_ns > MOVED_NS:
            self._offset_ns += moved_ns
            self._now_ns += moved_ns
            self._findings.note(
                self._line, f"the phone was off for {span(moved_ns)} longer than its clock ran"
            )
        elif abs(moved_ns) > MOVED_NS:
            self._findings.note(
                self._line, f"the phone's clock was set by {moved_ns / 1e9:+.0f} s; not followed"
            )
        self._was_off = False

    def _changes(self, text: str) -> None:
        words = QUOTED.sub('""', text).partition('""')[0] if text.count('"') % 2 else QUOTED.sub('""', text)
        for word in words.split():
            found = WORD.fullmatch(word)
            if found is None:
                self._findings.problem(self._line, f"{word[:40]!r} is not understood; not used")
            else:
                self._change(found[1], found[2], found[3] or "")

    def _change(self, sign: str, name: str, value: str) -> None:
        if sign and name in FLAGS:
            self.state[FLAGS[name]] = float(sign == "+")
        elif name in NUMBERS and not sign:
            self._figure(name, value)
        elif name in CHOICES and not sign:
            column, meanings = CHOICES[name]
            if value in meanings:
                self.state[column] = meanings[value]
            else:
                self._findings.problem(
                    self._line, f"{name}={value[:40]!r}: expected one of {listed(meanings)}"
                )
        elif name not in NOT_USED and name not in FLAGS:
            self._unknown.add(name[:40])

    def _figure(self, name: str, value: str) -> None:
        column, factor = NUMBERS[name]
        limits = COLUMNS[column]
        figure = int(value) * factor if re.fullmatch(r"-?\d{1,9}", value) else NAN
        if limits.low <= figure <= limits.high:
            self.state[column] = figure
        else:
            self._findings.problem(self._line, f"{name}={value[:40]!r} is not possible; the last value stays")

    def _detail(self, line: int, text: str) -> None:
        """Read the lines between records; the share of time the CPU was busy is the one used."""
        found = PROC_STAT.search(text)
        if found is None:
            return
        busy, idle = sum(int(part[:18]) for part in found.groups()[:-1]), int(found[6][:18])
        if min(int(part[:18]) for part in found.groups()) < 0 or busy + idle == 0:
            self._findings.note(line, "the CPU's times are negative or zero: not used")
        elif self._now_ns > self._load_from_ns:
            self.loads.append((self._load_from_ns, self._now_ns, busy / (busy + idle)))
        self._load_from_ns = self._now_ns

    def _emit(self) -> None:
        if not self.rows or not _same(self.rows[-1], tuple(self.state.values())):
            self._append()

    def _append(self) -> None:
        row = tuple(self.state.values())
        if self.at_ns and self.at_ns[-1] == self._now_ns:
            self.rows[-1] = row
            return
        self.at_ns.append(self._now_ns)
        self.lines.append(self._line)
        self.rows.append(row)


def _unix_ns(text: str, layout: str) -> int | None:
    """Return a date as nanoseconds since 1970, or ``None``."""
    try:
        moment = datetime.strptime(text, layout).replace(tzinfo=UTC)
    except ValueError:
        return None
    return round(moment.timestamp() * 1000) * MS if 1970 <= moment.year < 2100 else None


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))


def _name_counter(columns: dict[str, Floats], findings: Findings) -> None:
    """Call the counter what it is: some phones count the charge taken out, not the charge left."""
    counter = columns.get("charge_mah")
    if counter is None:
        return
    off = columns["plugged"][:-1] == 0
    taken, risen = (np.nansum(np.diff(columns[name])[off]) for name in ("charge_mah", "battery_frac"))
    if taken > 0 and risen <= 0:
        columns["charge_used_mah"] = columns.pop("charge_mah")
        findings.note(0, "the charge counter rises while the battery drains: it counts the charge taken out")


def _fill_load(columns: dict[str, Floats], at_ns: Times, loads: list[tuple[int, int, float]]) -> None:
    """Write the CPU's load into the rows of the time it is the mean of."""
    if not loads:
        return
    values = np.full(len(at_ns), NAN)
    for start_ns, end_ns, load in loads:
        values[(at_ns >= start_ns) & (at_ns < end_ns)] = load
    columns["cpu_load_frac"] = values
