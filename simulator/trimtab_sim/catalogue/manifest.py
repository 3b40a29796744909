"""A catalogue of built families: their manifests, with the profiles in them or those a daemon has kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trimtab.adapters.family_store import MANIFEST, FamilyError, load_family
from trimtab.adapters.processors import PROVIDERS
from trimtab.core import codec
from trimtab.domain.family import Family, Profile, ProfileSet
from trimtab.domain.processor import Processor
from trimtab_sim.catalogue.model import Catalogue, CatalogueError, Problem

BY_NAME: Final = {name: (kind, provider) for provider, kind, name in PROVIDERS}


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file of ``trimtab.adapters.profile_store``; its key tells nothing without the machine it is of."""

    key: str
    profiles: ProfileSet
    format_version: int = 1


def read_manifests(path: Path, profiles: Path | None = None) -> Catalogue:
    """Return the family in a folder, or all families in its subfolders; raise ``CatalogueError``.

    ``profiles`` is a file or folder in which a daemon keeps profiles (``<task>.json``); without one they are
    those of the machine that built the family. A family without profiles is a problem.
    """
    folder = path.parent if path.name == MANIFEST else path
    folders = (
        [folder]
        if (folder / MANIFEST).is_file()
        else sorted(one.parent for one in folder.glob(f"*/{MANIFEST}"))
    )
    if not folders:
        raise _refused(folder, f"has no {MANIFEST}, nor has a folder in it")
    families: list[Family] = []
    told: dict[str, tuple[Profile, ...]] = {}
    for one in folders:
        family = _family(one)
        families.append(family)
        told[family.task] = _profiles(family, one, profiles)
    names = dict.fromkeys(profile.processor for some in told.values() for profile in some)
    processors = sorted((_processor(name) for name in names), key=lambda one: one.threads)
    return Catalogue(tuple(families), tuple(processors), told)


def _family(folder: Path) -> Family:
    try:
        return load_family(folder).family
    except FamilyError as error:
        raise CatalogueError((Problem("", 0, "", str(error)),)) from error


def _profiles(family: Family, folder: Path, kept: Path | None) -> tuple[Profile, ...]:
    """Return the family's profiles; raise ``CatalogueError`` for none, or some of other variants."""
    file = folder / MANIFEST
    found = family.profiles
    if kept is not None:
        file = kept / f"{family.task}.json" if kept.is_dir() else kept
        found = _kept(file)
    if found is None or not found.profiles:
        raise _refused(file, f"tells no profiles of {family.task}")
    if found.task != family.task:
        raise _refused(file, f"has profiles of {found.task}, not of {family.task}")
    stages = {variant.name: len(variant.stages) for variant in family.variants}
    for profile in found.profiles:
        if stages.get(profile.variant) != len(profile.stage_latency_ns):
            raise _refused(
                file, f"has a profile of {profile.variant!r} that fits no variant of {family.task}"
            )
    return found.profiles


def _kept(file: Path) -> ProfileSet:
    try:
        return codec.decode_value(_Kept, file.read_bytes()).profiles
    except OSError as error:
        raise _refused(file, f"cannot be read: {error.strerror}") from error
    except codec.CodecError as error:
        raise _refused(file, f"is no file of kept profiles: {error}") from error


def _processor(name: str) -> Processor:
    """Return the processor of a profile's name, as the daemon names them: ``cpu-big:4-7`` or ``gpu:webgpu``."""
    if name in BY_NAME:
        kind, provider = BY_NAME[name]
        return Processor(name, kind, (), 1, provider=provider)
    first, _, last = name.partition(":")[2].partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        kind = name.partition(":")[0]
        return Processor(name, kind, (), 1, provider=kind)
    cores = tuple(range(int(first), int(last or first) + 1))
    return Processor(name, "cpu", cores, len(cores))


def _refused(file: Path, message: str) -> CatalogueError:
    return CatalogueError((Problem(str(file), 0, "", message),))
