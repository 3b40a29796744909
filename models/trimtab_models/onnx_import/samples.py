"""The samples a user gives: arrays by input name, for calibration and for measuring, never the same ones."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trimtab_models.datasets.samples import PIXEL_SCALE, scaled
from trimtab_models.onnx_import.errors import ImportFailure

Array = NDArray[Any]
LABEL: Final = "label"
RESERVED: Final = (LABEL, "index")
LEAST: Final = 4
_SCALE: Final = "_scale"


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Arrays by input name (n, ...) as stored, and labels (n,) if there are any."""

    stored: Mapping[str, Array]
    scales: Mapping[str, float | tuple[float, ...]]
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(next(iter(self.stored.values())))

    def take(self, rows: NDArray[np.int64]) -> "Given":
        """Return the given rows."""
        picked = {name: values[rows] for name, values in self.stored.items()}
        return Given(picked, self.scales, None if self.labels is None else self.labels[rows])

    def tensors(self, types: Mapping[str, Any]) -> dict[str, Array]:
        """Return what the network takes. Bytes for a float32 input are pixels: they become 0..1."""
        return {name: self._tensor(name, types[name]) for name in types}

    def _tensor(self, name: str, dtype: Any) -> Array:
        values = self.stored[name]
        if name in self.scales:
            return scaled(values, self.scales[name]).astype(dtype)
        if values.dtype == np.uint8 and dtype == np.float32:
            return scaled(values, PIXEL_SCALE)
        return values.astype(dtype)

    def arrays(self) -> dict[str, Array]:
        """Return what a family's ``samples.npz`` holds besides labels."""
        factors = {f"{name}{_SCALE}": np.asarray(s, np.float32) for name, s in self.scales.items()}
        return {**self.stored, **factors}


def read_given(path: Path, inputs: Mapping[str, Any]) -> Given:
    """Read an ``.npz`` with an array for each of ``inputs`` (name: dtype); raise ``ImportFailure``."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, AttributeError) as error:
        raise ImportFailure(f"{path}: cannot be read as .npz: {error}") from error
    for name in inputs:
        if name not in held:
            raise ImportFailure(
                f"{path}: no array {name!r} for that input; it holds {', '.join(held) or 'none'}"
            )
    stored = {name: held[name] for name in inputs}
    labels = held.get(LABEL)
    counts = {name: len(values) if values.ndim else 0 for name, values in stored.items()}
    counts |= {} if labels is None else {LABEL: labels.size}
    if len(set(counts.values())) > 1:
        raise ImportFailure(f"{path}: arrays differ in length: {counts}")
    if min(counts.values()) < LEAST:
        raise ImportFailure(f"{path}: {min(counts.values())} samples; at least {LEAST} are needed")
    _check_values(path, stored, inputs)
    scales = {name: _scale(held[f"{name}{_SCALE}"]) for name in inputs if f"{name}{_SCALE}" in held}
    return Given(stored, scales, None if labels is None else _labels(path, labels))


def _check_values(path: Path, stored: Mapping[str, Array], inputs: Mapping[str, Any]) -> None:
    """Refuse numbers the network's input type cannot hold, and those that are none."""
    for name, values in stored.items():
        wanted = np.dtype(inputs[name])
        kind, room = values.dtype.kind, wanted.kind
        if kind not in "biuf" or (kind == "f" and room != "f"):
            raise ImportFailure(f"{path}: {name!r} holds {values.dtype}; the input takes {wanted}")
        if kind == "f" and not np.isfinite(values).all():
            raise ImportFailure(f"{path}: {name!r} holds values that are not finite")
        if room in "iu" and kind != "b":
            limits = np.iinfo(wanted)
            if values.min() < limits.min or values.max() > limits.max:
                raise ImportFailure(f"{path}: {name!r} holds values outside {wanted}")


def _scale(stored: Array) -> float | tuple[float, ...]:
    return tuple(float(value) for value in stored) if stored.ndim else float(stored)


def _labels(path: Path, labels: Array) -> NDArray[np.int64]:
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.min() < 0:
        raise ImportFailure(f"{path}: 'label' must be whole numbers from 0 on, one per sample")
    return labels.astype(np.int64)


def halves(given: Given, seed: int) -> tuple[Given, Given]:
    """Return two disjoint random halves: one for calibration, one for measuring."""
    order = np.random.default_rng(seed).permutation(len(given))
    middle = len(given) // 2
    return given.take(np.sort(order[:middle])), given.take(np.sort(order[middle:]))


def read_labels(path: Path, classes: int) -> tuple[str, ...]:
    """Read one class name per line; raise ``ImportFailure`` when there are not as many as classes."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImportFailure(f"{path}: cannot be read: {error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != classes:
        raise ImportFailure(f"{path}: {len(names)} labels, but the network has {classes} classes")
    return names
