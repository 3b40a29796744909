import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.adapters import torch_runtime
from trimtab.domain.family import Family, Stage, Variant
from trimtab.ports import Array, Runtime, RuntimeFailure, StoredFamily
from trimtab.testing import RuntimeConformance, tiny_family, tiny_processors

HAS_TORCH = importlib.util.find_spec("torch") is not None
CPU, _, GANG = tiny_processors()


@pytest.mark.skipif(HAS_TORCH, reason="torch is installed")
def test_without_torch_it_says_what_to_install() -> None:
    with pytest.raises(RuntimeFailure, match=r"pip install 'trimtab\[build\]'"):
        torch_runtime.TorchRuntime()


class Tensor:
    """The few methods of a torch tensor that the runtime uses."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def numpy(self) -> Array:
        return self.array


class FakeTorch:
    """Stands in for torch where it is not installed: a file holds the name of the function it 'is'."""

    __version__ = "0"
    functions: dict[str, Callable[..., Any]] = {}  # noqa: RUF012

    class jit:  # noqa: N801
        @staticmethod
        def load(path: str, map_location: str) -> Any:
            return FakeTorch.jit._Module(FakeTorch.functions[Path(path).read_text()])

        class _Module:
            def __init__(self, function: Callable[..., Any]) -> None:
                self.function = function

            def eval(self) -> Callable[..., Any]:
                return self.function

    class export:  # noqa: N801
        @staticmethod
        def load(path: str) -> Any:
            return FakeTorch.export._Program(FakeTorch.functions[Path(path).read_text()])

        class _Program:
            def __init__(self, function: Callable[..., Any]) -> None:
                self.function = function

            def module(self) -> Callable[..., Any]:
                return self.function

    class inference_mode:  # noqa: N801
        def __enter__(self) -> None: ...

        def __exit__(self, *exc: object) -> None: ...

    @staticmethod
    def set_num_threads(number: int) -> None:
        assert number == 1

    @staticmethod
    def from_numpy(array: Array) -> Tensor:
        return Tensor(array)


def _matrix(x: Array, rows: int, columns: int) -> Array:
    weights = np.linspace(-1, 1, rows * columns, dtype=np.float32).reshape(rows, columns)
    return np.asarray(np.matmul(x, weights))


FakeTorch.functions = {
    "one": lambda x: Tensor(_matrix(x.array, 4, 3)),
    "first": lambda x: (Tensor(_matrix(x.array, 4, 3)), Tensor(_matrix(x.array, 4, 4))),
    "last": lambda h: [Tensor(_matrix(h.array, 4, 3))],
}


def fake_family(folder: Path, form: str) -> StoredFamily:
    family = tiny_family()
    names = {"large.onnx": "one", "small.onnx": "one", "staged-0.onnx": "first", "staged-1.onnx": "last"}
    for file, function in names.items():
        (folder / file).write_text(function)
    return StoredFamily(_as(family, form), folder)


def _as(family: Family, form: str) -> Family:
    def small(variant: Variant) -> Variant:
        stages = tuple(replace(stage, artefact_bytes=3) for stage in variant.stages)
        return replace(variant, format=form, stages=stages)

    return replace(family, variants=tuple(small(variant) for variant in family.variants))


@pytest.mark.parametrize("form", torch_runtime.FORMATS)
def test_conformance_without_torch(tmp_path: Path, batch: dict[str, Array], form: str) -> None:
    stored = fake_family(tmp_path, form)

    def make() -> Runtime:
        return torch_runtime.TorchRuntime(stored.family.inputs, library=FakeTorch)

    RuntimeConformance(make, stored, batch, CPU).check_all()


def test_what_it_refuses(tmp_path: Path, batch: dict[str, Array]) -> None:
    stored = fake_family(tmp_path, "pt2")
    variant = stored.family.variant("large")
    runtime = torch_runtime.TorchRuntime(library=FakeTorch)
    with pytest.raises(RuntimeFailure, match="onnx"):
        runtime.load("tiny", replace(variant, format="onnx"), tmp_path, CPU)
    with pytest.raises(RuntimeFailure, match="one thread"):
        runtime.load("tiny", variant, tmp_path, GANG)
    (tmp_path / "large.onnx").write_text("no such function")
    with pytest.raises(RuntimeFailure, match=r"large\.onnx: cannot be loaded"):
        runtime.load("tiny", variant, tmp_path, CPU)


@pytest.mark.build
@pytest.mark.skipif(not HAS_TORCH, reason="needs torch")
@pytest.mark.parametrize("form", torch_runtime.FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_conformance_with_torch(tmp_path: Path, batch: dict[str, Array], form: str) -> None:
    import torch

    class Net(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self, hidden: bool) -> None:
            super().__init__()
            self.hidden = hidden
            self.head, self.trunk = torch.nn.Linear(4, 3), torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return (self.head(x), self.trunk(x)) if self.hidden else self.head(x)

    def save(stage: Stage) -> Stage:
        path, net = tmp_path / stage.artefact, Net(len(stage.outputs) == 2).eval()
        if form == "torchscript":
            torch.jit.save(torch.jit.trace(net, torch.zeros(1, 4)), str(path))
        else:
            torch.export.save(torch.export.export(net, (torch.zeros(1, 4),)), str(path))
        return replace(stage, artefact_bytes=path.stat().st_size)

    family = tiny_family()
    variants = tuple(
        replace(
            v,
            format=form,
            stages=tuple(save(replace(s, artefact=s.artefact.replace("onnx", "pt2"))) for s in v.stages),
        )
        for v in family.variants
    )
    stored = StoredFamily(replace(family, variants=variants), tmp_path)
    RuntimeConformance(lambda: torch_runtime.TorchRuntime(family.inputs), stored, batch, CPU).check_all()
