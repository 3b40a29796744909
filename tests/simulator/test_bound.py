from itertools import product
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab_sim.bound import SLOPE_STEP, Curve, HorizonBound, Kind, two_budget_bound

accuracies = st.floats(0.0, 1.0)
energies = st.one_of(st.just(0.0), st.just(inf), st.floats(1e-3, 1e6))
rows = st.lists(st.tuples(accuracies, energies), min_size=1, max_size=4)
"""One request's offers."""


def curve_of(requests: list[list[tuple[float, float]]], exact_segments: int = 1 << 17) -> Curve:
    bound = HorizonBound(exact_segments)
    for offers in requests:
        bound.add([accuracy for accuracy, _ in offers], [energy for _, energy in offers])
    return bound.curve()


def best_choice(requests: list[list[tuple[float, float]]], budget_uj: float) -> float:
    """Try every choice of one offer or none per request; return the highest mean accuracy that is paid for."""
    best = 0.0
    for choice in product(*([(0.0, 0.0), *offers] for offers in requests)):
        if sum(energy for _, energy in choice) <= budget_uj:
            best = max(best, sum(accuracy for accuracy, _ in choice))
    return best / len(requests)


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4), st.floats(0.0, 2e6))
def test_no_choice_beats_the_limit_and_the_limit_is_one_request_away(
    requests: list[list[tuple[float, float]]], budget_uj: float
) -> None:
    limit = curve_of(requests).accuracy_at(budget_uj)
    best = best_choice(requests, budget_uj)
    assert best <= limit + 1e-9
    # The relaxation serves at most one request by a share: leaving it out loses one answer's accuracy.
    assert limit <= best + 1.0 / len(requests) + 1e-9


@settings(max_examples=100, deadline=None)
@given(st.lists(rows, min_size=1, max_size=30), st.floats(0.0, 2e6))
def test_limit_on_a_grid_of_slopes_stays_a_limit_and_close(
    requests: list[list[tuple[float, float]]], budget_uj: float
) -> None:
    exact, rounded = curve_of(requests), curve_of(requests, exact_segments=2)
    assert exact.accuracy_at(budget_uj) <= rounded.accuracy_at(budget_uj) + 1e-9
    assert rounded.accuracy_at(budget_uj) <= exact.accuracy_at(budget_uj * 1.000101) + 1e-9
    assert rounded.energy_for(0.3) <= exact.energy_for(0.3) * (1 + 1e-9)


@settings(max_examples=50, deadline=None)
@given(rows, st.integers(1, 50), st.floats(0.0, 2e6))
def test_equal_requests_may_be_counted(
    offers: list[tuple[float, float]], count: int, budget_uj: float
) -> None:
    counted = HorizonBound()
    counted.add([accuracy for accuracy, _ in offers], [energy for _, energy in offers], count)
    one_by_one = curve_of([offers] * count)
    assert counted.requests == count
    assert counted.curve().accuracy_at(budget_uj) == pytest.approx(
        one_by_one.accuracy_at(budget_uj), abs=1e-9
    )


def test_worked_example_of_the_scheduler_page() -> None:
    bound = HorizonBound()
    bound.add([0.6, 0.8, 0.9], [1e6, 2e6, 4e6], 100)
    curve = bound.curve()
    for budget_j, accuracy, price in ((50, 0.3, 0.6), (150, 0.7, 0.2), (300, 0.85, 0.05), (400, 0.9, 0.0)):
        assert curve.accuracy_at(budget_j * 1e6) == pytest.approx(accuracy)
        assert curve.price_per_j(budget_j * 1e6) == pytest.approx(price)
        if price:
            assert curve.energy_for(accuracy) == pytest.approx(budget_j * 1e6)
    assert curve.accuracy_at(inf) == pytest.approx(0.9)
    assert curve.energy_for(0.91) == inf


