"""Processors elsewhere: private by default, used only in reach, several requests at once."""

from math import exp

import pytest
from tests.core.world import MIB, MS, PROCESSORS, PROFILES, SMALL, World, family, full, variant

from trimtab.core import events as ev
from trimtab.core.lifecycle import IllegalEventError
from trimtab.core.links import MEMORY_S, PRIOR_S, PRIOR_SHARE, note_link, reachable_share, safe_share
from trimtab.core.state import Link
from trimtab.domain.decision import Cause, Outcome, Why
from trimtab.domain.family import Profile
from trimtab.domain.policy import Change, Policy, Settings, TaskSettings
from trimtab.domain.processor import REMOTE, Processor
from trimtab.domain.quantities import NS_PER_S

BEST = variant("best", full(0.99), accuracy=0.99)
OPEN = Policy("open", defaults=Settings(energy_price_per_j=0.001, allow_remote=True))
HOUR_NS = 3600 * NS_PER_S


def server(concurrent: int = 0) -> Processor:
    """Return a server 20 ms away that charges a dollar per second of its own time."""
    return Processor("cloud", REMOTE, (), 1, "far", REMOTE, 20 * MS, usd_per_ms=1e-3, concurrent=concurrent)


def far(name: str = "best", run_ms: int = 30) -> Profile:
    """Return what a variant takes on the server: nothing of the device's memory."""
    return Profile(name, "cloud", (run_ms * MS,), 0.05, (100.0,), 5 * MS, 0.0, 0)


def world(policy: Policy = OPEN, concurrent: int = 0, **more: object) -> World:
    """Return a world whose most accurate variant only the server has."""
    both = family(SMALL, BEST)
    profiles = (*[p for p in PROFILES if p.variant == "small"], far())
    made = World(
        policy,
        families=((both, profiles),),
        processors=(*PROCESSORS, server(concurrent)),
        load_all=False,
        **more,  # type: ignore[arg-type]
    )
    made.ask("warm", latency_budget_ns=1000 * MS)
    made.finish_loads(resident_bytes=0)
    if "warm" in made.runs:
        made.end_stage("warm")
    return made


def test_nothing_leaves_the_device_unless_allowed() -> None:
    it = world(Policy("plain", defaults=Settings(energy_price_per_j=0.001)), explain=True)
    asked = it.ask()
    assert it.runs[asked].processor != "cloud"
    verdicts = it.decided[asked][-1].verdicts
    assert [v.why for v in verdicts if v.candidate == "best@cloud"] == [Why.PRIVATE]


def test_one_task_may_be_kept_at_home() -> None:
    kept = TaskSettings("t", Change(allow_remote=False))
    it = world(Policy("mixed", defaults=OPEN.defaults, tasks=(kept,)))
    assert it.runs[it.ask()].processor != "cloud"


def test_the_server_answers_when_it_is_allowed_and_tells_what_it_charged() -> None:
    it = world()
    asked = it.ask()
    run = it.runs[asked]
    assert (run.processor, run.budget_ns) == ("cloud", 100 * MS)
    assert it.decision(asked).cost_usd == pytest.approx(0.010)
    del it.runs[asked]
    it.feed(ev.StageFinished(asked, 0, 30 * MS, 100.0, 0.9, cost_usd=0.011), 30 * MS)
    assert it.result(asked).cost_usd == 0.011
    assert it.result(asked).processor == "cloud"


def test_out_of_reach_requests_are_served_here_and_back_in_reach_there() -> None:
    it = world()
    it.feed(ev.ConnectivityChanged("cloud", reachable=False))
    here = it.ask()
    assert it.runs[here].processor != "cloud"
    it.end_stage(here)
    it.feed(ev.ConnectivityChanged("cloud", reachable=True, round_trip_ns=12 * MS))
    assert it.runs[it.ask()].processor == "cloud"
    assert it.state.links["cloud"].round_trip_ns == 12 * MS


def test_a_request_whose_link_breaks_is_answered_here_and_no_variant_rests_for_it() -> None:
    it = world()
    asked = it.ask()
    it.fail(asked, "link")
    assert it.runs[asked].processor != "cloud"
    assert not it.state.rests
    it.end_stage(asked)
    assert it.outcome(asked) is Outcome.DONE
    assert it.runs[it.ask()].processor != "cloud"


