"""Sessions found in a log, fitted, and judged on the part that was not fitted."""

from pathlib import Path

import numpy as np
import pytest

from trimtab_sim.traces import Series, load_series
from trimtab_sim.traces.sessions import (
    OBSERVED,
    Fit,
    SessionModel,
    best_fit,
    distance,
    find_sessions,
    fit_sessions,
    fits,
    split,
)

LOG = Path(__file__).parents[3] / "simulator" / "traces" / "iphone13promax_display_44h.csv.gz"


def test_sessions_of_the_display_log() -> None:
    begins_s, ends_s = find_sessions(load_series(LOG).series)
    lengths = ends_s - begins_s
    assert len(lengths) == 154  # as its publisher's data note counts them
    assert np.median(lengths) == pytest.approx(115, abs=1)
    assert lengths.sum() / 3600 == pytest.approx(10.5, abs=0.05)


def test_the_kept_fit_is_the_fit_of_the_log() -> None:
    sessions = find_sessions(load_series(LOG).series)
    for name, kept, found in zip(
        ("length", "pause"), _parts(OBSERVED), _parts(fit_sessions(*sessions)), strict=True
    ):
        print(f"{name}: {found}")
        assert (kept.name, kept.count, kept.least_s) == (found.name, found.count, found.least_s)
        assert (found.first, found.second) == pytest.approx((kept.first, kept.second), rel=1e-4)
        assert found.distance == pytest.approx(kept.distance, abs=1e-3)
        assert found.distance < 1.36 / np.sqrt(found.count)  # a sample of the fit itself would pass, 19 of 20


def test_the_fit_of_two_thirds_on_the_last_third() -> None:
    """One person's day is not the next: the distance on what was held out is larger, and here it is stated."""
    first, last = split(*find_sessions(load_series(LOG).series), 2 / 3)
    model = fit_sessions(*first)
    held_out = (
        distance(last[1] - last[0], model.length),
        distance(last[0][1:] - last[1][:-1], model.pause),
    )
    print(f"held out: length {held_out[0]:.3f}, pause {held_out[1]:.3f}, of {len(last[0])} sessions")
    assert held_out == pytest.approx((0.174, 0.220), abs=0.002)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("lognormal", 4.0, 1.2), ("weibull", 300.0, 0.6), ("exponential", 50.0, 1.0)],
)
def test_a_fit_finds_what_made_the_sample(name: str, first: float, second: float) -> None:
    sample = Fit(name, first, second, 0.0, 0).draw(np.random.RandomState(1), 5000)
    by_name = {fit.name: fit for fit in fits(sample)}
    assert (by_name[name].first, by_name[name].second) == pytest.approx((first, second), rel=0.04)
    assert by_name[name].distance < 1.36 / np.sqrt(5000)
    best = best_fit(sample)
    assert best.name == name or (name == "exponential" and best.second == pytest.approx(1, abs=0.03))


def test_made_up_sessions_have_the_fits_shares() -> None:
    begins_s, ends_s = OBSERVED.sessions(1, 5_000_000)
    assert distance(ends_s - begins_s, OBSERVED.length) < 0.03
    assert distance(begins_s[1:] - ends_s[:-1], OBSERVED.pause) < 0.03
    again = fit_sessions(begins_s, ends_s)
    assert (again.length.name, again.pause.name) == ("weibull", "lognormal")


def test_a_screen_state_tells_sessions_itself() -> None:
    screen = Series("s", np.array([0, 5, 8, 20, 30]) * 10**9, {"screen_on": np.array([0.0, 1, 0, 1, 1])})
    begins_s, ends_s = find_sessions(screen)
    assert (begins_s.tolist(), ends_s.tolist()) == ([5, 20], [8, 30])
    with pytest.raises(ValueError, match="2 sessions are too few"):
        fit_sessions(begins_s, ends_s)


def _parts(model: SessionModel) -> tuple[Fit, Fit]:
    return model.length, model.pause
