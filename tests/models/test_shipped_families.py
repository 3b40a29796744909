"""The families that ship are what their manifests say they are."""

from pathlib import Path

import numpy as np
import pytest

from trimtab.domain.accuracy import wilson_interval
from trimtab.domain.family import Family, Variant
from trimtab_models.datasets.samples import Samples
from trimtab_models.exits import exit_staircase
from trimtab_models.family import MANIFEST, check_artefacts, read_manifest, read_samples
from trimtab_models.measure import ONNX, accuracy_frac, logits_of_exits, runnable, session
from trimtab_models.recipe import load_definition

FAMILIES = Path(__file__).parents[2] / "models" / "families"
TASKS = sorted(manifest.parent.name for manifest in FAMILIES.glob(f"*/{MANIFEST}"))
SHIPPED_BYTES_LIMIT = 25_000_000
Z_99_9 = 3.29
"""Standard errors that hold 99.9 % of a normal distribution."""
GOALS = {"fashion": 0.925, "keywords": 0.985, "digits": 0.99, "activity": 0.9, "cifar10": 0.92, "sounds": 0.8}
"""The least accuracy of a family's reference."""

FAMILY = {task: read_manifest(FAMILIES / task) for task in TASKS}
VARIANTS = [pytest.param(task, v, id=f"{task}-{v.name}") for task in TASKS for v in FAMILY[task].variants]


UNSHIPPED = {"cifar10", "sounds"}
"""Families without samples: the licence of one's data does not allow any, the other's would take 1.6 MB."""


def samples_of(family: Family) -> Samples:
    if family.task in UNSHIPPED:
        noise = np.random.default_rng(1).integers(0, 256, (30, *family.inputs[0].shape[1:]), np.uint8)
        return Samples(noise, np.arange(30, dtype=np.uint8) % len(family.labels), np.arange(30), 1 / 255)
    return read_samples(FAMILIES / family.task / family.samples, family.inputs[0].name)


def models(task: str, variant: Variant) -> tuple[bytes, ...]:
    if variant.format != ONNX:
        pytest.importorskip("onnx")
    return runnable(variant, FAMILIES / task)


@pytest.fixture(params=TASKS)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILY[request.param]


@pytest.mark.parametrize("file", sorted(FAMILIES.glob("*/family.yaml")), ids=lambda path: path.parent.name)
def test_every_definition_can_be_read_and_names_its_folder(file: Path) -> None:
    assert load_definition(file).task == file.parent.name


def test_the_manifest_has_the_defined_variants_in_order(family: Family) -> None:
    definition = load_definition(FAMILIES / family.task)
    assert [v.name for v in family.variants] == [v.name for v in definition.variants]
    assert [v.transforms for v in family.variants] == [v.transforms for v in definition.variants]
    assert (family.reference, family.last_resort) == (definition.reference, definition.last_resort)


def test_every_artefact_is_the_described_one_and_none_is_undescribed(family: Family) -> None:
    folder = FAMILIES / family.task
    assert check_artefacts(family, folder) == []
    described = {stage.artefact: stage.artefact_bytes for v in family.variants for stage in v.stages}
    held = {
        path.name: path.stat().st_size for suffix in ("onnx", "ttdc") for path in folder.glob(f"*.{suffix}")
    }
    assert held == described


def test_no_artefact_tells_about_the_machine_that_built_it(family: Family) -> None:
    for variant in family.variants:
        for stage in variant.stages:
            content = (FAMILIES / family.task / stage.artefact).read_bytes()
            for trace in (b"stack_trace", b"site-packages", b"trimtab_models", b'File "'):
                assert trace not in content


def test_all_families_together_are_small_enough_to_ship() -> None:
    sizes = [path.stat().st_size for path in FAMILIES.rglob("*") if path.is_file()]
    assert sum(sizes) <= SHIPPED_BYTES_LIMIT


def test_the_reference_reaches_its_goal(family: Family) -> None:
    assert family.variant(family.reference).accuracy_frac >= GOALS[family.task]


def test_samples_ship_where_they_can(family: Family) -> None:
    assert (FAMILIES / family.task / family.samples).exists() == (family.task not in UNSHIPPED)


def test_samples_are_balanced_and_in_official_order(family: Family) -> None:
    samples = samples_of(family)
    counts = np.bincount(samples.labels, minlength=len(family.labels))
    assert counts.min() == counts.max() > 0
    assert samples.shape == family.inputs[0].shape[1:]
    assert (np.diff(samples.index) > 0).all()
    assert samples.index[-1] < family.dataset.test_samples


@pytest.mark.parametrize(
    ("task", "variant"), [p for p in VARIANTS if p.values[0] not in ("activity", *UNSHIPPED)]
)
def test_accuracy_on_the_shipped_samples_agrees_with_the_manifest(task: str, variant: Variant) -> None:
    samples = samples_of(FAMILY[task])  # activity's are balanced, its test set is not
    logits = logits_of_exits(models(task, variant), samples)
    assert_near(accuracy_frac(logits[-1], samples.labels), variant.accuracy_frac, len(samples))
    for rule in variant.exit_rules:
        _, measured = exit_staircase(logits, samples.labels, rule.threshold)
        for one, whole in zip(measured, rule.accuracy_frac, strict=True):
            assert_near(one, whole, len(samples))


def assert_near(share: float, expected: float, count: int) -> None:
    """Require that a share of ``count`` samples is what chance makes of the expected one, and no more."""
    low, high = wilson_interval(share, count, Z_99_9)
    assert low <= expected <= high


@pytest.mark.parametrize(("task", "variant"), VARIANTS)
def test_every_stage_keeps_the_model_contract(task: str, variant: Variant) -> None:
    known = {FAMILY[task].inputs[0].name}
    for stage, model in zip(variant.stages, models(task, variant), strict=True):
        opened = session(model)
        assert tuple(tensor.name for tensor in opened.get_inputs()) == stage.inputs
        assert tuple(tensor.name for tensor in opened.get_outputs()) == stage.outputs
        for tensor in (*opened.get_inputs(), *opened.get_outputs()):
            assert tensor.type == "tensor(float)"
            assert isinstance(tensor.shape[0], str)  # the batch may have any size
        assert set(stage.inputs) <= known
        known |= set(stage.outputs)
    assert variant.stages[-1].logits in known


@pytest.mark.parametrize(("task", "variant"), VARIANTS)
def test_a_batch_is_answered_like_single_samples(task: str, variant: Variant) -> None:
    few = samples_of(FAMILY[task]).take(np.arange(3))
    stages = models(task, variant)
    together, alone = logits_of_exits(stages, few, batch=3), logits_of_exits(stages, few, batch=1)
    for one, other in zip(together, alone, strict=True):
        assert one.shape == (3, len(FAMILY[task].labels))
        np.testing.assert_allclose(one, other, atol=1e-2)


def test_exit_rules_describe_a_distribution_and_a_staircase(family: Family) -> None:
    for variant in family.variants:
        for rule in variant.exit_rules:
            assert sum(rule.share_frac) == pytest.approx(1)
            assert len(rule.share_frac) == len(rule.accuracy_frac) == len(variant.stages)
        sure = [rule.share_frac[0] for rule in variant.exit_rules]
        assert sure == sorted(sure, reverse=True)  # a stricter threshold lets fewer leave early
