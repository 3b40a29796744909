"""SlackFit's buckets, against figures worked by hand."""

from tests.core.world import MS, World
from tests.strategies.situations import GPU, Asked, entry

from trimtab.domain.policy import Policy, Settings
from trimtab.strategies.slackfit import SlackFit, head_slack_ns

QUICK, MIDDLE, SLOW = entry("quick", 5.0, 0.6), entry("middle", 20.0, 0.7), entry("slow", 60.0, 0.8)
ALL = (QUICK, MIDDLE, SLOW)


def test_the_most_accurate_that_fits() -> None:
    assert Asked(SlackFit(), *ALL, budget_ms=30).ask() == ("middle@cpu", False)
    assert Asked(SlackFit(), *ALL, budget_ms=60).ask() == ("slow@cpu", False)


def test_a_batch_takes_as_long_as_its_samples() -> None:
    assert Asked(SlackFit(), *ALL, budget_ms=60, batch=3).ask() == ("middle@cpu", False)


def test_waiting_takes_from_the_slack() -> None:
    assert Asked(SlackFit(), *ALL, budget_ms=60, waits_ms=(1.0, 0.0)).ask() == ("middle@cpu", False)
    other = entry("slow", 50.0, 0.8, processor=GPU)
    assert Asked(SlackFit(), *ALL, other, budget_ms=60, waits_ms=(1.0, 0.0)).ask() == ("slow@gpu", False)


def test_the_fastest_when_nothing_fits() -> None:
    assert Asked(SlackFit(), *ALL, budget_ms=4).ask() == ("quick@cpu", True)


def test_the_head_of_the_queue_sets_the_slack_for_those_behind_it() -> None:
    world = World(
        Policy("p", strategy="slackfit", defaults=Settings(latency_budget_ns=1000 * MS)),
        processors=World().processors[:1],
    )
    world.ask("running")
    assert head_slack_ns(world.state, world.now_ns) is None
    world.ask("head", latency_budget_ns=18 * MS)
    slack = head_slack_ns(world.state, world.now_ns)
    assert slack is not None
    assert slack == 18 * MS - int(world.state.overhead_ns)
    assert world.decision("running").variant == "large"
    patient = world.ask("patient", latency_budget_ns=900 * MS)
    assert world.decision(patient).variant == "large", "10 ms fit into the head's 18 ms"
    world.end_stage("running", factor=1.2)
    assert world.decision("head").variant == "staged", "6 ms are left"
    world.end_stage("head", confidence=1.0)
    assert [d.decision.variant for d in world.decided["patient"]] == ["large", "large"]
