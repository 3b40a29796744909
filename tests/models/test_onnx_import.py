"""A family comes out of an ONNX file and samples alone; what cannot be imported is refused with its name."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as generated
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402  after the guard

from trimtab_models.errors import DefinitionError  # noqa: E402
from trimtab_models.family import check_artefacts, read_manifest  # noqa: E402
from trimtab_models.onnx_import import ImportFailure, Plan, load_plan, weights  # noqa: E402
from trimtab_models.onnx_import.importing import AGREEMENT, ImportSettings, import_onnx  # noqa: E402
from trimtab_models.onnx_import.make import dense_frac  # noqa: E402
from trimtab_models.onnx_import.network import answers  # noqa: E402
from trimtab_models.onnx_import.samples import Given, halves  # noqa: E402
from trimtab_models.onnx_import.settings import (  # noqa: E402
    DynamicInt8,
    Factor,
    ImportedVariant,
    ShareWeights,
    StaticInt8,
    WeightInt8,
    ZeroSmallest,
)

CLASSES = 5
PLAN = Plan(
    (
        ImportedVariant("int8", (StaticInt8(samples=32),)),
        ImportedVariant("weights", (WeightInt8(least_elements=16),)),
        ImportedVariant("deep", (ZeroSmallest(0.2), ShareWeights(6, least_elements=16))),
    )
)
INT8 = Plan(PLAN.variants[:1])


def tensor(name: str, values: Any, dtype: Any = np.float32) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def image_net(
    batch: int | str = "batch",
    *,
    softmax: bool = True,
    reshape: tuple[int, ...] = (),
    opset: int = 17,
    ir: int = 8,
) -> Any:
    """Return conv, ReLU, mean, dense and perhaps softmax with random weights."""
    chance = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name="conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
    ]
    stored = [
        tensor("w", chance.standard_normal((16, 3, 3, 3))),
        tensor("d", chance.standard_normal((16, CLASSES))),
        tensor("b", chance.standard_normal(CLASSES)),
    ]
    if reshape:
        nodes.append(helper.make_node("Reshape", ["p", "shape"], ["f"], name="flat"))
        stored.append(tensor("shape", reshape, np.int64))
    else:
        nodes.append(helper.make_node("Flatten", ["p"], ["f"]))
    nodes.append(helper.make_node("Gemm", ["f", "d", "b"], ["logits" if softmax else "scores"]))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], name="last", axis=1))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, CLASSES])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def images(count: int, seed: int = 1) -> np.ndarray:
    """Return images that the random network answers in different ways: each favours one channel's blobs."""
    chance = np.random.default_rng(seed)
    return (chance.standard_normal((count, 3, 8, 8)) * chance.uniform(0.2, 2, (count, 3, 1, 1))).astype(
        np.float32
    )


def prepare(folder: Path, model: Any, **held: np.ndarray) -> ImportSettings:
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "samples.npz", allow_pickle=False, **(held or {"image": images(80)}))
    return ImportSettings(
        folder / "net.onnx", folder / "samples.npz", "blobs", folder / "families", plan=PLAN
    )


def test_without_labels_it_measures_agreement_and_says_so(tmp_path: Path) -> None:
    done = import_onnx(prepare(tmp_path, image_net()))
    family = read_manifest(tmp_path / "families" / "blobs")
    assert family == done.family
    assert [variant.name for variant in family.variants] == ["fp32", "int8", "weights", "deep"]
    assert (done.measure, done.samples) == (AGREEMENT, 40)
    assert family.variant("fp32").accuracy_frac == 1.0
    assert all(AGREEMENT in variant.note for variant in family.variants)
    assert AGREEMENT in family.dataset.name
    assert AGREEMENT in family.preprocessing
    assert check_artefacts(family, done.folder) == []
    assert family.inputs[0].shape == (-1, 3, 8, 8)
    assert family.variant("fp32").macs == 8 * 8 * 16 * 27 + 16 * CLASSES
    assert family.variant("deep").format == "deep-compression"
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "deep.ttdc", "fp32.onnx", "int8.onnx", "manifest.json", "samples.npz", "weights.onnx",
    ]  # fmt: skip


def test_with_labels_it_measures_accuracy_on_samples_that_did_not_calibrate(tmp_path: Path) -> None:
    labels = np.arange(80) % CLASSES
    settings = replace(
        prepare(tmp_path, image_net(), image=images(80), label=labels), plan=INT8, max_drop_points=100
    )
    done = import_onnx(settings)
    assert done.measure == "accuracy"
    order = np.random.default_rng(0).permutation(80)
    test = np.sort(order[40:])
    found = answers((done.folder / "fp32.onnx").read_bytes(), {"image": images(80)[test]}, 16).argmax(1)
    assert done.family.variant("fp32").accuracy_frac == pytest.approx(float((found == labels[test]).mean()))
    with np.load(done.folder / "samples.npz") as held:
        np.testing.assert_array_equal(held["label"], labels[test][:32])
        np.testing.assert_array_equal(held["image"], images(80)[test][:32])


