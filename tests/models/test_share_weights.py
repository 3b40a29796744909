"""Weights share values: k-means on a line, gradients summed per cluster, zeros kept, codebooks in the file."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import PruneMagnitude, ShareWeights
from trimtab_models.transforms.kmeans import kmeans

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from hypothesis import given, settings  # noqa: E402  after the guard
from hypothesis import strategies as st  # noqa: E402

from trimtab_models import architectures, registry  # noqa: E402
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.measure import session  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.layerwise import LayerError, weighted_layers  # noqa: E402
from trimtab_models.transforms.share_weights import Codebook, settle, share  # noqa: E402

pytestmark = pytest.mark.build

IMAGE = (1, 12, 12)
STEP = Training(epochs=2, batch=32, learning_rate=0.02, flip=False, crop_padding=0)
NUMBERS = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=60)


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


def trained(splits: Splits, config: Any) -> tuple[Any, registry.Context]:
    network = architectures.build(config, Head.of(splits), seed=3)
    context = registry.Context(splits, network, seed=3)
    context.tune(network, STEP)
    return network, context


def test_kmeans_of_a_small_vector() -> None:
    values = np.array([1.0, 2.0, 3.0, 10.0, 11.0, 12.0])
    # linear: from 1 and 12, divided at 6.5
    for initialisation in ("linear", "density", "random"):
        centroids, nearest = kmeans(values, 2, initialisation)
        assert centroids.tolist() == [2.0, 11.0]
        assert nearest.tolist() == [0, 0, 0, 1, 1, 1]


def test_linear_centroids_in_the_gap_around_zero_are_put_to_use() -> None:
    values = np.concatenate([-np.arange(10, 14), np.arange(10, 14)]).astype(float)
    centroids, nearest = kmeans(values, 4, "linear")  # -13, -4.3, 4.3, 13: two would be empty
    assert len(centroids) == 4
    assert np.square(values - centroids[nearest]).sum() == pytest.approx(2.0)  # pairs, each 2 * 0.5^2


def test_few_distinct_values_are_kept_exactly() -> None:
    centroids, nearest = kmeans(np.array([0.5, -1.0, 0.5]), 4, "linear")
    assert centroids.tolist() == [-1.0, 0.5]
    assert nearest.tolist() == [1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.integers(1, 8), st.sampled_from(["linear", "density", "random"]))
def test_every_value_goes_to_its_nearest_centroid_and_centroids_are_means(
    numbers: list[float], clusters: int, initialisation: Any
) -> None:
    values = np.array(numbers)
    centroids, nearest = kmeans(values, clusters, initialisation)
    assert 1 <= len(centroids) <= clusters
    assert all(low < high for low, high in pairwise(centroids))
    distance = np.abs(values[:, None] - centroids[None])
    np.testing.assert_allclose(distance[np.arange(len(values)), nearest], distance.min(axis=1), atol=1e-9)
    for cluster, centroid in enumerate(centroids):
        assert values[nearest == cluster].mean() == pytest.approx(centroid, abs=1e-6)
    again, _ = kmeans(values, clusters, initialisation)
    assert again.tolist() == centroids.tolist()


def test_figure_3_of_the_paper() -> None:
    """Four shared values, 16 weights, a gradient each: sums per cluster, times the learning rate, taken off."""
    index = torch.tensor([[3, 0, 2, 1], [1, 1, 0, 3], [0, 3, 1, 0], [3, 1, 2, 2]])
    gradient = torch.tensor(
        [
            [-0.03, -0.01, 0.03, 0.02],
            [-0.01, 0.01, -0.02, 0.12],
            [-0.01, 0.02, 0.04, 0.01],
            [-0.07, -0.02, 0.01, -0.02],
        ]
    )
    start = torch.tensor([-1.0, 0.0, 1.5, 2.0])
    codebook = start.clone().requires_grad_()
    weights = Codebook(index + 1, start)(codebook)
    assert weights[0].tolist() == [2.0, -1.0, 1.5, 0.0]
    weights.backward(gradient)
    # rows of the figure: 3: -0.03 + 0.12 + 0.02 - 0.07 = 0.04, 2: 0.02, 1: 0.04, 0: -0.03
    torch.testing.assert_close(codebook.grad, torch.tensor([-0.03, 0.04, 0.02, 0.04]))
    optimizer = torch.optim.SGD([codebook], lr=1.0)
    optimizer.step()
    torch.testing.assert_close(codebook.detach(), torch.tensor([-0.97, -0.04, 1.48, 1.96]))


def test_pruned_weights_are_zero_and_get_no_gradient() -> None:
    codebook = torch.tensor([1.0, 2.0], requires_grad=True)
    weights = Codebook(torch.tensor([[0, 1], [2, 0]]), codebook.detach())(codebook)
    assert weights.tolist() == [[0.0, 1.0], [2.0, 0.0]]
    weights.sum().backward()
    assert codebook.grad.tolist() == [1.0, 1.0]


def test_sharing_without_training_gives_the_centroids() -> None:
    layer = torch.nn.Linear(3, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0, 2.0, 3.0], [10.0, 0.0, 12.0]])
    share("fc", layer, 1, ShareWeights({"dense": 1}), 0)
    settle(layer)
    assert layer.weight.tolist() == [[2.0, 2.0, 2.0], [11.0, 0.0, 11.0]]
    assert type(layer) is torch.nn.Linear


def test_a_layer_of_zeros_is_named() -> None:
    layer = torch.nn.Linear(3, 2)
    layer.weight.data.zero_()
    with pytest.raises(LayerError, match="layer fc: its weights are all zero"):
        share("fc", layer, 2, ShareWeights(), 0)


def test_after_pruning_and_training_few_values_are_left_and_zeros_stay(splits: Splits) -> None:
    network, context = trained(splits, architectures.Mlp((30, 20)))
    network, _ = registry.apply(network, PruneMagnitude({"dense": 0.2}, training=STEP), context)
    zeros = {name: layer.weight == 0 for name, layer in weighted_layers(network).items()}
    before = network.features[1].weight.detach().clone()
    shared, report = registry.apply(network, ShareWeights({"dense": 3, "head.0": 2}, training=STEP), context)
    sizes = {}
    for name, layer in weighted_layers(shared).items():
        assert torch.equal(layer.weight == 0, zeros[name])
        sizes[name] = len(layer.weight[layer.weight != 0].unique())
    assert sizes["features.1"] == sizes["features.3"] == 8
    assert sizes["head.0"] == 4
    assert report.facts["layers"] == 3
    plain = ShareWeights({"dense": 3})
    untrained = torch.nn.Linear(144, 30)
    untrained.weight.data = before
    share("features.1", untrained, 3, plain, 3)
    assert not torch.equal(untrained.weight, shared.features[1].weight)  # training moved the values
    answers = predict(shared, splits.test)[-1].argmax(1).numpy()
    assert (answers == splits.test.labels).mean() > 0.9


def test_codebooks_survive_export_although_norms_follow(splits: Splits) -> None:
    network, context = trained(splits, architectures.ResNet((16, 16), blocks=1))
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 2.0)  # folded, channels would scale apart
    exact = predict(network, splits.test)[-1]
    shared, _ = registry.apply(network, ShareWeights({"conv": 4, "dense": 3}), context)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in shared.modules())
    stage = export(shared, IMAGE).stages[0]
    graph = onnx.load_from_string(stage.onnx).graph
    names = {node.input[1] for node in graph.node if node.op_type in ("Conv", "Gemm")}
    values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer if t.name in names}
    assert len(values) == 7
    assert max(len(np.unique(weights)) for weights in values.values()) <= 16
    answers = session(stage.onnx).run(None, {"image": splits.test.tensors()})[0]
    np.testing.assert_allclose(answers, predict(shared, splits.test)[-1].numpy(), atol=1e-4)
    assert np.corrcoef(answers.ravel(), exact.numpy().ravel())[0, 1] > 0.97  # 4 bits round a little


def test_codebooks_of_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"bits\.conv must be 1 to 16, not 0"):
        ShareWeights({"conv": 0})
