"""Tensors between wire and numpy: raw bytes without a copy, or one typed field per datatype."""

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from trimtab.domain.family import TensorSpec
from trimtab.ports import Array
from trimtab.rpc.errors import WireError, invalid, shown
from trimtab.rpc.pb.inference_pb2 import ModelInferRequest

BATCH_LIMIT: Final = 64
RANK_SHOWN: Final = 8

InputTensor = ModelInferRequest.InferInputTensor

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES: Final = {dtype: name for name, dtype in DTYPES.items()}
FIELDS: Final = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


class InputReader:
    """Reads one named input of a task; everything that does not depend on the request is worked out once."""

    def __init__(self, spec: TensorSpec) -> None:
        if spec.datatype not in DTYPES:
            raise ValueError(f"input {spec.name!r}: datatype {spec.datatype!r} is not served over the wire")
        self.spec = spec
        self._dtype = DTYPES[spec.datatype]
        self._shape = list(spec.shape)
        self._unit = [1 if size == -1 else size for size in spec.shape]
        self._unit_elements = int(np.prod(self._unit, dtype=np.int64))

    def read(self, tensor: InputTensor, raw: bytes | None) -> Array:
        """Return the tensor as an array; raise ``WireError`` saying what was expected and what came."""
        if tensor.datatype != self.spec.datatype:
            raise self._wrong(f"datatype {self.spec.datatype}", shown(tensor.datatype))
        shape = list(tensor.shape)
        elements = self._unit_elements if shape == self._unit else self._elements(shape)
        if tensor.parameters and "shared_memory_region" in tensor.parameters:
            raise self._wrong(
                "contents in the request", "a shared memory region, which trimtab does not support"
            )
        array = (
            self._from_contents(tensor, elements) if raw is None else self._from_raw(tensor, raw, elements)
        )
        return array.reshape(shape)

    def _elements(self, shape: list[int]) -> int:
        fits = len(shape) == len(self._shape) and all(
            1 <= got <= BATCH_LIMIT if size == -1 else got == size
            for got, size in zip(shape, self._shape, strict=True)
        )
        if not fits:
            batch = f" (-1: 1 to {BATCH_LIMIT})" if -1 in self._shape else ""
            got = shape if len(shape) <= RANK_SHOWN else f"{len(shape)} dimensions"
            raise self._wrong(f"shape {self._shape}{batch}", f"{got}")
        return int(np.prod(shape, dtype=np.int64))

    def _from_raw(self, tensor: InputTensor, raw: bytes, elements: int) -> Array:
        if tensor.HasField("contents"):
            raise self._wrong("raw_input_contents or typed contents", "both")
        size = elements * self._dtype.itemsize
        if len(raw) != size:
            raise self._wrong(
                f"{size} bytes for {self.spec.datatype} {list(tensor.shape)}", f"{len(raw)} bytes"
            )
        if self.spec.datatype == "BOOL":
            return np.asarray(np.frombuffer(raw, np.uint8) != 0)
        return np.frombuffer(raw, self._dtype)

    def _from_contents(self, tensor: InputTensor, elements: int) -> Array:
        field = FIELDS.get(self.spec.datatype)
        if field is None:
            raise self._wrong("raw_input_contents, the only form FP16 has", "typed contents")
        for descriptor, _ in tensor.contents.ListFields():
            if descriptor.name != field:
                raise self._wrong(f"{field} for {self.spec.datatype}", descriptor.name)
        values: Sequence[Any] = getattr(tensor.contents, field)
        if len(values) != elements:
            raise self._wrong(f"{elements} values in {field} for {list(tensor.shape)}", f"{len(values)}")
        return self._typed(values, field)

    def _typed(self, values: Sequence[Any], field: str) -> Array:
        if field not in ("int_contents", "uint_contents"):
            return np.fromiter(values, self._dtype, len(values))
        wide = np.fromiter(values, np.int64, len(values))
        limits = np.iinfo(self._dtype)
        if wide.min() < limits.min or wide.max() > limits.max:
            raise self._wrong(f"values from {limits.min} to {limits.max}", f"{wide.min()} to {wide.max()}")
        return wide.astype(self._dtype)

    def _wrong(self, expected: str, got: str) -> WireError:
        return invalid(f"input '{self.spec.name}': expected {expected}, got {got}")


def raw_bytes(array: Array, datatype: str) -> bytes:
    """Return the little-endian row-major bytes of ``array`` as ``datatype``."""
    return array.astype(DTYPES[datatype], copy=False).tobytes()


def datatype_of(array: npt.NDArray[Any]) -> str:
    """Return the Open Inference datatype of ``array``; raise ``TypeError`` when there is none."""
    name = DATATYPES.get(array.dtype.newbyteorder("<") if array.dtype.byteorder == "=" else array.dtype)
    if name is None:
        raise TypeError(f"arrays of {array.dtype} cannot be sent; send one of {', '.join(DTYPES)}")
    return name


def top_classes(array: Array, count: int, labels: Sequence[str]) -> list[list[bytes]]:
    """Return per sample the ``count`` largest entries as ``value:index:label``, largest first."""
    rows = array.reshape(len(array), -1) if array.ndim > 1 else array.reshape(1, -1)
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    return [
        [_class(row, index, labels) for index in order]
        for row, order in zip(rows, best.tolist(), strict=True)
    ]


def pack_bytes(elements: Sequence[bytes]) -> bytes:
    """Return the raw form of a BYTES tensor: each element after its length in four bytes."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def _class(row: Array, index: int, labels: Sequence[str]) -> bytes:
    label = f":{labels[index]}" if index < len(labels) else ""
    return f"{row[index]:f}:{index}{label}".encode()
