"""Accuracy's confidence and the energy of operations, against published or hand-computed values."""

import pytest

from trimtab.domain.accuracy import wilson_interval, within_noise
from trimtab.domain.family import ExitRule, Stage, Variant, expected_cost
from trimtab.domain.operation_energy import MAC_PJ, MEMORY_PJ, access_pj, operation_energy

FULL = ExitRule("full", 0.0, (1.0,), (0.9,))


def stage(**fields: int) -> Stage:
    known = {"macs": 0, "peak_activation_bytes": 0, "weight_bytes": 1, "traffic_bytes": 0} | fields
    return Stage("a.onnx", "0" * 64, 1, ("x",), ("logits",), "logits", **known)


def variant(*stages: Stage, precision: str = "fp32") -> Variant:
    return Variant("v", (), stages, (FULL,), 0.9, 1, 1, precision)


@pytest.mark.parametrize(
    ("right", "samples", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (score without correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(right: int, samples: int, low: float, high: float) -> None:
    assert wilson_interval(right / samples, samples) == pytest.approx((low, high), abs=5e-5)


def test_without_samples_nothing_is_known() -> None:
    assert wilson_interval(0.9, 0) == (0.0, 1.0)
    assert within_noise(0.1, 0.9, 0)


def test_noise_shrinks_with_the_root_of_the_samples() -> None:
    assert within_noise(0.90, 0.91, 1000)  # 1.96 sqrt((0.09 + 0.0819) / 1000) = 0.0257
    assert not within_noise(0.90, 0.91, 10_000)  # 0.0081


def test_costs_are_weighted_by_who_reaches_a_stage() -> None:
    rule = ExitRule("r", 0.5, (0.5, 0.25, 0.25), (0.5, 0.6, 0.7))
    assert expected_cost(rule, (100, 40, 8)) == 100 + 0.5 * 40 + 0.25 * 8


def test_the_operation_table() -> None:
    expected = {"fp32": 4.6, "int8-weights": 4.6, "fp16": 1.5, "int8": 0.3}
    assert dict(MAC_PJ) == pytest.approx(expected)
    assert [access_pj(size) for size in (8192, 8193, 32_769, (1 << 20) + 1)] == [5, 10, 50, 640]
    assert MEMORY_PJ[-1] == (None, 640.0)


def test_energy_of_operations_by_hand() -> None:
    one = stage(macs=1_000_000, peak_activation_bytes=4096, weight_bytes=40_000, traffic_bytes=8000)
    found = operation_energy(variant(one), FULL)
    assert found is not None
    assert found.compute_uj == pytest.approx(4.6)  # a million at 4.6 pJ
    assert found.weights_uj == pytest.approx(0.5)  # 10,000 accesses of a 1 MB SRAM
    assert found.features_uj == pytest.approx(0.01)  # 2,000 accesses of an 8 KB SRAM
    assert found.total_uj == pytest.approx(5.11)
    eighth = operation_energy(variant(one, precision="int8"), FULL)
    assert eighth is not None
    assert eighth.compute_uj == pytest.approx(0.3)


def test_weights_of_all_stages_share_one_memory_but_only_those_reached_are_read() -> None:
    half = stage(weight_bytes=600_000)
    rule = ExitRule("r", 0.5, (0.5, 0.5), (0.5, 0.6))
    found = operation_energy(variant(half, half), rule)
    assert found is not None
    assert found.weights_uj == pytest.approx(150_000 * 1.5 * 640 / 1e6)  # together over 1 MB: DRAM


def test_no_estimate_without_counts() -> None:
    assert operation_energy(variant(stage(weight_bytes=0)), FULL) is None
    assert operation_energy(variant(stage(), precision="float8"), FULL) is None


def test_macs_left_without_zeros_are_known_for_all_stages_or_for_none() -> None:
    assert variant(stage(nonzero_macs=3), stage(nonzero_macs=4)).nonzero_macs == 7
    assert variant(stage(nonzero_macs=3), stage()).nonzero_macs == 0
