"""Counts read off ONNX graphs, against hand-computed ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from trimtab_models.counting import count, precision  # noqa: E402  after the check
from trimtab_models.family import read_manifest, recount  # noqa: E402

FASHION = Path(__file__).parents[2] / "models" / "families" / "fashion"
FLOAT = onnx.TensorProto.FLOAT
OPSETS = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("nowhere", 1)]
pytestmark = pytest.mark.build


def model(nodes: list[object], weights: dict[str, object], shape: list[object], out: list[object]) -> bytes:
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", FLOAT, out)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = onnx.helper.make_model(graph, opset_imports=OPSETS)
    return bytes(made.SerializeToString())


def node(kind: str, *inputs: str, out: str = "y", **attributes: object) -> object:
    return onnx.helper.make_node(kind, list(inputs), [out], **attributes)


def test_a_grouped_convolution() -> None:
    weights = np.ones((4, 1, 3, 3), np.float32)  # depthwise: 4 channels of 9 weights
    weights[0] = 0
    found = count(model([node("Conv", "x", "w", group=4)], {"w": weights}, ["n", 4, 6, 6], ["n", 4, 4, 4]))
    assert found.macs == 36 * 16
    assert found.nonzero_macs == 27 * 16
    assert found.weight_bytes == 36 * 4
    assert found.traffic_bytes == 4 * (4 * 36 + 4 * 16)  # the input read, the output written


def test_dense_layers_and_rows() -> None:
    weights = np.ones((5, 3), np.float32)
    weights[0, 0] = 0
    dense = count(model([node("Gemm", "x", "w")], {"w": weights}, ["n", 5], ["n", 3]))
    assert (dense.macs, dense.nonzero_macs) == (15, 14)
    rows = count(model([node("MatMul", "x", "w")], {"w": weights}, ["n", 7, 5], ["n", 7, 3]))
    assert (rows.macs, rows.nonzero_macs) == (7 * 15, 7 * 14)


def test_a_product_of_activations() -> None:
    nodes = [node("Transpose", "x", out="t", perm=[0, 2, 1]), node("MatMul", "x", "t")]
    found = count(model(nodes, {}, ["n", 7, 5], ["n", 7, 7]))
    assert found.macs == found.nonzero_macs == 7 * 7 * 5


def test_integers_are_zero_at_their_zero_point() -> None:
    weights = np.array([[3, 4, 5], [3, 3, 9]], np.int8).T  # (3, 2), of which 3 are not 3
    nodes = [node("DequantizeLinear", "q", "s", "z", out="w"), node("MatMul", "x", "w")]
    held = {"q": weights, "s": np.array(0.5, np.float32), "z": np.array(3, np.int8)}
    made = model(nodes, held, ["n", 3], ["n", 2])
    assert count(made).nonzero_macs == 3
    assert precision(made) == "int8-weights"


def test_weights_that_a_cast_widens_count_as_wide() -> None:
    nodes = [node("Cast", "h", out="w", to=FLOAT), node("MatMul", "x", "w")]
    made = model(nodes, {"h": np.ones((3, 2), np.float16)}, ["n", 3], ["n", 2])
    assert (precision(made), count(made).weight_bytes, count(made).macs) == ("fp32", 24, 6)


def test_nothing_is_claimed_about_unknown_shapes() -> None:
    nodes = [
        onnx.helper.make_node("Odd", ["x"], ["t"], domain="nowhere"),
        node("MatMul", "t", "w"),
    ]
    found = count(model(nodes, {"w": np.ones((3, 2), np.float32)}, ["n", 3], ["n", 2]))
    assert (found.macs, found.nonzero_macs, found.weight_bytes) == (0, 0, 24)


def test_graph_counts_agree_with_those_of_the_networks_that_ship() -> None:
    family = read_manifest(FASHION)
    for variant in recount(family, FASHION).variants:
        for stage in variant.stages:
            data = (FASHION / stage.artefact).read_bytes()
            assert count(data).macs == stage.macs
            assert 0 < stage.nonzero_macs <= stage.macs
            assert stage.weight_bytes <= stage.artefact_bytes
            assert precision(data) == variant.precision


def test_weights_stored_as_integers_times_scales_count_as_weights() -> None:
    torch = pytest.importorskip("torch")
    from trimtab_models.export import Exported, export
    from trimtab_models.transforms.configs import QuantizeWeights
    from trimtab_models.transforms.quantize_weights import quantize_weights

    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Flatten(), torch.nn.Linear(16 * 36, 10))
    with torch.no_grad():
        net[0].weight[:8] = 0.0
    plain = export(net, (3, 8, 8))
    unused: Any = None
    stored, _ = quantize_weights(plain, QuantizeWeights(), unused)
    assert isinstance(stored, Exported)
    wanted = 8 * 27 * 36 + 16 * 36 * 10
    assert count(plain.stages[0].onnx).nonzero_macs == wanted
    assert count(stored.stages[0].onnx).nonzero_macs == pytest.approx(wanted, rel=0.02)  # some round to zero
