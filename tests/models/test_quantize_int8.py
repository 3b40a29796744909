"""Post-training quantisation: the arithmetic of scales, what stays in float, what it does to real networks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import EarlyExit, QuantizeDynamic, QuantizeInt8, QuantizeWeights

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402  after the guard

from trimtab_models import architectures, registry  # noqa: E402
from trimtab_models.architectures import LogMel, Mlp, PooledResNet, ResNet  # noqa: E402
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import Exported, ExportedStage, export  # noqa: E402
from trimtab_models.measure import count_parameters, logits_of_exits, peak_activation_bytes  # noqa: E402
from trimtab_models.transforms.quantize_int8 import CalibrationError  # noqa: E402
from trimtab_models.transforms.quantize_weights import rounded  # noqa: E402

pytestmark = pytest.mark.build

IMAGE = (1, 16, 16)
STEP = Training(epochs=2, batch=32, learning_rate=0.05, flip=False, crop_padding=0)


def corners(count: int, seed: int) -> Samples:
    """Return noise with one bright corner: the label says which."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, *IMAGE), dtype=np.uint8)
    labels = rng.integers(0, 4, count).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = 8 * (int(label) // 2), 8 * (int(label) % 2)
        image[0, top : top + 8, left : left + 8] += 60
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


def trained(config: Any, splits: Splits) -> tuple[Any, registry.Context]:
    network = architectures.build(config, Head.of(splits), seed=3)
    context = registry.Context(splits, network, seed=3)
    context.tune(network, STEP)
    return network, context


@pytest.fixture(scope="module")
def pooled(splits: Splits) -> tuple[Exported, registry.Context]:
    network, context = trained(PooledResNet((16, 32), (1, 1), stem=16), splits)
    return export(network, IMAGE), context


def kinds(model: Exported, stage: int = 0) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model.stages[stage].onnx).graph.node]


def answers(model: Exported, splits: Splits) -> Any:
    return logits_of_exits([stage.onnx for stage in model.stages], splits.test)[-1]


def linear(weights: Any) -> Exported:
    """Return one dense layer without bias as ONNX, from x (n, 2)."""
    shape = [None, weights.shape[1]]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["image", "w"], ["logits"], "dense", transB=1)],
        "one",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, weights.shape[0]])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return Exported((ExportedStage(model.SerializeToString(), ("image",), ("logits",), "logits", 4),))


def pairs(values: list[list[int]]) -> registry.Context:
    samples = Samples(
        np.array(values, np.int16), np.zeros(len(values), np.uint8), np.arange(len(values)), 0.5
    )
    splits = Splits(samples, samples, samples, ("a", "b"), (0.0,), (1.0,))
    return registry.Context(splits, torch.nn.Identity(), seed=1)


def test_scales_and_zero_points_are_those_of_the_extremes() -> None:
    weights = np.array([[0.5, -1.27], [2.54, 0.02]], np.float32)
    context = pairs([[-2, 0], [4, 8]])  # times 0.5: -1 to 4
    quantized, _ = registry.apply(linear(weights), QuantizeInt8(), context)
    graph = onnx.load_from_string(quantized.stages[0].onnx).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert values["image_scale"] == pytest.approx(5 / 255)
    assert values["image_zero_point"] == 51  # 1 / (5 / 255)
    assert values["w_scale"].tolist() == pytest.approx([0.01, 0.02])  # 1.27 / 127 and 2.54 / 127
    assert values["w_quantized"].tolist() == [[50, -127], [127, 1]]


def test_a_range_that_no_grid_covers_is_named() -> None:
    weights = np.array([[0.5, -1.0], [2.0, 0.0]], np.float32)
    with pytest.raises(CalibrationError, match=r"tensor image \(made by the caller\) ranges from 0.0 to 0.0"):
        registry.apply(linear(weights), QuantizeInt8(), pairs([[0, 0], [0, 0]]))
    weights[0, 0] = np.nan
    with pytest.raises(CalibrationError, match=r"tensor logits \(made by dense\) ranges from nan"):
        registry.apply(linear(weights), QuantizeInt8(), pairs([[1, 2], [3, 4]]))


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_residual_networks_with_pooling_agree_with_float(
    pooled: tuple[Exported, registry.Context], splits: Splits, method: Any
) -> None:
    model, context = pooled
    quantized, report = registry.apply(model, QuantizeInt8(64, calibration_method=method), context)
    exact, close = answers(model, splits), answers(quantized, splits)
    assert (exact.argmax(1) == close.argmax(1)).mean() > 0.95
    assert report.facts["bytes"] < report.facts["bytes_before"]
    assert abs(report.facts["accuracy_frac"] - report.facts["accuracy_frac_before"]) < 0.05


def test_percentiles_clip_what_is_rare() -> None:
    weights = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    context = pairs([[200, 2]] + [[2, 2]] * 999)
    scales = []
    for config in (QuantizeInt8(1000), QuantizeInt8(1000, calibration_method="percentile", percentile=99.0)):
        quantized, _ = registry.apply(linear(weights), config, context)
        graph = onnx.load_from_string(quantized.stages[0].onnx).graph
        scales += [numpy_helper.to_array(t) for t in graph.initializer if t.name == "image_scale"]
    assert scales[0] == pytest.approx(100 / 255)
    assert scales[1] < 2 / 255


