"""A scenario with an error names file, line, column and field, all errors at once, before anything runs."""

from pathlib import Path

import pytest

from trimtab.domain.policy import BelowReserve
from trimtab.domain.quantities import NS_PER_S
from trimtab.domain.request import Prefer
from trimtab_sim.scenario import Scenario, ScenarioError, load_scenario, load_scenario_file

HEAD = "version: 1\nname: x\nfamily: fashion\nduration: 1min\n"
STREAM = "workload: [{arrivals: {poisson: {rate_per_s: 1}}}]\n"


def problems(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(text, "s.yaml")
    return [str(problem) for problem in caught.value.problems]


def scenario(text: str) -> Scenario:
    return load_scenario(HEAD + text, "s.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD, "s.yaml:1:1: workload is missing"),
        (HEAD + STREAM + "batery: {}", "s.yaml:6:1: batery: unknown key 'batery'; did you mean battery?"),
        (HEAD + STREAM + "seed: -1", "s.yaml:6:7: seed: expected a whole number from 0 to 9007199254740991 such as 1, not -1"),
        ("version: 2\n", "s.yaml:1:10: version: this trimtab reads version 1, not 2"),
        (HEAD + "workload: []", "s.yaml:5:11: workload: expected a list of streams, 1 to 256, not an empty list"),
        (
            HEAD + "workload:\n  - arrivals: {poison: {rate_per_s: 1}}\n",
            "s.yaml:6:16: workload[0].arrivals.poison: unknown key 'poison'; did you mean poisson?",
        ),
        (
            HEAD + "workload:\n  - arrivals: {poisson: {rate_per_s: 1}, file: x}\n",
            "s.yaml:6:15: workload[0].arrivals: expected exactly one kind of arrivals such as {poisson: {rate_per_s: 2}}, not a mapping of 2",
        ),
        (
            HEAD + f"workload:\n  - arrivals: {{diurnal: {{rate_per_s: 1, hours: {[0] * 24}}}}}\n",
            "s.yaml:6:48: workload[0].arrivals.diurnal.hours: no hour has any weight; at least one has to be above 0",
        ),
        (
            HEAD + "workload:\n  - arrivals: {poisson: {rate_per_s: 1}}\n    begin: 2min\n    until: 1min\n",
            "s.yaml:8:12: workload[0].until: until must be after begin: nothing lies between them",
        ),
        (
            HEAD + "workload:\n  - arrivals: {poisson: {rate_per_s: 1}}\n    speed: 2\n",
            "s.yaml:7:12: workload[0].speed: speed is for files; a generator has figures of its own",
        ),
        (
            HEAD + STREAM + "battery: {background_mw: 5}",
            "s.yaml:6:10: battery: without a device, nothing says how large it is: give capacity_j or energy_j",
        ),
        (
            HEAD + STREAM + "battery: {energy_j: 5, level: 10 %}",
            "s.yaml:6:10: battery: energy_j and level exclude each other; keep one",
        ),
        (
            HEAD + STREAM + "battery: {energy_j: 5, capacity_j: 4}",
            "s.yaml:6:21: battery.energy_j: 5 J do not fit into the 4 J of capacity_j",
        ),
        (
            HEAD + STREAM + "battery: {energy_j: 5, health: 80 %}",
            "s.yaml:6:32: battery.health: health needs a device, whose capacity it takes a share of",
        ),
        (
            HEAD + STREAM + "battery: {energy_j: 5, horizon: 1h, last_until: '22:00'}",
            "s.yaml:6:10: battery: horizon and last_until exclude each other; keep one",
        ),
        (
            HEAD + STREAM + "contention: [{factor: 2, switching: {factor: 2, on: 1s, off: 1s}}]",
            "s.yaml:6:14: contention[0]: exactly one of factor, steps, switching and jitter is needed, not factor and switching",
        ),
        (
            HEAD + STREAM + "contention: [{steps: [{at: 5s, factor: 2}, {at: 5s, factor: 1}]}]",
            "s.yaml:6:49: contention[0].steps[1].at: steps must be in order of time",
        ),
        (
            HEAD + STREAM + "background: [{file: x, columns: [screen]}]",
            "s.yaml:6:34: background[0].columns[0]: no column is called 'screen'; did you mean screen_on?",
        ),
        (HEAD + STREAM + "policy: [a, a]", "s.yaml:6:13: policy[1]: 'a' stands here twice"),
        (
            HEAD + STREAM + "processors: [{name: a, like: b}, a]",
            "s.yaml:6:34: processors[1]: processors[0] is called so already",
        ),
    ],
)  # fmt: skip
def test_each_problem_names_its_place(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_a_generator_needs_an_end() -> None:
    text = (HEAD + STREAM).replace("duration: 1min\n", "")
    assert problems(text) == [
        "s.yaml:4:12: workload[0]: nothing says when this ends: give the scenario a duration, or the stream until or limit"
    ]
    for end in ("battery: {energy_j: 5, horizon: 1min}", "battery: {energy_j: 5, last_until: '07:00'}"):
        assert load_scenario(text + end).horizon_ns is not None
    assert load_scenario(text.replace("arrivals:", "limit: 5, arrivals:")).streams[0].limit == 5


def test_all_problems_come_at_once_in_order() -> None:
    found = problems("version: 1\nname: x y\nfamilly: fashion\nfamily: 3\nworkload: 7\n")
    assert [line.split(":")[1] for line in found] == ["2", "3", "4", "5"]


def test_text_that_is_no_scenario(tmp_path: Path) -> None:
    assert problems("") == ["s.yaml:1:1: the scenario is empty"]
    assert "one file is one scenario" in problems("version: 1\n---\nversion: 1\n")[0]
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario_file(tmp_path / "none.yaml")


def test_units_and_defaults() -> None:
    found = scenario(
        "start: '07:30'\n"
        "workload:\n"
        "  - {task: fashion, app: camera, arrivals: a.csv, latency_budget_ms: 50, min_accuracy: 90 %,"
        " max_energy_mj: 2, priority: 1, prefer: energy, batch: 2, begin: 1h, until: 2h, speed: 2, repeat: true,"
        " limit: 9, samples: {count: 10, order: random}}\n"
        "  - {app: camera, arrivals: {gamma: {rate_per_s: 2}}}\n"
        "battery: {capacity_j: 100, level: 80 %, reserve: 0.1, last_until: '07:00', below_reserve: reject,"
        " background_mw: 3, when_empty: serve}\n"
        "contention: [{processor: 'cpu:*', factor: 2, begin: 1s, until: 3s},"
        " {switching: {factor: 3, on: 1s, off: 2s, shared: true}}, {jitter: {scale: 0.01, shape: 2}}]\n"
    )
    stream, other = found.streams
    request = stream.request
    assert (stream.name, other.name) == ("camera", "camera-2")
    assert (request.task, request.app, request.latency_budget_ns) == ("fashion", "camera", 50_000_000)
    assert (request.min_accuracy_frac, request.max_energy_uj, request.priority) == (0.9, 2000.0, 1)
    assert (request.prefer, request.batch) == (Prefer.ENERGY, 2)
    assert (stream.begin_ns, stream.until_ns) == (3600 * NS_PER_S, 7200 * NS_PER_S)
    assert (stream.kind, stream.figures) == ("file", {"file": "a.csv"})
    assert (stream.speed, stream.repeat, stream.limit) == (2.0, True, 9)
    assert (stream.samples, stream.random_samples) == (10, True)
    assert other.figures == {"cv": 2.0, "rate_per_s": 2}
    battery = found.battery
    assert battery is not None
    assert (battery.capacity_j, battery.level_frac, battery.reserve_frac) == (100.0, 0.8, 0.1)
    assert (battery.below_reserve, battery.off_when_empty) == (BelowReserve.REJECT, False)
    assert found.horizon_ns == (24 * 3600 - 1800) * NS_PER_S
    assert found.contention[0].steps == ((NS_PER_S, 2.0), (3 * NS_PER_S, 1.0))
    assert found.contention[1].switching
    assert found.contention[1].shared
    assert found.contention[2].jitter == (0.01, 2.0)
    assert (found.seed, found.device, found.policies, found.strategies) == (0, None, ("balanced",), ())