@generated(st.integers(4, 60), st.integers(0, 5))
def test_halves_share_no_sample_and_lose_none(count: int, seed: int) -> None:
    given = Given({"x": np.arange(count)[:, None]}, {}, None)
    one, other = halves(given, seed)
    together = np.concatenate([one.stored["x"], other.stored["x"]]).ravel()
    assert sorted(together) == list(range(count))


def test_a_last_softmax_is_left_out(tmp_path: Path) -> None:
    done = import_onnx(replace(prepare(tmp_path, image_net()), plan=INT8))
    plain = import_onnx(replace(prepare(tmp_path, image_net(softmax=False)), plan=INT8, task="plain"))
    left = answers((done.folder / "fp32.onnx").read_bytes(), {"image": images(8)}, 8)
    right = answers((plain.folder / "fp32.onnx").read_bytes(), {"image": images(8)}, 8)
    np.testing.assert_allclose(left, right, rtol=1e-5)
    assert any("softmax (last) was left out" in note for note in done.notes)
    assert plain.notes == ()


@pytest.mark.parametrize("reshape", [(1, 16), (1, -1)])
def test_a_fixed_batch_of_one_is_freed(tmp_path: Path, reshape: tuple[int, ...]) -> None:
    done = import_onnx(replace(prepare(tmp_path, image_net(1, reshape=reshape)), plan=INT8))
    assert done.family.inputs[0].shape[0] == -1
    assert answers((done.folder / "int8.onnx").read_bytes(), {"image": images(6)}, 6).shape == (6, CLASSES)


def test_a_batch_that_cannot_be_freed_stays_one(tmp_path: Path) -> None:
    model = image_net(1)
    model.graph.node[3].CopyFrom(helper.make_node("Squeeze", ["p"], ["s"]))  # drops the batch as well
    model.graph.node.insert(4, helper.make_node("Unsqueeze", ["s", "axis"], ["f"]))
    model.graph.initializer.append(tensor("axis", [0], np.int64))
    done = import_onnx(replace(prepare(tmp_path, model), plan=INT8))
    assert done.family.inputs[0].shape == (1, 3, 8, 8)
    assert any("one sample at a time" in note for note in done.notes)
    assert [variant.name for variant in done.family.variants] == ["fp32", "int8"]


def test_an_old_opset_with_weights_among_the_inputs_is_raised(tmp_path: Path) -> None:
    model = image_net(opset=9, ir=3)
    model.graph.input.extend(
        helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in model.graph.initializer
    )
    done = import_onnx(replace(prepare(tmp_path, model), plan=INT8))
    assert [spec.name for spec in done.family.inputs] == ["image"]
    assert "opset 9 was raised to 17" in done.notes


