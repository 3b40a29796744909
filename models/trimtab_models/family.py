"""The manifest of a family: written, read, and checked against the artefacts beside it."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from trimtab.domain.family import Family, Stage, Variant
from trimtab_models.datasets.samples import PIXEL_SCALE, Samples
from trimtab_models.errors import FoundryError

MANIFEST: Final = "manifest.json"


def write_manifest(family: Family, folder: Path) -> Path:
    """Write ``manifest.json`` into ``folder`` in one move and return its path."""
    path = folder / MANIFEST
    text = msgspec.json.format(msgspec.json.encode(family), indent=1)
    fresh = path.with_suffix(".writing")
    fresh.write_bytes(text + b"\n")
    fresh.replace(path)
    return path


def read_manifest(folder: Path) -> Family:
    """Return the family in ``folder``; raise ``FoundryError`` when there is none or it cannot be read."""
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Family)
    except OSError as error:
        raise FoundryError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise FoundryError(f"{path}: {error}") from error


def check_artefacts(family: Family, folder: Path) -> list[str]:
    """Return what is wrong with the artefacts in ``folder``, one line each: missing, or not as described."""
    wrong = []
    for variant in family.variants:
        for stage in variant.stages:
            path = folder / stage.artefact
            if not path.is_file():
                wrong.append(f"{path}: missing")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != stage.sha256:
                wrong.append(f"{path}: content differs from the manifest's sha256")
    return wrong


def recount(family: Family, folder: Path) -> Family:
    """Return the family with what newer manifests count filled in from its artefacts; needs ``onnx``."""
    from trimtab_models.counting import count
    from trimtab_models.measure import decoded

    def counted(variant: Variant, stage: Stage) -> Stage:
        counts = count(decoded(folder / stage.artefact, variant.format))
        return replace(
            stage,
            nonzero_macs=min(stage.macs, counts.nonzero_macs),
            weight_bytes=counts.weight_bytes,
            traffic_bytes=counts.traffic_bytes,
        )

    variants = (replace(v, stages=tuple(counted(v, stage) for stage in v.stages)) for v in family.variants)
    return replace(family, variants=tuple(variants))


def write_samples(samples: Samples, input_name: str, path: Path) -> None:
    """Write the inputs under ``input_name``, their scale, ``label`` (n,) uint8 and ``index`` (n,)."""
    arrays = {input_name: samples.inputs, "label": samples.labels, "index": samples.index}
    if samples.scale != PIXEL_SCALE:
        arrays[f"{input_name}_scale"] = np.asarray(samples.scale, np.float32)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_samples(path: Path, input_name: str = "image") -> Samples:
    """Return the samples that ship with a family."""
    with np.load(path, allow_pickle=False) as arrays:
        scale: float | tuple[float, ...] = PIXEL_SCALE
        if f"{input_name}_scale" in arrays:
            stored = arrays[f"{input_name}_scale"]
            scale = tuple(float(value) for value in stored) if stored.ndim else float(stored)
        return Samples(arrays[input_name], arrays["label"], arrays["index"], scale)
