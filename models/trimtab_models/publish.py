"""Put a finished family in the place of the one that is served: whole, or not at all.

Artefacts are made in a folder of their own. Then each moves to where it belongs, under another name where the
present manifest still needs the old content; then the manifest changes in one move; then what no manifest
names any more goes. Whoever is killed in between leaves the old family or the new one, both whole.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from trimtab.domain.family import Family, Stage, Variant
from trimtab_models.errors import FoundryError
from trimtab_models.family import MANIFEST, read_manifest, write_manifest

BUILDING: Final = ".building"
_LOCK: Final = "lock"
_DIGITS: Final = 8
_ARTEFACT: Final = r"(\.\d+)?(\.[0-9a-f]{8})?\.(onnx|ttdc)"


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield an empty folder inside ``folder``, gone afterwards; raise ``FoundryError`` if another builds there."""
    place = folder / BUILDING
    place.mkdir(parents=True, exist_ok=True)
    with (place / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FoundryError(f"{folder}: another build is writing there") from error
        staged = place / "staged"
        shutil.rmtree(staged, ignore_errors=True)  # what a killed build left
        staged.mkdir()
        try:
            yield staged
        finally:
            shutil.rmtree(place, ignore_errors=True)


def publish(family: Family, staged: Path, folder: Path) -> Family:
    """Move what ``family`` names from ``staged`` to ``folder``, then its manifest; return it as written.

    Artefacts that are not in ``staged`` stay as they are in ``folder``.
    """
    before = named_files(read_manifest(folder)) if (folder / MANIFEST).exists() else set()
    variants = tuple(
        replace(
            variant, stages=tuple(_place_stage(stage, staged, folder, before) for stage in variant.stages)
        )
        for variant in family.variants
    )
    samples = _place(family.samples, staged, folder, before)
    written = replace(family, variants=variants, samples=samples)
    _settle(folder)
    write_manifest(written, folder)
    _settle(folder)
    _tidy(written, folder, before)
    return written


def named_files(family: Family) -> set[str]:
    """Return the names of the files a manifest needs."""
    return {family.samples, *(stage.artefact for variant in family.variants for stage in variant.stages)}


def _place_stage(stage: Stage, staged: Path, folder: Path, needed: set[str]) -> Stage:
    return replace(stage, artefact=_place(stage.artefact, staged, folder, needed))


def _place(name: str, staged: Path, folder: Path, needed: set[str]) -> str:
    """Move one file; return its name, made unique by content where ``needed`` holds the plain one."""
    fresh = staged / name
    if not fresh.exists():
        return name
    digest = _digest(fresh)
    if name in needed and (folder / name).exists() and _digest(folder / name) != digest:
        stem, _, suffix = name.rpartition(".")
        name = f"{stem}.{digest[:_DIGITS]}.{suffix}"
    _settle(fresh)
    fresh.replace(folder / name)
    return name


def _tidy(family: Family, folder: Path, before: set[str]) -> None:
    """Remove what only the previous manifest named, and what a killed build moved but never named."""
    kept = named_files(family)
    for name in before - kept:
        (folder / name).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name not in kept and any(_artefact_of(variant, path.name) for variant in family.variants):
            path.unlink(missing_ok=True)


def _artefact_of(variant: Variant, name: str) -> bool:
    return re.fullmatch(re.escape(variant.name) + _ARTEFACT, name) is not None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _settle(path: Path) -> None:
    """Wait until a file or a folder's entries are safe on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
