"""What must hold after every event; run after each step in tests and simulation, sampled on the device."""

from math import isfinite

from trimtab.core.fairness import MAX_APPS
from trimtab.core.prices import rations
from trimtab.core.queueing import resources
from trimtab.core.residency import last_resort_key
from trimtab.core.state import Holding, Phase, State
from trimtab.core.tails import BINS


def check(state: State) -> None:
    """Raise ``AssertionError`` naming the first invariant that does not hold."""
    _queue(state)
    _timer(state)
    _processors(state)
    _estimates(state)
    _residences(state)
    _energy(state)
    _notes(state)
    _shares(state)
    assert not (state.drained and state.live), "drained with requests in flight"


def _shares(state: State) -> None:
    assert len(state.shares) <= MAX_APPS, f"accounts of {len(state.shares)} apps"
    odd = [app for app, one in state.shares.items() if not (isfinite(one.used_ns) and one.used_ns >= 0.0)]
    assert not odd, f"what {odd} used is no duration"


def _queue(state: State) -> None:
    assert state.queue == sorted(state.queue), "the queue is out of order"
    queued = {entry[3] for entry in state.queue}
    assert len(queued) == len(state.queue), "a request is queued twice"
    waiting = {k for k, live in state.live.items() if live.phase in (Phase.QUEUED, Phase.LOADING)}
    assert queued == waiting, f"queue and phases differ: {queued ^ waiting}"


def _timer(state: State) -> None:
    due = [state.live[entry[3]].expires_ns for entry in state.queue]
    armed = state.timer_ns is not None and (not due or state.timer_ns <= min(due))
    assert armed or not due, "nothing wakes the scheduler for the next expiry"


def _processors(state: State) -> None:
    assert list(state.estimates) == list(state.processors), "estimates and processors differ"
    busy = [r for name in state.running for r in resources(state.processors[name])]
    assert len(busy) == len(set(busy)), f"a core runs two requests: {sorted(busy)}"
    for name, processor in state.processors.items():
        away = sum(o.processor == name for o in state.away.values())
        assert away <= (processor.concurrent or away), f"{name} runs {away} requests at once"
    assert list(state.links) == [p.name for p in state.processors.values() if p.is_remote], (
        "links and servers"
    )
    ids = sorted(o.request_id for o in (*state.running.values(), *state.away.values()))
    runs = sorted(k for k, x in state.live.items() if x.phase in (Phase.RUNNING, Phase.ABANDONED))
    assert ids == runs, f"occupied processors {ids} and running requests {runs} differ"


def _estimates(state: State) -> None:
    assert list(state.energy_estimates) == list(state.processors), "levels of energy and processors differ"
    for name in state.processors:
        for one in (state.estimates[name], state.energy_estimates[name]):
            assert one.noise > 0.0, f"{name} has no noise"
            assert one.variance > 0.0, f"{name} is surer than sure"
            assert len(one.tail.counts) in (0, BINS), f"{name} has {len(one.tail.counts)} bins"
            assert one.ties.keys() == state.processors.keys() - {name}, (
                f"the ties of {name} are not to all others"
            )


def _residences(state: State) -> None:
    users = dict.fromkeys(state.residences, 0)
    for live in state.live.values():
        assert live.residence in users, f"{live.request.request_id} counts on {live.residence}, not there"
        users[live.residence] += 1
        holding = state.residences[live.residence].holding
        assert holding is not Holding.EVICTING, f"{live.residence} leaves under a request"
        assert live.phase is Phase.LOADING or holding is Holding.RESIDENT, f"{live.residence} is not loaded"
        assert live.phase is not Phase.LOADING or holding is Holding.LOADING, f"{live.residence} is loaded"
    for key, residence in state.residences.items():
        assert residence.users == users[key], f"{key} has {residence.users} users, not {users[key]}"
    for task in state.families:
        key = last_resort_key(state, task)
        known = key in state.residences or key in state.rests or rations(state)
        assert not key or known, f"last resort {key} is gone"


def _energy(state: State) -> None:
    committed_uj = sum(live.committed_uj for live in state.live.values())
    assert committed_uj == state.energy.committed_uj, "energy set aside and requests in flight differ"
    committed_nusd = sum(live.committed_nusd for live in state.live.values())
    assert committed_nusd == state.money.committed_nusd, "money set aside and requests in flight differ"


def _notes(state: State) -> None:
    known = sum(
        len(one.variant(profile.variant).exit_rules)
        for task, one in state.families.items()
        for profile in state.profiles.get(task, ())
        if any(variant.name == profile.variant for variant in one.variants)
    )
    assert len(state.notes) <= 4 * known + 16, f"the strategy remembers {len(state.notes)} numbers"
    assert all(isfinite(number) for number in state.notes.values()), "a note is no number"