def test_a_load_whose_link_breaks_lets_nothing_rest() -> None:
    it = World(
        OPEN,
        families=((family(SMALL, BEST), (*[p for p in PROFILES if p.variant == "small"], far())),),
        processors=(*PROCESSORS, server()),
        load_all=False,
    )
    asked = it.ask(variant="best", latency_budget_ns=1000 * MS)
    load = it.loads.pop()
    it.feed(ev.LoadFailed(load.task, load.variant, load.pool, "no route", "link"), MS)
    assert it.outcome(asked) is Outcome.FAILED
    assert not it.state.rests
    again = it.ask(variant="best")
    assert it.result(again).cause is Cause.GOALS


def test_a_server_takes_any_number_of_requests_at_once() -> None:
    it = world()
    asked = [it.ask() for _ in range(20)]
    assert {it.runs[one].processor for one in asked} == {"cloud"}
    assert all(it.decision(one).wait_ns == 0 for one in asked)
    for one in asked:
        it.end_stage(one)
    assert not it.state.away


def test_a_server_that_takes_two_lets_the_third_wait_for_the_first_to_end() -> None:
    it = world(concurrent=2)
    first, second, third = (it.ask(variant="best", latency_budget_ns=500 * MS) for _ in range(3))
    assert set(it.runs) == {first, second}
    assert it.decision(third).wait_ns == pytest.approx(30 * MS, rel=0.05)
    it.end_stage(first)
    assert it.runs[third].processor == "cloud"


def test_what_a_server_holds_is_never_evicted_for_room() -> None:
    it = world()
    it.feed(
        ev.PolicyReplaced(Policy("tight", defaults=OPEN.defaults, memory=type(OPEN.memory)(limit_bytes=MIB)))
    )
    assert not [one for one in it.evictions if one.variant == "best"]


def test_a_last_resort_is_never_on_a_server() -> None:
    it = World(
        OPEN,
        families=((family(BEST, last_resort="best"), (far(),)),),
        processors=(*PROCESSORS, server()),
        load_all=False,
    )
    assert not it.loads
    assert it.state.residences == {}


def test_only_servers_have_links() -> None:
    it = world()
    with pytest.raises(IllegalEventError, match="no server is called 'cpu:0'"):
        it.feed(ev.ConnectivityChanged("cpu:0", reachable=False))
    asked = it.ask(variant="small")
    with pytest.raises(IllegalEventError, match="is no server"):
        it.fail(asked, "link")


def test_the_share_in_reach_by_hand() -> None:
    """An hour up and half an hour down, beside a prior of half an hour at 90 %; a day is remembered."""
    link = Link(since_ns=0)
    assert reachable_share(link, 0) == pytest.approx(PRIOR_SHARE)
    note_link(link, reachable=False, round_trip_ns=0, now_ns=HOUR_NS)
    up_s = MEMORY_S * (1 - exp(-3600 / MEMORY_S)) * exp(-1800 / MEMORY_S)
    down_s = MEMORY_S * (1 - exp(-1800 / MEMORY_S))
    expected = (PRIOR_S * PRIOR_SHARE + up_s) / (PRIOR_S + up_s + down_s)
    assert reachable_share(link, HOUR_NS + HOUR_NS // 2) == pytest.approx(expected)
    assert expected == pytest.approx(0.721, abs=0.001)


def test_outages_are_planned_for_with_caution_by_hand() -> None:
    """A tenth of the time, 300 s each: of the next 10 h 3,600 s, of a variance of 2 x 0.1 x 300 x 36,000 (1,470 s)."""
    link = Link(since_ns=0)
    assert safe_share(link, 0, 36_000.0) == pytest.approx(1 - (3600 + 2 * 1469.7) / 36_000, abs=1e-4)
    assert safe_share(link, 0, 360_000.0) > safe_share(link, 0, 36_000.0)
    assert safe_share(link, 0, 60.0) == 0.0
    note_link(link, reachable=False, round_trip_ns=0, now_ns=HOUR_NS)
    note_link(link, reachable=True, round_trip_ns=0, now_ns=HOUR_NS + 60 * NS_PER_S)
    assert link.outages == 1.0 * exp(-60 / MEMORY_S)
