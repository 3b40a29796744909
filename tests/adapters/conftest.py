"""A tiny real family of ONNX artefacts, written without the onnx package."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from trimtab.domain.family import Family, Stage
from trimtab.ports import Array, StoredFamily
from trimtab.testing import tiny_family

FLOAT = 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes | str) -> bytes:
    """Encode one protobuf field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    body = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _tensor(name: str, array: Array) -> bytes:
    dims = b"".join(_field(1, size) for size in array.shape)
    return dims + _field(2, FLOAT) + _field(8, name) + _field(9, array.astype(np.float32).tobytes())


def _reference(name: str, array: Array) -> bytes:
    """Encode a tensor whose data lies outside the model."""
    dims = b"".join(_field(1, size) for size in array.shape)
    location = _field(1, "location") + _field(2, "-")
    return dims + _field(2, FLOAT) + _field(8, name) + _field(13, location) + _field(14, 1)


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _field(1, d) if d > 0 else _field(2, "batch")) for d in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, FLOAT) + _field(2, dims)))


def _node(op: str, inputs: list[str], outputs: list[str]) -> bytes:
    names = [_field(1, name) for name in inputs] + [_field(2, name) for name in outputs]
    return b"".join(names) + _field(4, op)


def make_onnx(
    nodes: list[tuple[str, list[str], list[str]]],
    weights: dict[str, Array],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    tensor: Callable[[str, Array], bytes] = _tensor,
) -> bytes:
    """Return a model as ONNX bytes; nodes are (operator, inputs, outputs), -1 is the batch."""
    graph = b"".join(_field(1, _node(*node)) for node in nodes) + _field(2, "g")
    graph += b"".join(_field(5, tensor(name, array)) for name, array in weights.items())
    graph += b"".join(_field(11, _value(name, shape)) for name, shape in inputs.items())
    graph += b"".join(_field(12, _value(name, shape)) for name, shape in outputs.items())
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 17))


def _weight(rows: int, columns: int) -> Array:
    return np.random.default_rng(rows * 100 + columns).normal(size=(rows, columns)).astype(np.float32)


def _dense(name: str, source: str, width: int) -> bytes:
    return make_onnx(
        [("MatMul", [source, "w"], ["h"]), ("Relu", ["h"], ["r"]), ("MatMul", ["r", "v"], ["logits"])],
        {"w": _weight(4, width), "v": _weight(width, 3)},
        {source: (-1, 4)},
        {"logits": (-1, 3)},
    )


def _first_stage() -> bytes:
    return make_onnx(
        [("MatMul", ["x", "w"], ["h"]), ("Relu", ["h"], ["hidden"]), ("MatMul", ["hidden", "v"], ["logits"])],
        {"w": _weight(4, 4), "v": _weight(4, 3)},
        {"x": (-1, 4)},
        {"logits": (-1, 3), "hidden": (-1, 4)},
    )


def write_family(folder: Path, family: Family | None = None) -> StoredFamily:
    """Write artefacts, samples and manifest of the tiny family into ``folder/<task>``."""
    family = family or tiny_family()
    place = folder / family.task
    place.mkdir(parents=True)
    files = {
        "large.onnx": _dense("large", "x", 64),
        "small.onnx": _dense("small", "x", 8),
        "staged-0.onnx": _first_stage(),
        "staged-1.onnx": _dense("staged", "hidden", 8),
    }
    for name, body in files.items():
        (place / name).write_bytes(body)

    def described(stage: Stage) -> Stage:
        body = files[stage.artefact]
        return replace(stage, artefact_bytes=len(body), sha256=hashlib.sha256(body).hexdigest())

    variants = tuple(replace(v, stages=tuple(described(s) for s in v.stages)) for v in family.variants)
    family = replace(family, variants=variants)
    x = np.random.default_rng(7).random((20, 4)).astype(np.float32)
    np.savez_compressed(place / "samples.npz", x=x, label=np.arange(20) % 3)
    (place / "manifest.json").write_bytes(msgspec.json.encode(family))
    return StoredFamily(family, place)


@pytest.fixture
def onnx_model() -> Callable[..., bytes]:
    """Return the function that makes ONNX bytes."""
    return make_onnx


@pytest.fixture
def onnx_skeleton() -> Callable[..., bytes]:
    """Return the function that makes ONNX bytes without the weights."""
    return partial(make_onnx, tensor=_reference)


@pytest.fixture
def stored(tmp_path: Path) -> StoredFamily:
    """Return the tiny family on disk."""
    return write_family(tmp_path / "families")


@pytest.fixture
def family_in() -> Callable[..., StoredFamily]:
    """Return the function that writes a family below a folder."""
    return write_family


@pytest.fixture
def batch() -> dict[str, Array]:
    """Return one valid input."""
    return {"x": np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a function that writes a text file below ``tmp_path``."""

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put
