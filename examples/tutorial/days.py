"""Make two days of a phone from what one person's phone recorded: ``python days.py``.

The battery log tells when the phone came off the charger in the morning, the display log when its screen was lit and
how bright. ``NAME-phone.csv.gz`` is what the phone did that day, ``NAME-app.csv.gz`` when the app asked: about once a
second for as long as it was open, which is in every second session with the phone.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab_sim.traces import ArrivalTrace, Series, load_series
from trimtab_sim.traces.generate import within
from trimtab_sim.traces.sessions import find_sessions
from trimtab_sim.traces.store import write_trace

HERE = Path(__file__).resolve().parent
LOG = HERE.parents[1] / "simulator" / "traces" / "iphone13promax_display_44h.csv.gz"
DAYS_H = {"monday": (7.85, 22.85), "tuesday": (32.38, 44.28)}
"""From the charger's end: 15 hours, and as long as the log goes on, in hours of the log."""
EVERY = 2
RATE_PER_S = 1.0
ROW_S = 60
"""At least so often a row tells the phone's state again."""


def main() -> None:
    """Write both files of each day and tell what is in them."""
    log = load_series(LOG).series
    for seed, (name, (begin_h, end_h)) in enumerate(DAYS_H.items(), 1):
        phone, app, lit_s = day(name, log, (begin_h * 3600, end_h * 3600), seed)
        write_trace(phone, HERE / f"{name}-phone.csv.gz")
        write_trace(app, HERE / f"{name}-app.csv.gz")
        told = f"{end_h - begin_h:.1f} h, screen on for {lit_s / 3600:.1f} h, {len(app)} requests"
        sys.stdout.write(f"{name}: {told}\n")


def day(name: str, log: Series, span_s: tuple[float, float], seed: int) -> tuple[Series, ArrivalTrace, float]:
    """Return what the phone did between two times of the log, when the app asked, and for how long it was lit."""
    begins_s, ends_s = find_sessions(log)
    inside = (begins_s >= span_s[0]) & (ends_s <= span_s[1])
    begins_s, ends_s = begins_s[inside] - span_s[0], ends_s[inside] - span_s[0]
    app = within(seed, begins_s[::EVERY], ends_s[::EVERY], RATE_PER_S)
    lit_s = float((ends_s - begins_s).sum())
    return phone(name, log, span_s, (begins_s.round(), ends_s.round())), app, lit_s


def phone(
    name: str,
    log: Series,
    span_s: tuple[float, float],
    sessions_s: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Series:
    """Return a row per change: in sessions the screen is on, as bright as recorded; elsewhere the phone sleeps."""
    begins_s, ends_s = sessions_s
    logged_s = log.at_ns / 1e9 - span_s[0]
    length_s = span_s[1] - span_s[0]
    within_day = logged_s[(logged_s > 0) & (logged_s < length_s)]
    at_s = np.unique(np.concatenate([np.arange(0, length_s, ROW_S), begins_s, ends_s, within_day.round()]))
    lit = np.searchsorted(begins_s, at_s, "right") > np.searchsorted(ends_s, at_s, "right")
    last = np.maximum(np.searchsorted(logged_s, at_s, "right") - 1, 0)
    bright = np.where(lit, log.columns["brightness_frac"][last], 0.0).round(2)
    on = lit.astype(np.float64)
    columns = {"screen_on": on, "brightness_frac": bright, "cpu_running": on}
    return Series(name, (at_s * 1e9).astype(np.int64), columns)


if __name__ == "__main__":
    main()
