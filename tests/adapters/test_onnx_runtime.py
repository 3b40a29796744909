import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters import process_memory
from trimtab.adapters.affinity import allowed_cores, pin, pinned
from trimtab.adapters.onnx_runtime import OnnxRuntime
from trimtab.domain.family import Stage, Variant
from trimtab.domain.processor import Processor
from trimtab.ports import Array, RuntimeFailure, StoredFamily
from trimtab.testing import tiny_family, tiny_processors

CPU, _, GANG = tiny_processors()


def loaded(stored: StoredFamily, variant: str = "large") -> OnnxRuntime:
    runtime = OnnxRuntime()
    runtime.load("tiny", stored.family.variant(variant), stored.folder, CPU)
    return runtime


def test_batches_and_exact_answers(stored: StoredFamily) -> None:
    runtime = loaded(stored, "staged")
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    first = runtime.run("tiny", "staged", CPU, 0, {"x": x})
    second = runtime.run("tiny", "staged", CPU, 1, {"x": x, **first})
    assert first["logits"].shape == second["logits"].shape == (5, 3)
    assert np.all(first["hidden"].astype(np.float32) >= 0)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, ["large.onnx", "'x'", "missing", "[-1, 4]"]),
        ({"x": np.zeros((1, 4), np.float64)}, ["'x'", "float64", "tensor(float)"]),
        ({"x": np.zeros((1, 5), np.float32)}, ["'x'", "[1, 5]", "[-1, 4]"]),
        ({"x": np.zeros(4, np.float32)}, ["'x'", "[4]", "[-1, 4]"]),
    ],
)
def test_what_is_wrong_with_an_input(
    stored: StoredFamily, tensors: dict[str, Array], words: list[str]
) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        loaded(stored).run("tiny", "large", CPU, 0, tensors)
    for word in words:
        assert word in str(caught.value)


Model = Callable[..., bytes]


def odd(folder: Path, body: bytes) -> Variant:
    (folder / "odd.onnx").write_bytes(body)
    stage = Stage("odd.onnx", "", len(body), ("x", "y"), ("z",), "z", 1, 1)
    return replace(tiny_family().variant("large"), name="odd", stages=(stage,))


def test_a_run_that_fails_for_another_reason(tmp_path: Path, onnx_model: Model) -> None:
    body = onnx_model([("Add", ["x", "y"], ["z"])], {}, {"x": (-1, 4), "y": (-1, 4)}, {"z": (-1, 4)})
    runtime = OnnxRuntime()
    runtime.load("tiny", odd(tmp_path, body), tmp_path, CPU)
    two, three = np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32)
    assert runtime.run("tiny", "odd", CPU, 0, {"x": two, "y": two})["z"].shape == (2, 4)
    with pytest.raises(RuntimeFailure, match=r"odd\.onnx: run failed: .*Add"):
        runtime.run("tiny", "odd", CPU, 0, {"x": two, "y": three})


def test_an_artefact_that_cannot_warm_up(tmp_path: Path, onnx_model: Model) -> None:
    body = onnx_model([("MatMul", ["x", "y"], ["z"])], {}, {"x": (-1, 4), "y": (-1, 4)}, {"z": (-1, 4)})
    with pytest.raises(RuntimeFailure, match=r"odd\.onnx"):
        OnnxRuntime().load("tiny", odd(tmp_path, body), tmp_path, CPU)


@pytest.mark.parametrize("body", [b"", b"this is not a model", None])
def test_corrupt_artefacts_are_named(stored: StoredFamily, body: bytes | None) -> None:
    path = stored.folder / "large.onnx"
    path.write_bytes(path.read_bytes()[:100] if body is None else body)
    with pytest.raises(RuntimeFailure, match=r"large\.onnx"):
        loaded(stored)


def test_the_manifest_must_name_what_the_artefact_has(stored: StoredFamily) -> None:
    variant = stored.family.variant("large")
    wrong = replace(variant, stages=(replace(variant.stages[0], inputs=("y",)),))
    with pytest.raises(RuntimeFailure, match=r"large\.onnx: inputs are \['x'\], the manifest says \['y'\]"):
        OnnxRuntime().load("tiny", wrong, stored.folder, CPU)


def test_other_formats_and_providers_are_refused(stored: StoredFamily) -> None:
    variant = stored.family.variant("large")
    with pytest.raises(RuntimeFailure, match="torchscript"):
        OnnxRuntime().load("tiny", replace(variant, format="torchscript"), stored.folder, CPU)
    gpu = Processor("gpu:none", "gpu", (), 1, provider="NoSuchExecutionProvider")
    with (
        pytest.raises(RuntimeFailure, match="NoSuchExecutionProvider"),
        pytest.warns(UserWarning, match="NoSuch"),
    ):
        OnnxRuntime().load("tiny", variant, stored.folder, gpu)


def test_a_failed_load_can_be_repeated(stored: StoredFamily, batch: dict[str, Array]) -> None:
    path = stored.folder / "large.onnx"
    body = path.read_bytes()
    path.unlink()
    runtime = OnnxRuntime()
    with pytest.raises(RuntimeFailure):
        runtime.load("tiny", stored.family.variant("large"), stored.folder, CPU)
    path.write_bytes(body)
    runtime.load("tiny", stored.family.variant("large"), stored.folder, CPU)
    assert runtime.run("tiny", "large", CPU, 0, batch)["logits"].shape == (1, 3)


def test_loading_leaves_the_thread_where_it_was(stored: StoredFamily) -> None:
    before = allowed_cores()
    OnnxRuntime().load("tiny", stored.family.variant("large"), stored.folder, GANG)
    assert allowed_cores() == before


def test_pinning() -> None:
    cores = allowed_cores()
    seen: list[tuple[int, ...]] = []

    def work() -> None:
        with pinned(cores[:1]) as done:
            assert done
            seen.append(allowed_cores())
        seen.append(allowed_cores())
        with pinned(()) as done:
            assert not done
        assert not pin([99_999])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [cores[:1], cores]


def test_memory_is_given_back(stored: StoredFamily) -> None:
    assert process_memory.resident_bytes() > 0
    assert process_memory.trim() in (True, False)


def test_never_imports_torch_or_onnx() -> None:
    code = (
        "import sys, trimtab.adapters.onnx_runtime, trimtab.adapters.torch_runtime, trimtab.profiling;"
        "assert not {'torch', 'onnx'} & set(sys.modules)"
    )
    path = ":".join(entry for entry in sys.path if entry)
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path}, cwd=Path("/"))
