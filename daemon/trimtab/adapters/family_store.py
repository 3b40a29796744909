"""Families in folders: ``<folder>/<task>/manifest.json`` beside its artefacts and labelled samples.

Every artefact is checked against the manifest's size and SHA-256 before it is offered, and none may lie
outside its family's folder.
"""

import dataclasses
import hashlib
import math
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np

import trimtab
from trimtab.adapters.whole_file import write_whole
from trimtab.core import codec
from trimtab.domain.family import ExitRule, Family, ProfileSet, Stage, Variant
from trimtab.ports import Array, StoredFamily

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 8 << 20
MAX_VARIANTS = 256
MAX_STAGES = 16
MAX_EXIT_RULES = 64
MAX_NAME = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class FamilyError(Exception):
    """A family cannot be used; the message names the file and the field."""


def shipped_families() -> Path:
    """Return the folder of the families that come with trimtab: in a checkout, else in the package."""
    package = Path(trimtab.__file__).parent
    checkout = package.parent.parent / "models" / "families"
    return checkout if checkout.is_dir() else package / "_shipped" / "families"


class FolderStore:
    """Families below one or more folders; of two with the same task the later folder's wins."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)

    def families(self) -> Sequence[StoredFamily]:
        """Return all families, verified, ordered by task; raise ``FamilyError``."""
        found: dict[str, StoredFamily] = {}
        for path in self._paths:
            if not path.is_dir():
                raise FamilyError(f"{path}: no such folder")
            for manifest in sorted(path.glob(f"*/{MANIFEST}")):
                stored = load_family(manifest.parent)
                found[stored.family.task] = stored
        return tuple(found[task] for task in sorted(found))


def load_family(folder: Path) -> StoredFamily:
    """Read and verify the family in ``folder``; raise ``FamilyError`` naming file and field."""
    path = folder / MANIFEST
    family = _read_manifest(path)
    _check_family(family, path)
    for index, variant in enumerate(family.variants):
        _check_variant(variant, f"{path}: variants[{index}] ({variant.name})")
        for number, stage in enumerate(variant.stages):
            where = f"{path}: variants[{index}] ({variant.name}).stages[{number}]"
            _check_artefact(stage, folder, where)
    return StoredFamily(family, folder)


def write_profiles(stored: StoredFamily, profiles: ProfileSet) -> Path:
    """Write ``profiles`` into the family's manifest in one move and return the file; raise ``FamilyError``."""
    return write_family(dataclasses.replace(stored.family, profiles=profiles), stored.folder)


