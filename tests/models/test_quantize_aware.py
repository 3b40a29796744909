"""Quantisation-aware training: gradients pass the rounding, weights end on their grid, and it pays."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import PruneMagnitude, QuantizeAware, QuantizeInt8

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures import Mlp, ResNet  # noqa: E402
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.measure import accuracy_frac, logits_of_exits  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.layerwise import weighted_layers  # noqa: E402
from trimtab_models.transforms.quantize_aware import ActivationGrid, WeightGrid  # noqa: E402

pytestmark = pytest.mark.build

IMAGE = (1, 12, 12)
STEP = Training(epochs=4, batch=32, learning_rate=0.05, flip=False, crop_padding=0)


def spots(count: int, seed: int) -> Samples:
    """Return noise with a slightly brighter sixth of the rows: the label says which."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 200, (count, *IMAGE), dtype=np.uint8)
    labels = rng.integers(0, 6, count).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * int(label) : 2 * int(label) + 2] += 40
    return Samples(images, labels, np.arange(count))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(spots(512, 1), spots(128, 2), spots(512, 3), tuple("abcdef"), (0.4,), (0.23,))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(config: Any, splits: Splits) -> tuple[Any, registry.Context]:
    network = architectures.build(config, Head.of(splits), seed=3)
    context = registry.Context(splits, network, seed=3)
    context.tune(network, STEP)
    return network, context


def test_weights_round_to_the_grid_of_their_channel_and_pass_gradients_whole() -> None:
    weights = torch.tensor([[0.7, -0.34, 0.06], [-1.4, 0.25, 0.0]], requires_grad=True)
    rounded = WeightGrid(4)(weights)  # 7 steps each way: 0.1 and 0.2
    torch.testing.assert_close(rounded, torch.tensor([[0.7, -0.3, 0.1], [-1.4, 0.2, 0.0]]))
    rounded.backward(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert weights.grad.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_activations_clip_to_the_range_seen_and_stop_gradients_there() -> None:
    grid = ActivationGrid(bits=2, momentum=0.1)
    grid(torch.tensor([-1.0, 2.0]))  # three steps of 1, zero at 1
    grid.eval()
    values = torch.tensor([-3.0, -0.6, 0.4, 1.7, 9.0], requires_grad=True)
    rounded = grid(values)
    torch.testing.assert_close(rounded, torch.tensor([-1.0, -1.0, 0.0, 2.0, 2.0]))
    rounded.sum().backward()
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_ranges_follow_batches_and_hold_zero() -> None:
    grid = ActivationGrid(bits=8, momentum=0.25)
    grid(torch.tensor([1.0, 4.0]))
    assert (float(grid.low), float(grid.high)) == (0.0, 4.0)
    grid(torch.tensor([-2.0, 8.0]))
    assert (float(grid.low), float(grid.high)) == (-0.5, 5.0)
    grid.eval()
    grid(torch.tensor([-50.0, 50.0]))
    assert (float(grid.low), float(grid.high)) == (-0.5, 5.0)


def test_training_with_rounding_beats_rounding_after_training(splits: Splits) -> None:
    network, context = trained(Mlp((24, 16)), splits)
    afterwards = architectures.build(Mlp((24, 16)), Head.of(splits), seed=3).eval()
    afterwards.load_state_dict(network.state_dict())
    with torch.no_grad():
        for layer in weighted_layers(afterwards).values():
            layer.weight.copy_(WeightGrid(2)(layer.weight))
    aware, _ = registry.apply(network, QuantizeAware(STEP, weight_bits=2), context)
    assert accuracy(aware, splits) > accuracy(afterwards, splits) + 0.05


def accuracy(network: Any, splits: Splits) -> float:
    return float((predict(network, splits.test)[-1].argmax(1).numpy() == splits.test.labels).mean())


def test_int8_finds_the_grid_the_training_left_through_folded_norms(splits: Splits) -> None:
    network, context = trained(ResNet((16,), blocks=1), splits)
    aware, report = registry.apply(network, QuantizeAware(STEP, weight_bits=4), context)
    assert report.facts == {"layers": 4, "weight_bits": 4}
    for layer in weighted_layers(aware).values():
        assert type(layer) in (torch.nn.Conv2d, torch.nn.Linear)
        assert all(len(channel.unique()) <= 15 for channel in layer.weight)
    model = export(aware, IMAGE)
    int8, _ = registry.apply(model, QuantizeInt8(64), context)
    graph = onnx.load_from_string(int8.stages[0].onnx).graph
    stored = [
        onnx.numpy_helper.to_array(t) for t in graph.initializer if t.data_type == 3 and len(t.dims) > 1
    ]
    assert len(stored) == 4
    for weights in stored:
        for channel in weights.reshape(len(weights), -1).astype(int):
            steps = channel * 7 / 127  # 4 bits: the channel's largest is step 7
            assert np.abs(steps - np.rint(steps)).max() <= 0.5 * 7 / 127 + 1e-9
    plain, close = (logits_of_exits([m.stages[0].onnx], splits.test)[0] for m in (model, int8))
    labels = splits.test.labels
    assert accuracy_frac(close, labels) == pytest.approx(accuracy_frac(plain, labels), abs=0.02)


def test_eight_bit_grids_are_found_exactly(splits: Splits) -> None:
    network, context = trained(Mlp((24,)), splits)
    aware, _ = registry.apply(network, QuantizeAware(STEP), context)
    expected = aware.features[1].weight.detach().numpy()
    int8, _ = registry.apply(export(aware, IMAGE), QuantizeInt8(64), context)
    graph = onnx.load_from_string(int8.stages[0].onnx).graph
    values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    scale = values["features.1.weight_scale"][:, None]
    np.testing.assert_allclose(values["features.1.weight_quantized"] * scale, expected, atol=1e-6)


def test_pruned_weights_stay_zero(splits: Splits) -> None:
    network, context = trained(Mlp((24,)), splits)
    network, _ = registry.apply(network, PruneMagnitude({"dense": 0.2}), context)
    zeros = {name: layer.weight == 0 for name, layer in weighted_layers(network).items()}
    aware, _ = registry.apply(network, QuantizeAware(STEP), context)
    for name, layer in weighted_layers(aware).items():
        assert bool((layer.weight[zeros[name]] == 0).all())
        assert int(zeros[name].sum()) == zeros[name].numel() - round(0.2 * zeros[name].numel())


def test_impossible_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="weight_bits must be 2 to 8, not 1"):
        QuantizeAware(STEP, weight_bits=1)
