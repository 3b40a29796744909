"""Each transform does to a tiny network what it claims; builds go on where they stopped."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.measure import count_parameters, logits_of_exits, peak_activation_bytes
from trimtab_models.recipe import Definition, parse_definition
from trimtab_models.settings import BuildEvent, Training, silent
from trimtab_models.transforms.configs import Distill, EarlyExit, LowRank, PruneStructured, QuantizeInt8

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.staged import StagedNetwork  # noqa: E402
from trimtab_models.builder import Builder  # noqa: E402
from trimtab_models.export import Exported, export  # noqa: E402
from trimtab_models.training import Batch, predict  # noqa: E402
from trimtab_models.transforms.distill import answers_of, distillation_loss  # noqa: E402
from trimtab_models.transforms.low_rank import svd, tucker2  # noqa: E402

pytestmark = pytest.mark.build

ONE_EPOCH = Training(epochs=1, batch=32, learning_rate=0.05)
TINY = architectures.ResNet(channels=(16, 16), blocks=1)
IMAGE = (1, 28, 28)

DEFINITION = """\
format_version: 1
task: squares
title: How large the square is
seed: 3
last_resort: tiny
dataset: {name: fashion_mnist}
architecture:
  convnet: {channels: [16, 16], strides: [2, 2], pool: [false, false]}
training: {epochs: 3, batch: 32, learning_rate: 0.05, flip: false}
variants:
  - name: net
  - name: tiny
    recipe:
      - prune_structured: {keep_frac: 0.5, round_to: 8}
      - quantize_int8: {calibration_samples: 32}
"""


def squares(count: int, seed: int) -> Samples:
    """Return noise with a bright square of one of four sizes: the label says which."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, *IMAGE), dtype=np.uint8)
    labels = rng.integers(0, 4, count).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        side = 2 + 5 * int(label)
        image[0, 4 : 4 + side, 4 : 4 + side] += 150
    return Samples(images, labels, np.arange(count))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(squares(128, 1), squares(64, 2), squares(64, 3), ("a", "b", "c", "d"), 0.15, 0.15)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # these networks are too small for two, which stall under load
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network(splits: Splits) -> Any:
    return architectures.build(TINY, splits, seed=5).eval()


@pytest.fixture
def context(splits: Splits) -> registry.Context:
    return registry.Context(splits, architectures.build(TINY, splits, seed=5), seed=5)