def test_first_and_last_layer_stay_float_on_demand(pooled: tuple[Exported, registry.Context]) -> None:
    model, context = pooled
    config = QuantizeInt8(32, float_first=True, float_last=True)
    quantized, _ = registry.apply(model, config, context)
    graph = onnx.load_from_string(quantized.stages[0].onnx).graph
    weights = {t.name: t.data_type for t in graph.initializer if len(t.dims) > 1}
    floats = [name for name, kind in weights.items() if kind == TensorProto.FLOAT and "frontend" not in name]
    assert sum(name.endswith("weight") for name in floats) == 2
    assert sum(kind == TensorProto.INT8 for kind in weights.values()) == 4


def test_log_mel_features_stay_in_float() -> None:
    rng = np.random.default_rng(0)
    audio = Samples(
        rng.integers(-900, 900, (16, 4000)).astype(np.int16),
        rng.integers(0, 4, 16).astype(np.uint8),
        np.arange(16),
        1 / 32768,
    )
    splits = Splits(audio, audio, audio, tuple("abcd"), (0.0,), (1.0,), "audio")
    network = architectures.build(ResNet((16,), blocks=1, frontend=LogMel()), Head.of(splits), seed=1).eval()
    context = registry.Context(splits, network, seed=1)
    model = export(network, (4000,), "audio")
    for config in (QuantizeInt8(16), QuantizeWeights(4, least_weights=1)):
        quantized, _ = registry.apply(model, config, context)
        operators = kinds(quantized)
        if isinstance(config, QuantizeInt8):
            assert operators.index("Log") < operators.index("QuantizeLinear")
        graph = onnx.load_from_string(quantized.stages[0].onnx).graph
        held = {t.name: t.data_type for t in graph.initializer}
        features = [node.input[1] for node in graph.node if node.op_type == "Conv"][:2]  # transform, bands
        assert [held.get(name) for name in features] == [TensorProto.FLOAT] * 2
        assert np.corrcoef(answers(quantized, splits).ravel(), answers(model, splits).ravel())[0, 1] > 0.9


def test_stages_with_exits_are_calibrated_on_what_reaches_them(splits: Splits) -> None:
    network, context = trained(ResNet((16, 16), blocks=1), splits)
    staged, _ = registry.apply(network, EarlyExit(STEP, thresholds=(0.8,)), context)
    model = export(staged, IMAGE)
    quantized, _ = registry.apply(model, QuantizeInt8(64), context)
    plain, int8 = (logits_of_exits([s.onnx for s in some.stages], splits.test) for some in (model, quantized))
    for one, other in zip(plain, int8, strict=True):
        assert (one.argmax(1) == other.argmax(1)).mean() > 0.9
    for one_stage, other_stage in zip(model.stages, quantized.stages, strict=True):
        assert count_parameters(other_stage.onnx)[0] == count_parameters(one_stage.onnx)[0]
        assert peak_activation_bytes(other_stage.onnx) < peak_activation_bytes(one_stage.onnx)


def test_rounding_weights_by_hand() -> None:
    weights = np.array([[0.7, -0.35, 0.0], [-1.4, 0.25, 0.6], [0.0, 0.0, 0.0]], np.float32)
    integers, scales = rounded(weights, 4, axis=0)
    assert scales.ravel().tolist() == pytest.approx([0.1, 0.2, 1.0])
    assert integers.tolist() == [[7, -4, 0], [-7, 1, 3], [0, 0, 0]]  # -3.5 rounds to the even -4
    integers, scales = rounded(weights, 8, axis=1)
    assert scales.ravel().tolist() == pytest.approx([1.4 / 127, 0.35 / 127, 0.6 / 127])
    assert integers[1].tolist() == [-127, 91, 127]


@pytest.mark.parametrize(("bits", "times"), [(8, 3.0), (4, 4.5)])
def test_weights_alone_shrink_the_file_and_compute_as_stored(bits: Any, times: float, splits: Splits) -> None:
    network, context = trained(Mlp((63, 32)), splits)  # an odd number of weights is packed, too
    model = export(network, IMAGE)
    quantized, report = registry.apply(model, QuantizeWeights(bits), context)
    assert report.facts["tensors"] == 2  # the classifier has 128 weights only
    assert report.facts["bytes_before"] / report.facts["bytes"] > times
    with torch.no_grad():
        for layer in (network.features[1], network.features[3]):
            integers, scales = rounded(layer.weight.numpy(), bits, axis=0)
            layer.weight.copy_(torch.from_numpy(integers * scales))
        expected = network(torch.from_numpy(splits.test.tensors())).numpy()
    np.testing.assert_allclose(answers(quantized, splits), expected, atol=1e-3)


def test_dynamic_quantisation_touches_dense_layers_only(
    pooled: tuple[Exported, registry.Context], splits: Splits
) -> None:
    network, context = trained(Mlp((64, 32)), splits)
    model = export(network, IMAGE)
    quantized, report = registry.apply(model, QuantizeDynamic(), context)
    assert report.facts["bytes_before"] / report.facts["bytes"] > 3
    assert kinds(quantized).count("DynamicQuantizeLinear") == 3
    assert (answers(quantized, splits).argmax(1) == answers(model, splits).argmax(1)).mean() > 0.95
    convolutional, _ = registry.apply(pooled[0], QuantizeDynamic(), pooled[1])
    assert "ConvInteger" not in kinds(convolutional)
    assert kinds(convolutional).count("Conv") == 5


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="calibration_samples must be at least 1"):
        QuantizeInt8(0)
    with pytest.raises(ValueError, match="percentile must be over 50"):
        QuantizeInt8(percentile=10)
    with pytest.raises(ValueError, match="bits must be 4 or 8"):
        QuantizeWeights(5)  # type: ignore[arg-type]  # what a caller without a checker may do
