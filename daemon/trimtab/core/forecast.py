"""What will be asked, and what the device will drain by itself, until the horizon.

Each *flow* (the requests of one stream, the drain) is a count of what came, forgotten at two speeds. What is
expected of the next ``T`` seconds is the mean rate, by hour of the day where days have taught it, and what the present
spell is above or below it, which passes:

    expected(T) = sum over hours  rate[hour] * seconds of T in it  +  (recent - rate[now]) * M * (1 - exp(-T / M))

So a burst counts for what is left of it, and ten silent minutes do not end a day. What stays different from the mean
by more than it is used to, for two spells in a row, is a new regime: the mean starts there. Rates are (count) / (time + 10 s):
with few arrivals little is expected. State stays small: ``MAX_STREAMS`` streams, what comes beyond joins its task's.
"""

from collections.abc import Iterator
from math import exp

from trimtab.core.state import Flow, Forecast, State, Stream
from trimtab.domain.policy import Condition, Policy
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Request

RECENT_S = 600.0
"""A spell, and the memory of the recent rate."""
LASTING_S = 1800.0
"""How long what is above or below the mean is expected to go on (M above)."""
LATE_S = 3 * 3600.0
"""Memory of the mean rate."""
REGIME_SIGMAS = 3.0
REGIME_SPELLS = 2
SPREAD_GAIN = 0.2
"""So fast is learned how much spells differ: as much as their mean at first, later at least by chance (Poisson)."""
PRIOR_S = 10.0
"""So long nothing came, before anything was seen: what few arrivals say about a rate."""
LEAST_S = 0.1
HOUR_S = 3600
HOURS = 24
DAY_KEPT = 0.7
"""What an hour of the day remembers of the same hour a day ago."""
FAITH_S = 1800.0
"""The mean rate counts as much as so many seconds of an hour's own past."""
DRAIN_FAITH_S = 1800.0
"""A horizon is asked for because it can be met: the drain seen counts for half of itself after so long."""
SHORT, SHORT_S = 200.0, 72_000.0
"""A short horizon is soon over: the prior is a two-hundredth of it at most, and as for the drain, seconds squared over so many."""
MAX_GAP_S = 600.0
"""Longer without any event, and the scheduler was not there to see: that time counts for nothing."""
MAX_STREAMS = 64
FLOOR_STEPS = 100
"""Floors that requests set themselves are told apart by whole percents."""


def names_apps(policy: Policy) -> bool:
    """Return whether some rule is for single apps: then their requests are forecast apart."""
    return any(_names_apps(rule.when) for rule in policy.rules)


def _names_apps(condition: Condition) -> bool:
    return bool(condition.apps) or any(_names_apps(part) for part in (*condition.any_of, *condition.none_of))


def note_request(forecast: Forecast, request: Request) -> None:
    """Count a request in its stream."""
    floor_frac = request.min_accuracy_frac
    app = request.app if forecast.by_app else ""
    key = request.task
    if app or floor_frac is not None:
        percent = -1 if floor_frac is None else int(floor_frac * FLOOR_STEPS)
        key = f"{request.task}\n{app}\n{percent}"
    stream = forecast.streams.get(key)
    if stream is None:
        stream = _new_stream(forecast, key, request.task, app, floor_frac)
    stream.flow.fresh += request.batch


def _new_stream(forecast: Forecast, key: str, task: str, app: str, floor_frac: float | None) -> Stream:
    streams = forecast.streams
    if len(streams) >= MAX_STREAMS and key != task:
        key, app, floor_frac = task, "", None
    if key not in streams:
        floor = -1.0 if floor_frac is None else int(floor_frac * FLOOR_STEPS) / FLOOR_STEPS
        streams[key] = Stream(task, app, floor)
    return streams[key]


def pass_time(state: State, now_ns: int) -> None:
    """Let rates forget, and close the hour of the day when it is over."""
    forecast = state.forecast
    elapsed_s = (now_ns - forecast.at_ns) / NS_PER_S
    first, forecast.at_ns = forecast.at_ns < 0, now_ns
    if first or not 0.0 <= elapsed_s <= MAX_GAP_S:
        elapsed_s = 0.0
    recent, late = exp(-elapsed_s / RECENT_S), exp(-elapsed_s / LATE_S)
    forecast.recent_s = forecast.recent_s * recent + RECENT_S * (1.0 - recent)
    forecast.late_s = forecast.late_s * late + LATE_S * (1.0 - late)
    forecast.hour_s += elapsed_s
    forecast.seen_s += elapsed_s
    forecast.spell_s += elapsed_s
    drain = forecast.drain
    if state.device.charging:  # unseen on a charger: taken to go on as before
        drain.fresh += elapsed_s * drain.late / (forecast.late_s + PRIOR_S)
    hour = int(local_s(state, now_ns)) // HOUR_S
    over, forecast.hour = forecast.hour if forecast.hour != hour else -1, hour
    if over >= 0:
        forecast.hours_s = forecast.hours_s or [0.0] * HOURS
        forecast.hours_s[over] = DAY_KEPT * forecast.hours_s[over] + forecast.hour_s
        forecast.hour_s = 0.0
    for flow in flows(forecast):
        fresh = flow.fresh
        flow.recent = flow.recent * recent + fresh
        flow.late = flow.late * late + fresh
        flow.hour += fresh
        flow.spell += fresh
        flow.fresh = 0.0
        if over >= 0:
            _close(flow, over)
        if forecast.spell_s >= RECENT_S:
            _end_spell(forecast, flow)
    if forecast.spell_s >= RECENT_S:
        forecast.spell_s = 0.0
    state.energy.background_mw = max(0.0, drain.recent / (forecast.recent_s + PRIOR_S) * 1e3)


