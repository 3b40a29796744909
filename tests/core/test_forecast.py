"""What is expected until the horizon: rates that last, spells that pass, hours that days have taught."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.core.forecast import (
    DAY_KEPT,
    FAITH_S,
    LATE_S,
    MAX_GAP_S,
    MAX_STREAMS,
    PRIOR_S,
    RECENT_S,
    expected,
    hours_ahead,
    names_apps,
    note_request,
    pass_time,
)
from trimtab.core.state import Flow, Forecast, State
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Change, Condition, Policy, Rule
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request

HOUR_S = 3600


def lived(rates_per_s: list[float], step_s: int = 60) -> State:
    """Return the state after requests came at each rate for an hour, from midnight on."""
    state = State(device=DeviceState(local_time_s=0))
    pass_time(state, 0)
    now_s = 0
    for rate in rates_per_s:
        for _ in range(HOUR_S // step_s):
            for _ in range(round(rate * step_s)):
                note_request(state.forecast, Request("r", "t"))
            now_s += step_s
            pass_time(state, now_s * NS_PER_S)
    return state


def expect(state: State, left_s: float) -> float:
    from_s = state.forecast.at_ns / NS_PER_S % (24 * HOUR_S)
    flow = state.forecast.streams["t"].flow
    return expected(state.forecast, flow, hours_ahead(from_s, left_s), left_s)


def test_a_steady_rate_goes_on() -> None:
    assert expect(lived([0.5] * 5), 36_000.0) == pytest.approx(18_000.0, rel=0.03)


def test_ten_silent_minutes_do_not_end_a_day() -> None:
    state = lived([0.5] * 3)
    before = expect(state, 36_000.0)
    pass_time(state, state.forecast.at_ns + 600 * NS_PER_S)
    assert expect(state, 36_000.0) == pytest.approx(before, rel=0.15)


def test_a_burst_counts_for_what_is_left_of_it() -> None:
    """One arrival a second for a while, by hand: mean 0.1, recent 1, so 0.9 x 1800 s more than the mean says."""
    forecast = Forecast(0, RECENT_S - PRIOR_S, LATE_S - PRIOR_S)
    flow = Flow(recent=RECENT_S, late=0.1 * LATE_S)
    far, near = 72_000.0, 2000.0
    assert expected(forecast, flow, (), far) == pytest.approx(7200.0 + 1620.0, rel=1e-6)
    spell = 0.9 * 1800.0 * (1.0 - exp(-10 / 9))
    assert expected(forecast, flow, (), near) == pytest.approx(200.0 + spell)


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.1), (0.2, 0.6)])
def test_a_new_regime_is_taken_over_within_half_an_hour(before: float, after: float) -> None:
    state = lived([before] * 5)
    for minute in range(1, 31):
        for _ in range(round(after * 60)):
            note_request(state.forecast, Request("r", "t"))
        pass_time(state, (5 * HOUR_S + minute * 60) * NS_PER_S)
    assert expect(state, 36_000.0) == pytest.approx(after * 36_000.0, rel=0.25)


def test_bursts_are_no_new_regime() -> None:
    """A busy hour and a silent one in turn: after a day, nobody takes the fourth silence for the end."""
    state = lived([1.0, 0.0] * 8)
    assert expect(state, 24 * HOUR_S) > 0.3 * 24 * HOUR_S


def test_few_arrivals_promise_little() -> None:
    state = State()
    pass_time(state, 0)
    note_request(state.forecast, Request("r", "t"))
    pass_time(state, NS_PER_S)
    assert expect(state, 36_000.0) < 36_000.0 / PRIOR_S


def test_days_teach_the_hours() -> None:
    """Two days with requests from 20:00 to 21:00 only: on the third, at 19:00, they are expected."""
    evening = [0.0] * 20 + [1.0] + [0.0] * 3
    state = lived(evening * 2 + [0.0] * 19)
    seen = HOUR_S * (1.0 + DAY_KEPT)
    share = seen / (seen + FAITH_S)
    assert expect(state, 2 * HOUR_S) == pytest.approx(HOUR_S * share, rel=0.1)
    assert expect(state, HOUR_S) < 100.0


def test_time_that_nobody_saw_counts_for_nothing() -> None:
    state = lived([0.5] * 3)
    late_s = state.forecast.late_s
    pass_time(state, state.forecast.at_ns + int((MAX_GAP_S + 1) * NS_PER_S))
    assert state.forecast.late_s == late_s


def test_drain_goes_on_as_before_on_the_charger() -> None:
    state = State(device=DeviceState(0.5, 1000.0, charging=True))
    state.forecast = Forecast(
        0, RECENT_S - PRIOR_S, LATE_S - PRIOR_S, drain=Flow(recent=RECENT_S, late=LATE_S)
    )
    for minute in range(1, 600):
        pass_time(state, minute * 60 * NS_PER_S)
    assert state.energy.background_mw == pytest.approx(1000.0, rel=0.1)


@given(st.floats(0, 86_399), st.floats(0, 300_000))
def test_hours_ahead_add_up(from_s: float, left_s: float) -> None:
    ahead = hours_ahead(from_s, left_s)
    assert len(ahead) == 24
    assert sum(ahead) == pytest.approx(left_s, abs=1e-3)
    assert min(ahead) >= 0.0


def test_streams_are_told_apart_and_bounded() -> None:
    forecast = Forecast(by_app=True)
    note_request(forecast, Request("r", "t", app="camera"))
    note_request(forecast, Request("r", "t", app="camera", min_accuracy_frac=0.931))
    note_request(forecast, Request("r", "t", batch=3))
    assert [(s.app, s.floor_frac, s.flow.fresh) for s in forecast.streams.values()] == [
        ("camera", -1.0, 1.0),
        ("camera", 0.93, 1.0),
        ("", -1.0, 3.0),
    ]
    for number in range(10 * MAX_STREAMS):
        note_request(forecast, Request("r", "t", app=str(number)))
    assert len(forecast.streams) <= MAX_STREAMS
    assert sum(s.flow.fresh for s in forecast.streams.values()) == 5.0 + 10 * MAX_STREAMS, (
        "nobody is forgotten"
    )


def test_apps_are_told_apart_only_where_a_rule_names_one() -> None:
    plain, inner = Condition(tasks=("t",)), Condition(none_of=(Condition(apps=("a",)),))
    assert not names_apps(Policy("p", rules=(Rule("r", plain, Change()),)))
    assert names_apps(Policy("p", rules=(Rule("r", plain, Change()), Rule("s", inner, Change()))))
