"""A strategy with parameters becomes the one text that names it."""

import pytest

from trimtab.policy import Inventory, check_against, load_policy
from trimtab.strategies import strategy_named

HEAD = "version: 1\nname: p\nstrategy: "


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("mcdnn", "mcdnn"),
        ("band:slack@int8", "band:slack@int8"),
        ("tiers:50%=large,else=small", "tiers:50%=large,else=small"),
        ("alert:0.99", "alert:0.99"),
        ("random:7", "random:7"),
        ("{name: leo}", "leo"),
        ("{name: static, variant: int8, processor: 'cpu:0'}", "static:int8@cpu:0"),
        ("{name: random, seed: 7}", "random:7"),
        ("{name: random}", "random"),
        ("{name: alert, confidence: 99 %}", "alert:0.99"),
        ("{name: deepx, error: 0.025}", "deepx:0.025"),
        ("{name: band, rule: heft}", "band:heft"),
        ("{name: band, rule: heft, variant: int8}", "band:heft@int8"),
        ("{name: tiers, else: small}", "tiers:else=small"),
        (
            '{name: tiers, above: {50 %: large, 0.2: "m*"}, else: small}',
            "tiers:0.5=large,0.2=m*,else=small",
        ),
    ],
)
def test_a_mapping_says_the_same_as_a_text(written: str, text: str) -> None:
    policy = load_policy(HEAD + written)
    assert policy.strategy == text
    strategy_named(policy.strategy)


@pytest.mark.parametrize(
    ("written", "warnings"),
    [
        ("band:slack@big", []),
        ("band:slack@bog", ["no task has a variant 'bog'; did you mean big?"]),
        ("tiers:0.5=b*,else=tiny", ["no task has a variant 'tiny'; known here: big, small"]),
        ("{name: tiers, above: {50 %: large}, else: small}", ["no task has a variant 'large'; known here: big, small"]),
        ("alert", []),
    ],
)  # fmt: skip
def test_names_that_a_device_does_not_have_are_warned_of(written: str, warnings: list[str]) -> None:
    inventory = Inventory({"t": ("big", "small")}, ("cpu:0",))
    found = check_against(load_policy(HEAD + written), inventory)
    assert [problem.message for problem in found] == warnings
