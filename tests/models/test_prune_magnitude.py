"""Magnitude pruning keeps the largest weights, exactly as many as asked, through retraining and export."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import PruneMagnitude

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.layerwise import LayerError, per_layer, weighted_layers  # noqa: E402
from trimtab_models.transforms.prune_magnitude import keep_after, smallest  # noqa: E402

pytestmark = pytest.mark.build

IMAGE = (1, 12, 12)
STEP = Training(epochs=2, batch=32, learning_rate=0.05, flip=False, crop_padding=0)


def corners(count: int, seed: int) -> Samples:
    """Return noise with one bright corner: the label says which."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, *IMAGE), dtype=np.uint8)
    labels = rng.integers(0, 4, count).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = 6 * (int(label) // 2), 6 * (int(label) % 2)
        image[0, top : top + 6, left : left + 6] += 60
    return Samples(images, labels, np.arange(count))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(corners(256, 1), corners(64, 2), corners(128, 3), tuple("abcd"), (0.25,), (0.15,))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def context(splits: Splits) -> registry.Context:
    return registry.Context(splits, mlp(splits), seed=3)


def mlp(splits: Splits) -> Any:
    return architectures.build(architectures.Mlp((30, 20)), Head.of(splits), seed=3).eval()


def accuracy(network: Any, splits: Splits) -> float:
    return float((predict(network, splits.test)[-1].argmax(1).numpy() == splits.test.labels).mean())


def test_lenet_300_100_keeps_what_the_papers_table_says() -> None:
    head = Head(10, (1, 28, 28), (0.13,), (0.31,))
    network = architectures.build(architectures.Mlp(), head, seed=0)
    shares = {"features.1": 0.08, "features.3": 0.09, "head.0": 0.26}
    pruned = smallest(weighted_layers(network), shares)
    kept = {name: int((~gone).sum()) for name, gone in pruned.items()}
    assert kept == {"features.1": 18816, "features.3": 2700, "head.0": 260}  # 8, 9, 26 % of 235k, 30k, 1k


def test_the_largest_magnitudes_stay() -> None:
    layer = torch.nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor([[0.1, -0.9, 0.3, -0.2], [0.8, 0.05, -0.4, 0.0]])
    gone = smallest({"one": layer}, {"one": 0.5})["one"]
    assert gone.tolist() == [[True, False, False, True], [False, True, False, True]]


def test_one_threshold_over_all_layers_takes_more_from_small_weights() -> None:
    small, large = torch.nn.Linear(4, 1, bias=False), torch.nn.Linear(4, 1, bias=False)
    small.weight.data = torch.tensor([[0.1, 0.2, 0.3, 0.9]])
    large.weight.data = torch.tensor([[1.0, -2.0, 0.4, 3.0]])
    gone = smallest({"small": small, "large": large}, 0.5)
    assert gone["small"].tolist() == [[True, True, True, False]]
    assert gone["large"].tolist() == [[False, False, True, False]]


def test_a_layer_left_without_weights_is_named() -> None:
    small, large = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
    small.weight.data *= 1e-6
    with pytest.raises(LayerError, match="layer tiny: none of its 4 weights"):
        smallest({"tiny": small, "large": large}, 0.5)


def test_rounds_follow_the_cubic_schedule() -> None:
    config = PruneMagnitude({"dense": 0.1}, rounds=4)
    # Zhu and Gupta, equation 1, with sparsity from 0 to 0.9: 0.9 * (1 - (1 - r / 4)^3)
    assert [keep_after(r, config, 0.1) for r in (1, 2, 3, 4)] == pytest.approx(
        [1 - 0.9 * 37 / 64, 1 - 0.9 * 7 / 8, 1 - 0.9 * 63 / 64, 0.1]
    )
    linear = replace(config, schedule="linear")
    assert [keep_after(r, linear, 0.1) for r in (1, 2, 3, 4)] == pytest.approx([0.775, 0.55, 0.325, 0.1])


def test_pruned_weights_stay_zero_through_retraining_and_export(
    splits: Splits, context: registry.Context
) -> None:
    network = mlp(splits)
    context.tune(network, STEP)
    config = PruneMagnitude({"dense": 0.1, "head.0": 0.5}, rounds=2, training=STEP)
    pruned, report = registry.apply(network, config, context)
    kept = {name: int(layer.weight.count_nonzero()) for name, layer in weighted_layers(pruned).items()}
    assert kept == {"features.1": 432, "features.3": 60, "head.0": 40}
    assert report.facts == {"weights_before": 5000, "weights": 532}
    assert accuracy(pruned, splits) > 0.9
    graph = onnx.load_from_string(export(pruned, IMAGE).stages[0].onnx).graph
    stored = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if len(tensor.dims) == 2]
    assert sorted(int(np.count_nonzero(weights)) for weights in stored) == [40, 60, 432]
    assert not any(np.signbit(weights[weights == 0]).any() for weights in stored)


def test_the_last_round_may_train_by_its_own_settings(splits: Splits, context: registry.Context) -> None:
    epochs: list[int] = []
    listening = replace(context, on_epoch=lambda epoch: epochs.append(epoch.total))
    config = PruneMagnitude({"dense": 0.5}, rounds=2, training=STEP, final_training=replace(STEP, epochs=3))
    registry.apply(mlp(splits), config, listening)
    assert epochs == [2, 2, 3, 3, 3]


def test_an_interrupted_call_goes_on_with_its_round(
    splits: Splits, context: registry.Context, tmp_path: Path
) -> None:
    config = PruneMagnitude({"dense": 0.2}, rounds=3, training=STEP)
    whole, _ = registry.apply(mlp(splits), config, replace(context, partial=tmp_path / "whole.partial"))
    assert not list(tmp_path.iterdir())
    seen: list[int] = []

    def stop_in_the_third_round(epoch: Any) -> None:
        seen.append(epoch.number)
        if len(seen) == 5:
            raise KeyboardInterrupt

    broken = replace(context, partial=tmp_path / "net.partial")
    with pytest.raises(KeyboardInterrupt):
        registry.apply(mlp(splits), config, replace(broken, on_epoch=stop_in_the_third_round))
    seen.clear()
    resumed, _ = registry.apply(
        mlp(splits), config, replace(broken, on_epoch=lambda epoch: seen.append(epoch.number))
    )
    assert seen == [2]  # the rest of the third round
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


def test_names_go_before_patterns_and_patterns_before_kinds(splits: Splits) -> None:
    found = per_layer(mlp(splits), {"dense": 1, "features.*": 2, "features.3": 3}, "keep_frac")
    assert found == {"features.1": 2, "features.3": 3, "head.0": 1}


def test_settings_that_fit_no_layer_are_refused(splits: Splits, context: registry.Context) -> None:
    with pytest.raises(LayerError, match=r"prune_magnitude.keep_frac: no layer is called 'fc9'.*features.1"):
        registry.apply(mlp(splits), PruneMagnitude({"fc9": 0.5}), context)
    with pytest.raises(ValueError, match=r"keep_frac\.dense must be over 0"):
        PruneMagnitude({"dense": 0.0})
    with pytest.raises(ValueError, match="either keep_frac or global_keep_frac"):
        PruneMagnitude({"dense": 0.5}, global_keep_frac=0.5)


def test_frontends_are_left_alone() -> None:
    config = architectures.ResNet((16,), blocks=1, frontend=architectures.LogMel())
    network = architectures.build(config, Head(4, (4000,), (0.0,), (1.0,)), seed=0)
    assert not any("0.0" in name and "norm" in name for name in weighted_layers(network))
    assert len(weighted_layers(network)) == 4  # stem, two of a block, classifier