CATALOGUE = {
    "face": ((3.44, 75.7, 22.02), (0.54, 69.2, 8.00), (0.36, 66.7, 5.49)),
    "gender": ((3.44, 94.7, 22.02), (0.54, 93.2, 8.00), (0.36, 92.7, 5.49)),
    "age": ((3.44, 75.3, 22.02), (0.54, 73.2, 8.00), (0.36, 72.9, 5.49)),
    "race": ((3.44, 83.6, 22.02), (0.54, 80.2, 8.00), (0.36, 81.5, 5.49)),
    "scene": ((0.22, 51.6, 6.56), (0.13, 51.53, 5.56), (0.12, 50.68, 4.63), (0.10, 48.27, 4.37)),
    "object": (
        (3.58, 49.6, 9.23), (3.01, 50.0, 7.28), (2.8, 45.4, 6.96), (2.65, 43.7, 5.8),
        (2.41, 43.4, 6.47), (1.96, 42.2, 6.08), (1.6, 46.0, 6.31), (1.24, 42.7, 5.36),
    ),
}  # fmt: skip
"""Energy (J), accuracy (%) and server time (ms) of each variant: haneul/mcdnn at 7ae611c (MobiSys 2016)."""
FACES = ("face", "gender", "age", "race")
CONNECTED = {
    "S3": dict.fromkeys(FACES, 4685) | {"scene": 235},
    "S1": dict.fromkeys(FACES, 6496) | {"scene": 337, "object": 16676},
}
APART = {
    "S3": dict.fromkeys(FACES, 2615) | {"scene": 125},
    "S1": dict.fromkeys(FACES, 585) | {"scene": 23, "object": 1329},
}
"""Requests of its scenarios while the server is reachable, and while it is not."""
SEND_J, DOLLAR_PER_MS, DOLLARS = 3.8e-3, 1.8e-7, 0.0667
KILOJOULES = (1.8, 3.6, 7.2, 14.4, 28.8)


@pytest.mark.parametrize(
    ("scenario", "published", "reached"),
    [
        ("S3", 15.95, (13.17, 26.51, 53.14, 78.73, 79.41)),
        ("S1", 10.10, (3.47, 7.03, 14.46, 28.82, 57.15)),
    ],
)
def test_limit_of_mcdnn_scenarios_on_the_device_alone(
    scenario: str, published: float, reached: tuple[float, ...]
) -> None:
    """``reached`` is what a port of MCDNN's scheduler got: 34 to 99.7 % of the limit, never more."""
    bound = HorizonBound()
    for requests in (CONNECTED[scenario], APART[scenario]):
        for app, count in requests.items():
            joules, percent, _ = zip(*CATALOGUE[app], strict=True)
            bound.add(np.array(percent) / 100, np.array(joules) * 1e6, count)
    limits = [100 * bound.curve().accuracy_at(kj * 1e9) for kj in KILOJOULES]
    assert limits[0] == pytest.approx(published, abs=0.005)
    ratios = [got / limit for got, limit in zip(reached, limits, strict=True)]
    expected = {"S3": (0.826, 0.865, 0.938, 0.997, 0.992), "S1": (0.344, 0.363, 0.405, 0.564, 0.927)}
    assert ratios == pytest.approx(expected[scenario], abs=0.0006)


@pytest.mark.parametrize(("scenario", "both", "server_only"), [("S3", 66.78, 52.44), ("S1", 67.66, 63.12)])
def test_limit_of_mcdnn_scenarios_with_a_server_to_pay(
    scenario: str, both: float, server_only: float
) -> None:
    for device, published in ((True, both), (False, server_only)):
        kinds = []
        for requests, connected in ((CONNECTED[scenario], True), (APART[scenario], False)):
            for app, count in requests.items():
                offers = [(e * 1e6, a / 100, 0.0) for e, a, _ in CATALOGUE[app] if device]
                offers += [
                    (SEND_J * 1e6, a / 100, ms * DOLLAR_PER_MS) for _, a, ms in CATALOGUE[app] if connected
                ]
                energy, accuracy, cost = zip(*offers, strict=True) if offers else ((), (), ())
                kinds.append(Kind(accuracy, energy, cost, count))
        found = two_budget_bound(kinds, 1800e6, DOLLARS)
        assert 100 * found.accuracy_mean == pytest.approx(published, abs=0.005)
        assert found.cost_price > 0.0


offers_with_cost = st.lists(
    st.tuples(accuracies, energies, st.one_of(st.just(0.0), st.floats(1e-3, 1e3))), min_size=1, max_size=3
)


