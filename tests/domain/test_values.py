"""The values everything speaks in: what they compute, and that they cannot be changed."""

import dataclasses
import inspect
from types import ModuleType

import pytest

from trimtab.domain import decision, device, family, policy, processor, quantities, request
from trimtab.domain.decision import Candidate, Decision, Why, candidate_name
from trimtab.domain.family import Dataset, ExitRule, Family, Stage, Variant
from trimtab.domain.policy import Goal
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import energy_uj
from trimtab.domain.record import Record


def stage(macs: int, activation: int) -> Stage:
    return Stage("m.onnx", "", 500, ("image",), ("logits",), "logits", macs, activation)


TWO = Variant(
    "two",
    (),
    (stage(10, 7), stage(20, 5)),
    (ExitRule("full", 0.0, (0.5, 0.5), (0.6, 0.8)),),
    0.8,
    9,
    9,
    "int8",
)


@pytest.mark.parametrize("module", [decision, device, family, policy, processor, request])
def test_values_are_frozen_and_slotted(module: ModuleType) -> None:
    found = [v for v in vars(module).values() if inspect.isclass(v) and dataclasses.is_dataclass(v)]
    assert found
    for value in found:
        frozen = (
            value.__struct_config__.frozen if issubclass(value, Record) else value.__dataclass_params__.frozen  # type: ignore[attr-defined]
        )
        assert frozen, value
        assert "__slots__" in vars(value), value


def test_energy_is_power_times_time() -> None:
    assert energy_uj(1000.0, 1_000_000) == 1000.0, "1 W for 1 ms is 1 mJ"


def test_a_variant_sums_its_stages() -> None:
    assert (TWO.artefact_bytes, TWO.macs, TWO.peak_activation_bytes) == (1000, 30, 7)


def test_a_family_knows_its_variants() -> None:
    one = Family("t", "", (), (), (), (TWO,), "two", "two", Dataset("", "", "", 1, 1))
    assert one.variant("two") is TWO
    with pytest.raises(KeyError, match="task 't' has no variant 'three'; it has: two"):
        one.variant("three")


def test_processors_of_a_kind_share_a_pool() -> None:
    narrow, wide = Processor("cpu:0", "cpu", (0,), 1), Processor("cpu:0-1", "cpu", (0, 1), 2)
    assert narrow.pool == Processor("cpu:1", "cpu", (1,), 1).pool == "onnxruntime/cpu/1"
    assert wide.pool == "onnxruntime/cpu/2:0-1"
    assert Processor("gpu:0", "gpu", (), 1, provider="CUDA").pool == "onnxruntime/gpu:0"


def test_candidates_are_named_by_variant_processor_and_rule() -> None:
    assert candidate_name("v", "cpu:0", "full") == "v@cpu:0"
    one = Candidate("v", "gpu", "hasty", 0.5, (), (), (), (), 0.1, 1, 1.0, 1, 1.0, 1)
    assert one.name == "v@gpu/hasty"


def made(**more: object) -> Decision:
    fields: dict[str, object] = {
        "request_id": "r",
        "task": "t",
        "variant": "v",
        "processor": "cpu:0",
        "exit_rule": "full",
        "value": 0.9,
        "accuracy_frac": 0.912,
        "on_time_prob": 1.0,
        "wait_ns": 0,
        "load_ns": 0,
        "latency_ns": 1_234_000,
        "energy_uj": 2500.0,
        "finish_ns": 0,
        "budget_ns": 10_000_000,
        "energy_price_per_j": 0.5,
        "given_up": (),
        "policy": "p",
        "rules": (),
    }
    return Decision(**{**fields, **more})  # type: ignore[arg-type]


def test_a_decision_says_why_in_one_sentence() -> None:
    assert made().candidate == "v@cpu:0"
    assert made().summary == "v@cpu:0: 91.2% accuracy, 1.23 of 10 ms, 2.5 mJ at 0.5/J"
    told = made(instead_of="w@gpu", instead_why=Why.VALUE, given_up=(Goal.ACCURACY, Goal.DEADLINE)).summary
    assert told.endswith("; not w@gpu: worth less after paying for what it uses; gave up accuracy, deadline")


def test_units_are_powers_of_ten() -> None:
    assert quantities.NS_PER_S == 1000 * quantities.NS_PER_MS == 1_000_000 * quantities.NS_PER_US
    assert quantities.UJ_PER_J == 1000 * quantities.UJ_PER_MJ
