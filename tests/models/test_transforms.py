"""Each transform does to a tiny network what it claims; builds go on where they stopped."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.recipe import Definition, parse_definition
from trimtab_models.settings import BuildEvent, Training, silent
from trimtab_models.transforms.configs import Distill

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.builder import Builder  # noqa: E402
from trimtab_models.distillation import answers_of, distillation_loss  # noqa: E402
from trimtab_models.training import Batch  # noqa: E402

pytestmark = pytest.mark.build

ONE_EPOCH = Training(epochs=1, batch=32, learning_rate=0.05)
TAUGHT = replace(ONE_EPOCH, teacher_frac=0.9)
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
    return Splits(squares(128, 1), squares(64, 2), squares(64, 3), ("a", "b", "c", "d"), (0.15,), (0.15,))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # these networks are too small for two, which stall under load
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network(splits: Splits) -> Any:
    return architectures.build(TINY, Head.of(splits), seed=5).eval()


@pytest.fixture
def context(splits: Splits) -> registry.Context:
    return registry.Context(splits, architectures.build(TINY, Head.of(splits), seed=5), seed=5)


def size(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_distilling_without_architecture_keeps_the_structure(network: Any, context: registry.Context) -> None:
    before = size(network)
    student, _ = registry.apply(network, Distill(TAUGHT), context)
    assert student is network
    assert size(student) == before


def test_distilling_into_an_architecture_returns_a_fresh_student(context: registry.Context) -> None:
    small = architectures.ConvNet(channels=(16,), strides=(2,), pool=(True,), mean=False)
    student, report = registry.apply(context.reference, Distill(TAUGHT, small), context)
    assert report.facts["parameters"] == size(student) < size(context.reference)


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn() -> None:
    torch.manual_seed(1)
    plain, mirrored = torch.randn(2, 5, 4)
    rows, flags = torch.tensor([3, 1]), torch.tensor([False, True])
    batch = Batch(torch.zeros(2, *IMAGE), torch.tensor([0, 1]), rows, flags)
    loss = distillation_loss(torch.stack([plain, mirrored]), replace(ONE_EPOCH, teacher_frac=1.0))
    assert float(loss(torch.stack([plain[3], mirrored[1]]), batch)) == pytest.approx(0, abs=1e-5)
    assert float(loss(torch.stack([plain[3], plain[1]]), batch)) > 0.1


def test_mirrored_images_get_the_teachers_answer_to_the_mirror_image(network: Any, splits: Splits) -> None:
    samples = splits.test
    mirror_image = replace(samples, inputs=samples.inputs[..., ::-1].copy())
    answers = answers_of(network, samples, mirrored=True)
    assert answers.shape == (2, len(samples), 4)
    torch.testing.assert_close(answers[1], answers_of(network, mirror_image, mirrored=False)[0])


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
    whole = Builder(
        definition, tmp_path / "family.yaml", splits, tmp_path, tmp_path / "whole", silent
    ).network("net", ())
    with pytest.raises(KeyboardInterrupt):
        Builder(
            definition, tmp_path / "family.yaml", splits, tmp_path, tmp_path / "cache", _Interrupt()
        ).network("net", ())
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".partial"]
    events: list[BuildEvent] = []
    resumed = Builder(
        definition, tmp_path / "family.yaml", splits, tmp_path, tmp_path / "cache", events.append
    ).network("net", ())
    assert [event.done for event in events] == [2, 3]
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".pt"]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


def test_a_variant_is_built_measured_and_remembered(
    definition: Definition, splits: Splits, tmp_path: Path
) -> None:
    events: list[BuildEvent] = []
    builder = Builder(
        definition, tmp_path / "family.yaml", splits, tmp_path, tmp_path / "cache", events.append
    )
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
