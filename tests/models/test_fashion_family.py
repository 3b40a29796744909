"""The family that ships is what its manifest says it is."""

import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from trimtab.domain.family import Family
from trimtab_models.datasets.samples import Samples
from trimtab_models.family import check_artefacts, read_manifest, read_samples
from trimtab_models.measure import accuracy_frac, exit_staircase, logits_of_exits
from trimtab_models.recipe import load_definition

FOLDER = Path(__file__).parents[2] / "models" / "families" / "fashion"
SHIPPED_BYTES_LIMIT = 5_000_000
Z_99_9 = 3.29
"""Standard errors that hold 99.9 % of a normal distribution."""

VARIANTS = [variant.name for variant in load_definition(FOLDER).variants]


@pytest.fixture(scope="module")
def family() -> Family:
    return read_manifest(FOLDER)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return read_samples(FOLDER / "samples.npz")


def test_the_manifest_has_the_defined_variants_in_order(family: Family) -> None:
    definition = load_definition(FOLDER)
    assert [v.name for v in family.variants] == VARIANTS
    assert [v.transforms for v in family.variants] == [v.transforms for v in definition.variants]
    assert (family.reference, family.last_resort) == (definition.reference, definition.last_resort)


def test_every_artefact_is_the_described_one(family: Family) -> None:
    assert check_artefacts(family, FOLDER) == []
    for variant in family.variants:
        for stage in variant.stages:
            assert (FOLDER / stage.artefact).stat().st_size == stage.artefact_bytes


def test_no_artefact_is_undescribed(family: Family) -> None:
    described = {stage.artefact for variant in family.variants for stage in variant.stages}
    assert {path.name for path in FOLDER.glob("*.onnx")} == described


def test_no_artefact_tells_about_the_machine_that_built_it(family: Family) -> None:
    for variant in family.variants:
        for stage in variant.stages:
            content = (FOLDER / stage.artefact).read_bytes()
            for trace in (b"stack_trace", b"site-packages", b"trimtab_models", b'File "'):
                assert trace not in content


def test_the_family_is_small_enough_to_ship() -> None:
    files = [path for path in FOLDER.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= SHIPPED_BYTES_LIMIT


def test_the_reference_reaches_its_goal(family: Family) -> None:
    assert family.variant(family.reference).accuracy_frac >= 0.925


def test_samples_are_balanced_and_in_official_order(family: Family, samples: Samples) -> None:
    assert samples.images.shape == (500, 1, 28, 28)
    assert samples.images.dtype == samples.labels.dtype == np.uint8
    assert np.bincount(samples.labels).tolist() == [50] * len(family.labels)
    assert (np.diff(samples.index) > 0).all()
    assert samples.index[-1] < family.dataset.test_samples


@pytest.mark.parametrize("name", VARIANTS)
def test_accuracy_on_the_shipped_samples_agrees_with_the_manifest(
    name: str, family: Family, samples: Samples
) -> None:
    variant = family.variant(name)
    logits = logits_of_exits([FOLDER / stage.artefact for stage in variant.stages], samples)
    tolerance = Z_99_9 * math.sqrt(variant.accuracy_frac * (1 - variant.accuracy_frac) / len(samples))
    assert accuracy_frac(logits[-1], samples.labels) == pytest.approx(variant.accuracy_frac, abs=tolerance)
    for rule in variant.exit_rules:
        _, measured = exit_staircase(logits, samples.labels, rule.threshold)
        assert measured == pytest.approx(rule.accuracy_frac, abs=tolerance * 1.5)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_stage_keeps_the_model_contract(name: str, family: Family) -> None:
    variant = family.variant(name)
    known = {"image"}
    for stage in variant.stages:
        session = onnxruntime.InferenceSession(FOLDER / stage.artefact, providers=["CPUExecutionProvider"])
        assert tuple(tensor.name for tensor in session.get_inputs()) == stage.inputs
        assert tuple(tensor.name for tensor in session.get_outputs()) == stage.outputs
        for tensor in (*session.get_inputs(), *session.get_outputs()):
            assert tensor.type == "tensor(float)"
            assert isinstance(tensor.shape[0], str)  # the batch may have any size
        assert set(stage.inputs) <= known
        known |= set(stage.outputs)
    assert variant.stages[-1].logits in known


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_is_answered_like_single_samples(name: str, family: Family, samples: Samples) -> None:
    few = samples.take(np.arange(3))
    stages = [FOLDER / stage.artefact for stage in family.variant(name).stages]
    together, alone = logits_of_exits(stages, few, batch=3), logits_of_exits(stages, few, batch=1)
    for one, other in zip(together, alone, strict=True):
        assert one.shape == (3, len(family.labels))
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_exit_rules_describe_a_distribution_and_a_staircase(family: Family) -> None:
    for variant in family.variants:
        for rule in variant.exit_rules:
            assert sum(rule.share_frac) == pytest.approx(1)
            assert len(rule.share_frac) == len(rule.accuracy_frac) == len(variant.stages)
        sure = [rule.share_frac[0] for rule in variant.exit_rules]
        assert sure == sorted(sure, reverse=True)  # a stricter threshold lets fewer leave early


def test_compression_pays(family: Family) -> None:
    reference = family.variant(family.reference)
    for variant in family.variants:
        if variant.name not in (family.reference, "resnet-exits"):
            assert variant.artefact_bytes < reference.artefact_bytes
            assert variant.peak_activation_bytes <= reference.peak_activation_bytes
