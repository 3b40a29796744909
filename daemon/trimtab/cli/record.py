"""``trimtab record``: write down this machine's battery, memory, load and temperature."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli.output import fail, json_option, print_json, user_errors

if TYPE_CHECKING:
    from trimtab_sim.traces.recorder import Recorder

SETTLE_S = 0.2
"""Time before the first row: the processor's load is a mean since the look before."""
NS_PER_S = 10**9


def _duration(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Return the nanoseconds of ``10s``, ``1h 30min``; refuse anything else."""
    import re

    from trimtab.policy.scalars import duration_ns

    if text is None:
        return None
    if not re.fullmatch(r"(\s*\d+(\.\d+)?\s?(ms|s|min|h|d))+\s*", text) or not duration_ns(text):
        raise click.BadParameter(f"{text!r} is no duration: write 10s, 5min or 1h 30min")
    return duration_ns(text)


@click.command()
@click.option("--every", callback=_duration, default="10s", show_default=True, metavar="DURATION", help="Time between two rows: 500ms, 10s, 1min.")  # fmt: skip
@click.option("--for", "length_ns", callback=_duration, metavar="DURATION", help="How long to record. Default: until interrupted.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE.csv", help="Where to write; a recording that is there is continued.")  # fmt: skip
@json_option
@user_errors
def record(every: int, length_ns: int | None, out: Path, as_json: bool) -> None:
    """Record this machine's battery, memory, load and temperature as a trace.

    Every row is written at once, so a crash costs none; Ctrl-C ends the recording in order. Figures are those
    that the daemon sees, rounded as it rounds them; what no sensor tells stays empty.
    """
    from trimtab_sim.traces import TraceError
    from trimtab_sim.traces.recorder import Recorder

    clock = _Clock()
    try:
        with Recorder(out, clock.now_ns()) as recorder, _until_interrupted() as ended:
            if recorder.mended:
                click.echo(f"{out}: removed half a row that was left at its end", err=True)
            _record(recorder, clock, ended, (every, length_ns))
            rows = recorder.rows
    except TraceError as error:
        fail(str(error))
    if as_json:
        print_json({"file": str(out), "rows": rows})
    else:
        click.echo(f"wrote {rows} rows to {out}")


class _Clock:
    """Unix time that only runs forward: the wall clock at the start, then time passed, asleep too."""

    def __init__(self) -> None:
        self._kind = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._offset_ns = time.time_ns() - time.clock_gettime_ns(self._kind)

    def now_ns(self) -> int:
        return self._offset_ns + time.clock_gettime_ns(self._kind)


def _record(
    recorder: "Recorder", clock: _Clock, ended: threading.Event, plan: tuple[int, int | None]
) -> None:
    """Write a row per interval until the end or an interruption; late rows do not shift later ones."""
    from trimtab.adapters.device import system_sensors
    from trimtab.adapters.sysfs import Batteries
    from trimtab_sim.traces.recorder import recorded_figures

    every_ns, length_ns = plan
    sensors, batteries = system_sensors(), Batteries()
    ended.wait(SETTLE_S)
    began_ns = next_ns = clock.now_ns()
    while not ended.is_set():
        found = batteries.read()
        now_ns = clock.now_ns()
        recorder.write(now_ns, recorded_figures(sensors.read(), found.discharge_mw if found else None))
        if sys.stderr.isatty():
            click.echo(f"\r{recorder.rows} rows", nl=False, err=True)
        next_ns += every_ns * max(1, (now_ns - next_ns) // every_ns + 1)
        if length_ns is not None and next_ns - began_ns > length_ns:
            return
        ended.wait(max(0, next_ns - clock.now_ns()) / NS_PER_S)


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets."""
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
