"""Keeps measured profiles, one JSON file per task, and knows when they no longer describe this machine."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.adapters.whole_file import write_whole
from trimtab.core import codec
from trimtab.domain.family import Family, Machine, ProfileSet
from trimtab.domain.processor import Processor

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Kept:
    key: str
    profiles: ProfileSet
    format_version: int = FORMAT_VERSION


class ProfileStore:
    """Profiles below ``folder``, each valid for one machine, one set of processors and the same artefacts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, task: str) -> Path:
        """Return where the profiles of a task are kept."""
        return self._folder / f"{task}.json"

    def load(self, family: Family, processors: Sequence[Processor], machine: Machine) -> ProfileSet | None:
        """Return kept profiles that still hold, else ``None``: measure again. Warns about a corrupt file."""
        path = self.path(family.task)
        try:
            kept = codec.decode_value(_Kept, path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, codec.CodecError) as error:
            log.warning("%s: cannot be read, profiles are measured again: %s", path, error)
            return None
        if kept.key != profile_key(family, processors, machine):
            log.info("%s: from another machine, runtime or version of the family; measured again", path)
            return None
        return kept.profiles

    def save(self, family: Family, processors: Sequence[Processor], profiles: ProfileSet) -> Path:
        """Write profiles in one move and return the file; raise ``OSError``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        key = profile_key(family, processors, profiles.machine)
        body = codec.encode_value(_Kept(key, profiles))
        path = self.path(family.task)
        write_whole(path, body)
        return path


def profile_key(family: Family, processors: Sequence[Processor], machine: Machine) -> str:
    """Return a digest of what profiles depend on: machine, runtime, power model, processors, artefacts."""
    parts = (
        (machine.cpu, machine.cores, machine.system, machine.runtime, machine.power_model),
        tuple(processors),
        family.task,
        tuple((v.name, v.format, tuple(stage.sha256 for stage in v.stages)) for v in family.variants),
    )
    return hashlib.sha256(codec.encode_value(parts)).hexdigest()
