"""Runs of a scenario: the same requests for every policy, figures that add up, the same bytes again."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from trimtab_sim.arrivals import Arrival
from trimtab_sim.report import Served
from trimtab_sim.results import Results
from trimtab_sim.results.trial import Observer, RunResult, Trial
from trimtab_sim.scenario import Prepared
from trimtab_sim.simulate import News, Stop, simulate, trials

Make = Callable[..., Prepared]
STREAM = "workload:\n  - {app: camera, arrivals: {poisson: {rate_per_s: 10}}, latency_budget_ms: 50}\n"


class Notes(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.all_served: list[Served] = []
        self.all_lost: list[Arrival] = []

    def served(self, one: Served) -> None:
        self.all_served.append(one)

    def lost(self, arrival: Arrival) -> None:
        self.all_lost.append(arrival)


def run(prepared: Prepared, *strategies: str, seeds: Sequence[int] = (5,)) -> list[RunResult]:
    return simulate(prepared, trials(prepared.policies, strategies, seeds))


def test_policies_and_strategies_and_seeds_are_crossed(make: Make) -> None:
    prepared = make("policy: [balanced, best-accuracy]\n")
    found = trials(prepared.policies, ("value", "largest"), (1, 2))
    assert [(one.label, one.seed) for one in found] == [
        (label, seed)
        for label in ("balanced", "balanced/largest", "best-accuracy", "best-accuracy/largest")
        for seed in (1, 2)
    ]
    assert [one.policy for one in trials(prepared.policies, (), (1,))] == list(prepared.policies)


def test_figures_add_up(make: Make) -> None:
    prepared, notes = make("battery: {energy_j: 50, background_mw: 100}\n"), Notes()
    (result,) = simulate(prepared, trials(prepared.policies, (), (5,)), lambda _: (notes,))
    figures = result.figures
    assert figures["requests"] == len(notes.all_served) == len(list(prepared.arrivals(5)))
    on_time = [one for one in notes.all_served if one.result.on_time]
    assert figures["on_time_frac"] == pytest.approx(len(on_time) / len(notes.all_served))
    assert figures["accuracy_mean"] == pytest.approx(figures["on_time_frac"] * figures["accuracy_served"])
    assert figures["accuracy_drawn"] == pytest.approx(figures["accuracy_mean"], abs=0.05)
    assert figures["energy_j"] == pytest.approx(figures["run_energy_j"] + figures["load_energy_j"])
    runs_uj = sum(one.result.energy_uj for one in notes.all_served)
    assert figures["run_energy_j"] == pytest.approx(runs_uj / 1e6)
    spent_j = figures["energy_j"] + 0.1 * figures["simulated_s"]
    assert figures["battery_frac_end"] == pytest.approx(1 - spent_j / 50, abs=0.0011)
    assert (figures["overdraft_j"], figures["lifetime_s"], result.partial) == (0.0, None, False)
    assert sum(figures["share_by_variant"].values()) == pytest.approx(1.0)
    assert figures["streams"]["camera"]["requests"] == figures["requests"]
    assert figures["loads"] >= 1
    assert figures["memory_peak_bytes"] > 0
    assert figures["accuracy_mean"] <= figures["lp_bound_accuracy"] <= figures["oracle_accuracy"] + 1e-9
    assert figures["oracle_energy_j"] > 0
    assert 0 <= figures["late_avoidable_frac"] <= 1 - figures["on_time_frac"] + 1e-9
    assert 0 < result.clock.decision_us_p50 <= result.clock.decision_us_p99


def test_every_policy_meets_the_same_requests_and_noise(make: Make) -> None:
    prepared = make("contention: [{switching: {factor: 3, on: 1s, off: 1s}}]\n")
    largest, smallest, again = run(prepared, "largest", "smallest", "largest")
    assert largest.figures["requests"] == smallest.figures["requests"]
    assert largest.figures["energy_j"] > 2 * smallest.figures["energy_j"]
    assert largest.figures == again.figures
    calm = run(make(), "largest")[0]
    assert largest.figures["energy_j"] > 1.5 * calm.figures["energy_j"]


def test_an_empty_battery_turns_the_device_off(make: Make) -> None:
    text = "battery: {energy_j: 0.4, background_mw: 20}\npolicy: {version: 1, name: p}\n"
    prepared, notes = make(text), Notes()
    (result,) = simulate(prepared, trials(prepared.policies, ("largest",), (5,)), lambda _: (notes,))
    figures = result.figures
    assert figures["lifetime_s"] < 19
    assert figures["requests"] == len(list(prepared.arrivals(5)))
    assert figures["missed"]["device off"] == len(notes.all_lost) > 50
    assert all(one.finished_ns - notes.all_served[0].arrival.at_ns < 20e9 for one in notes.all_served)
    assert figures["battery_frac_end"] == 0.0
    spent_j = figures["energy_j"] + 0.02 * figures["lifetime_s"]
    assert spent_j - figures["overdraft_j"] == pytest.approx(0.4, abs=0.001)


def test_what_is_taken_from_the_reserve_is_overdraft(make: Make) -> None:
    text = "battery: {energy_j: 0.2, reserve: 90 %, when_empty: serve}\npolicy: {version: 1, name: p}\n"
    spent = run(make(text))[0].figures
    assert spent["energy_j"] > 0.02
    assert spent["overdraft_j"] == pytest.approx(spent["energy_j"] - 0.02, abs=1e-6)
    free = run(make(text.replace("90 %", "0 %")))[0].figures
    assert free["overdraft_j"] == pytest.approx(max(0.0, free["energy_j"] - 0.2), abs=1e-6)
    rejecting = text.replace("reserve: 90 %", "reserve: 90 %, below_reserve: reject")
    refused = run(make(rejecting))[0].figures
    assert refused["overdraft_j"] < spent["overdraft_j"]
    assert refused["missed"]["the battery is at its reserve"] > 100


def test_time_goes_on_to_the_end_after_the_last_request(make: Make) -> None:
    stream = STREAM.replace("app: camera", "app: camera, limit: 3")
    figures = run(make("battery: {energy_j: 100, background_mw: 1000}\n", stream=stream))[0].figures
    assert figures["requests"] == 3
    assert figures["battery_frac_end"] == pytest.approx(0.8, abs=0.01)


def test_without_requests_there_is_nothing_to_divide_by(make: Make) -> None:
    stream = STREAM.replace("app: camera", "app: camera, begin: 19s, until: 19001ms")
    figures = run(make(stream=stream))[0].figures
    assert (figures["requests"], figures["on_time_frac"], figures["accuracy_served"]) == (0, 0.0, None)
    assert figures["lp_bound_accuracy"] is None
    assert {figures[f"latency_ms_p{share}"] for share in (50, 95, 99)} == {None}


def test_bounds_can_be_left_out(make: Make) -> None:
    prepared = make()
    with_bounds = run(prepared)[0].figures
    (result,) = simulate(prepared, trials(prepared.policies, (), (5,)), bounds=False)
    assert result.figures["oracle_accuracy"] is None
    assert result.figures["accuracy_mean"] == with_bounds["accuracy_mean"]


def test_it_stops_when_asked_with_what_it_has(make: Make) -> None:
    prepared, stop, told = make(duration="200s"), Stop(), list[News]()

    def tell(news: News) -> None:
        told.append(news)
        if news.at_ns > 50e9:
            stop.ask()

    found = simulate(prepared, trials(prepared.policies, (), (1, 2)), tell=tell, stop=stop)
    assert [one.partial for one in found] == [True]
    assert 0.2 < found[0].figures["requests"] / len(list(prepared.arrivals(1))) < 0.4
    assert found[0].figures["simulated_s"] < 70
    assert [news.at_ns for news in told] == sorted(news.at_ns for news in told)


def bytes_of(prepared: Prepared, out: Path, kind: str = "csv") -> dict[str, bytes]:
    with Results(prepared, out, kind) as results:
        found = simulate(prepared, trials(prepared.policies, (), (5, 6)), results.observers)
        results.finish(found, partial=False)
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert set(json.loads(files.pop("wall_clock.json"))["policies"]["balanced"]) == {
        "decision_us_p50", "decision_us_p99", "requests_per_s", "wall_s",
    }  # fmt: skip
    return files


def test_the_same_seed_gives_the_same_bytes(make: Make, tmp_path: Path) -> None:
    text = "battery: {energy_j: 50}\ncontention: [{switching: {factor: 2, on: 1s, off: 1s}}]\n"
    one, other = bytes_of(make(text), tmp_path / "a"), bytes_of(make(text), tmp_path / "b")
    assert one == other
    report = json.loads(one["summary.json"])
    assert report["seeds"] == [5, 6]
    assert report["runs"][0]["requests"] != report["runs"][1]["requests"]
    mean = (report["runs"][0]["energy_j"] + report["runs"][1]["energy_j"]) / 2
    assert report["policies"]["balanced"]["energy_j"] == pytest.approx(mean)
    assert report["policies"]["balanced"]["spread"]["energy_j"] > 0


def test_labels_become_folders() -> None:
    from trimtab.domain.policy import Policy
    from trimtab_sim.results.collect import folder_of

    assert folder_of(Trial(Policy("p", strategy="static:a@cpu:0"), 3)) == "p-static-a-cpu-0/seed-3"