def two_inputs() -> Any:
    """Return a network of whole numbers and floats: an embedding beside a dense layer."""
    chance = np.random.default_rng(5)
    nodes = [
        helper.make_node("Gather", ["table", "word"], ["e"]),
        helper.make_node("MatMul", ["x", "w"], ["m"], name="dense"),
        helper.make_node("Add", ["e", "m"], ["sum"]),
        helper.make_node("MatMul", ["sum", "v"], ["scores"]),
    ]
    stored = [
        tensor("table", chance.standard_normal((7, 24))),
        tensor("w", chance.standard_normal((12, 24))),
        tensor("v", chance.standard_normal((24, CLASSES))),
    ]
    inputs = [
        helper.make_tensor_value_info("word", TensorProto.INT64, ["n"]),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]) for name in ("scores", "sum")
    ]
    graph = helper.make_graph(nodes, "two", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def both(count: int) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(6)
    return {"word": np.arange(count) % 7, "x": chance.standard_normal((count, 12)).astype(np.float32)}


def test_several_inputs_of_different_types(tmp_path: Path) -> None:
    plan = Plan((ImportedVariant("dynamic", (DynamicInt8(),)),))
    done = import_onnx(replace(prepare(tmp_path, two_inputs(), **both(60)), plan=plan, output="scores"))
    assert [(s.name, s.datatype, s.shape) for s in done.family.inputs] == [
        ("word", "INT64", (-1,)),
        ("x", "FP32", (-1, 12)),
    ]
    assert done.dropped == ()
    assert dense_frac((done.folder / "fp32.onnx").read_bytes()) == 1.0
    with pytest.raises(
        ImportFailure, match=r"net\.onnx: has the outputs scores, sum; say which .*--output NAME"
    ):
        import_onnx(prepare(tmp_path, two_inputs(), **both(60)))


def test_a_variant_that_loses_too_much_is_dropped_with_the_reason(tmp_path: Path) -> None:
    plan = Plan((ImportedVariant("crude", (ZeroSmallest(0.95),)), *INT8.variants))
    done = import_onnx(replace(prepare(tmp_path, image_net()), plan=plan))
    assert [variant.name for variant in done.family.variants] == ["fp32", "int8"]
    (dropped,) = done.dropped
    assert dropped.name == "crude"
    assert "points" in dropped.reason
    assert "more than 5" in dropped.reason
    assert not (done.folder / "crude.onnx").exists()


def test_importing_again_replaces_the_family_and_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = prepare(tmp_path, image_net())
    import_onnx(settings)
    done = import_onnx(replace(settings, plan=INT8, seed=1))
    named = {stage.artefact for variant in done.family.variants for stage in variant.stages}
    assert {path.name for path in done.folder.iterdir()} == {*named, "manifest.json", done.family.samples}
    assert check_artefacts(done.family, done.folder) == []


def broken(**changes: Any) -> Any:
    model = image_net()
    for node in model.graph.node:
        if node.name in changes:
            node.op_type = changes[node.name]
    return model


@pytest.mark.parametrize(
    ("model", "held", "expected"),
    [
        (image_net(), {"picture": images(20)}, r"samples\.npz: no array 'image' for that input; it holds picture"),
        (image_net(), {"image": images(20)[:, :2]}, r"input 'image' has shape \[-1, 3, 8, 8\], its samples \[-1, 2, 8, 8\]"),
        (image_net(), {"image": images(3)}, r"3 samples; at least 4"),
        (image_net(), {"image": images(20), "label": np.arange(19)}, r"arrays differ in length: .*20.*19"),
        (image_net(), {"image": images(20), "label": np.arange(20)}, r"label \d+, but the network has 5 classes"),
        (image_net(), {"image": images(20) * np.nan}, r"'image' holds values that are not finite"),
        (broken(conv="ConvDeluxe"), {"image": images(20)}, r"cannot run it: node 'conv' \(ConvDeluxe\): "),
        (two_inputs(), both(20) | {"word": np.full(20, 0.5)}, r"'word' holds float64; the input takes int64"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_tensor_or_node(
    tmp_path: Path, model: Any, held: dict[str, np.ndarray], expected: str
) -> None:
    with pytest.raises(ImportFailure, match=expected):
        import_onnx(prepare(tmp_path, model, **held))
    assert not (tmp_path / "families").exists()


def test_what_is_no_onnx_or_npz_is_refused(tmp_path: Path) -> None:
    settings = prepare(tmp_path, image_net())
    (tmp_path / "net.onnx").write_bytes(b"not a model at all")
    with pytest.raises(ImportFailure, match=r"net\.onnx: is no ONNX model"):
        import_onnx(settings)
    settings = prepare(tmp_path, image_net())
    (tmp_path / "samples.npz").write_bytes(b"PK")
    with pytest.raises(ImportFailure, match=r"samples\.npz: cannot be read as \.npz"):
        import_onnx(settings)
    settings = prepare(tmp_path, image_net())
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(ImportFailure, match=r"names\.txt: 2 labels, but the network has 5 classes"):
        import_onnx(replace(settings, labels=tmp_path / "names.txt"))
    with pytest.raises(ImportFailure, match=r"task '\.\./x' is no name"):
        import_onnx(replace(settings, task="../x"))


def test_plans_are_data(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "variants:\n  - name: small\n    recipe: [factor: {energy_frac: 0.9}, static_int8: {calibration: entropy}]\n"
    )
    assert load_plan(path).variants == (ImportedVariant("small", (Factor(0.9), StaticInt8("entropy"))),)
    path.write_text("variants:\n  - name: small\n    recipe: [static_int8: {calibration: best}]\n")
    with pytest.raises(
        DefinitionError, match=r"plan\.yaml:3: variants\[0\]\.recipe\[0\]\.static_int8\.calibration: "
    ):
        load_plan(path)
    path.write_text("variants:\n  - name: small\n    recipe: [static_int8: , factor: ]\n")
    with pytest.raises(DefinitionError, match=r"plan\.yaml:2: .*factor cannot follow static_int8"):
        load_plan(path)


def dense(values: np.ndarray, op: str = "MatMul") -> Any:
    nodes = [helper.make_node(op, ["x", "w"], ["y"], name="dense")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", values.shape[0]])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", values.shape[1]])]
    graph = helper.make_graph(nodes, "dense", inputs, outputs, [tensor("w", values)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: bytes, **held: np.ndarray) -> np.ndarray:
    from trimtab_models.onnx_import.network import session

    result: np.ndarray = session(model).run(None, held)[0]
    return result


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_a_dense_layer_of_low_rank_is_factored_without_loss(op: str) -> None:
    chance = np.random.default_rng(1)
    values = (chance.standard_normal((64, 4)) @ chance.standard_normal((4, 48))).astype(np.float32)
    plain = dense(values, op).SerializeToString()
    thin = weights.factor(plain, 0.999999, 0.8)
    shapes = {tuple(one.dims) for one in onnx.load_from_string(thin).graph.initializer}
    assert shapes == {(64, 8), (8, 48)}
    x = chance.standard_normal((5, 64)).astype(np.float32)
    np.testing.assert_allclose(run(thin, x=x), run(plain, x=x), rtol=1e-3, atol=1e-3)


def test_a_strided_1x1_convolution_is_factored_without_loss() -> None:
    chance = np.random.default_rng(1)
    kernel = (chance.standard_normal((32, 3)) @ chance.standard_normal((3, 24)))[:, :, None, None]
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="c", strides=[2, 2], pads=[1, 1, 1, 1])]
    graph = helper.make_graph(
        nodes, "conv", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 24, 7, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensor("w", kernel), tensor("b", chance.standard_normal(32))],
    )  # fmt: skip
    plain = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    x = chance.standard_normal((2, 24, 7, 7)).astype(np.float32)
    np.testing.assert_allclose(
        run(weights.factor(plain, 0.999999, 0.8), x=x), run(plain, x=x), rtol=1e-3, atol=1e-3
    )


