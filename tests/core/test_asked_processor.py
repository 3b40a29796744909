"""A request may ask for a processor: no other serves when strict, another one may where that one cannot."""

import pytest
from tests.core.world import MS, World

from trimtab.domain.decision import Cause, Outcome, Why
from trimtab.domain.policy import Filter, Policy, Settings


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("asked", "served"), [("cpu:1", "cpu:1"), ("cpu:0-*", "cpu:0-1"), ("*", "cpu:0")])
def test_the_processor_asked_for_serves(asked: str, served: str, strict: bool) -> None:
    it = World()
    request = it.ask(processor=asked, strict=strict, variant="small", latency_budget_ns=500 * MS)
    it.finish_loads()
    assert it.runs[request].processor == served
    it.end_stage(request)
    assert it.result(request).processor == served


def test_another_one_serves_where_it_cannot_meet_the_goals() -> None:
    """On one core the large variant takes 10 ms, on both 6."""
    it = World()
    it.ask("warm", processor="cpu:0-1", strict=True, variant="large", latency_budget_ns=500 * MS)
    it.finish_loads()
    it.end_stage("warm")
    request = it.ask(processor="cpu:0", variant="large", latency_budget_ns=9 * MS)
    assert it.runs[request].processor == "cpu:0-1"
    assert it.decision(request).given_up == ()


def test_strict_gives_goals_up_rather_than_the_processor() -> None:
    it = World(explain=True)
    request = it.ask(processor="cpu:0", strict=True, variant="large", latency_budget_ns=9 * MS)
    assert it.runs[request].processor == "cpu:0"
    assert it.decision(request).given_up != ()
    whys = {v.candidate: v.why for v in it.decided[request][-1].verdicts}
    assert whys["large@cpu:1"] is Why.NOT_ASKED


@pytest.mark.parametrize(("strict", "outcome"), [(True, Outcome.REJECTED), (False, None)])
def test_a_processor_that_is_not_there(strict: bool, outcome: Outcome | None) -> None:
    it = World()
    request = it.ask(processor="gpu:*", strict=strict)
    if outcome is None:
        assert it.runs[request].processor.startswith("cpu")
    else:
        assert it.outcome(request) is outcome
        assert it.result(request).cause is Cause.GOALS
        assert "asked for another processor" in it.result(request).reason


def test_the_policy_still_says_which_processors_may_be_used() -> None:
    it = World(Policy("p", defaults=Settings(processors=Filter(deny=("cpu:1",)))))
    assert it.outcome(it.ask(processor="cpu:1", strict=True)) is Outcome.REJECTED
    assert it.runs[it.ask(processor="cpu:1")].processor != "cpu:1"


def test_after_a_failure_a_strict_request_stays_where_it_was_asked() -> None:
    it = World()
    request = it.ask(processor="cpu:0-1", strict=True, latency_budget_ns=500 * MS)
    it.finish_loads()
    first = it.runs[request].variant
    it.fail(request)
    it.finish_loads()
    assert (it.runs[request].variant, it.runs[request].processor) != (first, "cpu:0-1")
    assert it.runs[request].processor == "cpu:0-1"