@settings(max_examples=150, deadline=None)
@given(st.lists(offers_with_cost, min_size=1, max_size=4), st.floats(0.0, 2e6), st.floats(0.0, 2e3))
def test_no_choice_within_both_budgets_beats_the_limit(
    requests: list[list[tuple[float, float, float]]], budget_uj: float, cost_budget: float
) -> None:
    kinds = [
        Kind([a for a, _, _ in each], [e for _, e, _ in each], [c for _, _, c in each]) for each in requests
    ]
    found = two_budget_bound(kinds, budget_uj, cost_budget)
    best = 0.0
    for choice in product(*([(0.0, 0.0, 0.0), *offers] for offers in requests)):
        _, energy, cost = map(sum, zip(*choice, strict=True))
        if energy <= budget_uj and cost <= cost_budget:
            best = max(best, sum(accuracy for accuracy, _, _ in choice))
    assert best / len(requests) <= found.accuracy_mean + 1e-9
    # Two budgets leave at most two requests served by a share.
    assert found.accuracy_mean <= (best + 2.0) / len(requests) + 1e-9
    one_budget = curve_of([[(a, e) for a, e, _ in offers] for offers in requests]).accuracy_at(budget_uj)
    assert found.accuracy_mean <= one_budget + 1e-9


def test_best_price_of_cost_is_found() -> None:
    """A fine grid of prices, each of which gives a limit, finds none lower."""
    rng = np.random.default_rng(3)
    accuracy, energy, cost = rng.random((40, 6)), rng.uniform(1, 100, (40, 6)), rng.uniform(0, 50, (40, 6))
    counts = rng.integers(1, 40, 40)
    kinds = [Kind(a, e, c, int(n)) for a, e, c, n in zip(accuracy, energy, cost, counts, strict=True)]
    found = two_budget_bound(kinds, 12_000.0, 3_000.0)
    on_grid = []
    for price in np.linspace(0.0, 4 * found.cost_price, 401):
        bound = HorizonBound()
        bound.add(np.maximum(accuracy - price * cost, 0.0), energy, counts)
        on_grid.append(bound.curve().accuracy_at(12_000.0) + price * 3_000.0 / counts.sum())
    assert found.accuracy_mean <= min(on_grid) + 1e-9
    assert found.accuracy_mean == pytest.approx(min(on_grid), abs=1e-4)


def test_memory_does_not_grow_with_distinct_requests() -> None:
    """Slopes of three decades have 69,000 cells on the grid, however many requests there are."""
    rng, bound = np.random.default_rng(1), HorizonBound(exact_segments=5_000)
    accuracy = np.linspace(0.5, 0.9, 8)
    for _ in range(12):
        bound.add(accuracy, 10.0 * np.arange(1, 9) ** 2 * rng.lognormal(0.0, 0.3, (4_000, 1)))
        assert sum(len(slopes) for slopes in bound._slopes) <= 10_000 + 8 * 4_096
        assert len(bound._cells) < np.log(1e3) / SLOPE_STEP
    assert bound.requests == 48_000
    assert len(bound._cells) < 48_000 < 8 * 48_000


def test_request_without_offers_counts_as_missed() -> None:
    bound = HorizonBound()
    bound.add([0.8], [1.0])
    bound.add([0.8], [inf])
    bound.add([], [])
    assert bound.requests == 3
    assert bound.curve().accuracy_at(inf) == pytest.approx(0.8 / 3)


@pytest.mark.parametrize(
    ("accuracy", "energy", "count", "message"),
    [
        ([0.5, 0.6], [1.0], None, "do not fit"),
        ([-0.1], [1.0], None, "accuracy is negative"),
        ([float("nan")], [1.0], None, "accuracy is negative, infinite or unknown"),
        ([0.5], [-1.0], None, "energy is negative"),
        ([0.5], [float("nan")], None, "energy is negative or unknown"),
        ([0.5], [1.0], 1.5, "whole number"),
        ([0.5], [1.0], [1, 2], "whole number"),
    ],
)
def test_figures_that_make_no_sense_are_refused(
    accuracy: list[float], energy: list[float], count: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        HorizonBound().add(accuracy, energy, count)


def test_questions_without_an_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="no request"):
        HorizonBound().curve()
    with pytest.raises(ValueError, match="not negative"):
        curve_of([[(0.5, 1.0)]]).accuracy_at(-1.0)
    with pytest.raises(ValueError, match="no request"):
        two_budget_bound([], 1.0, 1.0)
    with pytest.raises(ValueError, match="cost is negative"):
        two_budget_bound([Kind([0.5], [1.0], [-1.0])], 1.0, 1.0)
    with pytest.raises(ValueError, match="one accuracy, energy and cost"):
        two_budget_bound([Kind([0.5], [1.0], [])], 1.0, 1.0)
    with pytest.raises(ValueError, match="budgets"):
        two_budget_bound([Kind([0.5], [1.0], [1.0])], 1.0, float("nan"))