def test_int8_weights_are_within_half_a_step_of_each_output_channel() -> None:
    values = np.random.default_rng(2).standard_normal((32, 8)).astype(np.float32)
    stored = weights.encode_int8(dense(values).SerializeToString(), 1)
    decoded = run(stored, x=np.eye(32, dtype=np.float32))
    step = np.abs(values).max(axis=0) / 127
    assert (np.abs(decoded - values) <= step / 2 + 1e-6).all()


def test_sharing_moves_weights_to_the_centres_worked_out_by_hand() -> None:
    values = np.array([[0.0, 1.0, 1.2, 1.1], [9.0, 0.0, 11.0, -5.0]], np.float32)
    # evenly spaced from -5 to 11: -5, 3, 11; the means are -5, 1.1 and 10
    wanted = np.array([[0, 1.1, 1.1, 1.1], [10, 0, 10, -5]])
    np.testing.assert_allclose(weights.shared(values, 3), wanted, rtol=1e-6)


@hypothesis_settings(max_examples=50, deadline=None)
@generated(arrays(np.float32, (6, 9), elements=st.floats(-100, 100, width=32)), st.integers(1, 5))
def test_sharing_keeps_zeros_and_the_limit(values: np.ndarray, bits: int) -> None:
    moved = weights.shared(values, 2**bits)
    assert np.unique(moved[values != 0]).size <= 2**bits
    assert (moved[values == 0] == 0).all()
    if values.any():
        assert values.min() - 1e-3 <= moved.min()
        assert moved.max() <= values.max() + 1e-3


def test_the_smallest_share_of_weights_becomes_zero() -> None:
    values = np.array([[1, -2, 3, -4], [5, -6, 7, -8]], np.float32)
    kept = weights.zero_smallest(dense(values).SerializeToString(), 0.5)
    np.testing.assert_array_equal(
        numpy_helper.to_array(onnx.load_from_string(kept).graph.initializer[0]),
        [[0, 0, 0, 0], [5, -6, 7, -8]],
    )


IMPORT = """
import sys
from pathlib import Path
from trimtab_models.onnx_import.importing import ImportSettings, import_onnx
folder = Path(sys.argv[1])
while True:
    for seed in range(9):
        import_onnx(ImportSettings(folder / "net.onnx", folder / "samples.npz", "blobs", folder / "families", seed=seed))
        print(seed, flush=True)
"""


def test_killed_at_any_moment_the_family_stays_whole(tmp_path: Path) -> None:
    settings = replace(prepare(tmp_path, image_net()), plan=INT8)
    import_onnx(settings)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
    }
    for wait_s in (0.1, 0.45, 0.8):
        process = subprocess.Popen(
            [sys.executable, "-c", IMPORT, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "0"
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        family = read_manifest(tmp_path / "families" / "blobs")
        assert check_artefacts(family, tmp_path / "families" / "blobs") == []
        assert [path.parent.name for path in (tmp_path / "families").glob("*/manifest.json")] == ["blobs"]
    done = import_onnx(settings)
    assert not (done.folder / ".building").exists()
    names = {stage.artefact for variant in done.family.variants for stage in variant.stages}
    assert {path.name for path in done.folder.iterdir()} == {*names, "manifest.json", done.family.samples}
    assert json.loads((done.folder / "manifest.json").read_text())["task"] == "blobs"
