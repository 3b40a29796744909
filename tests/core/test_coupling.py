"""What one processor's runs say about the others."""

from math import log

import pytest

from trimtab.core.coupling import error_of, share_of, spread, tie_up
from trimtab.core.estimator import observe, variance_at
from trimtab.core.state import Bias, Estimate

S = 1_000_000_000
SLOW = log(1.8)


class Device:
    """Processors that run one after the other, each with a bias that learns nothing."""

    def __init__(self, **masks: int) -> None:
        self.estimates = {name: Estimate() for name in masks}
        self.now_ns = 0
        tie_up(self.estimates, masks)

    def run(self, name: str, level: float) -> bool:
        self.now_ns += S // 10
        mine = self.estimates[name]
        before = (mine.mean, mine.updated_ns)
        what = observe(mine, Bias(variance=0.0), level, self.now_ns)
        return spread(self.estimates, name, what, before)

    def settle(self, names: tuple[str, ...], level: float = 0.0, rounds: int = 60) -> None:
        for index in range(rounds):
            for name in names:
                self.run(name, level + (0.01 if index % 2 else -0.01))

    def mean(self, name: str) -> float:
        return self.estimates[name].mean


def test_processors_that_share_cores_are_expected_to_leap_together() -> None:
    device = Device(one=0b11, other=0b01, gpu=0b100)
    assert share_of(device.estimates["one"].ties["other"]) == 1.0
    assert share_of(device.estimates["one"].ties["gpu"]) == 0.5
    device.settle(("one", "other", "gpu"))
    for _ in range(2):
        device.run("one", SLOW)
    assert device.mean("one") == pytest.approx(SLOW, abs=0.05)
    assert device.mean("other") == pytest.approx(SLOW, abs=0.05)
    assert device.mean("gpu") == pytest.approx(SLOW / 2, abs=0.05)
    gpu, other = device.estimates["gpu"], device.estimates["other"]
    assert gpu.variance > 0.05 > 10 * other.variance


def test_what_was_heard_is_not_told_again() -> None:
    """Two processors meet the same leap: it counts once, whoever runs first and however often."""
    device = Device(one=1, other=1)
    device.settle(("one", "other"))
    for name in ("one", "other", "other", "one", "one", "other"):
        device.run(name, SLOW)
    assert device.mean("one") == pytest.approx(SLOW, abs=0.03)
    assert device.mean("other") == pytest.approx(SLOW, abs=0.03)
    device.run("one", 0.0)
    assert device.mean("other") == pytest.approx(0.0, abs=0.05)


def test_an_accident_on_one_processor_is_settled_by_a_run_on_another() -> None:
    device = Device(one=1, other=1)
    device.settle(("one", "other"))
    device.run("one", 2.0)
    assert device.mean("other") == pytest.approx(1.0, abs=0.1)
    device.run("other", 0.0)
    assert device.mean("one") == pytest.approx(0.0, abs=0.05)
    assert device.estimates["one"].doubt == 0.0


def test_how_far_processors_move_together_is_learned() -> None:
    """The GPU does not care what happens on the cores; after some leaps it is no longer moved along."""
    device = Device(cpu=1, gpu=2)
    device.settle(("cpu", "gpu"))
    for spell in range(12):
        for _ in range(20):
            device.run("cpu", SLOW if spell % 2 else 0.0)
        device.run("gpu", 0.0)
    tie = device.estimates["gpu"].ties["cpu"]
    assert share_of(tie) < 0.15
    assert error_of(tie) < 0.05
    for _ in range(3):
        device.run("cpu", SLOW)
    assert abs(device.mean("gpu")) < 0.1


def test_one_that_runs_as_expected_vouches_for_those_that_wait() -> None:
    """Uncertainty grows for a minute in full beside nothing, and by a hundredth beside what shares its cores."""
    device, alone = Device(one=1, other=1), Device(other=1)
    for each in (device, alone):
        each.settle(("other",))
    start = device.estimates["other"].variance
    for _ in range(600):
        device.run("one", 0.0)
    now_ns = alone.now_ns + 60 * S
    assert variance_at(alone.estimates["other"], now_ns) - start == pytest.approx(0.018, rel=0.05)
    assert variance_at(device.estimates["other"], device.now_ns) - start < 0.001


def test_a_processor_alone_tells_nobody() -> None:
    device = Device(one=1)
    device.settle(("one",))
    assert device.run("one", SLOW)
    assert device.estimates["one"].ties == {}
