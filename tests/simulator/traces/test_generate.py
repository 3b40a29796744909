"""Made-up arrivals: the same seed, the same bytes; rates, spread and hours as asked."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from trimtab_sim.traces import ArrivalTrace, csv_bytes, generate
from trimtab_sim.traces.sessions import OBSERVED

Make = Callable[[int], ArrivalTrace]

MAKERS: dict[str, tuple[Make, str]] = {
    "poisson": (lambda seed: generate.poisson(seed, 2.0, 5_000), "51c6dfd34e4d4e39"),
    "gamma": (lambda seed: generate.gamma(seed, 2.0, 3.0, 5_000), "1540c48d18079969"),
    "diurnal": (
        lambda seed: generate.diurnal(seed, [0.0] * 8 + [0.1] * 16, 200_000, 7.5),
        "94cbebdd2a40f0f2",
    ),
    "bursts": (lambda seed: generate.bursts(seed, (0.1, 20.0), (60.0, 5.0), 10_000), "876aa4357a97363b"),
    "sessions": (lambda seed: OBSERVED.arrivals(seed, 0.5, 200_000), "8a2beb4fd8a6182f"),
}


def gaps_s(trace: ArrivalTrace) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.diff(trace.at_ns) / 1e9


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_gives_the_same_bytes_on_every_machine(name: str) -> None:
    make, digest = MAKERS[name]
    assert hashlib.sha256(csv_bytes(make(1))).hexdigest()[:16] == digest
    assert csv_bytes(make(2)) != csv_bytes(make(1))


@pytest.mark.parametrize("name", MAKERS)
def test_times_are_in_order_and_within_the_duration(name: str) -> None:
    trace = MAKERS[name][0](3)
    assert len(trace) > 1000
    assert trace.at_ns[0] >= 0
    assert trace.at_ns[-1] < 200_000 * 10**9
    assert (np.diff(trace.at_ns) >= 0).all()


def test_poisson_and_gamma_have_rate_and_spread() -> None:
    for trace, cv in ((generate.poisson(1, 5.0, 20_000), 1.0), (generate.gamma(1, 5.0, 0.3, 20_000), 0.3),
                      (generate.gamma(1, 5.0, 4.0, 80_000), 4.0)):  # fmt: skip
        gaps = gaps_s(trace)
        assert 1 / gaps.mean() == pytest.approx(5.0, rel=0.03)
        assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


def test_a_day_has_its_hours() -> None:
    rates = [0.0] * 8 + [1.0] * 8 + [0.25] * 8
    trace = generate.diurnal(1, rates, 10 * 86_400, start_hour=22.5)
    hour = (trace.at_ns / 3.6e12 + 22.5) % 24
    counts = np.histogram(hour, range(25))[0] / (10 * 3600)
    assert (counts[:8] == 0).all()
    assert counts[8:16] == pytest.approx([1.0] * 8, abs=0.03)
    assert counts[16:] == pytest.approx([0.25] * 8, abs=0.03)


def test_bursts_have_their_share() -> None:
    trace = generate.bursts(1, (0.5, 20.0), (30.0, 3.0), 400_000)
    assert len(trace) / 400_000 == pytest.approx((0.5 * 30 + 20 * 3) / 33, rel=0.03)
    per_second = np.bincount((trace.at_ns // 10**9).astype(np.int64))
    assert per_second.var() / per_second.mean() > 3  # a Poisson process has 1


def test_sessions_are_where_requests_are() -> None:
    begins_s, ends_s = OBSERVED.sessions(5, 500_000)
    trace = OBSERVED.arrivals(5, 0.5, 500_000)
    at_s = trace.at_ns / 1e9
    place = np.searchsorted(begins_s, at_s, side="right") - 1
    assert (at_s <= ends_s[place] + 1e-6).all()
    assert len(trace) == pytest.approx(0.5 * (ends_s - begins_s).sum(), rel=0.05)
    screen = OBSERVED.screen(5, 500_000)
    assert screen.at("screen_on", round((begins_s[3] + 0.001) * 1e9)) == 1
    assert screen.at("screen_on", round((ends_s[3] + 0.001) * 1e9)) == 0


def test_labels_and_merging() -> None:
    one = generate.labelled(generate.poisson(1, 1.0, 50), {"task": "faces"}, {"latency_budget_ns": 5e6})
    two = generate.labelled(generate.poisson(2, 2.0, 50), {"task": "words", "app": "notes"})
    both = generate.merged("both", [one, two])
    assert len(both) == len(one) + len(two)
    assert {*both.labels["task"]} == {"faces", "words"}
    faces = np.array([word == "faces" for word in both.labels["task"]])
    assert both.at_ns[faces].tolist() == one.at_ns.tolist()
    assert (both.columns["latency_budget_ns"][faces] == 5e6).all()
    assert np.isnan(both.columns["latency_budget_ns"][~faces]).all()
    assert {both.labels["app"][row] for row in np.flatnonzero(faces).tolist()} == {""}


@pytest.mark.parametrize(
    "make",
    [
        lambda: generate.poisson(1, 0.0, 10),
        lambda: generate.poisson(1, 1.0, float("nan")),
        lambda: generate.poisson(1, 1e8, 1e9),
        lambda: generate.gamma(1, 1.0, 0.0, 10),
        lambda: generate.diurnal(1, [1.0] * 23, 10),
        lambda: generate.diurnal(1, [1.0] * 24, 10, start_hour=24),
        lambda: generate.bursts(1, (-1.0, 2.0), (1.0, 1.0), 10),
        lambda: OBSERVED.sessions(1, -1.0),
    ],
)
def test_what_is_not_possible_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"possible|expected|more than"):
        make()
