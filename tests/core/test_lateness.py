"""Soft deadlines: what a late answer is worth, what that makes candidates worth, and what requests get for it."""

from dataclasses import replace
from math import exp, log
from random import Random

import pytest
from tests.core.world import CORE_0, MS, World

from trimtab.core import events as ev
from trimtab.core.lateness import worth_expected, worth_left
from trimtab.domain.decision import Cause, Outcome, Why
from trimtab.domain.policy import AfterDeadline, Policy, Settings, Worth
from trimtab.policy import PolicyError, load_policy

LINEAR = AfterDeadline(Worth.LINEAR, 100 * MS)
STEEP = AfterDeadline(Worth.EXPONENTIAL, 100 * MS)


def policy(after: AfterDeadline, **settings: object) -> Policy:
    return Policy("p", defaults=Settings(energy_price_per_j=0.001, after_deadline=after, **settings))  # type: ignore[arg-type]


def test_worth_falls_from_one_at_the_deadline_to_nothing_at_the_end() -> None:
    assert [worth_left(LINEAR, late * MS) for late in (-5, 0, 25, 50, 100, 200)] == [
        1.0,
        1.0,
        0.75,
        0.5,
        0.0,
        0.0,
    ]
    assert [worth_left(STEEP, late * MS) for late in (0, 100, 101)] == [1.0, 0.0, 0.0]
    assert worth_left(STEEP, 25 * MS) == pytest.approx((exp(-1) - exp(-4)) / (1 - exp(-4)))
    falling = [worth_left(STEEP, late * MS) for late in range(101)]
    assert falling == sorted(falling, reverse=True)
    assert worth_left(AfterDeadline(), 1) == 0.0, "a hard deadline"


@pytest.mark.parametrize("after", [LINEAR, STEEP])
@pytest.mark.parametrize(("deadline_ms", "median_ms", "sigma"), [(50, 40, 0.3), (50, 90, 0.5), (-20, 30, 0.2), (10, 60, 0.05)])  # fmt: skip
def test_expected_worth_is_the_mean_over_latencies(
    after: AfterDeadline, deadline_ms: float, median_ms: float, sigma: float
) -> None:
    random, draws = Random(1), 40_000
    late = (random.lognormvariate(log(median_ms), sigma) - deadline_ms for _ in range(draws))
    mean = sum(worth_left(after, int(one * MS)) for one in late) / draws
    found = worth_expected(after, (deadline_ms + 100) * MS, 100 * MS, log(median_ms * MS), sigma)
    assert found == pytest.approx(mean, abs=0.006)


def test_a_sure_latency_is_worth_what_the_line_says() -> None:
    """Half way down the line: 50 of 100 ms after the deadline."""
    assert worth_expected(LINEAR, 150.0, 100.0, log(100.0), 1e-4) == pytest.approx(0.5, abs=1e-3)


def test_a_late_but_accurate_answer_can_be_worth_more_than_one_in_time() -> None:
    """Large takes 10 ms: 2 of 100 ms late it is worth 0.95 * 0.98, more than any that is on time."""
    hard = World(policy(AfterDeadline()))
    assert hard.decision(hard.ask(latency_budget_ns=8 * MS)).variant != "large"
    soft = World(policy(LINEAR), explain=True)
    request_id = soft.ask(latency_budget_ns=8 * MS)
    decision = soft.decision(request_id)
    assert (decision.variant, decision.given_up) == ("large", ())
    assert decision.value == pytest.approx(0.95 * 0.98, abs=0.01)
    assert decision.on_time_prob < 0.2, "it says how sure it is to be on time"
    chosen = next(v for v in soft.decided[request_id][-1].verdicts if v.why is Why.CHOSEN)
    assert sum(part.utility for part in chosen.parts) == pytest.approx(decision.value)
    soft.end_stage(request_id)
    result = soft.result(request_id)
    assert (result.outcome, result.on_time) == (Outcome.DONE, False)
    assert result.late_worth_frac == pytest.approx(0.98, abs=0.005)


def test_a_steeper_fall_takes_less_accuracy_for_less_lateness() -> None:
    chosen = []
    for until_ms in (100, 3):
        world = World(policy(replace(LINEAR, until_ns=until_ms * MS)))
        chosen.append(world.decision(world.ask(latency_budget_ns=8 * MS)).variant)
    assert chosen == ["large", "staged"]


@pytest.mark.parametrize(("after", "wait_ms"), [(AfterDeadline(), 30), (LINEAR, 130)])
def test_requests_wait_until_they_are_worth_nothing(after: AfterDeadline, wait_ms: int) -> None:
    world = World(policy(after), processors=(CORE_0,))
    world.ask(latency_budget_ns=1000 * MS)
    second = world.ask(latency_budget_ns=30 * MS)
    assert world.state.live[second].given_up == ()
    assert world.state.live[second].expires_ns - world.now_ns == wait_ms * MS
    world.feed(ev.TimerFired(), wait_ms * MS)
    assert (world.outcome(second), world.result(second).cause) == (Outcome.EXPIRED, Cause.DEADLINE)


def test_on_time_answers_have_no_late_worth() -> None:
    world = World(policy(LINEAR))
    request_id = world.ask(latency_budget_ns=1000 * MS)
    world.end_stage(request_id)
    assert (world.result(request_id).on_time, world.result(request_id).late_worth_frac) == (True, 0.0)


def test_documents_say_how_worth_falls() -> None:
    text = "version: 1\nname: p\ndefaults: {after_deadline: {worth: exponential, until_ms: 250}}\n"
    text += "rules: [{name: strict, when: {charging: true}, then: {after_deadline: worthless}}]\n"
    read = load_policy(text)
    assert read.defaults.after_deadline == AfterDeadline(Worth.EXPONENTIAL, 250 * MS)
    assert read.rules[0].then.after_deadline == AfterDeadline()
    for wrong, found in (("{worth: steep, until_ms: 1}", "expected linear or exponential"), ("soon", "expected worthless"),
                         ("{worth: linear}", "until_ms is missing")):  # fmt: skip
        with pytest.raises(PolicyError, match=found) as caught:
            load_policy(f"version: 1\nname: p\ndefaults: {{after_deadline: {wrong}}}\n", "p.yaml")
        assert str(caught.value).startswith("p.yaml:3:")
