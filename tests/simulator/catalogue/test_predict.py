import math
from dataclasses import replace

import numpy as np
import pytest

from trimtab_sim.catalogue import (
    LatencyTable,
    Measurement,
    Model,
    PredictionError,
    Predictor,
    Setup,
    load_latencies,
    predict_latency,
    shipped_catalogues,
)
from trimtab_sim.catalogue.learn import Settings

NETWORKS = 12


def world(devices: int = 24, noise: float = 0.02, seed: int = 1) -> LatencyTable:
    """Return devices whose latencies follow a device factor, a network factor and one hidden trait of both."""
    rng = np.random.default_rng(seed)
    size = rng.normal(16, 1.5, NETWORKS)
    trait = rng.normal(0, 1, NETWORKS)
    rows: list[Measurement] = []
    for at in range(devices):
        speed, taste = rng.normal(0, 0.8), rng.normal(0, 0.5)
        for unit, shift in (("CPU", 0.0), ("GPU", -0.7)):
            for network in range(NETWORKS):
                log_ns = size[network] + speed + shift + taste * trait[network] + rng.normal(0, noise)
                setup = Setup(f"device {at}", unit, "", "some")
                rows.append(
                    Measurement(setup, Model(f"network {network}", "fp"), round(math.exp(log_ns)), len(rows))
                )
    return LatencyTable(tuple(rows))


def hidden_errors(table: LatencyTable, settings: Settings) -> list[float]:
    """Return errors of every third row of the last devices, predicted from their other rows."""
    predictor = Predictor(table, settings)
    errors = []
    for device in table.devices()[-6:]:
        own = table.of_device(device)
        hidden, known = own[::3], [row for at, row in enumerate(own) if at % 3]
        found = predictor.predict_all([(row.setup, row.model) for row in hidden], known)
        errors += [
            abs(guess.latency_ns / row.latency_ns - 1)
            for guess, row in zip(found, hidden, strict=True)
            if guess
        ]
    assert len(errors) == 6 * NETWORKS * 2 // 3
    return errors


def test_what_other_devices_teach_makes_predictions_better() -> None:
    table = world()
    taught = float(np.median(hidden_errors(table, Settings())))
    untaught = float(np.median(hidden_errors(table, Settings(rounds=0))))
    assert taught < 0.06
    assert taught < 0.5 * untaught


def test_published_latencies_of_a_phone_are_predicted() -> None:
    table = load_latencies(shipped_catalogues() / "published_variants.csv")
    predictor, own = Predictor(table), table.of_device("Pixel 3")
    hidden, known = own[::3], [row for at, row in enumerate(own) if at % 3]
    found = predictor.predict_all([(row.setup, row.model) for row in hidden], known)
    errors = [
        abs(guess.latency_ns / row.latency_ns - 1) for guess, row in zip(found, hidden, strict=True) if guess
    ]
    assert len(errors) == len(hidden)
    assert float(np.median(errors)) < 0.3


def test_a_device_twice_as_slow_is_predicted_twice_as_slow() -> None:
    table = world()
    predictor, own = Predictor(table), table.of_device("device 3")
    wanted = [(own[0].setup, own[0].model)]
    known = own[1:]
    slower = [replace(row, latency_ns=2 * row.latency_ns) for row in known]
    (once,), (twice,) = predictor.predict_all(wanted, known), predictor.predict_all(wanted, slower)
    assert once is not None
    assert twice is not None
    assert twice.latency_ns / once.latency_ns == pytest.approx(2, rel=0.1)


def test_one_absurd_latency_does_not_spoil_the_others() -> None:
    table = world()
    predictor, own = Predictor(table), table.of_device("device 5")
    wanted, known = [(own[0].setup, own[0].model)], list(own[1:])
    absurd = [replace(known[4], latency_ns=40 * known[4].latency_ns), *known[:4], *known[5:]]
    (sound,), (spoilt,) = predictor.predict_all(wanted, known), predictor.predict_all(wanted, absurd)
    assert sound is not None
    assert spoilt is not None
    assert spoilt.latency_ns == pytest.approx(sound.latency_ns, rel=0.1)


def test_the_spread_tells_how_far_off_a_prediction_may_be() -> None:
    table = world()
    predictor = Predictor(table)
    inside = 0
    for device in table.devices()[:8]:
        row, *known = table.of_device(device)
        (guess,) = predictor.predict_all([(row.setup, row.model)], known)
        assert guess is not None
        inside += abs(math.log(guess.latency_ns / row.latency_ns)) <= 2 * guess.spread
        (blind,) = predictor.predict_all([(row.setup, row.model)], known[-1:])
        assert blind is not None
        assert blind.spread > guess.spread
    assert inside >= 7


def test_the_same_table_gives_the_same_prediction() -> None:
    table = world(devices=8)
    row = table.rows[0]
    known = LatencyTable(table.rows[1:])
    first = predict_latency(known, row.setup, row.model)
    assert (
        first
        == predict_latency(known, row.setup, row.model)
        == Predictor(known).predict(row.setup, row.model)
    )


def test_a_runtime_nobody_measured_is_predicted_from_the_others() -> None:
    table = world(devices=8)
    setup = replace(table.rows[0].setup, runtime="another")
    known = predict_latency(table, table.rows[0].setup, table.rows[0].model)
    other = predict_latency(table, setup, table.rows[0].model)
    assert other.latency_ns == pytest.approx(known.latency_ns, rel=0.5)
    assert other.spread > known.spread


def test_without_anything_to_go_by_there_is_no_prediction() -> None:
    table = world(devices=3)
    setup, model = table.rows[0].setup, table.rows[0].model
    with pytest.raises(PredictionError, match="no latency on 'other' is known"):
        predict_latency(table, replace(setup, device="other"), model)
    with pytest.raises(PredictionError, match="no latency of 'other' is known on any device"):
        predict_latency(table, setup, Model("other"))
    assert Predictor(table).predict_all([(setup, Model("other")), (setup, model)])[0] is None


def test_one_device_alone_can_still_be_asked() -> None:
    table = world(devices=1)
    row = table.rows[0]
    guess = predict_latency(LatencyTable(table.rows[1:]), row.setup, row.model)
    assert guess.latency_ns == pytest.approx(row.latency_ns, rel=1.5)
    assert guess.spread > 0.1