def _end_spell(forecast: Forecast, flow: Flow) -> None:
    """Compare a spell with the mean, and begin the mean anew when two spells in a row say that it is over."""
    mean = _rate_at(forecast, flow, forecast.hour, flow.late / (forecast.late_s + PRIOR_S)) * forecast.spell_s
    off = flow.spell - mean
    if flow.spread == 0.0:
        flow.spread = mean * mean
    limit = REGIME_SIGMAS**2 * max(flow.spread, abs(mean), 1.0)
    side = 0 if off * off <= limit else 1 if off > 0.0 else -1
    flow.streak = flow.streak + side if flow.streak * side > 0 else side
    if abs(flow.streak) >= REGIME_SPELLS:
        rate, flow.streak = (flow.spell + flow.last_spell) / (2.0 * forecast.spell_s), 0
        flow.late, flow.recent = rate * forecast.late_s, rate * forecast.recent_s
    flow.spread += SPREAD_GAIN * (min(off * off, limit) - flow.spread)
    flow.last_spell, flow.spell = flow.spell, 0.0


def flows(forecast: Forecast) -> Iterator[Flow]:
    """Yield every flow."""
    for stream in forecast.streams.values():
        yield stream.flow
    yield forecast.drain


def _close(flow: Flow, hour: int) -> None:
    flow.hours = flow.hours or [0.0] * HOURS
    flow.hours[hour] = DAY_KEPT * flow.hours[hour] + flow.hour
    flow.hour = 0.0


def local_s(state: State, now_ns: int) -> float:
    """Return seconds after local midnight, carried on from the last device reading."""
    return (state.device.local_time_s + (now_ns - state.device_at_ns) / NS_PER_S) % (HOURS * HOUR_S)


def hours_ahead(from_s: float, left_s: float) -> tuple[float, ...]:
    """Return how many of the next ``left_s`` seconds lie in each hour of the day, ``from_s`` after midnight."""
    days, left_s = divmod(left_s, HOURS * HOUR_S)
    ahead = [days * HOUR_S] * HOURS
    hour, within_s = divmod(from_s, HOUR_S)
    hour = int(hour)
    while left_s > 0.0:
        span_s = min(left_s, HOUR_S - within_s)
        ahead[hour % HOURS] += span_s
        left_s, within_s, hour = left_s - span_s, 0.0, hour + 1
    return tuple(ahead)


def expected(forecast: Forecast, flow: Flow, ahead: tuple[float, ...], left_s: float) -> float:
    """Return how much of a flow is expected in the next ``left_s`` seconds, which lie in the hours ``ahead``."""
    prior_s = min(PRIOR_S, left_s / SHORT)
    mean = flow.late / max(forecast.late_s + prior_s, LEAST_S)
    recent = flow.recent / max(forecast.recent_s + prior_s, LEAST_S)
    total = mean * left_s
    if flow.hours:
        total = sum([s * _rate_at(forecast, flow, hour, mean) for hour, s in enumerate(ahead) if s > 0.0])
    now = _rate_at(forecast, flow, forecast.hour, mean)
    total += (recent - now) * LASTING_S * (1.0 - exp(-left_s / LASTING_S))
    return total if total > 0.0 else 0.0


def expected_drain_j(forecast: Forecast, ahead: tuple[float, ...], left_s: float) -> float:
    """Return the joules that the device itself is expected to drain in the next ``left_s`` seconds."""
    faith = forecast.seen_s / max(forecast.seen_s + min(DRAIN_FAITH_S, left_s * left_s / SHORT_S), LEAST_S)
    return faith * expected(forecast, forecast.drain, ahead, left_s)


def _rate_at(forecast: Forecast, flow: Flow, hour: int, mean: float) -> float:
    if not flow.hours:
        return mean
    return (flow.hours[hour] + FAITH_S * mean) / (forecast.hours_s[hour] + FAITH_S)