def size(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_pruning_really_removes_channels(network: Any, context: registry.Context) -> None:
    before = size(network)
    pruned, report = registry.apply(network, PruneStructured(0.5, round_to=8, training=ONE_EPOCH), context)
    widths = {m.out_channels for m in pruned.modules() if isinstance(m, torch.nn.Conv2d)}
    assert widths == {8}
    assert size(pruned) < before / 3
    assert report.facts == {"parameters_before": before, "parameters": size(pruned)}
    assert pruned(torch.zeros(2, *IMAGE)).shape == (2, 4)


def test_tucker2_is_exact_at_full_rank_and_closest_at_large_ranks() -> None:
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(8, 12, 3, stride=2, padding=1)
    image = torch.randn(2, 8, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(tucker2(conv, 8, 12)(image), conv(image), atol=1e-5, rtol=1e-4)
        errors = [float((tucker2(conv, r, r)(image) - conv(image)).norm()) for r in (2, 4, 8)]
    assert errors == sorted(errors, reverse=True)


def test_tucker2_asks_no_more_ranks_than_a_kernel_has() -> None:
    conv = torch.nn.Conv2d(1, 32, 3, padding=1)
    image = torch.randn(2, 1, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(tucker2(conv, 1, 16)(image), conv(image), atol=1e-5, rtol=1e-4)


def test_svd_is_exact_at_full_rank() -> None:
    torch.manual_seed(1)
    dense = torch.nn.Linear(20, 10)
    vector = torch.randn(3, 20)
    with torch.no_grad():
        torch.testing.assert_close(svd(dense, 10)(vector), dense(vector), atol=1e-5, rtol=1e-4)


def test_low_rank_factors_only_what_gets_smaller(network: Any, context: registry.Context) -> None:
    before = size(network)
    config = LowRank(0.25, rank_floor=8, round_to=8, training=ONE_EPOCH)
    factored, report = registry.apply(network, config, context)
    assert report.facts["layers_factored"] == 4  # the convolutions of two blocks, not the 1-channel stem
    assert size(factored) < before
    assert factored(torch.zeros(2, *IMAGE)).shape == (2, 4)


def test_distilling_without_architecture_keeps_the_structure(network: Any, context: registry.Context) -> None:
    before = size(network)
    student, _ = registry.apply(network, Distill(ONE_EPOCH), context)
    assert student is network
    assert size(student) == before


def test_distilling_into_an_architecture_returns_a_fresh_student(context: registry.Context) -> None:
    small = architectures.ConvNet(channels=(16,), strides=(2,), pool=(True,), mean=False)
    student, report = registry.apply(context.reference, Distill(ONE_EPOCH, small), context)
    assert report.facts["parameters"] == size(student) < size(context.reference)


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn() -> None:
    torch.manual_seed(1)
    plain, mirrored = torch.randn(2, 5, 4)
    rows, flags = torch.tensor([3, 1]), torch.tensor([False, True])
    batch = Batch(torch.zeros(2, *IMAGE), torch.tensor([0, 1]), rows, flags)
    loss = distillation_loss(torch.stack([plain, mirrored]), Distill(ONE_EPOCH, hard_frac=0.0))
    assert float(loss(torch.stack([plain[3], mirrored[1]]), batch)) == pytest.approx(0, abs=1e-5)
    assert float(loss(torch.stack([plain[3], plain[1]]), batch)) > 0.1


def test_mirrored_images_get_the_teachers_answer_to_the_mirror_image(network: Any, splits: Splits) -> None:
    samples = splits.test
    mirror_image = replace(samples, images=samples.images[..., ::-1].copy())
    answers = answers_of(network, samples)
    assert answers.shape == (2, len(samples), 4)
    torch.testing.assert_close(answers[1], answers_of(network, mirror_image)[0])


@pytest.fixture(scope="module")
def staged(splits: Splits) -> StagedNetwork:
    reference = architectures.build(TINY, splits, seed=5)
    context = registry.Context(splits, reference, seed=5)
    network, _ = registry.apply(reference, EarlyExit((0.5, 1.0), (0.8,), ONE_EPOCH), context)
    assert isinstance(network, StagedNetwork)
    return network


@pytest.fixture(scope="module")
def exported(staged: StagedNetwork) -> Exported:
    return export(staged, IMAGE)


def test_exported_stages_chained_answer_as_the_whole_network(
    staged: StagedNetwork, exported: Exported, splits: Splits
) -> None:
    assert [stage.inputs for stage in exported.stages] == [("image",), ("hidden_0",)]
    assert [stage.outputs for stage in exported.stages] == [("logits_0", "hidden_0"), ("logits_1",)]
    chained = logits_of_exits([stage.onnx for stage in exported.stages], splits.test)
    for one, other in zip(chained, predict(staged, splits.test), strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-3)


def test_int8_stages_are_smaller_and_agree(
    exported: Exported, splits: Splits, context: registry.Context
) -> None:
    quantized, report = registry.apply(exported, QuantizeInt8(calibration_samples=64), context)
    assert isinstance(quantized, Exported)
    assert report.facts["bytes"] < report.facts["bytes_before"]
    plain, int8 = (
        logits_of_exits([stage.onnx for stage in model.stages], splits.test)
        for model in (exported, quantized)
    )
    for one, other in zip(plain, int8, strict=True):
        assert (one.argmax(1) == other.argmax(1)).mean() > 0.9
    for one_stage, other_stage in zip(exported.stages, quantized.stages, strict=True):
        assert count_parameters(other_stage.onnx)[0] == count_parameters(one_stage.onnx)[0]
        assert peak_activation_bytes(other_stage.onnx) < peak_activation_bytes(one_stage.onnx)


def test_peak_activation_counts_what_is_alive_at_once(exported: Exported) -> None:
    feature_map = 16 * 28 * 28 * 4
    peak = peak_activation_bytes(exported.stages[0].onnx)
    assert 2 * feature_map <= peak <= 3 * feature_map + 28 * 28 * 4  # shortcut, one in, one out


def test_macs_are_those_of_one_sample(exported: Exported) -> None:
    last = exported.stages[-1]
    block = 16 * 16 * 14 * 14 * (9 + 9 + 1)
    assert last.macs == block + 16 * 4


@pytest.fixture
def definition() -> Definition:
    return parse_definition(DEFINITION)


class _Interrupt:
    """Stop the build after one epoch of training."""

    def __call__(self, event: BuildEvent, /) -> None:
        if event.step == "train" and event.done == 1:
            raise KeyboardInterrupt


def test_an_interrupted_build_goes_on_and_ends_the_same(
    definition: Definition, splits: Splits, tmp_path: Path
) -> None:
    whole = Builder(definition, splits, tmp_path, tmp_path / "whole", silent).network("net", ())
    with pytest.raises(KeyboardInterrupt):
        Builder(definition, splits, tmp_path, tmp_path / "cache", _Interrupt()).network("net", ())
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".partial"]
    events: list[BuildEvent] = []
    resumed = Builder(definition, splits, tmp_path, tmp_path / "cache", events.append).network("net", ())
    assert [event.done for event in events] == [2, 3]
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".pt"]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


def test_a_variant_is_built_measured_and_remembered(
    definition: Definition, splits: Splits, tmp_path: Path
) -> None:
    events: list[BuildEvent] = []
    builder = Builder(definition, splits, tmp_path, tmp_path / "cache", events.append)
    variant = builder.build(definition.variants[1])
    assert variant.transforms == ("prune_structured", "quantize_int8")
    assert (variant.precision, variant.format) == ("int8", "onnx")
    assert (tmp_path / "tiny.onnx").stat().st_size == variant.artefact_bytes
    assert variant.exit_rules[0].accuracy_frac == (variant.accuracy_frac,)
    assert variant.nonzero_parameters <= variant.parameters
    assert any(event.step == "train" for event in events)
    events.clear()
    assert builder.build(definition.variants[1]) == variant
    assert not any(event.step == "train" for event in events)
