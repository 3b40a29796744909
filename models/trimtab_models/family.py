"""The manifest of a family: written, read, and checked against the artefacts beside it."""

import hashlib
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from trimtab.domain.family import Family
from trimtab_models.datasets.samples import Samples
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


def write_samples(samples: Samples, path: Path) -> None:
    """Write ``image`` (n, 1, h, w) and ``label`` (n,), uint8, and ``index`` (n,), as ``Samples`` has them."""
    np.savez_compressed(path, image=samples.images, label=samples.labels, index=samples.index)


def read_samples(path: Path) -> Samples:
    """Return the samples that ship with a family."""
    with np.load(path) as arrays:
        return Samples(arrays["image"], arrays["label"], arrays["index"])
