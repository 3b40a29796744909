"""What the builder writes and measures: artefacts in every format, rules of exits, counts."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trimtab.domain.family import ExitRule, Variant
from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.errors import FoundryError
from trimtab_models.measure import PACKED, decoded, logits_of_exits, runnable
from trimtab_models.recipe import Definition, VariantRecipe, parse_definition
from trimtab_models.registry import Context, apply
from trimtab_models.settings import Training, silent
from trimtab_models.transforms.configs import Compress, EarlyExit

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from torch import nn  # noqa: E402  after the guard

from trimtab_models.builder import Builder, write_stage  # noqa: E402
from trimtab_models.export import Exported, export  # noqa: E402

pytestmark = pytest.mark.build

SHAPE = (1, 8, 8)
DEFINITION = """\
format_version: 1
task: bright
title: Which half is brighter
seed: 3
last_resort: net
dataset: {name: fashion_mnist}
architecture:
  convnet: {channels: [8, 8], strides: [2, 1], pool: [false, false]}
training: {epochs: 1, batch: 32, learning_rate: 0.05, flip: false, crop_padding: 0}
variants:
  - name: net
"""


def halves(count: int, seed: int) -> Samples:
    """Return noise whose upper or lower half is brighter: the label says which."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, *SHAPE), dtype=np.uint8)
    labels = rng.integers(0, 2, count).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 4 * label : 4 * label + 4] += 40
    return Samples(images, labels, np.arange(count))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(halves(96, 1), halves(48, 2), halves(64, 3), ("up", "down"), (0.2,), (0.1,))


@pytest.fixture(scope="module")
def builder(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    definition: Definition = parse_definition(DEFINITION)
    folder = tmp_path_factory.mktemp("family")
    return Builder(
        definition, folder / "family.yaml", splits, folder, tmp_path_factory.mktemp("cache"), silent
    )


@pytest.fixture(scope="module")
def plain(builder: Builder) -> Variant:
    return builder.build(VariantRecipe("net"))


@pytest.fixture(scope="module")
def packed(builder: Builder) -> Variant:
    return builder.build(VariantRecipe("packed", (Compress(coder="huffman"),)))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_an_artefact_is_described_as_it_lies_on_disk(builder: Builder, plain: Variant) -> None:
    (stage,) = plain.stages
    data = (builder.folder / stage.artefact).read_bytes()
    assert (stage.artefact, stage.artefact_bytes) == ("net.onnx", len(data))
    assert stage.sha256 == hashlib.sha256(data).hexdigest()
    assert not list(builder.folder.glob("*.writing"))  # nothing half-written stays
    assert (plain.format, plain.precision) == ("onnx", "fp32")
    assert stage.nonzero_macs == stage.macs > 0
    assert stage.weight_bytes >= 4 * plain.parameters
    assert stage.traffic_bytes >= 4 * 64
    assert plain.exit_rules == (ExitRule("full", 0.0, (1.0,), (plain.accuracy_frac,)),)


def test_a_packed_variant_answers_like_the_plain_one(
    builder: Builder, plain: Variant, packed: Variant
) -> None:
    assert packed.format == PACKED
    assert packed.stages[0].artefact == "packed.ttdc"
    assert packed.accuracy_frac == plain.accuracy_frac
    assert (packed.parameters, packed.macs) == (plain.parameters, plain.macs)
    answers = [
        logits_of_exits(runnable(one, builder.folder), builder.splits.test)[0] for one in (plain, packed)
    ]
    assert np.array_equal(answers[0], answers[1])


def test_a_broken_artefact_is_not_measured(builder: Builder, packed: Variant, tmp_path: Path) -> None:
    path = tmp_path / "cut.ttdc"
    path.write_bytes((builder.folder / packed.stages[0].artefact).read_bytes()[:-1])
    with pytest.raises(FoundryError, match=r"cut\.ttdc: section"):
        decoded(path, PACKED)
    with pytest.raises(FoundryError, match=r"cut\.ttdc: artefacts of format 'zip'"):
        decoded(path, "zip")
    with pytest.raises(FoundryError, match="gone: cannot be read"):
        decoded(path.with_name("gone"), PACKED)


def test_compressing_twice_is_refused(splits: Splits) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    context = Context(splits, network, 0)
    model, report = apply(export(network, SHAPE), Compress(), context)
    assert isinstance(model, Exported)
    assert report.facts["bytes"] == sum(len(stage.packed) for stage in model.stages)
    with pytest.raises(FoundryError, match="compress: stage 0 is compressed already"):
        apply(model, Compress(), context)


def test_zero_weights_are_work_that_is_counted_apart(tmp_path: Path) -> None:
    dense = nn.Linear(64, 2)
    with torch.no_grad():
        dense.weight[0] = 0
    exported = export(nn.Sequential(nn.Flatten(), dense), SHAPE)
    stage = write_stage(exported.stages[0], tmp_path, "half", exported.format)
    assert (stage.macs, stage.nonzero_macs) == (128, 64)


@pytest.mark.parametrize(
    ("thresholds", "budgets", "names"), [((0.6, 0.9), 0, {"t0.60", "t0.90"}), ((), 2, None)]
)
def test_exit_rules_are_measured_on_the_test_set(
    builder: Builder, thresholds: tuple[float, ...], budgets: int, names: set[str] | None
) -> None:
    training = Training(epochs=1, batch=32, learning_rate=0.05, flip=False, crop_padding=0)
    step = EarlyExit(training=training, thresholds=thresholds, budgets=budgets)
    built = builder.build(VariantRecipe("exits", (step,)))
    found = {rule.name for rule in built.exit_rules}
    assert found == names if names else 1 <= len(found) <= 2
    for rule in built.exit_rules:
        assert len(rule.share_frac) == len(built.stages) > 1
        assert sum(rule.share_frac) == pytest.approx(1)
        right = rule.accuracy_frac[-1] * len(builder.splits.test)
        assert right == pytest.approx(round(right))  # a share of the 64 test samples, not of the 48 held out


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"coder": "zip"}, "coder 'zip'"), ({"gap_bits": 5}, "gap_bits"), ({"gap_bits": -1}, "gap_bits")],
)
def test_settings_of_compress_are_checked(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Compress(**settings)  # type: ignore[arg-type]