def write_family(family: Family, folder: Path) -> Path:
    """Write the manifest of the family in ``folder`` anew in one move; return it, raise ``FamilyError``."""
    path = folder / MANIFEST
    body = codec.encode_value(family)
    try:
        mode = path.stat().st_mode
        write_whole(path, msgspec.json.format(body, indent=1) + b"\n")
        path.chmod(mode)
    except OSError as error:
        raise FamilyError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def _read_manifest(path: Path) -> Family:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise FamilyError(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes")
        body = path.read_bytes()
        version = msgspec.json.decode(body, type=dict[str, object]).get("format_version", FORMAT_VERSION)
        if version != FORMAT_VERSION:
            raise FamilyError(f"{path}: format_version is {version!r}, this trimtab reads {FORMAT_VERSION}")
        return codec.decode_value(Family, body)
    except OSError as error:
        raise FamilyError(f"{path}: cannot be read: {error.strerror}") from error
    except (codec.CodecError, msgspec.MsgspecError) as error:
        raise FamilyError(f"{path}: {error}") from error


def _check_family(family: Family, path: Path) -> None:
    _check_name(family.task, f"{path}: task")
    if family.task != path.parent.name:
        raise FamilyError(f"{path}: task is {family.task!r}, but the folder is {path.parent.name!r}")
    _check_count(family.variants, MAX_VARIANTS, f"{path}: variants")
    if len(family.outputs) != 1:
        raise FamilyError(f"{path}: outputs: a family has one output, its logits; here {len(family.outputs)}")
    for field, entries in (("inputs", family.inputs), ("outputs", family.outputs)):
        _check_count(entries, MAX_NAME, f"{path}: {field}")
    names = [variant.name for variant in family.variants]
    if len(set(names)) != len(names):
        raise FamilyError(f"{path}: variants: two share a name among {names}")
    for field, name in (("reference", family.reference), ("last_resort", family.last_resort)):
        if name not in names:
            raise FamilyError(f"{path}: {field}: no variant {name!r}; there are {', '.join(names)}")
    _inside(path.parent, family.samples, f"{path}: samples")


def _check_variant(variant: Variant, where: str) -> None:
    _check_name(variant.name, f"{where}: name")
    _check_count(variant.stages, MAX_STAGES, f"{where}: stages")
    _check_count(variant.exit_rules, MAX_EXIT_RULES, f"{where}: exit_rules")
    _check_frac(variant.accuracy_frac, f"{where}: accuracy_frac")
    for rule in variant.exit_rules:
        _check_rule(rule, len(variant.stages), f"{where}: exit rule {rule.name!r}")


def _check_rule(rule: ExitRule, stages: int, where: str) -> None:
    for field, values in (("share_frac", rule.share_frac), ("accuracy_frac", rule.accuracy_frac)):
        if len(values) != stages:
            raise FamilyError(f"{where}: {field} has {len(values)} entries for {stages} stages")
        for value in values:
            _check_frac(value, f"{where}: {field}")
    if not math.isclose(sum(rule.share_frac), 1.0, abs_tol=1e-6):
        raise FamilyError(f"{where}: share_frac sums to {sum(rule.share_frac)}, not 1")


def _check_artefact(stage: Stage, folder: Path, where: str) -> None:
    path = _inside(folder, stage.artefact, f"{where}.artefact")
    try:
        size = path.stat().st_size
        if size != stage.artefact_bytes:
            raise FamilyError(f"{where}.artefact_bytes: {path} has {size} bytes, not {stage.artefact_bytes}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FamilyError(f"{where}.artefact: {path} cannot be read: {error.strerror}") from error
    if digest != stage.sha256.lower():
        raise FamilyError(f"{where}.sha256: {path} has {digest}, not {stage.sha256}")


def _inside(folder: Path, name: str, where: str) -> Path:
    """Return the file ``name`` of ``folder``; refuse absolute paths and those that lead out of it."""
    relative = PurePosixPath(name)
    if not name or "\0" in name or relative.is_absolute() or ".." in relative.parts:
        raise FamilyError(f"{where}: {name!r} is not a file name inside the family's folder")
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        raise FamilyError(f"{where}: {name!r} leads out of the family's folder")
    return path


def _check_name(name: str, where: str) -> None:
    if len(name) > MAX_NAME or not NAME.fullmatch(name):
        raise FamilyError(f"{where}: {name[:MAX_NAME]!r} is not a name (letters, digits, '.', '_', '-')")


def _check_count(values: Sequence[object], most: int, where: str) -> None:
    if not 1 <= len(values) <= most:
        raise FamilyError(f"{where}: {len(values)} entries; expected 1 to {most}")


def _check_frac(value: float, where: str) -> None:
    if not 0.0 <= value <= 1.0:
        raise FamilyError(f"{where}: {value} is not within 0..1")


def load_samples(stored: StoredFamily) -> tuple[dict[str, Array], Array]:
    """Return labelled samples as (arrays by input name with the batch first, labels); raise ``FamilyError``.

    The archive holds one array per input of the task, under its name, and ``label``. Integers stored for a
    float input come out as float32: times ``<name>_scale`` (one factor, or one per channel in the second
    axis) where the archive has it; bytes without it are pixels and come out in 0..1.
    """
    path = stored.folder / stored.family.samples
    if not path.exists():
        raise FamilyError(
            f"{path}: no such file: the family {stored.family.task!r} ships without samples "
            f"(its data, {stored.family.dataset.name}: {stored.family.dataset.licence})"
        )
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            held: dict[str, Array] = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise FamilyError(f"{path}: cannot be read: {error}") from error
    wanted = [spec.name for spec in stored.family.inputs]
    for name in ("label", *wanted):
        if name not in held:
            raise FamilyError(f"{path}: no array {name!r}; it holds {', '.join(sorted(held))}")
        if len(held[name]) != len(held["label"]):
            raise FamilyError(f"{path}: {name!r} has {len(held[name])} entries, not {len(held['label'])}")
    floats = {spec.name for spec in stored.family.inputs if spec.datatype == "FP32"}
    arrays = {name: _scaled(name, held, path) if name in floats else held[name] for name in wanted}
    return arrays, held["label"]


def _scaled(name: str, held: Mapping[str, Array], path: Path) -> Array:
    """Return a stored array as the task's models take it; raise ``FamilyError`` for a scale that misfits."""
    array, scale = held[name], held.get(f"{name}_scale")
    if scale is None:
        return array.astype(np.float32) / np.float32(255) if array.dtype == np.uint8 else array
    if scale.dtype.kind != "f" or scale.ndim > 1 or not np.isfinite(scale).all():
        raise FamilyError(f"{path}: '{name}_scale' is not one factor or one per channel")
    if scale.ndim and (array.ndim < 2 or len(scale) != array.shape[1]):
        raise FamilyError(f"{path}: '{name}_scale' has {len(scale)} factors for {name!r} of {array.shape}")
    factors = scale.astype(np.float32).reshape(-1, *[1] * (array.ndim - 2)) if scale.ndim else scale
    scaled: Array = array.astype(np.float32) * factors.astype(np.float32)
    return scaled
