"""Deep Compression artefacts in ONNX Runtime give what the same weights give as ONNX, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from trimtab import codec
from trimtab.adapters.onnx_runtime import DEEP_COMPRESSION, OnnxRuntime
from trimtab.domain.family import Variant
from trimtab.domain.processor import Processor
from trimtab.ports import Array, RuntimeFailure, StoredFamily

CPU = Processor("cpu:0", "cpu", (0,), 1)
Model = Callable[..., bytes]
NODES = [("MatMul", ["x", "w"], ["h"]), ("Relu", ["h"], ["r"]), ("MatMul", ["r", "v"], ["logits"])]
SHAPES: tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]] = ({"x": (-1, 4)}, {"logits": (-1, 3)})


def weights() -> dict[str, Array]:
    """Return two matrices, pruned by half and rounded to a few values."""
    rng = np.random.default_rng(0)
    drawn = {"w": rng.normal(size=(4, 64)), "v": rng.normal(size=(64, 3))}
    return {
        name: np.where(np.abs(a) > 0.7, np.rint(a * 4) / 4, 0).astype(np.float32) + np.float32(0)
        for name, a in drawn.items()
    }


@pytest.fixture
def variant(stored: StoredFamily) -> Variant:
    found = stored.family.variant("large")
    stage = replace(found.stages[0], artefact="large.ttdc")
    return replace(found, stages=(stage,), format=DEEP_COMPRESSION)


@pytest.mark.parametrize("coder", codec.CODERS)
def test_the_same_answers(
    tmp_path: Path, variant: Variant, onnx_model: Model, onnx_skeleton: Model, coder: str
) -> None:
    held = weights()
    artefact = codec.Artefact(onnx_skeleton(NODES, held, *SHAPES), held, frozenset(held))
    (tmp_path / "large.ttdc").write_bytes(codec.encode(artefact, coder))
    runtime = OnnxRuntime()
    loaded = runtime.load("tiny", variant, tmp_path, CPU)
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    found = runtime.run("tiny", variant.name, CPU, 0, {"x": x})["logits"]
    expected = ort.InferenceSession(onnx_model(NODES, held, *SHAPES)).run(None, {"x": x})[0]
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    assert float(np.ptp(found)) > 0
    assert loaded.load_ns > 0
    runtime.close()


def test_damage_names_file_and_section(tmp_path: Path, variant: Variant, onnx_skeleton: Model) -> None:
    path, held = tmp_path / "large.ttdc", weights()
    data = codec.encode(codec.Artefact(onnx_skeleton(NODES, held, *SHAPES), held, frozenset(held)))
    for body, reason in (
        (data[:-1], "section codes: ends after"),
        (data[:-1] + bytes([data[-1] ^ 1]), "section codes: checksum does not match"),
        (b"", "this is not a Deep Compression artefact"),
    ):
        path.write_bytes(body)
        with pytest.raises(RuntimeFailure, match=rf"large\.ttdc: cannot be decoded: .*{reason}"):
            OnnxRuntime().load("tiny", variant, tmp_path, CPU)
    path.write_bytes(data)
    OnnxRuntime().load("tiny", variant, tmp_path, CPU)


@pytest.mark.parametrize("change", ["missing", "shape", "type", "skeleton"])
def test_tensors_that_do_not_fit_the_skeleton(
    tmp_path: Path, variant: Variant, onnx_skeleton: Model, change: str
) -> None:
    held = weights()
    skeleton = onnx_skeleton(NODES, held, *SHAPES)
    if change == "missing":
        del held["v"]
    elif change == "shape":
        held["v"] = held["v"][:, :2]
    elif change == "type":
        held["v"] = held["v"].astype(np.int8)
    else:
        skeleton = skeleton[:50]
    (tmp_path / "large.ttdc").write_bytes(codec.encode(codec.Artefact(skeleton, held)))
    with pytest.raises(RuntimeFailure, match=r"large\.ttdc: cannot be loaded"):
        OnnxRuntime().load("tiny", variant, tmp_path, CPU)


def test_no_such_file(tmp_path: Path, variant: Variant) -> None:
    with pytest.raises(RuntimeFailure, match=r"large\.ttdc: no such artefact"):
        OnnxRuntime().load("tiny", variant, tmp_path, CPU)
